"""One lease from its grant to its end, and the proof that makes its deadline grow.

The promise hangs on it by safety (3), "while the right lasts, the key exists": the deadline grows only by a proof. A
proof is a keepalive that was confirmed, followed by a read by an entry of etcd's log, on the same endpoint in the same
raft term, that shows a key of ours with our lease (docs/safety.md, "Why an entry after each keepalive"). An etcd leader
that was cut off goes on confirming keepalives for up to two election timeouts (1.96 s seen); that entry it can't
commit. The deadline counts from the instant before the keepalive left, never from its answer (law 5).

Must never: send anything, or look at a key but for the lease it hangs on. Counterpart: `session.py`, which asks etcd.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from sharedip.core.etcd.keys import Registry
from sharedip.core.messages import KeepaliveConfirmed, KeysRead, LeaseGranted
from sharedip.core.model import NEVER, Instant
from sharedip.core.right import Deadline
from sharedip.core.settings import lease_margin_s, renew_every_s


@dataclass(slots=True)
class Keepalive:
    """A confirmed keepalive that waits for its read; `read` is the read's request number, None until it is ordered."""

    endpoint: int
    raft_term: int
    sent_at: Instant
    ttl_s: int
    read: int | None = None


class Proof(Enum):
    """What a read says of the keepalive before it."""

    NONE = auto()
    """The read does not belong to that keepalive."""
    AGAIN = auto()
    """Nothing is proved, and nothing disproved."""
    RENEWED = auto()
    """The lease lives, and its deadline has moved."""
    KNOWN = auto()
    """The lease lives, as an earlier proof had shown."""
    GONE = auto()
    """etcd shows no key of ours."""


class HeldLease:
    """Invariant: `deadline.until` <= (send time of the last proved keepalive) + TTL - margin.

    All that ends with the lease is here: a lost lease drops this value, and nothing is reset by hand.
    """

    def __init__(self, lease: int, ttl_s: int, deadline: Deadline, registry: Registry, *, renew_at: Instant) -> None:
        """A former run's lease: its proof begins at *never*, and it is `adopting` until a picture shows our name."""
        self.id = lease
        self.ttl_s = ttl_s
        self.deadline = deadline
        self.registry = registry
        self.renew_at = renew_at
        self.is_renewing = False
        self.keepalive: Keepalive | None = None
        self.proved_sent_at: Instant = NEVER
        """When the keepalive of the newest proof left."""
        self.failing_since: Instant | None = None
        """When a renewal first failed since the last proof; None: none has."""
        self.raft_term = 0
        self.adopting = True
        self.is_registered = False
        self.register_at: Instant = NEVER
        self.name_taken_by: str | None = None
        self.revocable: int | None = None
        """A former run's lease that has our name."""
        self.shown_at: Instant = NEVER
        """When the request left that brought the picture by which our name is judged."""
        self.watch: int | None = None
        self.read_wanted = False
        self.stale_answers = 0

    @classmethod
    def granted(cls, event: LeaseGranted, deadline: Deadline, registry: Registry, now: Instant) -> HeldLease:
        """A new lease: its first deadline counts from when it was asked for."""
        renew_at = event.sent_at + renew_every_s(event.ttl_s)
        held = cls(event.lease, event.ttl_s, deadline, registry, renew_at=renew_at)
        held.adopting = False
        held.proved_sent_at, held.register_at = event.sent_at, now
        deadline.until = event.sent_at + event.ttl_s - lease_margin_s(event.ttl_s)  # law 5; etcd commits a grant
        return held

    def end(self) -> None:
        """The lease is lost: every right on it ends at this instant (safety (3)), for all VIPs share the deadline."""
        self.deadline.until = NEVER

    def begin(self, now: Instant) -> None:
        """A keepalive leaves."""
        self.is_renewing = True
        self.renew_at = now + renew_every_s(self.ttl_s)

    def confirmed(self, event: KeepaliveConfirmed) -> None:
        """Half a renewal: the read that proves it must be ordered, on the same endpoint."""
        self.raft_term = max(self.raft_term, event.raft_term)
        self.keepalive = Keepalive(event.endpoint, event.raft_term, event.sent_at, event.ttl_s)

    def ask_again(self, now: Instant) -> None:
        """The proof under way proves nothing: another keepalive is due at once."""
        self.keepalive, self.is_renewing, self.renew_at = None, False, now

    def stood_still(self, seconds: float, now: Instant) -> None:
        """This machine was paused as a whole for so long, by others' clocks: all that was counted is older by that, and
        what was sent before proves nothing more.
        """
        self.deadline.until -= seconds
        self.proved_sent_at -= seconds
        self.ask_again(now)

    def failed(self, now: Instant) -> None:
        """No answer that counts. "Cannot tell" changes no right (law 4)."""
        self.failing_since = now if self.failing_since is None else self.failing_since
        self.ask_again(now)

    def judge(self, event: KeysRead, now: Instant, *, shows_us: bool | None) -> Proof:
        """The second half of a renewal: it counts on the same endpoint, in the same term, with a key on our lease.

        Each of the three is a step of docs/safety.md, "What the entries prove": without the first the entry may have
        gone to another leader than the keepalive; without the second that leader may have been deposed in between, and
        have renewed a lease that its successor never heard of; without the third the lease may have been revoked
        before it was renewed.

        `shows_us`: whether the read showed such a key; None: can't tell.
        """
        keepalive = self.keepalive
        if keepalive is None or keepalive.read != event.request:
            return Proof.NONE  # an earlier try's read: it may have been served before this keepalive
        self.keepalive, self.is_renewing = None, False
        if event.endpoint != keepalive.endpoint or event.raft_term != keepalive.raft_term:
            self.renew_at = now  # the leader changed in between: nothing is proved, ask again
            return Proof.AGAIN
        if shows_us is None:
            self.renew_at = now
            return Proof.AGAIN
        if not shows_us:
            return Proof.GONE
        self.ttl_s = keepalive.ttl_s if self.adopting else min(keepalive.ttl_s, self.ttl_s)
        self.proved_sent_at = keepalive.sent_at
        self.renew_at = keepalive.sent_at + renew_every_s(self.ttl_s)
        self.failing_since = None
        # Law 5: from the keepalive's sending, not from its read's, which left later.
        proved_until = keepalive.sent_at + self.ttl_s - lease_margin_s(self.ttl_s)
        if proved_until <= self.deadline.until:
            return Proof.KNOWN
        self.deadline.until = proved_until
        return Proof.RENEWED
