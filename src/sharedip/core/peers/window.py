"""The window that this owner can keep: the configured one, longer for an hour after it was not kept.

A machine that is starved loses its right again and again although nobody is dead: each lapse takes the address off and
brings it back, or moves it to a node that is starved as well. After the first lapse the next designation has twice the
window, up to `GROWN_S_MAX`; it is never shorter than it is configured.

Must never: change a designation that stands. Counterpart: `owner.py`, which writes the window into each of its own.
"""

from __future__ import annotations

from sharedip.core.model import NEVER, Instant

GROWS_BY = 2.0
GROWN_S_MAX = 4.0
GROWN_FOR_S = 3600.0


class Window:
    """Invariant: `now_s` is not shorter than what is configured, and None where that is: no witness at all."""

    def __init__(self, configured_s: float | None) -> None:
        self.configured_s = configured_s
        self._grown_s = 0.0
        self.until: Instant = NEVER
        """When it is as configured again; *never*: it is."""

    @property
    def now_s(self) -> float | None:
        """What the next designation has."""
        return None if self.configured_s is None else max(self.configured_s, self._grown_s)

    @property
    def is_grown(self) -> bool:
        """Whether it is longer than configured."""
        return self.configured_s is not None and self._grown_s > self.configured_s

    def lapsed(self, now: Instant) -> bool:
        """A right ended though its witness lives. True: the window is longer from now on; else it stays so longer."""
        if self.now_s is None:
            return False
        grown_s = max(self.now_s, min(self.now_s * GROWS_BY, GROWN_S_MAX))
        has_grown, self._grown_s = grown_s > self.now_s, grown_s
        if self.is_grown:
            self.until = now + GROWN_FOR_S
        return has_grown

    def expire(self, now: Instant) -> bool:
        """True: it is as configured again."""
        if not now >= self.until > NEVER:
            return False
        was_grown, self._grown_s, self.until = self.is_grown, 0.0, NEVER
        return was_grown
