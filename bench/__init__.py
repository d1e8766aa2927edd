"""Measurements of the program and of its source."""
