"""When to announce, and how long to wait before the next try: pure tables and arithmetic.

Must never: read a clock or draw a random number; both come in as arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

from sharedip.core.model import Instant

BURST_STEP_S = 1.1
"""Linux ignores some ARP updates for 1 s after the last one (locktime, net/ipv4/arp.c): repeat just after."""

BURST_REPEATS = 4
"""Announcements after the first one, against loss on the segment."""

REFRESH_S = 60.0
"""Switch tables forget after 300 s, routers' ARP caches after 1200 s or more."""


class Announcements:
    """When the address is announced: at once, four times at 1.1 s steps, then every 60 s."""

    def __init__(self) -> None:
        self._next_at: Instant | None = None
        self._left = 0

    @property
    def next_at(self) -> Instant | None:
        """When the next one is due; None while nothing is announced."""
        return self._next_at

    def begin(self, now: Instant) -> None:
        """Start a burst now: the address came up, the carrier or the MAC changed, or a stranger claimed it."""
        self._next_at = now
        self._left = BURST_REPEATS

    def end(self) -> None:
        """The address is gone."""
        self._next_at = None

    def take(self, now: Instant) -> bool:
        """Whether one is due; if so, the next is scheduled."""
        if self._next_at is None or now < self._next_at:
            return False
        if self._left:
            self._left -= 1
            self._next_at = now + BURST_STEP_S
        else:
            self._next_at = now + REFRESH_S
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
