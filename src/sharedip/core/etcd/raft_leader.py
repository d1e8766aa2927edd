"""Who leads etcd, which of its members runs on this node, and how long it may be without a leader: witnesses are chosen
by it.

Invariant: `leader_id` belongs to the newest term that was seen; None: not known.
Must never: ask anything itself; `session.py` does.
"""

from __future__ import annotations

from sharedip.core.messages import MemberRead
from sharedip.core.model import NEVER, Instant

RETRY_S = 0.5

SHORTEST_TTL_S = 1
"""Asked for. etcd grants none below 1.5 election timeouts, in whole seconds (etcdserver/server.go, minTTL)."""
ELECTIONS = 4
"""In shortest leases. An election begins within two election timeouts, and one whose votes are split is held again
within two more; the rest is for the last promise's age, the old leader's goodbye, and a transaction."""
SHORTEST_RETRY_S = 10.0


class RaftLeader:
    """Asked again in every term: our own member, which tells its id as well; while that cannot tell, others in turn."""

    def __init__(self, local_endpoint: int | None) -> None:
        self._local = local_endpoint
        self.leader_id: int | None = None
        self.member_id: int | None = None
        self.retry_at: Instant = NEVER
        self.is_refused = False
        """Whether etcd tells this user nothing of itself (`Status` is root's alone in some releases)."""
        self._term = -1
        self._ask_elsewhere = False
        self._shortest_ttl_s: int | None = None
        self._shortest_asked_for = False
        self._shortest_retry_at: Instant = NEVER

    @property
    def outlasts_election_s(self) -> float | None:
        """What outlasts an election of etcd's, by the election timeout that it shows; None: it has not been asked."""
        return None if self._shortest_ttl_s is None else float(ELECTIONS * self._shortest_ttl_s)

    def want_shortest_lease(self) -> None:
        """Somebody has to know how long an election lasts."""
        self._shortest_asked_for = self._shortest_ttl_s is None

    @property
    def ask_shortest_at(self) -> Instant | None:
        """When etcd is to be asked for its shortest lease; None: nobody has to know."""
        return self._shortest_retry_at if self._shortest_asked_for else None

    def asks_shortest(self, now: Instant) -> None:
        """It is asked now, and again later if it does not answer."""
        self._shortest_retry_at = now + SHORTEST_RETRY_S

    def learn_shortest(self, ttl_s: int) -> None:
        """What it has granted."""
        self._shortest_ttl_s, self._shortest_asked_for = max(ttl_s, SHORTEST_TTL_S), False

    def is_known_for(self, raft_term: int) -> bool:
        """Whether the leader of this term has been told."""
        return self._term == raft_term

    def endpoint(self, current: int) -> int:
        """The endpoint to ask."""
        return current if self._local is None or self._ask_elsewhere else self._local

    def doubt(self) -> None:
        """A new term was seen: it may have a new leader."""
        self.leader_id = None

    def learn(self, event: MemberRead, now: Instant) -> bool:
        """Take an answer in. False: the member knows no leader, so ask again at `retry_at`."""
        self.is_refused = False
        if event.endpoint == self._local:
            self.member_id = event.member_id
        if event.leader_id == 0:  # law 4: it cannot tell; another one may
            self.failed(now, elsewhere=True)
            return False
        self._ask_elsewhere = False
        if event.raft_term != self._term:  # its members may have been restarted with another election timeout
            self._shortest_ttl_s, self._shortest_retry_at = None, NEVER
        self._term, self.leader_id = event.raft_term, event.leader_id
        return True

    def refused(self, now: Instant) -> None:
        """We may not ask. It is asked on: another member may be of another release, and rights change."""
        self.is_refused = True
        self.failed(now, elsewhere=True)

    def failed(self, now: Instant, *, elsewhere: bool) -> None:
        """No answer that counts. `elsewhere`: ask another member next."""
        self.retry_at = now + RETRY_S
        if elsewhere:
            self._ask_elsewhere = not self._ask_elsewhere

    def forget(self) -> None:
        """The lease is gone: this may be another etcd now. Our member stays ours."""
        self.leader_id, self._term = None, -1
