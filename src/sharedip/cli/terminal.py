"""What standard output is: a terminal of some width, with colours or without, or a pipe.

Counterpart: `render.py`, which is told.
"""

from __future__ import annotations

import os
import shutil
import sys


def terminal_width() -> int | None:
    """How wide the terminal is, in columns; None on a pipe, where nothing is folded."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def use_color() -> bool:
    """Whether standard output is a terminal that wants colours (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
