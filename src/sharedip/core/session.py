"""The agent's standing with etcd: one lease, its proof, the watch, the picture of the keys.

Law: `lease_until` grows only by a proof, and a proof is a keepalive that was confirmed, followed by a read by an entry
of etcd's log, on the same endpoint in the same raft term, that shows a key of ours with our lease. An etcd leader that
was cut off goes on confirming keepalives for up to two election timeouts (1.96 s seen); that entry it can't commit.
The deadline counts from the instant before the keepalive left, never from its answer.

Must never: touch the address. Counterparts: `candidacy.py` (one per VIP), `adapters/etcd` (carries the orders out).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sharedip.core.convoys import Convoys, Outcome, Wish
from sharedip.core.endpoints import RETRY_LONGEST_S, Endpoints
from sharedip.core.former_self import FormerSelf
from sharedip.core.identity import Identity
from sharedip.core.keys import Layout, Registry, read_record
from sharedip.core.leadership import Leadership
from sharedip.core.messages import (
    CloseWatch,
    Command,
    GrantLease,
    KeepaliveConfirmed,
    KeepLeaseAlive,
    KeysChanged,
    KeysRead,
    LeaseGranted,
    LeaseRevoked,
    Level,
    MemberRead,
    OpenWatch,
    ReadKeys,
    ReadMember,
    Report,
    RequestFailed,
    RevokeLease,
    Transact,
    TransactionDone,
    WatchLost,
)
from sharedip.core.model import NEVER, Failure, Get, Guard, Instant, KeyValue, Operation, Put
from sharedip.core.own_record import OwnRecord
from sharedip.core.requests import Kind, Purpose, Requests
from sharedip.core.right import Deadline
from sharedip.core.settings import (
    Settings,
    attempt_timeout_s,
    lease_margin_s,
    peer_request_timeout_s,
    renew_every_s,
)

NAME_TAKEN_RETRY_S = 2.0
OTHER_NAME_MAX = 100
EVERYTHING_EVERY_S = 30.0
"""Reads bring what has changed since the picture that we have, and prove by a count that nothing is missing. Whatever
a picture could be wrong in all the same does not last for longer than this."""
STALE_ANSWERS_MAX = 3
"""So many stale answers in a row from every endpoint mean another etcd (restored, or wiped), not a stale member."""
REVOKE_TRIES_MAX = 4
"""On the way out: beyond that the lease is left to expire."""


class SessionListener(Protocol):
    """What the session tells the rest of the node."""

    def lease_renewed(self, now: Instant) -> None:
        """The right on the lease reaches further."""

    def lease_lost(self, reason: str, now: Instant) -> None:
        """The lease and every key on it are gone."""

    def keys_changed(self, changed: set[str], now: Instant) -> None:
        """The registry shows something new."""

    def keys_proved(self, sent_at: Instant, now: Instant) -> None:
        """The registry is what a linearizable read that was sent with our lease, at `sent_at`, has just shown."""

    def vip_answered(self, wish: Wish, outcome: Outcome, now: Instant) -> None:
        """What a VIP asked for has an outcome, or none."""

    def peer_answered(self, kind: Kind, request: int, answer: TransactionDone | RequestFailed, now: Instant) -> None:
        """A designation's or a deposition's transaction has an outcome, or none."""

    def leader_changed(self, now: Instant) -> None:
        """Who leads etcd, or which member is ours, is known anew."""

    def registered(self, now: Instant) -> None:
        """The agent's name is ours: campaigns may begin."""


@dataclass(slots=True)
class _Keepalive:
    """A confirmed keepalive that waits for its read."""

    endpoint: int
    raft_term: int
    sent_at: Instant
    ttl_s: int
    read: int


