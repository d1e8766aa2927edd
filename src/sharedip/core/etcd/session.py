"""What this agent has in etcd: one lease, its name, the watch, the picture of the keys, and the writes of the VIPs.

What a fact brings is recorded, and returned as news; nothing is told while the fact is half taken in. Only `advance`
orders what is due; what its user asks for (`appoint`, `depose`, `flush`, the revocations) leaves at once.

The promise hangs on four things here: a proof is asked for behind its keepalive, of the same endpoint (safety (3)); a
picture that is called proved was asked for with this very lease (safety (4)); a lease is revoked only when the node has
seen that no address is left (safety (3)); and an answer older than what was known when it was asked for counts for
nothing (E1).

Must never: touch the address. Counterparts: `renewal.py` (the lease and its proof), `node.py` (applies the news),
`adapters/etcd` (carries the orders out).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from sharedip.core.etcd.batches import GuardedWrite, Outcome, WriteBatcher
from sharedip.core.etcd.endpoints import RETRY_LONGEST_S, Endpoints
from sharedip.core.etcd.former_self import FormerSelf
from sharedip.core.etcd.keys import Layout, Registry, read_record
from sharedip.core.etcd.news import (
    DepositionAnswered,
    DesignationAnswered,
    LeaderChanged,
    LeaderMoveAnswered,
    LeaseLost,
    LeaseRenewed,
    MembersTold,
    News,
    PictureChanged,
    PictureProved,
    Registered,
    WriteAnswered,
    WritesTaken,
    WriteTried,
)
from sharedip.core.etcd.own_record import OwnRecord
from sharedip.core.etcd.raft_leader import SHORTEST_TTL_S, RaftLeader
from sharedip.core.etcd.renewal import HeldLease, Proof
from sharedip.core.etcd.requests import DELETES, PUTS, Purpose, RequestKind, Requests
from sharedip.core.etcd.space import LOOK_EVERY_S, VITAL_RETRY_S, Space
from sharedip.core.identity import Identity
from sharedip.core.messages import (
    CloseWatch,
    Command,
    GrantLease,
    KeepaliveConfirmed,
    KeepLeaseAlive,
    KeysChanged,
    KeysRead,
    LeaderMoved,
    LeaseGranted,
    LeaseRevoked,
    Level,
    MemberRead,
    MembersRead,
    MoveLeader,
    OpenWatch,
    ReadKeys,
    ReadMember,
    ReadMembers,
    Report,
    RequestFailed,
    RevokeLease,
    SessionFact,
    Transact,
    TransactionDone,
    WatchLost,
)
from sharedip.core.model import NEVER, Delete, Failure, Get, Guard, Instant, KeyValue, Operation, Put
from sharedip.core.right import Deadline
from sharedip.core.settings import (
    Settings,
    attempt_timeout_s,
    deposition_timeout_s,
    designation_timeout_s,
    renew_every_s,
)

NAME_TAKEN_RETRY_S = 2.0
OTHER_NAME_MAX = 100
STALE_ANSWERS_MAX = 3
"""This many stale answers in a row from every endpoint mean another etcd (restored, or wiped), not a stale member."""
MOVE_TIMEOUT_S = 10.0
"""etcd waits for its other member for an election timeout or two, and 5 s (etcdserver/config.go, ReqTimeout)."""
REVOKE_TRIES_MAX = 4
"""On the way out: after so many tries the lease is left to expire."""


_RECORDS = frozenset({RequestKind.RECORD, RequestKind.PUBLISH, RequestKind.FAREWELL, RequestKind.FATE})
"""What is for people, or for speed."""


class Session:
    """Invariant: everything that depends on the lease is in `_held`, and ends with it."""

    def __init__(
        self,
        settings: Settings,
        out: Callable[[Command], None],
        jitter: Callable[[], float],
        identity: Identity,
    ) -> None:
        self._settings = settings
        self._out = out
        self.layout = Layout(settings.key_prefix)
        self._nothing = Registry(self.layout)
        """The picture while there is no lease."""
        self._held: HeldLease | None = None
        self.lease_deadline = Deadline()
        """Shared by the rights of all VIPs, over all leases; *never* while there is none."""
        self.orphaned_lease: int | None = None
        """A lease that was given up, and may still stand in etcd."""
        self._awake_since: Instant = NEVER
        """When this machine was last found to have stood still: what was sent before is no proof."""
        self.answered_at: Instant = NEVER
        """When consensus last answered anything."""
        self.endpoints = Endpoints(settings.endpoints, settings.local_endpoint or 0, out, jitter)
        self.space = Space(out)
        self._is_write_tried = False
        """Whether somebody waits for a write's outcome."""
        self._grant_at: Instant = NEVER
        self._requests = Requests()
        self._batcher = WriteBatcher()
        self._peer_step = 0
        self.raft_leader = RaftLeader(settings.local_endpoint)
        self.own_record = OwnRecord(self.layout, settings.node_name, settings.version, identity)
        self.former_self = FormerSelf(identity)
        self._told_of: int | None = None
        self._stopping = False
        self._revoke_tries = 0
        self.is_over = False
        self._refusal = ""
        self._news: list[News] = []

    # -- what others read ---------------------------------------------------------------------------------------------

    @property
    def lease(self) -> int | None:
        """The lease's id; None while there is none."""
        return None if self._held is None else self._held.id

    @property
    def lease_until(self) -> Instant:
        """Until when the lease is proved to live."""
        return self.lease_deadline.until

    @property
    def ttl_s(self) -> int:
        """What etcd granted; without a lease, what will be asked for."""
        return self._settings.lease_ttl_s if self._held is None else self._held.ttl_s

    @property
    def registry(self) -> Registry:
        """The picture of all keys, empty without a lease."""
        return self._nothing if self._held is None else self._held.registry

    @property
    def raft_term(self) -> int:
        """The newest term that an answer has shown."""
        return 0 if self._held is None else self._held.raft_term

    @property
    def proved_sent_at(self) -> Instant:
        """When the keepalive of the newest proof of this lease left."""
        return NEVER if self._held is None else self._held.proved_sent_at

    @property
    def failing_since(self) -> Instant | None:
        """When a renewal first failed since the last proof; None: none has."""
        return None if self._held is None else self._held.failing_since

    @property
    def is_adopting(self) -> bool:
        """Whether a former run's lease waits for its proof."""
        return self._held is not None and self._held.adopting

    @property
    def is_registered(self) -> bool:
        """Whether the agent's name is ours."""
        return self._held is not None and self._held.is_registered

    @property
    def name_taken_by(self) -> str | None:
        """The other agent that has it; for people."""
        return None if self._held is None else self._held.name_taken_by

    @property
    def revocable(self) -> int | None:
        """A former run's lease that has our name; `revoke_former_self` ends it."""
        return None if self._held is None else self._held.revocable

    @property
    def endpoint(self) -> int:
        """The endpoint that is asked now."""
        return self.endpoints.current

    def is_in_touch(self, now: Instant) -> bool:
        """Whether etcd has proved our lease lately: half of it is left. Without that we must not be a successor."""
        return self._held is not None and self.lease_until - now >= self.ttl_s / 2

    def is_well(self, now: Instant) -> bool:
        """Whether etcd has proved our lease within two renewals, and does not fail us for long: what we write now will
        be written. Whoever says no could depose nobody.
        """
        held, timeout_s = self._held, self._timeout_s
        if held is None or (held.failing_since is not None and now - held.failing_since >= timeout_s):
            return False
        return now - held.proved_sent_at <= 2 * renew_every_s(held.ttl_s) + timeout_s

    # -- what others ask for ------------------------------------------------------------------------------------------

    def reconfigure(self, settings: Settings) -> None:
        """Take over the settings that may change at run time; neither lease nor endpoints are among them."""
        self._settings = settings

    def start(self, former_lease: int | None, now: Instant) -> None:
        """Begin. A former run's lease is taken up again if etcd still has it: its keys keep their place."""
        if former_lease is not None:
            registry = Registry(self.layout)
            self._held = HeldLease(former_lease, self.ttl_s, self.lease_deadline, registry, renew_at=now)

    def stop(self, now: Instant) -> None:
        """Give the lease back. Sets `is_over` when done.

        safety (3): to be called when no address is left, and when no later run can stand on the lease.
        """
        self._stopping = True
        if self._held is None:
            self.is_over = True
            return
        self._close_watch(self._held)
        self.advance(now)

    def want_read(self) -> None:
        """A linearizable read leaves at the end of the turn; `PictureProved` follows when it has succeeded."""
        if self._held is not None:
            self._held.read_wanted = True

    def want_proof(self, now: Instant) -> None:
        """Renew the lease at once: a candidacy needs a proof that is sent from now on."""
        if self._held is not None and not self._held.is_renewing:
            self._held.renew_at = now

    def publish(self, record: dict[str, object]) -> None:
        """Have this stand under the agent's key; written only when it differs from what etcd has."""
        self.own_record.content = record

    def try_write(self, now: Instant) -> bool:
        """Write our record as it stands, to see whether etcd takes writes. `WriteTried` follows unless the lease is
        lost; False: nothing can be written now.
        """
        held = self._held
        if held is None or not held.is_registered or self._stopping or now < self.endpoints.quiet_until:
            return False
        if not self._requests.is_pending(RequestKind.PUBLISH):
            self._publish(held, now, in_any_case=True)
        self._is_write_tried = self._requests.is_pending(RequestKind.PUBLISH)
        return self._is_write_tried

    def transact(self, write: GuardedWrite) -> None:
        """Send a VIP's write, together with others; `WriteAnswered` has its outcome."""
        self._batcher.add(write)

    def flush(self) -> None:
        """The turn is over: send the VIPs' writes."""
        for batch in self._batcher.flush():
            request = self._begin(batch.kind)
            self._batcher.sent(batch, request)
            self._out(Transact(request, self.endpoint, batch.guards, batch.then, batch.otherwise, self._timeout_s))

    def appoint(self, guards: tuple[Guard, ...], puts: tuple[Put, ...]) -> int:
        """Send a designation; if a guard fails, its answer shows every guarded key."""
        return self._change_witnesses(RequestKind.DESIGNATE, guards, puts)

    def withdraw(self, guards: tuple[Guard, ...], deletes: tuple[Delete, ...]) -> int:
        """Send the withdrawal of a designation, which a full etcd takes as well; answered like a designation."""
        return self._change_witnesses(RequestKind.WITHDRAW, guards, deletes)

    def _change_witnesses(self, kind: RequestKind, guards: tuple[Guard, ...], then: tuple[Operation, ...]) -> int:
        request = self._begin(kind)
        shown = tuple(Get(guard.key) for guard in guards)
        timeout_s = designation_timeout_s(self._settings.window_s)
        self._out(Transact(request, self._peer_endpoint, guards, then, shown, timeout_s))
        return request

    def depose(self, guards: tuple[Guard, ...], then: tuple[Operation, ...], *, is_alone: bool) -> int:
        """Send a deposition. If it is alone, its answer shows everything under the root either way, which saves a round
        trip; where many leave at once, one read after them serves all.
        """
        request = self._begin(RequestKind.DEPOSE)
        everything = (Get(self.layout.root, prefix=True),) if is_alone else ()
        timeout_s = deposition_timeout_s(self._settings.window_s)
        self._out(Transact(request, self._peer_endpoint, guards, (*then, *everything), everything, timeout_s))
        return request

    def read_members(self) -> None:
        """Ask our own node's member which there are; `MembersTold` follows if it answers."""
        local = self._settings.local_endpoint
        if local is not None and not self._requests.is_pending(RequestKind.MEMBERS):
            self._out(ReadMembers(self._begin(RequestKind.MEMBERS), local, self._timeout_s))

    def move_leader(self, to: int) -> None:
        """Ask our own node's member, which leads, to let that one lead; `LeaderMoveAnswered` follows."""
        local = self._settings.local_endpoint
        if local is not None and not self._requests.is_pending(RequestKind.MOVE_LEADER):
            self._out(MoveLeader(self._begin(RequestKind.MOVE_LEADER), local, to, MOVE_TIMEOUT_S))

    def lose_lease(self, reason: str) -> list[News]:
        """Give up the lease, and everything that hangs on it."""
        self._lose_lease(reason)
        return self._take_news()

    def revoke_orphaned_lease(self) -> None:
        """What may be left of a lease that we gave up blocks the queue.

        safety (3): to be called when no address is left, and when no later run can stand on the lease.
        """
        if self.orphaned_lease is not None:
            request = self._requests.begin(Purpose(RequestKind.ORPHAN, None, 0, 0))
            self._out(RevokeLease(request, self.endpoint, self.orphaned_lease, self._timeout_s))
            self.orphaned_lease = None

    def revoke_former_self(self) -> None:
        """To be called when no address is left on this kernel (safety (3), law 7). `revocable` and all its keys go now,
        not at its end, if a picture that was asked for when its silence had lasted for long enough shows them as they
        were.
        """
        held = self._held
        if held is None or held.revocable is None:
            return
        if held.shown_at < self.former_self.silent_at(self._settings.window_s):
            return
        request = self._begin(RequestKind.FORMER_SELF)
        self._out(RevokeLease(request, self.endpoint, held.revocable, self._timeout_s))
        held.revocable = None

    # -- facts --------------------------------------------------------------------------------------------------------

    def handle(self, event: SessionFact, now: Instant) -> list[News]:
        """Take one fact in. Returns the news, in the order in which it must be applied."""
        match event:
            case LeaseGranted():
                self._lease_granted(event, now)
            case KeepaliveConfirmed():
                self._keepalive_confirmed(event, now)
            case KeysRead():
                self._keys_read(event, now)
            case TransactionDone():
                self._transaction_done(event, now)
            case LeaseRevoked():
                self._lease_revoked(event, now)
            case MemberRead():
                self._member_read(event, now)
            case MembersRead():
                if self._requests.end(event.request) is not None:
                    self._news.append(MembersTold(event.members))
            case LeaderMoved():
                if self._requests.end(event.request) is not None:
                    self._news.append(LeaderMoveAnswered(None))
            case RequestFailed():
                self._request_failed(event, now)
            case KeysChanged():
                self._watch_changed(event, now)
            case WatchLost():
                self._watch_lost(event, now)
            case _:
                assert_never(event)
        if self._is_write_tried and not self._requests.is_pending(RequestKind.PUBLISH):
            self._is_write_tried = False
            self._news.append(WriteTried())
        return self._take_news()

    def _take_news(self) -> list[News]:
        news, self._news = self._news, []
        return news

    def stood_still(self, seconds: float, now: Instant) -> None:
        """This machine was paused as a whole for so long, by others' clocks."""
        self._awake_since = now
        if self._held is not None:
            self._held.stood_still(seconds, now)

    def _lease_granted(self, event: LeaseGranted, now: Instant) -> None:
        """A lease was granted. One that is not awaited any more carries no key and is left to expire."""
        purpose = self._requests.end(event.request)
        if purpose is not None and purpose.kind is RequestKind.SHORTEST:
            self.raft_leader.learn_shortest(event.ttl_s)
            self._news.append(LeaderChanged())
            return
        if purpose is None or self._held is not None or self._stopping:
            return
        held = self._held = HeldLease.granted(event, self.lease_deadline, Registry(self.layout), now)
        if event.sent_at < self._awake_since:
            self.lease_deadline.until = NEVER  # its first renewal tells
            held.ask_again(now)
        self._answered(held, event.raft_term, now)
        self._write_taken(RequestKind.GRANT, now)
        self._news.append(LeaseRenewed())
        if event.ttl_s > self._settings.lease_ttl_s:
            text = f"etcd raised the lease's TTL from {self._settings.lease_ttl_s} s to {event.ttl_s} s"
            self._out(Report(Level.WARNING, text, reason="its election timeout allows no shorter one"))

    def _keepalive_confirmed(self, event: KeepaliveConfirmed, now: Instant) -> None:
        """The first half of a renewal."""
        purpose, held = self._requests.end(event.request), self._held
        if purpose is None or held is None or purpose.lease != held.id or event.lease != held.id:
            return
        if event.raft_term < purpose.raft_term:
            self._stale(held, event.endpoint, now)
            return
        if event.sent_at < self._awake_since:
            held.ask_again(now)  # how long ago that was, no clock of ours tells
            return
        held.confirmed(event)
        self._doubt_old_leader(held)

    def _keys_read(self, event: KeysRead, now: Instant) -> None:
        """A linearizable read: the second half of a renewal, or the look before a claim."""
        purpose, held = self._requests.end(event.request), self._held
        if purpose is None or held is None or purpose.lease != held.id:
            return
        is_look = purpose.kind is RequestKind.READ
        if event.raft_term < purpose.raft_term or event.revision < purpose.revision:
            held.read_wanted = held.read_wanted or is_look  # E1: a linearizable answer is never that old
            self._stale(held, event.endpoint, now)
            return
        self._answered(held, event.raft_term, now)
        changed, shows_us = held.registry.take_read(event, held.id)
        if purpose.kind is RequestKind.PROOF:
            match held.judge(event, now, shows_us=shows_us):
                case Proof.RENEWED:
                    self._news.append(LeaseRenewed())
                case Proof.GONE if held.is_registered or held.adopting:
                    self._lose_lease("no key of ours is left in etcd")
                    return
                case _:
                    pass
        if changed is None:
            held.read_wanted = held.read_wanted or is_look
        else:
            held.shown_at = event.sent_at
            self._picture_taken(held, changed, event.sent_at, now)

    def _transaction_done(self, event: TransactionDone, now: Instant) -> None:
        """Registration and publication are ours; the rest belongs to a VIP."""
        purpose, held = self._requests.end(event.request), self._held
        if purpose is None or held is None or purpose.lease != held.id:
            return
        self._answered(held, event.raft_term, now)
        self._write_taken(purpose.kind, now)
        if event.succeeded:
            held.registry.written(event.revision)
        match purpose.kind:
            case RequestKind.REGISTER:
                held.shown_at = event.sent_at
                self._picture_taken(held, held.registry.apply_snapshot(event.keys, event.revision) or set(), None, now)
            case RequestKind.PUBLISH:
                self.own_record.published(event.revision)
                held.read_wanted = held.read_wanted or not event.succeeded  # somebody deleted our record: look
            case RequestKind.DESIGNATE | RequestKind.WITHDRAW:
                self._peer_step = 0
                self._news.append(DesignationAnswered(event.request, event))
            case RequestKind.DEPOSE:
                self._news.append(DepositionAnswered(event.request, succeeded=event.succeeded))
                if not event.keys:  # it asked for none: a picture is never empty, for our own keys are in it
                    held.read_wanted = True
                elif event.revision >= held.registry.revision:
                    changed = held.registry.apply_snapshot(event.keys, event.revision) or set()
                    self._picture_taken(held, changed, event.sent_at, now)
            case _:
                self._tell_vips(event)

    def _member_read(self, event: MemberRead, now: Instant) -> None:
        """Who leads, and which member is on our node. An answer from an older term tells nothing."""
        purpose = self._requests.end(event.request)
        if purpose is None or self._held is None or event.raft_term < self._held.raft_term:
            self.raft_leader.failed(now, elsewhere=purpose is not None)
            return
        self.space.looked(now, is_raised=event.is_full)
        known = self.raft_leader.leader_id, self.raft_leader.member_id
        if self.raft_leader.learn(event, now):
            self._held.raft_term = event.raft_term
            if (self.raft_leader.leader_id, self.raft_leader.member_id) != known:
                self._news.append(LeaderChanged())
            if event.endpoint == self._settings.local_endpoint and self.endpoints.come_home(event.endpoint):
                self._peer_step = 0
                self._close_watch(self._held)  # opened there, at the revision behind the last one that was seen

    def _lease_revoked(self, event: LeaseRevoked, now: Instant) -> None:
        """A lease was revoked: ours on the way out, or a former run's on the way in."""
        purpose = self._requests.end(event.request)
        if purpose is None:
            return
        if purpose.kind is RequestKind.FORMER_SELF and self._held is not None:
            self._held.register_at = now
        if purpose.kind is RequestKind.REVOKE:
            self._forget_lease()
            self.is_over = self._stopping

    def _request_failed(self, event: RequestFailed, now: Instant) -> None:
        """No answer that counts: go on elsewhere. Law 4: "cannot tell" changes no right; a lease that is gone does."""
        purpose = self._requests.end(event.request)
        if purpose is None or (purpose.lease is not None and purpose.lease != self.lease):
            return
        is_about_ours = purpose.lease is not None and purpose.kind is not RequestKind.FORMER_SELF
        if event.failure is Failure.LEASE_NOT_FOUND and is_about_ours:
            self._lease_not_found()
            return
        if purpose.kind is RequestKind.ORPHAN:
            return  # it expires by itself
        if event.failure is Failure.FULL and purpose.kind in PUTS | DELETES:
            self._refused_for_space(purpose, event, now)
            return
        if event.failure is Failure.REFUSED and purpose.kind in _RECORDS:
            self._refused_write(event, now)
            return
        if purpose.kind is RequestKind.MEMBER:
            if event.failure is Failure.REFUSED:
                self.raft_leader.refused(now)
            else:
                self.raft_leader.failed(now, elsewhere=True)
            return
        if purpose.kind is RequestKind.SHORTEST:
            return  # asked again later
        if purpose.kind in (RequestKind.MEMBERS, RequestKind.MOVE_LEADER):
            self._news.append(LeaderMoveAnswered(event))
            return
        if purpose.kind in (RequestKind.DESIGNATE, RequestKind.WITHDRAW, RequestKind.DEPOSE):
            self._peer_request_failed(purpose, event)
            return
        self._endpoint_failed(event.endpoint, event.failure, event.detail, now)
        held = self._held
        if held is not None:
            match purpose.kind:
                case RequestKind.KEEPALIVE | RequestKind.PROOF:
                    held.failed(now)
                case RequestKind.READ:
                    held.read_wanted = True
                case RequestKind.PUBLISH:
                    self.own_record.failed(now)
                case RequestKind.FORMER_SELF:  # revoked or not: registering tells
                    held.register_at = now
                case RequestKind.REVOKE if self._revoke_tries >= REVOKE_TRIES_MAX:
                    self._out(Report(Level.WARNING, "left the lease to expire", reason=event.detail))
                    self.is_over = True
                case _:
                    pass
        self._tell_vips(event)

    def _lease_not_found(self) -> None:
        if self._stopping:
            self._forget_lease()
            self.is_over = True
        else:
            self._lose_lease("etcd no longer has the lease")
            self.orphaned_lease = None

    def _peer_request_failed(self, purpose: Purpose, event: RequestFailed) -> None:
        """Their timeout is short: no verdict on the endpoint, but try the next one."""
        if event.endpoint == self._peer_endpoint:
            self._peer_step += 1
        self._tell_peers(purpose, event)

    def _tell_peers(self, purpose: Purpose, event: RequestFailed) -> None:
        if purpose.kind is RequestKind.DEPOSE:
            self._news.append(DepositionAnswered(event.request))
        else:
            self._news.append(DesignationAnswered(event.request, event))

    def _refused_for_space(self, purpose: Purpose, event: RequestFailed, now: Instant) -> None:
        """etcd's database is full. It answered, so it is reached; and no endpoint of it would answer otherwise.

        Nothing was applied, but that is for the parts to say, which know it as a failure (law 4).
        """
        self.endpoints.answered(now)
        self.space.refused(event.detail, now)
        match purpose.kind:
            case RequestKind.GRANT:
                self._grant_at = now + VITAL_RETRY_S
            case RequestKind.REGISTER:
                pass  # asked for again at `register_at`
            case RequestKind.PUBLISH:
                self.own_record.failed(now)
            case RequestKind.DESIGNATE | RequestKind.WITHDRAW | RequestKind.DEPOSE:
                self._tell_peers(purpose, event)
            case _:
                self._tell_vips(event)

    def _write_taken(self, kind: RequestKind, now: Instant) -> None:
        """A transaction with a put has an outcome: a full etcd refuses it whether its guards hold or not."""
        if kind in PUTS and self.space.taken(now):
            self._news.append(WritesTaken())

    def _watch_changed(self, event: KeysChanged, now: Instant) -> None:
        """Changes to the keys that we watch."""
        held = self._held
        if held is None or event.watch != held.watch:
            return
        changed = held.registry.apply_changes(event.changes, event.revision)
        if changed:
            self._news.append(PictureChanged(changed, adopting=False))
            if self.own_record.key in changed:
                self._look_at_name(held, now)

    def _watch_lost(self, event: WatchLost, now: Instant) -> None:
        """Open the watch elsewhere from our revision on; after a compaction, read first."""
        held = self._held
        if held is None or event.watch != held.watch:
            return
        held.watch = None
        if event.failure is Failure.COMPACTED:
            held.read_wanted = True
        else:
            self._endpoint_failed(event.endpoint, event.failure, event.detail, now)

    # -- time ---------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> Instant | None:
        """The earliest instant at which `advance` has something to do."""
        if self.is_over:
            return None
        return min(self._deadlines(), default=None)

    def _deadlines(self) -> list[Instant]:
        quiet_until, held = self.endpoints.quiet_until, self._held
        if held is None:
            idle = self._stopping or self._requests.is_pending(RequestKind.GRANT)
            return [] if idle else [max(self._grant_at, quiet_until)]
        if self._stopping:
            return [] if self._requests.is_pending(RequestKind.REVOKE) else [quiet_until]
        waiting: list[Instant] = []
        if not held.is_renewing:
            waiting.append(max(held.renew_at, quiet_until))
        if not held.is_registered:
            if not held.adopting and not self._requests.is_pending(RequestKind.REGISTER):
                waiting.append(max(held.register_at, quiet_until))
            return waiting
        if (held.watch is None or held.read_wanted) and not self._requests.is_pending(RequestKind.READ):
            waiting.append(quiet_until)
        if not self.raft_leader.is_known_for(held.raft_term) and not self._requests.is_pending(RequestKind.MEMBER):
            waiting.append(max(self.raft_leader.retry_at, quiet_until))
        ask_at = self.raft_leader.ask_shortest_at
        if ask_at is not None and not self._requests.is_pending(RequestKind.SHORTEST):
            waiting.append(max(ask_at, quiet_until))
        if self.space.is_full and not self._requests.is_pending(RequestKind.PUBLISH):
            waiting.append(max(self.space.try_at, quiet_until))
        return waiting

    def advance(self, now: Instant) -> None:
        """Order whatever is due; doing it twice changes nothing."""
        held = self._held
        if held is not None and held.keepalive is not None and held.keepalive.read is None:
            # safety (3): behind the keepalive's answer, on its endpoint; no pause of the endpoint holds it back.
            held.keepalive.read = self._read(held, RequestKind.PROOF, held.keepalive.endpoint, now)
        if self.is_over or now < self.endpoints.quiet_until:
            return
        if held is None:
            if not self._stopping and now >= self._grant_at and not self._requests.is_pending(RequestKind.GRANT):
                request = self._begin(RequestKind.GRANT)
                self._out(GrantLease(request, self.endpoint, self._settings.lease_ttl_s, self._timeout_s))
            return
        if self._stopping:
            self._revoke(held)
            return
        if not held.is_renewing and now >= held.renew_at:
            held.begin(now)
            request = self._begin(RequestKind.KEEPALIVE)
            self._out(KeepLeaseAlive(request, self.endpoint, held.id, self._timeout_s))
            if held.is_registered and now >= self.space.look_at:
                self._ask_member(now)
        if held.adopting:
            return
        if not held.is_registered:
            if now >= held.register_at and not self._requests.is_pending(RequestKind.REGISTER):
                self._register(held, now)
            return
        if held.read_wanted and not self._requests.is_pending(RequestKind.READ):
            held.read_wanted = False
            self._read(held, RequestKind.READ, self.endpoint, now)
        if held.watch is None and not self._requests.is_pending(RequestKind.READ):
            self._open_watch(held)
        if not self.raft_leader.is_known_for(held.raft_term):
            self._read_member(now)
        ask_at = self.raft_leader.ask_shortest_at
        if ask_at is not None and now >= ask_at and not self._requests.is_pending(RequestKind.SHORTEST):
            self.raft_leader.asks_shortest(now)
            self._out(GrantLease(self._begin(RequestKind.SHORTEST), self.endpoint, SHORTEST_TTL_S, self._timeout_s))
        self._publish_if_changed(held, now)

    def _read_member(self, now: Instant) -> None:
        """A new term may have a new leader: ask our own member, which tells its id as well, or, without it, another."""
        self.raft_leader.doubt()
        self._ask_member(now)

    def _ask_member(self, now: Instant) -> None:
        if now < self.raft_leader.retry_at or self._requests.is_pending(RequestKind.MEMBER):
            return
        endpoint = self.raft_leader.endpoint(self.endpoint)
        request = self._begin(RequestKind.MEMBER)
        self.space.look_at = now + LOOK_EVERY_S  # also where the answer fails: some servers refuse it
        self._out(ReadMember(request, endpoint, self._timeout_s))

    # -- inside -------------------------------------------------------------------------------------------------------

    @property
    def _timeout_s(self) -> float:
        return attempt_timeout_s(self.ttl_s, self._settings.request_timeout_s)

    @property
    def _peer_endpoint(self) -> int:
        """Where designations and depositions go: they can't wait for a verdict on the endpoint that all else uses."""
        return (self.endpoint + self._peer_step) % len(self._settings.endpoints)

    def _begin(self, kind: RequestKind) -> int:
        return self._requests.begin(Purpose(kind, self.lease, self.registry.revision, self.raft_term))

    def _tell_vips(self, outcome: Outcome) -> None:
        self._news += [WriteAnswered(write, each) for write, each in self._batcher.answered(outcome.request, outcome)]

    def _read(self, held: HeldLease, kind: RequestKind, endpoint: int, now: Instant) -> int:
        """Order a linearizable read: of what has changed since our picture, now and then of everything."""
        request = self._begin(kind)
        after = held.registry.read_after(now)
        by_entry = kind is RequestKind.PROOF
        self._out(ReadKeys(request, endpoint, self.layout.root, self._timeout_s, after, by_entry))
        return request

    def _register(self, held: HeldLease, now: Instant) -> None:
        """Claim the node's name and read everything, in one transaction."""
        everything = (Get(self.layout.root, prefix=True),)
        guard, put = self.own_record.registration(held.id)
        request = self._begin(RequestKind.REGISTER)
        held.register_at = now + NAME_TAKEN_RETRY_S
        self._out(Transact(request, self.endpoint, (guard,), (put, *everything), everything, self._timeout_s))

    def _publish_if_changed(self, held: HeldLease, now: Instant) -> None:
        """While etcd takes no writes it is written now and then, changed or not: that shows when it does again."""
        if self._requests.is_pending(RequestKind.PUBLISH) or (self.space.is_full and now < self.space.try_at):
            return
        self._publish(held, now, in_any_case=self.space.is_full)

    def _publish(self, held: HeldLease, now: Instant, *, in_any_case: bool) -> None:
        change = self.own_record.publication(held.registry, held.id, now, in_any_case=in_any_case)
        self.space.tried(now)
        if change is None:
            return
        guard, put = change
        request = self._begin(RequestKind.PUBLISH)
        self._out(Transact(request, self.endpoint, (guard,), (put,), (), self._timeout_s))

    def _revoke(self, held: HeldLease) -> None:
        if self._requests.is_pending(RequestKind.REVOKE):
            return
        self._revoke_tries += 1
        request = self._begin(RequestKind.REVOKE)
        self._out(RevokeLease(request, self.endpoint, held.id, self._timeout_s))

    def _open_watch(self, held: HeldLease) -> None:
        held.watch = self._requests.next_number()
        self._out(OpenWatch(held.watch, self.endpoint, self.layout.root, held.registry.revision + 1, self._timeout_s))

    def _close_watch(self, held: HeldLease) -> None:
        if held.watch is not None:
            self._out(CloseWatch(held.watch))
            held.watch = None

    def _picture_taken(self, held: HeldLease, changed: set[str], proved_at: Instant | None, now: Instant) -> None:
        """etcd showed all keys. `proved_at`: when the read left, if candidacies may claim by it."""
        held.stale_answers = 0
        judges_name = held.adopting or not held.is_registered or self.own_record.key in changed
        if changed:
            self._news.append(PictureChanged(changed, adopting=held.adopting))
        if judges_name:
            self._look_at_name(held, now)
        if proved_at is not None and self._held is held:  # safety (4), by read: sent while we had this lease
            self._news.append(PictureProved(proved_at))

    def _look_at_name(self, held: HeldLease, now: Instant) -> None:
        """Is the node's name ours? Judged by the lease, never by the name."""
        key = held.registry.get(self.own_record.key)
        if key is None or key.lease == held.id:
            self.former_self.forget()
            held.revocable = None
        if key is not None and key.lease == held.id:
            was_registered, held.is_registered, held.name_taken_by = held.is_registered, True, None
            if held.adopting:
                held.adopting = False
                self._out(Report(Level.INFO, "took the former run's lease up again"))
            if not was_registered:
                self._news.append(Registered())
            return
        if held.adopting:
            # Our lease lives, our name's key does not: somebody cleaned up. Law 7: a fresh start is simpler to trust.
            self._lose_lease("the former run's keys are incomplete")
            return
        held.is_registered = False
        if key is None:
            held.name_taken_by = None
            held.register_at = now
            return
        record = read_record(key) or {}
        if self._meet_former_self(held, key, record, now):
            return
        other = str(record.get("peer") or f"lease {key.lease:x}")[:OTHER_NAME_MAX]
        if held.name_taken_by != other:
            held.name_taken_by = other
            text = f"another agent is registered as {self._settings.node_name!r}: {other} (we are " + (
                f"{self.own_record.advertise or f'lease {held.id:x}'}); waiting until it is gone"
            )
            self._out(Report(Level.ERROR, text, reason="set a nodeName of its own on each node"))

    def _meet_former_self(self, held: HeldLease, key: KeyValue, record: dict[str, object], now: Instant) -> bool:
        """Whether our own former run has the name. When it has been silent for long enough, its lease is revoked and
        the name looked at again.
        """
        held.revocable = None
        ttl_s = max(held.ttl_s, self._settings.lease_ttl_s)
        everything = held.registry.under(self.layout.root)
        if not self.former_self.look(key, record, everything, self.own_record, ttl_s, now):
            return False
        held.name_taken_by = None
        silent_at = self.former_self.silent_at(self._settings.window_s)
        if self._told_of != key.lease:
            self._told_of = key.lease
            when = f"in {silent_at - now:.1f} s, if it stays silent" if silent_at > now else "now"
            text = f"the former run of this node still stands in etcd; revoking its lease {when}"
            self._out(Report(Level.INFO, text, reason=f"else it would last until its lease ends, up to {ttl_s} s"))
        if held.shown_at < silent_at:
            held.register_at = silent_at
        if not self._requests.is_pending(RequestKind.FORMER_SELF):
            held.revocable = key.lease
        return True

    def _stale(self, held: HeldLease, endpoint: int, now: Instant) -> None:
        """Older than what was known when it was requested: a stale member, or, if it repeats, another etcd."""
        held.ask_again(now)
        held.stale_answers += 1
        if held.stale_answers >= STALE_ANSWERS_MAX * len(self._settings.endpoints):
            self._lose_lease("etcd went back in time: restored or replaced")
            return
        self._endpoint_failed(endpoint, Failure.UNAVAILABLE, "answered with an older state than one already seen", now)

    def _answered(self, held: HeldLease, raft_term: int, now: Instant) -> None:
        """Consensus answered: any trouble is over."""
        held.raft_term = max(held.raft_term, raft_term)
        self._doubt_old_leader(held)
        self.answered_at = now
        self.endpoints.answered(now)

    def _doubt_old_leader(self, held: HeldLease) -> None:
        """A new term may have a new leader: no witness is chosen by the old one."""
        if not self.raft_leader.is_known_for(held.raft_term):
            self.raft_leader.doubt()

    def _endpoint_failed(self, endpoint: int, failure: Failure, detail: str, now: Instant) -> None:
        # While a right runs out, the wait between tries must be a small part of what is left of it.
        patient = self._held is None or now >= self.lease_until
        longest_s = RETRY_LONGEST_S if patient else min(RETRY_LONGEST_S, self.ttl_s / 15)
        self.endpoints.fail(endpoint, failure, detail, longest_s, now)

    def _refused_write(self, event: RequestFailed, now: Instant) -> None:
        """etcd refused to write our record: no verdict on the endpoint, and no reason to lose anything else."""
        self.own_record.failed(now)
        if event.detail != self._refusal:
            self._refusal = event.detail
            self._out(Report(Level.ERROR, "etcd refuses to write our record", reason=event.detail))
        self._tell_vips(event)

    def _lose_lease(self, reason: str) -> None:
        """Everything that hung on the lease is gone; begin again with a new one.

        safety (3): the keys may be gone, so the right on them ends in this very call, before anybody is told; and the
        news is the only one, since nothing else that the fact brought is true any more.
        """
        held = self._held
        if held is None:
            return
        self.orphaned_lease = held.id
        self._forget_lease()
        if not held.adopting:
            self._out(Report(Level.WARNING, "lost the etcd lease", reason=reason))
        self._news = [LeaseLost(reason)]

    def _forget_lease(self) -> None:
        """Drop the lease with all that hung on it; parts that keep something of it are told to forget."""
        if self._held is None:
            return
        self._close_watch(self._held)
        self._held.end()
        self._held = None
        self._is_write_tried = False
        self.former_self.forget()
        self.own_record.forget()
        self.raft_leader.forget()
        self._requests.forget_lease()
        self._batcher.forget()
