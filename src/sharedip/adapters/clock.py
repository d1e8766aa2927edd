"""The clock that every deadline of the program counts on.

Role: CLOCK_BOOTTIME as seconds. It goes on through suspend, which CLOCK_MONOTONIC (and so every asyncio timer) does
not, and nobody can set it, which a wall clock allows. Must never: be read by the core, which is given `now`.
"""

from __future__ import annotations

import time


class Clock:
    """The machine's boot-time clock. Tests give their own object with `now()`."""

    def now(self) -> float:
        """Seconds since boot, time in suspend included (clock_gettime(2), CLOCK_BOOTTIME)."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)
