"""Is there a stranger that has the address, or does somebody only say so?

A frame is a suspicion, not a proof (law 8): anybody on the segment can send one. Who has the address answers when he is
asked for it, every time and at once; so the owner asks `ASKS` times over some seconds. A forger who goes to that length
gains one hand over: after it the whole cluster rests.
Must never: decide what follows. Counterpart: `candidacy.py`, under `conflict.policy: yield`.
"""

from __future__ import annotations

from enum import Enum

from sharedip.core.model import NEVER, Instant

ASKS = 4
ASK_EVERY_S = 1.0
ANSWER_WITHIN_S = 0.3
"""Neighbours on a LAN answer within milliseconds."""
REST_S = 10.0
"""After a suspicion that was none: a frame a second must not have us ask without end."""
YIELDED_REST_S = 600.0
"""After a node of the cluster has yielded: if the stranger is real it is there for the next owner, too."""


class Step(Enum):
    """What there is to do now."""

    NOTHING = "wait"
    ASK = "ask the segment for the address"
    PROVEN = "somebody else has it"


class Suspicion:
    """Invariant: about one MAC at a time; `PROVEN` only after `ASKS` questions each of which it answered in time."""

    def __init__(self) -> None:
        self.mac = b""
        self._next_at: Instant = float("inf")
        self._asked_at: Instant = NEVER
        self._asked = 0
        self._has_answered = False
        self._rests_until: Instant = NEVER

    @property
    def next_at(self) -> Instant:
        """When `step` is due; infinity while nobody is suspected."""
        return self._next_at

    @property
    def is_open(self) -> bool:
        """Whether somebody is suspected."""
        return self._next_at < float("inf")

    def claimed(self, mac: bytes, at: Instant) -> None:
        """A stranger claims the address."""
        if self.is_open:
            in_time = self._asked_at <= at <= self._asked_at + ANSWER_WITHIN_S
            self._has_answered = self._has_answered or (mac == self.mac and in_time)
        elif at >= self._rests_until:
            self.mac, self._asked, self._next_at = mac, 0, at

    def step(self, now: Instant) -> Step:
        """Go on, if it is time."""
        if now < self._next_at:
            return Step.NOTHING
        if self._asked and not self._has_answered:
            self.rest(now + REST_S)
            return Step.NOTHING
        if self._asked == ASKS:
            self.rest(now + REST_S)
            return Step.PROVEN
        self._asked, self._asked_at, self._has_answered = self._asked + 1, now, False
        self._next_at = now + ASK_EVERY_S
        return Step.ASK

    def rest(self, until: Instant) -> None:
        """Suspect nobody before that instant."""
        self._rests_until = max(self._rests_until, until)
        self._next_at = float("inf")
