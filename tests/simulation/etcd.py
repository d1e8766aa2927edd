"""A model of an etcd cluster over `models/store.py`: members with a view of it, leases on the leader's clock.

What it can do to an agent is what etcd was measured to do: expire leases up to 0.5 s late; extend every lease when a
new leader comes; go on confirming keepalives for two seconds on a leader that was cut off; apply a write long after the
client stopped waiting, or died; deliver watch events late; compact; be full (NOSPACE); answer nothing at all; serve the
newest state under an old term on a member that caught up by a raft snapshot, since only *entries* that are applied set
the term that headers carry (server/etcdserver/server.go: `apply` calls setTerm, `applySnapshot` does not; seen with
3.5.1).

Must never: know what the agent believes. Counterparts: `models/store.py`, which carries requests out; `tests/contract`,
which runs the same expectations against real etcd.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING, assert_never

from sharedip.core.messages import (
    CloseWatch,
    DropEndpoint,
    EtcdCommand,
    GrantLease,
    KeepaliveConfirmed,
    KeepLeaseAlive,
    KeysChanged,
    LeaderMoved,
    LeaseGranted,
    MemberRead,
    MembersRead,
    MoveLeader,
    OpenWatch,
    ReadKeys,
    ReadMember,
    ReadMembers,
    RequestFailed,
    RevokeLease,
    Transact,
    WatchLost,
)
from sharedip.core.model import Failure, Get
from tests.models.store import Answer, Request, Store, StoreAnswer, StoreRequest

if TYPE_CHECKING:
    from tests.simulation.world import Host, World

ELECTION_TIMEOUT_S = 1.0
STALE_LEADER_S = 2.0
EXPIRY_SCAN_S = 0.5
FIRST_LEASE = 0x7000_0001
WAKING_LEADER_S = 0.02
"""For so long may a leader that was frozen answer keepalives before it hears of the one that was elected meanwhile."""


@dataclass(slots=True)
class Member:
    """One member: up or down, frozen with what it was sent in its buffer, and on which side of a partition."""

    up: bool = True
    frozen: bool = False
    cut_off: bool = False
    stale_leader_until: float = float("-inf")
    stale_term: int = 0
    needs_snapshot: bool = False
    """The entries that it has missed are compacted by the time it comes back."""
    led_in_term: int = 0
    """In which term it was the leader when it was frozen; 0: it was not."""
    applied_term: int = 2
    """Of the last *entry* that it has applied: what its headers carry."""
    held: list[tuple[Host, int, Request, float]] = field(default_factory=list)

    @property
    def takes_part(self) -> bool:
        """Whether it hears of entries."""
        return self.up and not self.frozen and not self.cut_off


@dataclass(slots=True)
class Spell:
    """The next request of a kind has a fate of its own: lost on its way (`there_s` None), late, or its answer late."""

    matches: Callable[[Host, Request], bool]
    until: float
    there_s: float | None = 0.0
    back_s: float = 0.0


@dataclass(slots=True)
class Watcher:
    """One watch of one agent's run, served by one member."""

    host: Host
    run: int
    watch: int
    member: int
    prefix: str
    next_revision: int
    ready_at: float = 0.0
    closed: bool = False


