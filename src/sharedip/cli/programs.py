"""Whether a program that the documents name could be started, without starting it.

Must never: run it, or judge what follows; `checks.py` does. Counterpart: `adapters/probes/exec.py`, which starts them.
"""

from __future__ import annotations

import os
from pathlib import Path

FIRST_BYTES = 256
"""Of an executable: as many does the kernel look at for an interpreter (BINPRM_BUF_SIZE, linux/binfmts.h)."""


def why_not_runnable(program: Path) -> str | None:
    """Why execve(2) would refuse it; None if nothing is known against it. An interpreter is looked at as well."""
    trouble = _trouble(program)
    if trouble is not None:
        return trouble
    interpreter = _interpreter_of(program)
    if interpreter is None:
        return None
    trouble = _trouble(interpreter)
    return None if trouble is None else f"its interpreter {interpreter} {trouble}"


def _trouble(program: Path) -> str | None:
    if not program.exists():
        return "is not there"
    if not program.is_file():
        return "is no file"
    return None if os.access(program, os.X_OK) else "is not executable"


def _interpreter_of(program: Path) -> Path | None:
    try:
        with program.open("rb") as opened:
            first = opened.read(FIRST_BYTES).split(b"\n")[0]
    except OSError:  # who may execute need not be allowed to read
        return None
    words = first[2:].split() if first.startswith(b"#!") else []
    return Path(os.fsdecode(words[0])) if words else None
