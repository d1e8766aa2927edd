"""Processes of their own, each with a `main`: started by `observe/feeds.py`, imported by nothing."""
