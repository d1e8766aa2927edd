"""Time by others: this machine may have stood still as a whole, and no clock of its own tells; those of others do.

Each hello carries its sender's clock (its sequence, in microseconds). What that shows beyond ours is constant while
both run, but for the delay, which only makes it smaller; so the largest of the last few is compared, and a rise counts
that is larger than what lies between them: where CPU is short, all are late, and one of them less. It rises at once
by as long as we stood still: with the first hellos that waited for us, or with the next one.

A peer that was paused itself makes it fall, and a slewed clock (chrony: 8.3 % at most) rises by less than `SLEW` a
second: neither is a pause of ours. A clock of another boot, or of another lease, begins anew.

What it shows from minute to minute is the rate of that clock against ours. Safety assumes that two differ by
`CLOCK_DRIFT` at most: more than that, two minutes in a row, is a problem to be told of.

Must never: shorten anything itself; `node.py` takes what was found off every deadline. Counterpart: `hearing.py`, which
finds replayed hellos before they come here (law 11).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from sharedip.core.model import Instant
from sharedip.core.settings import CLOCK_DRIFT

STILL_S_MIN = 0.2
"""Shorter ones are what a busy loop makes of a hello."""
SLEW = 0.1
COMPARED = 30
KNOWN_BY = 3
"""So many hellos before the first verdict: one that was late says nothing."""
TOLD_AFTER_S = 1.2
"""A hello comes each second: only with the next one all of a pause is known."""


RATE_OVER_S = 60.0
"""The quickest of sixty hellos is some milliseconds late at most, where CPU is not short: a tenth of what is judged."""


@dataclass(slots=True)
class _Rate:
    """How that clock runs against ours, from one minute's quickest hello to the next one's."""

    began_at: Instant
    quickest: tuple[float, Instant]
    """What its clock shows beyond ours, and when."""
    before: tuple[float, Instant] | None = None
    minutes: deque[float] = field(default_factory=lambda: deque(maxlen=2))

    def heard(self, beyond_s: float, at: Instant) -> None:
        """One hello."""
        if at < self.began_at + RATE_OVER_S:
            self.quickest = max(self.quickest, (beyond_s, at))
            return
        if at >= self.began_at + 2 * RATE_OVER_S:  # silent in between: whatever happened meanwhile is no rate
            self.before = None
            self.minutes.clear()
        else:
            if self.before is not None:
                self.minutes.append((self.quickest[0] - self.before[0]) / (self.quickest[1] - self.before[1]))
            self.before = self.quickest
        self.began_at, self.quickest = at, (beyond_s, at)

    @property
    def excess(self) -> float:
        """The last minute's, where it and the one before were too fast or too slow, the same way; else 0.0."""
        fast = all(each > CLOCK_DRIFT for each in self.minutes)
        slow = all(each < -CLOCK_DRIFT for each in self.minutes)
        return self.minutes[-1] if len(self.minutes) == 2 and (fast or slow) else 0.0


@dataclass(slots=True)
class _Clock:
    kernel: str
    heard_at: Instant
    rate: _Rate
    beyond_s: deque[float] = field(default_factory=lambda: deque(maxlen=COMPARED))


@dataclass(frozen=True, slots=True)
class Pause:
    """This machine stood still for so long, by that node's clock; we ran again at about `until`."""

    seconds: float
    by: str
    until: Instant


class OthersClocks:
    """Invariant: `_stood_s` is the sum of all that was found, so that a second witness of one pause finds nothing."""

    def __init__(self) -> None:
        self._clocks: dict[int, _Clock] = {}
        self._stood_s = 0.0
        self._untold: Pause | None = None
        self._tell_at: Instant = float("inf")
        self.last: Pause | None = None
        """The last pause that was found, whole."""

    def stood_still_s(self, lease: int, kernel: str, shown: Instant, received_at: Instant) -> float:
        """How long this machine stood still since that agent was heard before; 0.0: not that it could be told.

        `kernel`: names the boot of its machine; `shown`: what its clock showed when it sent.
        """
        clock, beyond_s = self._clocks.get(lease), shown - received_at - self._stood_s
        if clock is None or clock.kernel != kernel or len(clock.beyond_s) < KNOWN_BY:
            return 0.0
        largest_s = max(clock.beyond_s)
        risen_s, apart_s = beyond_s - largest_s, largest_s - min(clock.beyond_s)
        least_s = STILL_S_MIN + apart_s + SLEW * max(0.0, received_at - clock.heard_at)
        return risen_s if risen_s >= least_s else 0.0

    def heard(self, lease: int, kernel: str, shown: Instant, received_at: Instant) -> None:
        """An authentic hello, no older than what was heard; `stood_still` comes first, if it is due."""
        clock, beyond_s = self._clocks.get(lease), shown - received_at - self._stood_s
        if clock is None or clock.kernel != kernel:
            rate = _Rate(received_at, (beyond_s, received_at))
            clock = self._clocks[lease] = _Clock(kernel, received_at, rate)
        clock.heard_at = received_at
        clock.beyond_s.append(beyond_s)
        clock.rate.heard(beyond_s, received_at)

    def rates_off(self) -> list[tuple[int, float]]:
        """The agents whose clocks run otherwise than ours by more than safety assumes, and by what share of a second
        each second.
        """
        return [(lease, clock.rate.excess) for lease, clock in self._clocks.items() if clock.rate.excess]

    def stood_still(self, seconds: float, by: str, now: Instant) -> None:
        """All deadlines have been shortened by that."""
        self._stood_s += seconds
        before_s = 0.0 if self._untold is None else self._untold.seconds
        self.last = self._untold = Pause(before_s + seconds, by, now)
        self._tell_at = now + TOLD_AFTER_S

    def keep(self, leases: frozenset[int]) -> None:
        """These agents are registered; others are forgotten."""
        self._clocks = {lease: clock for lease, clock in self._clocks.items() if lease in leases}

    def beyond_s(self, lease: int) -> float | None:
        """What that agent's clock shows beyond ours; None: too few hellos to say."""
        clock = self._clocks.get(lease)
        return None if clock is None or len(clock.beyond_s) < KNOWN_BY else max(clock.beyond_s) + self._stood_s

    def to_tell(self, now: Instant) -> Pause | None:
        """What is to be logged now, once."""
        if now < self._tell_at:
            return None
        pause, self._untold, self._tell_at = self._untold, None, float("inf")
        return pause

    def next_deadline(self) -> Instant:
        """When there is something to tell; infinity if there is nothing."""
        return self._tell_at
