"""Who had better not be the next in line: the node of etcd's leader, where an owner may have two witnesses.

If the owner and the next in line die at once, the living can only make that dead node the owner, until its lease
ends. Witnesses are not next in line for that reason, but the node of etcd's leader can be no witness. So the candidate
on it goes to the end of the queue: it gives its key up, as a drained one does, and campaigns anew.

Must never: let an owner, or a node that may become one in this moment, step back. Counterpart: `candidacy.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from sharedip.core.messages import Command, Level, Report
from sharedip.core.model import Instant, KeyValue
from sharedip.core.peers import Peers
from sharedip.core.session import Session

AGENTS_MIN = 5
"""With fewer, etcd would not survive the two deaths either (one member on each node)."""
SETTLED_S = 5.0
"""So long the leader must have been the same: an etcd that elects again and again must not stir the queues."""


class Standing:
    """Invariant: at most one step back for each VIP and reign of a leader, unless all behind it have had their turn."""

    def __init__(self, session: Session, peers: Peers, out: Callable[[Command], None]) -> None:
        self._session = session
        self._peers = peers
        self._out = out
        self._leader: int | None = None
        self._settles_at: Instant = float("inf")
        self._is_settled = False
        self._told = False

    def leader_changed(self, now: Instant) -> None:
        """Who leads etcd, or which member is ours, is known anew."""
        if self._session.leadership.leader_id != self._leader:
            self._leader, self._is_settled, self._told = self._session.leadership.leader_id, False, False
            self._settles_at = now + SETTLED_S

    def next_deadline(self) -> Instant:
        """When a new leader counts; infinity if that is over."""
        return self._settles_at

    def settle(self, now: Instant) -> bool:
        """Whether from now on, and not before, the candidates of this node may want to step back."""
        if now < self._settles_at:
            return False
        self._settles_at, self._is_settled = float("inf"), True
        return self._leads

    def reason_to_step_back(self, queue: list[KeyValue], is_sound: Callable[[KeyValue], bool]) -> str | None:
        """Why this node had better not be the next in this queue; None if it isn't, or if it may be."""
        if not (self._is_settled and self._leads) or len(queue) < AGENTS_MIN or queue[1].lease != self._session.lease:
            return None
        if sum(self._peers.of(key) is not None for key in queue) < AGENTS_MIN:
            return None
        if not any(is_sound(key) for key in queue[2:]):
            return None
        reason = "etcd's leader is on this node, and the next in line had better not die with it"
        if not self._told:
            self._told = True
            self._out(Report(Level.INFO, "stepping back in the queue", reason=reason))
        return reason

    @property
    def _leads(self) -> bool:
        return (
            self._leader is not None
            and self._leader == self._session.leadership.leader_id == self._session.leadership.member_id
        )
