"""Which node should have an address: is a node fit for it, ours and each of the others, and which one should not be
the successor.

A node is fit when its agent says that it is healthy and not drained. Beside that, the candidate on the node of etcd's
leader stays out of second place where an owner may have two witnesses: if the owner and its successor die at once, the
others can only make that dead node the owner, until its lease ends. A witness is not chosen as successor for that
reason, but the node of etcd's leader can be no witness. So its candidate goes to the end of the queue: it gives its key
up, as a drained one does, and campaigns again.

Must never: take an address away because health is unknown (law 4), or let an owner step back, or a node that may
become one at this moment. Counterparts: `health.py` (one check's verdict), `candidacy.py` (which asks).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sharedip.core.etcd.agent_records import Peers
from sharedip.core.etcd.keys import read_record
from sharedip.core.etcd.session import Session
from sharedip.core.messages import Command, Level, Report
from sharedip.core.model import Instant, KeyValue

AGENTS_MIN = 5
"""With fewer members etcd would not survive the two deaths either (one on each node)."""
SETTLED_S = 5.0
"""The leader must have been the same for this long: an etcd that elects again and again must not stir the queues."""
NO_AGENT = "no sharedip agent"
NOT_KNOWN = "not known to be healthy yet"


@dataclass(slots=True)
class Health:
    """The sum of this node's checks; None while no check has a result."""

    healthy: bool | None
    detail: str


class Fitness:
    """Invariant: at most one step back for each VIP and reign of a leader, unless all behind it have had their turn."""

    def __init__(self, session: Session, peers: Peers, out: Callable[[Command], None], *, has_checks: bool) -> None:
        self._session = session
        self._peers = peers
        self._out = out
        self.drained = False
        self.health = Health(healthy=None if has_checks else True, detail="")
        self._leader: int | None = None
        self._settles_at: Instant = float("inf")
        self._is_settled = False
        self._told = False

    # -- this node ----------------------------------------------------------------------------------------------------

    def why_not_candidate(self) -> str | None:
        """Why another node should rather get the addresses; None if this one is fit."""
        if self.health.healthy is None and not self.drained:
            return NOT_KNOWN
        return self.why_not_owner()

    def why_not_owner(self) -> str | None:
        """Why another node should rather have the addresses that this one has: "cannot tell" is no reason."""
        if self.drained:
            return "drained"
        if self.health.healthy is False:
            return f"unhealthy ({self.health.detail or 'no check passes'})"
        return None

    # -- the others ---------------------------------------------------------------------------------------------------

    def is_fit(self, candidate: KeyValue) -> bool:
        """Whether the other candidate's node is fit."""
        return self.why_unfit(candidate) is None

    def why_unfit(self, candidate: KeyValue) -> str | None:
        """What keeps the other candidate's node from being fit; None if nothing does."""
        name = candidate.value.decode("utf-8", "replace")
        key = self._session.registry.get(self._session.layout.agent(name))
        record = read_record(key)
        if key is None or record is None or key.lease != candidate.lease:
            return NO_AGENT
        if record.get("drained") is not False:
            return "drained"
        healthy = record.get("healthy")
        if healthy is not True:
            return "unhealthy" if healthy is False else NOT_KNOWN
        return None

    # -- the next in line ---------------------------------------------------------------------------------------------

    def leader_changed(self, now: Instant) -> None:
        """It became known who leads etcd, or which member is ours."""
        if self._session.raft_leader.leader_id != self._leader:
            self._leader, self._is_settled, self._told = self._session.raft_leader.leader_id, False, False
            self._settles_at = now + SETTLED_S

    def next_deadline(self) -> Instant:
        """When a new leader counts; infinity if none is awaited."""
        return self._settles_at

    def settle(self, now: Instant) -> bool:
        """True at most once for each leader: from now on the candidates of this node may step back."""
        if now < self._settles_at:
            return False
        self._settles_at, self._is_settled = float("inf"), True
        return self._leads

    def reason_to_step_back(self, queue: list[KeyValue]) -> str | None:
        """Why this node should not be the successor in this queue; None if it is not, or may be."""
        if not (self._is_settled and self._leads) or len(queue) < AGENTS_MIN or queue[1].lease != self._session.lease:
            return None
        if sum(self._peers.of(key) is not None for key in queue) < AGENTS_MIN:
            return None
        if not any(self.is_fit(key) for key in queue[2:]):
            return None
        reason = "etcd's leader is on this node, and the next in line had better not die with it"
        if not self._told:
            self._told = True
            self._out(Report(Level.INFO, "stepping back in the queue", reason=reason))
        return reason

    @property
    def _leads(self) -> bool:
        raft_leader = self._session.raft_leader
        return self._leader is not None and self._leader == raft_leader.leader_id == raft_leader.member_id
