"""Breaks of the laws, one line each, and the proof that a test notices: `python -m tests.mutants`."""
