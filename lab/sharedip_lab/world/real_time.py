"""A real-time slot, so that a busy machine doesn't blur what is measured.

Must never: fail where the machine grants none; what is measured there is merely less sharp.
"""

from __future__ import annotations

import contextlib
import os


def keep_time() -> None:
    """Ask for the slot, for the calling thread; go on without if refused."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
