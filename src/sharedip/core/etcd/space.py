"""Whether etcd takes writes: one whose database is full (NOSPACE) reads, deletes and renews leases, and puts nothing.

Refused is not unreachable: it is a fact of its own, no verdict on the endpoint, and none on any key or right.
An idle cluster writes nothing, so nothing is refused: the alarm that etcd raises is looked at as well.
Role: since when writes are refused, when to try one again or to look, and what the operator is told, once each way.
Must never: send anything. Counterpart: `session.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from sharedip.core.messages import Command, Level, Report
from sharedip.core.model import NEVER, Instant

TRY_EVERY_S = 10.0
"""Each refused write can cost etcd an entry of its log, since the member that refuses it raises its alarm anew."""
LOOK_EVERY_S = 30.0
"""Maintenance.Status beside a renewal: whether the alarm is raised."""
VITAL_RETRY_S = 2.0
"""For a lease, a name, a place in the queue: what a node is nothing without."""


class Space:
    """Invariant: `full_since` is what the operator was last told."""

    def __init__(self, out: Callable[[Command], None]) -> None:
        self._out = out
        self.full_since: Instant | None = None
        """When etcd first refused a write for its database's size; None: it takes writes, as far as we know."""
        self.try_at: Instant = NEVER
        """When to find out whether it takes them again."""
        self.look_at: Instant = NEVER
        """Not before then is its alarm looked at again."""

    @property
    def is_full(self) -> bool:
        """Whether the last write that we know of was refused for want of space."""
        return self.full_since is not None

    def refused(self, detail: str, now: Instant) -> None:
        """A write was refused for want of space."""
        self.tried(now)
        if self.full_since is None:
            self.full_since = now
            text = "etcd takes no writes: its database is full; owners stay, and what frees an address still works"
            self._out(Report(Level.ERROR, text, reason=detail))

    def looked(self, now: Instant, *, is_raised: bool) -> None:
        """Its alarm NOSPACE is raised, or not. Only a write that it takes shows that it takes writes."""
        if is_raised:
            self.refused("alarm NOSPACE", now)
        elif self.is_full:
            self.try_at = now

    def tried(self, now: Instant) -> None:
        """To find out has been tried just now, or can't be."""
        self.try_at = now + TRY_EVERY_S

    def taken(self, now: Instant) -> bool:
        """etcd took a write. True: it took none before."""
        since, self.full_since = self.full_since, None
        if since is None:
            return False
        self._out(Report(Level.INFO, f"etcd takes writes again, after {now - since:.0f} s"))
        return True