class Session:
    """Invariant: while `lease` is set, `lease_until` <= (send time of the last proved keepalive) + TTL - margin."""

    def __init__(
        self,
        settings: Settings,
        out: Callable[[Command], None],
        listener: SessionListener,
        jitter: Callable[[], float],
        identity: Identity,
    ) -> None:
        self._settings = settings
        self._out = out
        self._listener = listener
        self._jitter = jitter
        self.layout = Layout(settings.key_prefix)
        self.registry = Registry(self.layout)
        self.lease: int | None = None
        self.ttl_s = settings.lease_ttl_s
        self.lease_deadline = Deadline()
        self.proved_sent_at: Instant = NEVER
        """When the keepalive of the newest proof of this lease left."""
        self.answered_at: Instant = NEVER
        """When consensus answered anything last."""
        self.failing_since: Instant | None = None
        """When a renewal failed for the first time since the last proof; None: none has."""
        self.is_registered = False
        self.name_taken_by: str | None = None
        self.endpoints = Endpoints(settings.endpoints, settings.local_endpoint or 0, out, jitter)
        self._requests = Requests()
        self._convoys = Convoys(self._send_convoy)
        self._peer_step = 0
        self.raft_term = 0
        self.leadership = Leadership(settings.local_endpoint)
        self.own_record = OwnRecord(self.layout, settings.node_name, settings.version, identity)
        self.former_self = FormerSelf(identity)
        self.revocable: int | None = None
        """A former run's lease that has our name; `revoke_former_self` ends it."""
        self._told_of: int | None = None
        self._shown_at: Instant = NEVER
        """When the request left that brought the picture by which a name is judged."""
        self._written_until = 0
        self.abandoned: int | None = None
        self._adopting = False
        self._stopping = False
        self._revoke_tries = 0
        self.is_over = False
        self._refusal = ""
        self._watch: int | None = None
        self._watch_endpoint = 0
        self._keepalive: _Keepalive | None = None
        self._renewing = False
        self._read_wanted = False
        self._wants_everything = False
        self._everything_at: Instant = NEVER
        self._stale_answers = 0
        self._renew_at: Instant = NEVER
        self._register_at: Instant = NEVER

    # -- what the node asks for ---------------------------------------------------------------------------------------

    def reconfigure(self, settings: Settings) -> None:
        """Take over what may change at run time; nothing of a lease or an endpoint is among it."""
        self._settings = settings

    def start(self, former_lease: int | None, now: Instant) -> None:
        """Begin. A former run's lease is taken up again if etcd still has it: its keys keep their place."""
        if former_lease is not None:
            self.lease = former_lease
            self._adopting = True
            self._renew_at = now
        self.advance(now)

    def stop(self, now: Instant) -> None:
        """Give the lease back; to be called when no address is left. Sets `is_over` when done."""
        self._stopping = True
        if self._watch is not None:
            self._out(CloseWatch(self._watch))
            self._watch = None
        if self.lease is None:
            self.is_over = True
            return
        self.advance(now)

    def want_read(self, now: Instant) -> None:
        """Order a linearizable read; `keys_proved` follows when it has succeeded, however long that takes."""
        self._read_wanted = True
        self.advance(now)

    def want_proof(self, now: Instant) -> None:
        """Renew the lease at once: only what is sent from now on counts for somebody."""
        if self.lease is not None and not self._renewing:
            self._renew_at = now
            self.advance(now)

    def publish(self, record: dict[str, object], now: Instant) -> None:
        """Put this under the agent's key; written only when it differs from what stands there."""
        self.own_record.content = record
        self.advance(now)

    def transact(self, wish: Wish) -> None:
        """Carry out what a VIP wants, together with others; its outcome comes to `vip_answered`."""
        self._convoys.add(wish)

    def depart(self) -> None:
        """The turn is over: what VIPs want leaves."""
        self._convoys.depart()

    @property
    def lease_until(self) -> Instant:
        """Until when the lease is proved to live."""
        return self.lease_deadline.until

    def is_in_touch(self, now: Instant) -> bool:
        """Whether etcd has proved our lease lately: half of it is left. Who can't tell is nobody's heir."""
        return self.lease is not None and self.lease_until - now >= self.ttl_s / 2

    @property
    def is_adopting(self) -> bool:
        """Whether a former run's lease waits for its proof."""
        return self._adopting

    def appoint(self, guards: tuple[Guard, ...], puts: tuple[Put, ...], keys: tuple[str, ...]) -> int:
        """Send a designation; where a guard fails, its answer shows what stands under the keys."""
        request = self._begin(Kind.DESIGNATE, endpoint=self._peer_endpoint)
        self._out(
            Transact(request, self._peer_endpoint, guards, puts, tuple(Get(key) for key in keys), self._peer_timeout_s)
        )
        return request

    def depose(self, guards: tuple[Guard, ...], then: tuple[Operation, ...], *, is_alone: bool) -> int:
        """Send a deposition. If it is alone its answer shows everything under the root, either way, and saves a round
        trip; where many leave at once, one read after them does it for all.
        """
        request = self._begin(Kind.DEPOSE, endpoint=self._peer_endpoint)
        everything = (Get(self.layout.root, prefix=True),) if is_alone else ()
        self._out(
            Transact(request, self._peer_endpoint, guards, (*then, *everything), everything, self._peer_timeout_s)
        )
        return request

    def next_deadline(self) -> Instant | None:
        """The earliest instant at which `advance` has something to do."""
        if self.is_over:
            return None
        return min(self._deadlines(), default=None)

    # -- facts --------------------------------------------------------------------------------------------------------

    def lease_granted(self, event: LeaseGranted, now: Instant) -> None:
        """A lease came. One that nobody waits for any more carries no key and is left to expire."""
        purpose = self._requests.end(event.request)
        if purpose is None or self.lease is not None or self._stopping:
            return
        self._answered(event.raft_term, now)
        self.lease = event.lease
        self.ttl_s = event.ttl_s
        self.proved_sent_at = event.sent_at
        self.lease_deadline.until = event.sent_at + event.ttl_s - lease_margin_s(event.ttl_s)
        self._renew_at = event.sent_at + renew_every_s(event.ttl_s)
        self._register_at = now
        if event.ttl_s > self._settings.lease_ttl_s:
            text = f"etcd raised the lease's TTL from {self._settings.lease_ttl_s} s to {event.ttl_s} s"
            self._out(Report(Level.WARNING, text, reason="its election timeout allows no shorter one"))
        self.advance(now)

    def keepalive_confirmed(self, event: KeepaliveConfirmed, now: Instant) -> None:
        """Half a renewal: order the read that proves it, on the same endpoint."""
        purpose = self._requests.end(event.request)
        if purpose is None or purpose.lease != self.lease or event.lease != self.lease:
            return
        if event.raft_term < purpose.raft_term:
            self._stale(event.endpoint, now)
            return
        self.raft_term = max(self.raft_term, event.raft_term)
        request = self._read(Kind.PROOF, event.endpoint, now)
        self._keepalive = _Keepalive(event.endpoint, event.raft_term, event.sent_at, event.ttl_s, request)

    def keys_read(self, event: KeysRead, now: Instant) -> None:
        """A linearizable read: the second half of a renewal, or the look before a claim."""
        purpose = self._requests.end(event.request)
        if purpose is None or purpose.lease != self.lease or self.lease is None:
            return
        if event.raft_term < purpose.raft_term or event.revision < purpose.revision:
            self._read_wanted = self._read_wanted or purpose.kind is Kind.READ
            self._stale(event.endpoint, now)
            return
        self._answered(event.raft_term, now)
        changed, shows_us = self._take_in(event)
        self._take_proof(purpose, event, now, shows_us=shows_us)
        if purpose.lease != self.lease:
            return  # the read showed that the lease is gone
        if changed is None:
            self._read_wanted = self._read_wanted or purpose.kind is Kind.READ
        else:
            self._shown_at = event.sent_at
            self._snapshot_taken(changed, now)
            if purpose.lease != self.lease:
                return
            self._listener.keys_proved(event.sent_at, now)
        self.advance(now)

    def transaction_done(self, event: TransactionDone, now: Instant) -> None:
        """Registration and publication are ours; the rest belongs to a VIP."""
        purpose = self._requests.end(event.request)
        if purpose is None or purpose.lease != self.lease or self.lease is None:
            return
        self._answered(event.raft_term, now)
        if event.succeeded:
            self._written_until = max(self._written_until, event.revision)
        if purpose.kind is Kind.REGISTER:
            self._shown_at = event.sent_at
            self._take_snapshot(event.keys, event.revision, now)
        elif purpose.kind is Kind.PUBLISH:
            self.own_record.published(event.revision)
            self._read_wanted = self._read_wanted or not event.succeeded  # somebody deleted our record: look
        elif purpose.kind is Kind.DESIGNATE:
            self._peer_step = 0
            self._listener.peer_answered(purpose.kind, event.request, event, now)
        elif purpose.kind is Kind.DEPOSE:
            self._listener.peer_answered(purpose.kind, event.request, event, now)
            if not event.keys:  # it asked for none: a picture is never empty, for our own keys are in it
                self._read_wanted = True
            elif event.revision >= self.registry.revision:
                self._take_snapshot(event.keys, event.revision, now)
                if purpose.lease == self.lease:
                    self._listener.keys_proved(event.sent_at, now)
        else:
            self._tell_vips(event, now)
        self.advance(now)

    def member_read(self, event: MemberRead, now: Instant) -> None:
        """Who leads, and which member is on our node. An answer from an older term tells nothing."""
        purpose = self._requests.end(event.request)
        if purpose is None or event.raft_term < self.raft_term:
            self.leadership.failed(now, elsewhere=False)
            return
        if self.leadership.learn(event, now):
            self.raft_term = event.raft_term
            self._listener.leader_changed(now)
            self.advance(now)

    def lease_revoked(self, event: LeaseRevoked, now: Instant) -> None:
        """The way out is free."""
        purpose = self._requests.end(event.request)
        if purpose is not None and purpose.kind is Kind.FORMER_SELF:
            self._register_at = now
            self.advance(now)
        if purpose is None or purpose.kind is not Kind.REVOKE:
            return
        self._forget_lease()
        self.is_over = self._stopping
        self.advance(now)

    def request_failed(self, event: RequestFailed, now: Instant) -> None:
        """No answer that counts: go on elsewhere. "Cannot tell" changes no right, but a lease that is gone does."""
        purpose = self._requests.end(event.request)
        if purpose is None:
            return
        if purpose.lease is not None and purpose.lease != self.lease:
            return
        if purpose.kind is Kind.FORMER_SELF:  # it may be gone or not: registering tells
            self._register_at = now
            self._turn_away(event.endpoint, event.failure, event.detail, now)
            self.advance(now)
            return
        if event.failure is Failure.LEASE_NOT_FOUND and purpose.lease is not None:
            if self._stopping:
                self._forget_lease()
                self.is_over = True
            else:
                self.lose_lease("etcd has the lease no more", now)
                self.abandoned = None
            return
        if purpose.kind is Kind.ABANDON:
            return  # it expires by itself
        if event.failure is Failure.REFUSED and purpose.kind in (Kind.RECORD, Kind.PUBLISH):
            self._refused_write(event, now)
            return
        if purpose.kind is Kind.MEMBER:
            self.leadership.failed(now, elsewhere=True)
            return
        if purpose.kind in (Kind.DESIGNATE, Kind.DEPOSE):
            if (
                event.endpoint == self._peer_endpoint
            ):  # their patience is short: no verdict on the endpoint, but try the next
                self._peer_step += 1
            self._listener.peer_answered(purpose.kind, event.request, event, now)
            return
        self._turn_away(event.endpoint, event.failure, event.detail, now)
        if purpose.kind in (Kind.KEEPALIVE, Kind.PROOF):
            self.failing_since = now if self.failing_since is None else self.failing_since
            self._keepalive = None
            self._renewing = False
            self._renew_at = now
        elif purpose.kind is Kind.READ:
            self._read_wanted = True
        elif purpose.kind is Kind.PUBLISH:
            self.own_record.failed(now)
        elif purpose.kind is Kind.REVOKE and self._revoke_tries >= REVOKE_TRIES_MAX:
            self._out(Report(Level.WARNING, "left the lease to expire", reason=event.detail))
            self.is_over = True
        self._tell_vips(event, now)
        self.advance(now)

    def watch_changed(self, event: KeysChanged, now: Instant) -> None:
        """Changes on the segment of keys that we watch."""
        if event.watch != self._watch or self.lease is None:
            return
        changed = self.registry.apply_changes(event.changes, event.revision)
        self._after_change(changed, now)
        self.advance(now)

    def watch_lost(self, event: WatchLost, now: Instant) -> None:
        """Open it elsewhere from where we are; after a compaction, read first."""
        if event.watch != self._watch:
            return
        self._watch = None
        if event.failure is Failure.COMPACTED:
            self._read_wanted = True
        else:
            self._turn_away(event.endpoint, event.failure, event.detail, now)
        self.advance(now)

    # -- time ---------------------------------------------------------------------------------------------------------

    def advance(self, now: Instant) -> None:
        """Order whatever is due. Called after every fact and at every deadline; doing it twice changes nothing."""
        if self.is_over or now < self.endpoints.quiet_until:
            return
        if self.lease is None:
            if not self._stopping and not self._requests.is_pending(Kind.GRANT):
                request = self._begin(Kind.GRANT)
                self._out(GrantLease(request, self.endpoint, self._settings.lease_ttl_s, self._timeout_s))
            return
        if self._stopping:
            self._revoke()
            return
        if not self._renewing and now >= self._renew_at:
            self._renewing = True
            self._renew_at = now + renew_every_s(self.ttl_s)
            request = self._begin(Kind.KEEPALIVE)
            self._out(KeepLeaseAlive(request, self.endpoint, self.lease, self._timeout_s))
        if self._adopting:
            return
        if not self.is_registered:
            if now >= self._register_at and not self._requests.is_pending(Kind.REGISTER):
                self._register(now)
            return
        if self._read_wanted and not self._requests.is_pending(Kind.READ):
            self._read_wanted = False
            self._read(Kind.READ, self.endpoint, now)
        if self._watch is None and not self._requests.is_pending(Kind.READ):
            self._open_watch()
        if not self.leadership.is_known_for(self.raft_term):
            self._read_member(now)
        self._publish_if_changed(now)

    def _read_member(self, now: Instant) -> None:
        """A new term may have a new leader. Our own member knows, and tells its id; if it is away, another one does."""
        self.leadership.doubt()
        if now < self.leadership.retry_at or self._requests.is_pending(Kind.MEMBER):
            return
        endpoint = self.leadership.endpoint(self.endpoint)
        request = self._begin(Kind.MEMBER, endpoint=endpoint)
        self._out(ReadMember(request, endpoint, self._timeout_s))

    def _refused_write(self, event: RequestFailed, now: Instant) -> None:
        """A record that may not be written is no verdict on the endpoint, and no reason to lose anything else."""
        self.own_record.failed(now)
        if event.detail != self._refusal:
            self._refusal = event.detail
            self._out(Report(Level.ERROR, "etcd refuses to write our record", reason=event.detail))
        self._tell_vips(event, now)

    def lose_lease(self, reason: str, now: Instant) -> None:
        """Everything that hung on the lease is gone; begin again with a new one."""
        if self.lease is None:
            return
        was_adopting = self._adopting
        self.abandoned = self.lease
        self._forget_lease()
        if not was_adopting:
            self._out(Report(Level.WARNING, "lost the etcd lease", reason=reason))
        self._listener.lease_lost(reason, now)
        self.advance(now)

    def revoke_abandoned(self) -> None:
        """What may be left of a lease that we gave up blocks the queue; to be called when no address is left."""
        if self.abandoned is not None:
            request = self._requests.begin(Purpose(Kind.ABANDON, self.endpoint, None, 0, 0))
            self._out(RevokeLease(request, self.endpoint, self.abandoned, self._timeout_s))
            self.abandoned = None

    def revoke_former_self(self) -> None:
        """To be called when no address is left on this kernel. `revocable` and all its keys go now, not at its end, if
        a picture that was asked for when its silence had lasted for long enough shows them as they were.
        """
        if self.revocable is None or self._shown_at < self.former_self.silent_at(self._settings.window_s):
            return
        request = self._begin(Kind.FORMER_SELF)
        self._out(RevokeLease(request, self.endpoint, self.revocable, self._timeout_s))
        self.revocable = None

    # -- inside -------------------------------------------------------------------------------------------------------

    @property
    def _timeout_s(self) -> float:
        return attempt_timeout_s(self.ttl_s, self._settings.request_timeout_s)

    @property
    def _peer_timeout_s(self) -> float:
        return peer_request_timeout_s(self._settings.window_s)

    def _deadlines(self) -> list[Instant]:
        waiting: list[Instant] = []
        if self.lease is None:
            if not self._stopping and not self._requests.is_pending(Kind.GRANT):
                waiting.append(self.endpoints.quiet_until)
        elif self._stopping:
            if not self._requests.is_pending(Kind.REVOKE):
                waiting.append(self.endpoints.quiet_until)
        else:
            if not self._renewing:
                waiting.append(max(self._renew_at, self.endpoints.quiet_until))
            if not self._adopting and not self.is_registered and not self._requests.is_pending(Kind.REGISTER):
                waiting.append(max(self._register_at, self.endpoints.quiet_until))
            if (
                self.is_registered
                and (self._watch is None or self._read_wanted)
                and not self._requests.is_pending(Kind.READ)
            ):
                waiting.append(self.endpoints.quiet_until)
            if (
                self.is_registered
                and not self.leadership.is_known_for(self.raft_term)
                and not self._requests.is_pending(Kind.MEMBER)
            ):
                waiting.append(max(self.leadership.retry_at, self.endpoints.quiet_until))
        return waiting

    def _begin(self, kind: Kind, endpoint: int | None = None) -> int:
        where = self.endpoint if endpoint is None else endpoint
        return self._requests.begin(Purpose(kind, where, self.lease, self.registry.revision, self.raft_term))

    def _send_convoy(
        self, kind: Kind, guards: tuple[Guard, ...], then: tuple[Operation, ...], otherwise: tuple[Operation, ...]
    ) -> int:
        request = self._begin(kind)
        self._out(Transact(request, self.endpoint, guards, then, otherwise, self._timeout_s))
        return request

    def _tell_vips(self, outcome: Outcome, now: Instant) -> None:
        for wish, each in self._convoys.answered(outcome.request, outcome):
            self._listener.vip_answered(wish, each, now)

    def _read(self, kind: Kind, endpoint: int, now: Instant) -> int:
        """Order a linearizable read: of what has changed since the picture that we have, now and then of everything."""
        request = self._begin(kind, endpoint)
        after = self.registry.revision
        if self._wants_everything or now >= self._everything_at:
            after, self._everything_at = 0, now + EVERYTHING_EVERY_S
        by_entry = kind is Kind.PROOF
        self._out(ReadKeys(request, endpoint, self.layout.root, self._timeout_s, after, by_entry))
        return request

    @property
    def _peer_endpoint(self) -> int:
        """Where designations and depositions go: they can't wait for a verdict on the endpoint that all else uses."""
        return (self.endpoint + self._peer_step) % len(self._settings.endpoints)

    @property
    def endpoint(self) -> int:
        """The endpoint that is asked now."""
        return self.endpoints.current

    def _register(self, now: Instant) -> None:
        """Claim the node's name and read everything, in one transaction."""
        assert self.lease is not None
        everything = (Get(self.layout.root, prefix=True),)
        guard, put = self.own_record.registration(self.lease)
        request = self._begin(Kind.REGISTER)
        self._register_at = now + NAME_TAKEN_RETRY_S
        self._out(Transact(request, self.endpoint, (guard,), (put, *everything), everything, self._timeout_s))

    def _publish_if_changed(self, now: Instant) -> None:
        assert self.lease is not None
        change = self.own_record.publication(self.registry, self.lease, now)
        if change is None or self._requests.is_pending(Kind.PUBLISH):
            return
        guard, put = change
        request = self._begin(Kind.PUBLISH)
        self._out(Transact(request, self.endpoint, (guard,), (put,), (), self._timeout_s))

    def _revoke(self) -> None:
        if self._requests.is_pending(Kind.REVOKE):
            return
        assert self.lease is not None
        self._revoke_tries += 1
        request = self._begin(Kind.REVOKE)
        self._out(RevokeLease(request, self.endpoint, self.lease, self._timeout_s))

    def _open_watch(self) -> None:
        self._watch = self._requests.next_number()
        self._watch_endpoint = self.endpoint
        self._out(OpenWatch(self._watch, self.endpoint, self.layout.root, self.registry.revision + 1, self._timeout_s))

    def _take_in(self, event: KeysRead) -> tuple[set[str] | None, bool | None]:
        """Bring the registry to the read's revision, if it is not there yet.

        Answers which keys differ (None: it is no picture to go by), and whether the read showed a key on our lease
        (None: can't tell).
        """
        # The watch, or a write of ours, may have been faster than this read: good as a proof, not as a picture.
        is_picture = event.revision >= max(self.registry.revision, self._written_until)
        if event.after == 0:
            self._wants_everything = False
            shows_us = any(key.lease == self.lease for key in event.keys)
            return self.registry.apply_snapshot(event.keys, event.revision) if is_picture else None, shows_us
        if event.revision < self.registry.revision:
            # A key that stands now and was created by then stood then.
            return None, self.registry.has_key_of(self.lease, event.revision)
        fresh = self.registry.difference(event.keys, event.count)
        if fresh is None:
            self._wants_everything = True
            return None, None
        shows_us = self.registry.has_key_of(self.lease, event.revision, fresh)
        return self.registry.apply_difference(fresh, event.revision) if is_picture else None, shows_us

    def _take_proof(self, purpose: Purpose, event: KeysRead, now: Instant, *, shows_us: bool | None) -> None:
        """The second half of a renewal counts on the same endpoint, in the same term, with a key on our lease."""
        if purpose.kind is not Kind.PROOF or self._keepalive is None or self._keepalive.read != event.request:
            return  # an earlier try's read: it may have been served before this keepalive
        keepalive, self._keepalive, self._renewing = self._keepalive, None, False
        if event.endpoint != keepalive.endpoint or event.raft_term != keepalive.raft_term:
            self._renew_at = now  # the leader changed in between: nothing is proved, ask again
            return
        if shows_us is None:
            self._renew_at = now
            return
        if not shows_us:
            if self.is_registered or self._adopting:
                self.lose_lease("no key of ours is left in etcd", now)
            return
        ttl_s = min(keepalive.ttl_s, self.ttl_s) if not self._adopting else keepalive.ttl_s
        self.ttl_s = ttl_s
        self.proved_sent_at = keepalive.sent_at
        proved_until = keepalive.sent_at + ttl_s - lease_margin_s(ttl_s)
        self._renew_at = keepalive.sent_at + renew_every_s(ttl_s)
        self.failing_since = None
        if proved_until > self.lease_until:
            self.lease_deadline.until = proved_until
            self._listener.lease_renewed(now)

    def _take_snapshot(self, keys: tuple[KeyValue, ...], revision: int, now: Instant) -> None:
        self._snapshot_taken(self.registry.apply_snapshot(keys, revision) or set(), now)

    def _snapshot_taken(self, changed: set[str], now: Instant) -> None:
        self._stale_answers = 0
        first = self._adopting or not self.is_registered
        self._after_change(changed, now, whether_registered=first)

    def _after_change(self, changed: set[str], now: Instant, *, whether_registered: bool = False) -> None:
        if changed:
            self._listener.keys_changed(changed, now)
        if self.lease is not None and (whether_registered or self.own_record.key in changed):
            self._look_at_name(self.registry.get(self.own_record.key), now)

    def _look_at_name(self, key: KeyValue | None, now: Instant) -> None:
        """Is the node's name ours? The lease tells, never the name."""
        if key is None or key.lease == self.lease:
            self.former_self.forget()
            self.revocable = None
        if key is not None and key.lease == self.lease:
            was_registered, self.is_registered, self.name_taken_by = self.is_registered, True, None
            if self._adopting:
                self._adopting = False
                self._out(Report(Level.INFO, "took the former run's lease up again"))
            if not was_registered:
                self._listener.registered(now)
            return
        if self._adopting:
            # Our lease lives, our name's key does not: somebody cleaned up. A fresh start is simpler to trust.
            self.lose_lease("the former run's keys are incomplete", now)
            return
        self.is_registered = False
        if key is None:
            self.name_taken_by = None
            self._register_at = now
            return
        record = read_record(key) or {}
        if self._meet_former_self(key, record, now):
            return
        other = str(record.get("peer") or f"lease {key.lease:x}")[:OTHER_NAME_MAX]
        if self.name_taken_by != other:
            self.name_taken_by = other
            text = f"another agent is registered as {self._settings.node_name!r}: {other} (we are " + (
                f"{self.own_record.advertise or f'lease {self.lease or 0:x}'}); waiting until it is gone"
            )
            self._out(Report(Level.ERROR, text, reason="set a nodeName of its own on each node"))

    def _meet_former_self(self, key: KeyValue, record: dict[str, object], now: Instant) -> bool:
        """Whether it is our own former run that has the name. Its lease is revoked, and the name looked at again, when
        it has been silent for long enough.
        """
        self.revocable = None
        ttl_s = max(self.ttl_s, self._settings.lease_ttl_s)
        everything = self.registry.under(self.layout.root)
        if not self.former_self.look(key, record, everything, self.own_record, ttl_s, now):
            return False
        self.name_taken_by = None
        silent_at = self.former_self.silent_at(self._settings.window_s)
        if self._told_of != key.lease:
            self._told_of = key.lease
            when = f"in {silent_at - now:.1f} s, if it stays silent" if silent_at > now else "now"
            text = f"the former run of this node still stands in etcd; revoking its lease {when}"
            self._out(Report(Level.INFO, text, reason=f"else it would last until its lease ends, up to {ttl_s} s"))
        if self._shown_at < silent_at:
            self._register_at = silent_at
        if not self._requests.is_pending(Kind.FORMER_SELF):
            self.revocable = key.lease
        return True

    def _stale(self, endpoint: int, now: Instant) -> None:
        """Older than what was known when it was asked for: a stale member, or, again and again, another etcd."""
        self._keepalive, self._renewing, self._renew_at = None, False, now
        self._stale_answers += 1
        if self._stale_answers >= STALE_ANSWERS_MAX * len(self._settings.endpoints):
            self.lose_lease("etcd went back in time: restored or replaced", now)
            return
        self._turn_away(endpoint, Failure.UNAVAILABLE, "answered with an older state than one already seen", now)
        self.advance(now)

    def _answered(self, raft_term: int, now: Instant) -> None:
        """Consensus answered: whatever was wrong is over."""
        self.raft_term = max(self.raft_term, raft_term)
        self.answered_at = now
        self.endpoints.answered(now)

    def _turn_away(self, endpoint: int, failure: Failure, detail: str, now: Instant) -> None:
        # While a right runs out, the wait between tries may not be a large part of what is left of it.
        patient = self.lease is None or now >= self.lease_until
        longest_s = RETRY_LONGEST_S if patient else min(RETRY_LONGEST_S, self.ttl_s / 15)
        self.endpoints.turn_away(endpoint, failure, detail, longest_s, now)

    def _forget_lease(self) -> None:
        if self._watch is not None:
            self._out(CloseWatch(self._watch))
            self._watch = None
        self.lease = None
        self.lease_deadline.until = NEVER
        self.proved_sent_at, self.failing_since = NEVER, None
        self.is_registered = False
        self.name_taken_by = None
        self.former_self.forget()
        self.revocable = None
        self._adopting = False
        self._renewing = False
        self._keepalive = None
        self._read_wanted = False
        self._wants_everything = False
        self._everything_at = NEVER
        self._stale_answers = 0
        self._written_until = 0
        self.own_record.forget()
        self.raft_term = 0
        self.leadership.forget()
        self.ttl_s = self._settings.lease_ttl_s
        self.registry = Registry(self.layout)
        self._requests.forget_lease()
        self._convoys.forget()
