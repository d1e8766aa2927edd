"""With which code a command ends. Counterparts: `main.py` (`--help`), `docs/commands.md`."""

from typing import Final

OK: Final = 0
PROBLEM: Final = 1
"""Something is wrong, or the agent refused."""
USAGE: Final = 2
"""A slip in the command line, or a mistake in the documents. The unit's RestartPreventExitStatus: no restart mends it.
"""
UNREACHABLE: Final = 3
"""No agent answers."""
INTERRUPTED: Final = 130
"""Ctrl-C, as shells have it."""
