"""Arguments in, calls, exit codes out."""
