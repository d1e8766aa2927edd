"""Freeze a process, and know that it is frozen.

Role: SIGSTOP takes effect when a thread of the process takes it; until then the others run on, on a busy machine for
long enough to answer a request (kernel/signal.c, do_signal_stop). Must never: return while a thread may still run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

PATIENCE_S = 10.0
POLL_S = 0.001
STOPPED = {"T", "t", "Z", "X"}
"""Of proc_pid_stat(5)."""


def freeze(pid: int) -> None:
    """SIGSTOP, and wait until each of its threads has stopped. Raises TimeoutError where one does not, as one that the
    kernel keeps in an uninterruptible wait."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE_S
    while not is_frozen(pid):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} does not stop")
        time.sleep(POLL_S)


def is_frozen(pid: int) -> bool:
    """Whether none of its threads can run."""
    states = set[str]()
    for task in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            states.add(task.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0])
    return states <= STOPPED
