"""When to announce, and how long to wait before the next try: pure tables and arithmetic.

Must never: read a clock or draw a random number; both come in as arguments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from sharedip.core.model import NEVER, Instant

BURST_STEP_S = 1.1
"""Linux ignores some ARP updates for 1 s after the last one (locktime, net/ipv4/arp.c): repeat just after."""

STEPS_S = (BURST_STEP_S,) * 4 + (5.0, 10.0, 20.0, 40.0)
"""From the first announcement to the last before the refreshes: four against loss on the segment, then ever fewer for
neighbours that heard none of them. A cut that shows no lost carrier may swallow the whole burst, and Linux believes an
entry that it has confirmed for up to 45 s (1.5 times base_reachable_time) without asking."""

REFRESH_S = 60.0
"""Switch tables forget after 300 s, routers' ARP caches after 1200 s or more: refresh well before."""


PROBES_AT_ONCE = 64
PROBED_PER_S = 2000.0
"""A thousand addresses are probed within half a second, at 4000 frames a second; switches and hosts that handle ARP in
software drop what comes faster, and with it the answer that the probe is for."""

PACE_STEP_S = 0.005
"""Waits end at multiples of this, so that one wake-up serves several addresses."""


STEP_ROUNDING = 1e-3
"""In steps: the error that sums of floats may have."""


class Pace:
    """Slots in time: some at once, the others at a steady rate."""

    def __init__(self, at_once: int, per_s: float) -> None:
        self._at_once_s = (at_once - 1) / per_s
        self._step_s = 1.0 / per_s
        self._next_at: Instant = NEVER

    def take(self, now: Instant) -> Instant:
        """The next free slot, not before `now`."""
        slot_at = max(self._next_at, now - self._at_once_s)
        self._next_at = slot_at + self._step_s
        steps = ceil((slot_at - now) / PACE_STEP_S - STEP_ROUNDING)
        return now + max(0, steps) * PACE_STEP_S


class Announcements:
    """When the address is announced: at once, at `STEPS_S` after each other, then every 60 s."""

    def __init__(self) -> None:
        self._next_at: Instant | None = None
        self._steps: Iterator[float] = iter(())

    @property
    def next_at(self) -> Instant | None:
        """When the next one is due; None while nothing is announced."""
        return self._next_at

    def begin(self, now: Instant) -> None:
        """Start a burst now: the address came up, the carrier or the MAC changed, or a stranger claimed it."""
        self._next_at = now
        self._steps = iter(STEPS_S)

    def take(self, now: Instant) -> bool:
        """Whether one is due; if so, the next is scheduled."""
        if self._next_at is None or now < self._next_at:
            return False
        self._next_at = now + next(self._steps, REFRESH_S)
        return True


@dataclass(slots=True)
class Backoff:
    """Delays that double from `first_s` to `longest_s`, each between half and the whole of it."""

    first_s: float
    longest_s: float
    failures: int = 0

    def fail(self, jitter: float) -> float:
        """Seconds until the next try. `jitter` is in [0, 1)."""
        delay_s = min(self.longest_s, self.first_s * 2.0 ** min(self.failures, 16))
        self.failures += 1
        return delay_s * (0.5 + jitter / 2)

    def succeed(self) -> None:
        """Start over."""
        self.failures = 0