class ModelEtcd:
    """Invariant: whatever changes the store is followed by `_publish`, which has told all until `_published`."""

    def __init__(self, world: World, members: int, election_timeout_s: float = ELECTION_TIMEOUT_S) -> None:
        self.world = world
        self.election_timeout_s = election_timeout_s
        self.members = [Member() for _ in range(members)]
        self.leader: int | None = 0
        self.term = 2
        shortest_s = ceil(1.5 * election_timeout_s)  # etcdserver/server.go, minTTL
        self.store = Store(next_lease=FIRST_LEASE, ttl_floor_s=shortest_s, expiry=self._expiry)
        self.holders: dict[int, Host] = {}
        self.watchers: list[Watcher] = []
        self.clock_rate = 1.0
        self.makes_snapshots = False
        """Whether members that were away may catch up by a snapshot instead of by entries."""
        self.spells: list[Spell] = []
        self._late_answers: dict[tuple[str, int, int], float] = {}
        self._has_laggards = False
        self._published = self.store.revision
        world.later(EXPIRY_SCAN_S, self._scan)

    # -- the wire -----------------------------------------------------------------------------------------------------

    def receive(self, host: Host, command: EtcdCommand) -> None:
        """An agent sent something."""
        match command:
            case CloseWatch():
                for watcher in self.watchers:
                    if watcher.host is host and watcher.run == host.run and watcher.watch == command.watch:
                        watcher.closed = True
            case DropEndpoint():
                host.drop_endpoint(command.endpoint)
                for watcher in self.watchers:
                    if watcher.host is host and watcher.run == host.run and watcher.member == command.endpoint:
                        self._lose(watcher, Failure.UNAVAILABLE)
            case OpenWatch():
                self._open_watch(host, command)
            case _:
                self._receive_request(host, command)

    def _receive_request(self, host: Host, command: Request) -> None:
        world = self.world
        run, sent_at = host.run, host.now()
        host.pending[command.request] = command.endpoint
        world.later(command.timeout_s / host.rate, host.time_out, run, command.request, command.endpoint)
        there_s = world.delay()
        if self.spells:
            spell = self._spell_on(host, command)
            if spell is not None:
                if spell.there_s is None:
                    return
                there_s += spell.there_s
                self._late_answers[host.name, run, command.request] = spell.back_s
        rejected = (host.name, command.endpoint) in world.rejects
        if not rejected and world.lost(host, command.endpoint):
            return
        if rejected or not self.members[command.endpoint].up:
            failed = RequestFailed(command.request, command.endpoint, Failure.UNAVAILABLE, "connection refused")
            world.later(there_s, host.answer, run, command.request, failed)
            return
        world.later(there_s, self._arrive, host, run, command, sent_at)

    def _spell_on(self, host: Host, command: Request) -> Spell | None:
        """The first that waits for this request; it is broken by it."""
        self.spells = [spell for spell in self.spells if spell.until > self.world.t]
        for spell in self.spells:
            if spell.matches(host, command):
                self.spells.remove(spell)
                return spell
        return None

    def _arrive(self, host: Host, run: int, command: Request, sent_at: float) -> None:
        member = self.members[command.endpoint]
        if member.frozen:
            member.held.append((host, run, command, sent_at))
            return
        if isinstance(command, RevokeLease):
            self.world.check_revocation(host, command.lease)
        answer = self._serve(command, sent_at)
        if isinstance(answer, LeaseGranted):
            self.holders[answer.lease] = host
        if answer is None or self.world.lost(host, command.endpoint):
            return
        late_s = self._late_answers.pop((host.name, run, command.request), 0.0) if self._late_answers else 0.0
        self.world.later(self.world.delay() + late_s, host.answer, run, command.request, answer)

    def _serve(self, command: Request, sent_at: float) -> Answer | None:
        """What the member does with it at this instant; None: it never answers."""
        member = self.members[command.endpoint]
        request, endpoint = command.request, command.endpoint
        if not member.up:
            return None
        if member.cut_off:
            stale = self.world.t < member.stale_leader_until
            if stale and isinstance(command, KeepLeaseAlive) and command.lease in self.store.leases:
                ttl_s = self.store.leases[command.lease].ttl_s
                return KeepaliveConfirmed(request, endpoint, command.lease, ttl_s, member.stale_term, sent_at)
            if stale and isinstance(command, ReadMember):
                return MemberRead(
                    request, endpoint, endpoint + 1, endpoint + 1, member.stale_term, "3.5.1", self.store.full
                )
            return None
        if isinstance(command, ReadMembers):
            return MembersRead(request, endpoint, tuple(range(1, len(self.members) + 1)))
        if isinstance(command, MoveLeader):
            if self.leader != endpoint or not 1 <= command.to <= len(self.members):
                return RequestFailed(request, endpoint, Failure.NO_LEADER, "etcdserver: not leader")
            if command.to - 1 not in self._quorum():
                return RequestFailed(request, endpoint, Failure.TIMEOUT, "etcdserver: request timed out")
            self._elect(command.to - 1)
            return LeaderMoved(request, endpoint)
        if isinstance(command, ReadMember):
            leader_id = 0 if self.leader is None else self.leader + 1
            return MemberRead(request, endpoint, endpoint + 1, leader_id, member.applied_term, "3.5.1", self.store.full)
        if isinstance(command, KeepLeaseAlive) and self.world.t < member.stale_leader_until:
            lease = self.store.leases.get(command.lease)
            if lease is not None:  # it has just woken up, and believes to lead: the store's lease is not renewed
                return KeepaliveConfirmed(request, endpoint, command.lease, lease.ttl_s, member.stale_term, sent_at)
        if self.leader is None:
            return RequestFailed(request, endpoint, Failure.NO_LEADER, "etcdserver: no leader")
        return self._apply(command, sent_at)

    def _apply(self, command: StoreRequest, sent_at: float) -> StoreAnswer:
        term = self._term_of_answer(command)
        answer = self.store.answer(command, term, sent_at)
        self._publish()
        return answer

    def _term_of_answer(self, command: StoreRequest) -> int:
        """What the answering member's header says; where the request itself is an entry, it has applied that one."""
        match command:
            case Transact():
                is_entry = any(not isinstance(op, Get) for op in (*command.then, *command.otherwise))
            case ReadKeys():
                is_entry = command.by_entry
            case GrantLease() | RevokeLease():
                is_entry = True
            case KeepLeaseAlive():
                is_entry = False
            case _:
                assert_never(command)
        if is_entry:
            self._append_entry()
        return self.members[command.endpoint].applied_term

    def _append_entry(self) -> None:
        """One more entry in the log: whoever takes part applies it, and is in the leader's term by that."""
        if self._has_laggards:
            self._has_laggards = False
            for member in self.members:
                if member.takes_part:
                    member.applied_term = self.term

    # -- the store ----------------------------------------------------------------------------------------------------

    def delete_by_hand(self, key: str) -> None:
        """An operator's `etcdctl del`."""
        self.store.delete(key)
        self._publish(by_hand=True)

    def revoke_by_hand(self, lease: int) -> None:
        """An operator's `etcdctl lease revoke`."""
        self.store.end_lease(lease)
        self._publish(by_hand=True)

    def hears(self, host: Host) -> bool:
        """Whether the host's watch shows it now whatever happens here."""
        return any(
            watcher.host is host
            and watcher.run == host.run
            and not watcher.closed
            and watcher.next_revision > self.store.revision
            and watcher.ready_at <= self.world.t
            and self._reaches(watcher)
            for watcher in self.watchers
        )

    def _expiry(self, ttl_s: int) -> float:
        return self.world.t + ttl_s / self.clock_rate

    def _scan(self) -> None:
        self.world.later(EXPIRY_SCAN_S, self._scan)
        if self.leader is None:
            return
        for lease in self.store.expired(self.world.t):
            self.world.note(f"etcd: lease {lease:x} expires")
            self.store.end_lease(lease)
            self._publish()

    def _publish(self, *, by_hand: bool = False) -> None:
        """The store may have changed: judge what has gone, and tell the watches."""
        store = self.store
        if store.revision == self._published:
            return
        self._published = store.revision
        if not by_hand:
            for key in store.commits[-1].removed:
                self.world.check_gone(self.holders.get(key.lease), key.key)
        self._append_entry()
        for watcher in self.watchers:
            self._feed(watcher)

    # -- watches ------------------------------------------------------------------------------------------------------

    def _open_watch(self, host: Host, command: OpenWatch) -> None:
        watcher = Watcher(host, host.run, command.watch, command.endpoint, command.prefix, command.from_revision)
        member = self.members[command.endpoint]
        if not member.up:
            self.world.later(self.world.delay(), self._lose, watcher, Failure.UNAVAILABLE)
            return
        self.watchers = [each for each in self.watchers if not each.closed]
        self.watchers.append(watcher)
        if command.from_revision <= self.store.compacted:
            self.world.later(self.world.delay(), self._lose, watcher, Failure.COMPACTED)
            return
        self._feed(watcher)

    def _feed(self, watcher: Watcher) -> None:
        """Send what the watcher has not seen, in order, unless its member or its link is cut."""
        world = self.world
        if watcher.closed or not self._reaches(watcher):
            return
        store = self.store
        if store.revision < watcher.next_revision:
            return
        if watcher.next_revision <= store.compacted:
            self._lose(watcher, Failure.COMPACTED)
            return
        fresh = store.changes_from(watcher.next_revision, watcher.prefix)
        watcher.next_revision = store.revision + 1
        if not fresh:
            return
        watcher.ready_at = max(watcher.ready_at, world.t + world.delay())
        event = KeysChanged(watcher.watch, fresh, fresh[-1].revision)
        world.at(watcher.ready_at, self._deliver, watcher, event)

    def _reaches(self, watcher: Watcher) -> bool:
        member = self.members[watcher.member]
        awake = member.up and not member.frozen and not member.cut_off
        return awake and not self.world.cut(watcher.host, watcher.member)

    def _deliver(self, watcher: Watcher, event: KeysChanged) -> None:
        if not watcher.closed:
            watcher.host.hear(watcher.run, event)

    def _lose(self, watcher: Watcher, failure: Failure) -> None:
        if not watcher.closed:
            watcher.closed = True
            watcher.host.hear(watcher.run, WatchLost(watcher.watch, watcher.member, failure, failure.value))

    def feed_all(self) -> None:
        """A cut was healed: what TCP held back arrives."""
        for watcher in self.watchers:
            self._feed(watcher)

    # -- faults -------------------------------------------------------------------------------------------------------

    def cut_member(self, index: int) -> None:
        """Cut one member off from the others; if it leads, it doesn't know for a while."""
        member = self.members[index]
        if member.cut_off or not member.up:
            return
        member.cut_off = True
        for watcher in self.watchers:
            if watcher.member == index:  # `hasleader`: the member ends the watch some seconds after the leader is lost
                self.world.later(4.0, self._lose_if_cut, watcher)
        if self.leader == index:
            member.stale_leader_until = self.world.t + STALE_LEADER_S
            member.stale_term = self.term
            self._lose_leader()

    def stop_member(self, index: int) -> None:
        """Kill one member, and with it what it had not read yet."""
        self.members[index].up = False
        self.members[index].frozen = False
        self.members[index].held.clear()
        for watcher in list(self.watchers):
            if watcher.member == index:
                self._lose(watcher, Failure.UNAVAILABLE)
        if self.leader == index:
            self._lose_leader()
        elif not self._quorum():
            self.leader = None

    def freeze_member(self, index: int) -> None:
        """SIGSTOP: what is sent to it waits in its buffer, whoever sent it and however long ago."""
        member = self.members[index]
        if not member.up or member.frozen:
            return
        member.frozen = True
        member.led_in_term = self.term if self.leader == index else 0
        if self.leader == index:
            self._lose_leader()
        elif not self._quorum():
            self.leader = None

    def heal_member(self, index: int) -> None:
        """Bring one member back. One that was frozen serves what it finds in its buffer, in order."""
        member = self.members[index]
        was_away = not member.takes_part
        member.up, member.cut_off, member.stale_leader_until = True, False, float("-inf")
        member.frozen = False
        if was_away:
            self._catch_up(member)
        if self.leader is None:
            self._lose_leader()
        self.feed_all()
        held, member.held = member.held, []
        wait_s = 0.0
        for request in held:
            if self.world.random.random() < 0.9:  # else the client's reset overtook it
                wait_s += self.world.random.random() * 0.002
                self.world.later(wait_s, self._arrive, *request)

    def _catch_up(self, member: Member) -> None:
        """By entries, or by a snapshot of the state: then no entry has told it of the new term yet."""
        led_in_term, member.led_in_term = member.led_in_term, 0
        if member.applied_term == self.term:
            return
        needs_snapshot, member.needs_snapshot = member.needs_snapshot, False
        if not needs_snapshot and (not self.makes_snapshots or self.world.random.random() < 0.5):
            member.applied_term = self.term
            return
        self._has_laggards = True
        if led_in_term:
            member.stale_term = led_in_term
            member.stale_leader_until = self.world.t + self.world.random.random() * WAKING_LEADER_S

    def fill(self) -> None:
        """NOSPACE: the alarm is on, and nothing is put until somebody has made room."""
        self.store.full = True

    def make_room(self) -> None:
        """Compacted, defragmented, disarmed."""
        self.store.full = False

    def move_leader(self) -> None:
        """A planned change of leader: short, and it extends every lease."""
        if self.leader is not None:
            self._elect((self.leader + 1) % len(self.members))

    def compact(self) -> None:
        """Forget history."""
        self.store.compact()

    def _lose_if_cut(self, watcher: Watcher) -> None:
        if self.members[watcher.member].cut_off:
            self._lose(watcher, Failure.NO_LEADER)

    def _quorum(self) -> list[int]:
        alive = [i for i, each in enumerate(self.members) if each.up and not each.frozen and not each.cut_off]
        return alive if len(alive) * 2 > len(self.members) else []

    def _lose_leader(self) -> None:
        self.leader = None
        self.world.later(self.world.random.uniform(1.0, 2.0) * self.election_timeout_s, self._elect, None)

    def _elect(self, wanted: int | None) -> None:
        alive = self._quorum()
        if not alive or (wanted is None and self.leader is not None):
            return
        self.leader = wanted if wanted in alive else self.world.random.choice(alive)
        self.term += 1
        self._has_laggards = True
        self._append_entry()
        self.world.note(f"etcd: member {self.leader} leads, term {self.term}")
        for lease in self.store.leases.values():  # etcd server/lease/lessor.go, Promote
            lease.expires_at = max(lease.expires_at, self._expiry(lease.ttl_s) + self.election_timeout_s)
