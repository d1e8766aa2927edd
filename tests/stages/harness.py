"""A conversation with one core: facts in, orders out, and a small etcd and kernel that answer when told to.

Role: keeps the dialogues of these tests short. `serve` answers everything as a healthy world would; a test that cares
takes the order with `expect` and answers it by hand, late, wrongly, or never.
Must never: answer anything by itself, or let time pass unasked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Concatenate, ParamSpec, TypeVar, assert_never

from sharedip.core.address.ownership import Ownership
from sharedip.core.election.candidacy import Bid, Candidacy, Phase
from sharedip.core.etcd.keys import write_record
from sharedip.core.etcd.news import PictureProved
from sharedip.core.etcd.renewal import HeldLease
from sharedip.core.identity import Identity
from sharedip.core.messages import (
    AddressSeen,
    Ailment,
    AnswerOperator,
    ClientsRead,
    ClientsTickled,
    CloseGate,
    CloseWatch,
    Command,
    DrainRequested,
    DropEndpoint,
    Event,
    Exit,
    GrantLease,
    HealthChanged,
    HoldAddress,
    KeepLeaseAlive,
    KeysChanged,
    LeaderMoved,
    LinkChanged,
    MemberRead,
    MembersRead,
    MoveLeader,
    MoveRequested,
    OpenGate,
    OpenWatch,
    PeerAddressChanged,
    ProbeChecks,
    ReadClients,
    ReadKeys,
    ReadMember,
    ReadMembers,
    ReadSurroundings,
    RemoveAddress,
    ReorderAddress,
    Report,
    RequestFailed,
    RevokeLease,
    RunHook,
    SaveState,
    SegmentCommand,
    SendDatagram,
    StateSaved,
    StopHook,
    TickleClients,
    TimePassed,
    Transact,
)
from sharedip.core.model import NEVER, Client, Delete, Failure, IPAddress, LinkState, Put, Vip
from sharedip.core.node import Node
from sharedip.core.segment.wire import Released
from sharedip.core.settings import LIFETIME_LATE_S, Settings
from sharedip.core.state import FormerRun, read_state
from tests.models.agreement import agreed_by_name
from tests.models.judge import KEY_PREFIX, LAYOUT
from tests.models.kernel import Kernel
from tests.models.store import Store, never

VIP = Vip(ip_address("192.168.0.15"), "eth0")
LINK = LinkState(2, ("eth0", "lan0"), b"\2\0\0\0\0\1", running=True)
MAC = b"\2\0\0\0\0\x99"
OURS = 0x100
"""The lease that the store grants first."""
THEIRS = 0x900
"""The lease of a candidate that is not this node."""

OWN_ADDRESSES = ip_address("192.168.250.1"), ip_address("fd00::1")
"""The node's own on its link, in a network that holds every VIP of these tests."""
ANSWERED = (
    GrantLease,
    KeepLeaseAlive,
    ReadKeys,
    ReadMember,
    ReadMembers,
    MoveLeader,
    Transact,
    RevokeLease,
    HoldAddress,
    ReorderAddress,
    RemoveAddress,
    CloseGate,
    ReadClients,
    TickleClients,
)
"""The orders that a healthy world answers."""

Order = TypeVar("Order")

AGREEMENTS: dict[bytes, bytes] = {}


def identity_of(name: str) -> Identity:
    """The node of this name; each can agree with each other."""
    public, agree = agreed_by_name(AGREEMENTS, name)
    return Identity(f"machine of {name}", f"kernel of {name}", public, agree)


def agent_record(name: str = "n2", **fields: object) -> bytes:
    """What a sound agent says of itself."""
    record = {"node": name, "healthy": True, "drained": False, "peer": f"{name}:9470"}
    return write_record({**record, "public": identity_of(name).public.hex(), **fields})


def secret_of(one: str, other: str) -> bytes:
    """What the two nodes share."""
    secret = identity_of(one).secret_with(identity_of(other).public)
    assert secret is not None
    return secret


class SmallEtcd(Store):
    """The model's key space, and another candidate that joins a queue in one word. Leases end when a test says so."""

    def __init__(self, *, next_lease: int = OURS, expiry: Callable[[int], float] = never) -> None:
        super().__init__(revision=10, next_lease=next_lease, expiry=expiry)

    def stand(self, name: str = "n2", lease: int = THEIRS, vip: Vip = VIP, *, sound: bool | None = True) -> str:
        """Another candidate joins the queue; with `sound=None` it is no agent, but a plain `etcdctl elect`."""
        key = LAYOUT.candidate(vip.address, lease)
        if sound is not None:
            self.put(LAYOUT.agent(name), agent_record(name, healthy=sound, peer=None), lease)
        self.put(key, name.encode(), lease)
        return key


class Talk:
    """One node, its clock, and what it has ordered and nobody has answered yet."""

    def __init__(
        self,
        *,
        name: str = "n1",
        vips: tuple[Vip, ...] = (VIP,),
        ttl_s: int = 15,
        endpoints: int = 3,
        store: SmallEtcd | None = None,
        now: float = 1000.0,
        **settings: Any,
    ) -> None:
        self.settings = Settings(
            node_name=name,
            key_prefix=KEY_PREFIX,
            endpoints=tuple(f"http://m{i}:2379" for i in range(endpoints)),
            vips=vips,
            lease_ttl_s=ttl_s,
            **settings,
        )
        self.identity = identity_of(name)
        self.node = Node(self.settings, 0, lambda: bytes(16), self.identity)
        self.store = SmallEtcd() if store is None else store
        self.kernel = Kernel()
        """It removes as late as it may."""
        self.clients: dict[IPAddress, set[Client]] = {}
        """Who has a connection on this node's addresses."""
        self.now = now
        self.term = 5
        self.open: list[Command] = []
        self.reports: list[Report] = []
        self.saved: FormerRun | None = None
        self.removed: list[RemoveAddress] = []
        self.watch: int | None = None
        self.watched = 0
        self.sent: dict[int, float] = {}
        self.saves: list[SaveState] = []
        """Not answered yet: the disk answers at once, unless `disk_answers` is False."""
        self.disk_answers = True
        self.tries_answer = True
        """The write that a person's wish waits for is answered at once."""

    # -- shorthands ---------------------------------------------------------------------------------------------------

    @property
    def candidacy(self) -> Candidacy:
        """The first VIP's."""
        return self.node.candidacies[self.settings.vips[0].address]

    def is_in(self, phase: Phase) -> bool:
        """Whether the first VIP's candidacy stands there (a call, so that no type checker believes it lasts)."""
        return self.candidacy.phase is phase

    @property
    def right_until(self) -> float:
        """The first VIP's."""
        return self.candidacy.ownership.right.until

    @property
    def key(self) -> str:
        """The first VIP's election key."""
        assert self.candidacy.key is not None
        return self.candidacy.key

    @property
    def bid(self) -> Bid:
        """The first VIP's."""
        assert self.candidacy.bid is not None
        return self.candidacy.bid

    def prove_picture(self, sent_at: float) -> list[Command]:
        """A read that left then has just shown what the registry has."""
        self.node._apply_news([PictureProved(sent_at)], self.now)
        return self.hear(TimePassed())

    def settle(self) -> list[Command]:
        """Every candidacy takes the steps that what it was told lets it take."""
        self.node.vips.touch_all()
        return self.hear(TimePassed())

    @property
    def held(self) -> HeldLease:
        """The lease that the node has."""
        held = self.node.session._held
        assert held is not None
        return held

    def lose_lease(self, reason: str) -> None:
        """The node lets go of its lease, for a reason that no fact of these tests gives."""
        self.node._apply_news(self.node.session.lose_lease(reason), self.now)

    # -- facts in -----------------------------------------------------------------------------------------------------

    def start(self, former: FormerRun | None = None, *, link: LinkState | None = LINK) -> list[Command]:
        """The agent begins, and learns of its link."""
        orders = self._note(self.node.start(former, self.now))
        orders += self._save()
        if link is None:
            return orders
        orders += self.hear(LinkChanged(link))
        for address in OWN_ADDRESSES:
            orders += self.hear(AddressSeen(link.index, address, 0, ours=False))
        return orders

    def hear(self, event: Event, *, after_s: float = 0.0) -> list[Command]:
        """One fact; returns the orders that it led to."""
        self.now += after_s
        orders = self._note(self.node.handle(event, self.now)) + self._save()
        if self.node.wishes.is_waiting and self.tries_answer and isinstance(event, MoveRequested | DrainRequested):
            for write in [order for order in self.open if self._writes_own_record(order)]:
                self.open.remove(write)
                orders += self.answer(write)
        return orders

    def _writes_own_record(self, order: Command) -> bool:
        own = self.node.session.own_record.key
        return isinstance(order, Transact) and any(isinstance(op, Put) and op.key == own for op in order.then)

    def expect_own_record(self) -> Transact:
        """The write of the agent's own record that is open; it counts as taken."""
        write = next((order for order in self.open if self._writes_own_record(order)), None)
        assert isinstance(write, Transact), f"no write of the own record among {self.open}"
        self.open.remove(write)
        return write

    def _save(self) -> list[Command]:
        """A disk that is well answers before the next fact."""
        orders: list[Command] = []
        while self.saves and self.disk_answers:
            order = self.saves.pop(0)
            orders += self._note(self.node.handle(StateSaved(order.number), self.now))
        return orders

    def pass_time(self, seconds: float) -> list[Command]:
        """Nothing but time, in the steps that the core asks for; nobody answers."""
        until, orders = self.now + seconds, list[Command]()
        for _ in range(10_000):
            at = self.node.next_deadline()
            if at > until:
                break
            self.now = max(self.now, at)
            orders += self.hear(TimePassed())
        else:
            raise AssertionError("the core asks to be woken without end")
        self.now = until
        return orders + self.hear(TimePassed())

    def _note(self, orders: list[Command]) -> list[Command]:
        for order in orders:
            match order:
                case Report():
                    self.reports.append(order)
                case SaveState():
                    self.saved = read_state(order.content)
                    self.saves.append(order)
                case OpenWatch():
                    self.watch, self.watched = order.watch, order.from_revision - 1
                case CloseWatch():
                    self.watch = None if order.watch == self.watch else self.watch
                case _:
                    self.removed += [order] if isinstance(order, RemoveAddress) else []
                    if hasattr(order, "request"):
                        self.sent[order.request] = self.now
                    self.open.append(order)
        return orders

    # -- orders out ---------------------------------------------------------------------------------------------------

    def expect(self, kind: type[Order]) -> Order:
        """The oldest unanswered order of this kind; it counts as taken."""
        for order in self.open:
            if isinstance(order, kind):
                self.open.remove(order)
                return order
        raise AssertionError(f"no {kind.__name__} among {self.open}")

    def none(self, *kinds: type) -> None:
        """No order of these kinds is open."""
        found = [order for order in self.open if isinstance(order, kinds)]
        assert not found, found

    def drop(self, *kinds: type) -> None:
        """Forget open orders of these kinds, answered or not."""
        self.open = [order for order in self.open if not isinstance(order, kinds)]

    # -- answers ------------------------------------------------------------------------------------------------------

    def answer(self, order: Command, **changes: Any) -> list[Command]:
        """Carry the order out on the store or the kernel, now, and tell the core; `changes` bends the answer."""
        event = self.outcome(order)
        return self.hear(replace(event, **changes) if changes else event)

    def outcome(self, order: Command) -> Any:
        """What the world would answer at this instant; the store is changed, the core is not told."""
        store, term = self.store, self.term
        sent_at = self.sent.get(getattr(order, "request", 0), self.now)
        assert not isinstance(order, SegmentCommand), f"nobody answers {order}"
        match order:
            case GrantLease() | KeepLeaseAlive() | ReadKeys() | Transact() | RevokeLease():
                return store.answer(order, term, sent_at)
            case ReadMembers():
                return MembersRead(order.request, order.endpoint, (1, 2, 3))
            case MoveLeader():
                return LeaderMoved(order.request, order.endpoint)
            case ReadMember():
                return MemberRead(order.request, order.endpoint, order.endpoint + 1, 1, term, "3.5.1", store.full)
            case HoldAddress() | ReorderAddress() | RemoveAddress() | OpenGate() | CloseGate():
                return self.kernel.carry_out(order, self.now, late_s=LIFETIME_LATE_S)
            case SaveState():
                return StateSaved(order.number)
            case ReadClients():
                standing = ((each, client) for each in order.addresses for client in self.clients.get(each, ()))
                return ClientsRead(order.number, tuple(standing), True)
            case TickleClients():
                return ClientsTickled(order.vip, len(order.clients), 0)
            case OpenWatch() | CloseWatch() | DropEndpoint() | SendDatagram():
                raise AssertionError(f"nobody answers {order}")
            case Report() | AnswerOperator() | Exit() | ReadSurroundings() | ProbeChecks() | RunHook() | StopHook():
                raise AssertionError(f"nobody answers {order}")
            case _:
                assert_never(order)

    def fail(self, order: Any, failure: Failure = Failure.TIMEOUT) -> list[Command]:
        """No answer that counts."""
        return self.hear(RequestFailed(order.request, order.endpoint, failure, failure.value))

    def tell_changes(self) -> list[Command]:
        """The watch delivers what it has not delivered yet."""
        fresh = () if self.watch is None else self.store.changes_from(self.watched + 1)
        if self.watch is None or not fresh:
            return []
        self.watched = self.store.revision
        return self.hear(KeysChanged(self.watch, fresh, fresh[-1].revision))

    def serve(self, *but: type) -> None:
        """A healthy world answers everything that is open, the watch included, except orders of the kinds `but`."""
        for _ in range(1000):
            order = next((o for o in self.open if isinstance(o, ANSWERED) and not isinstance(o, but)), None)
            if order is not None:
                self.open.remove(order)
                self.answer(order)
            elif not self.tell_changes():
                break
        else:
            raise AssertionError("the core does not come to rest")
        self.drop(DropEndpoint)

    def run(self, seconds: float, *but: type) -> None:
        """Time passes in a healthy world."""
        until = self.now + seconds
        for _ in range(10_000):
            self.serve(*but)
            at = self.node.next_deadline()
            if at > until:
                break
            self.now = max(self.now, at)
            self.hear(TimePassed())
        else:
            raise AssertionError("the core asks to be woken without end")
        self.now = until

    def release(self) -> Transact:
        """The deletion that gives the first VIP's key up; it counts as taken."""
        for order in self.open:
            if deletes(order, self.key):
                self.open.remove(order)
                assert isinstance(order, Transact)
                return order
        raise AssertionError(f"no release among {self.open}")

    # -- scenes -------------------------------------------------------------------------------------------------------

    def own(self) -> Talk:
        """Start, and become the owner of every VIP."""
        self.start()
        self.run(1.0)
        assert all(c.phase is Phase.OWNING for c in self.node.candidacies.values())
        self.open.clear()
        return self

    def fall_sick(self, detail: str = "500") -> list[Command]:
        """A health check has failed, and our record says so."""
        orders = self.hear(HealthChanged(healthy=False, detail=detail, failing=(("api", Ailment.DEAD),)))
        own = LAYOUT.agent(self.settings.node_name)
        for order in [each for each in self.open if isinstance(each, Transact)]:
            if any(isinstance(op, Put) and op.key == own for op in order.then):
                self.open.remove(order)
                orders += self.answer(order)
        return orders + self.tell_changes()

    def assent(self, name: str = "n2", lease: int = THEIRS, **fields: object) -> list[Command]:
        """That candidate has seen what our record asks for, and says that it is better."""
        if self.node.session.lease is None:
            return []
        revision = self.store.keys[LAYOUT.agent(self.settings.node_name)].mod_revision
        answers = {f"{self.node.session.lease:x}": revision}
        self.store.put(LAYOUT.agent(name), agent_record(name, answers=answers, **fields), lease)
        return self.tell_changes()

    def due(self) -> KeepLeaseAlive:
        """Let time pass in a healthy world until a renewal is due; its keepalive, unanswered."""
        while not any(isinstance(order, KeepLeaseAlive) for order in self.open):
            self.now = max(self.now, self.node.next_deadline())
            self.hear(TimePassed())
            self.serve(KeepLeaseAlive)
        return self.expect(KeepLeaseAlive)

    def renew(self) -> tuple[KeepLeaseAlive, ReadKeys]:
        """A renewal is due: confirm its keepalive, and return both orders, the read unanswered."""
        keepalive = self.due()
        self.answer(keepalive)
        return keepalive, self.expect(ReadKeys)

    def prove(self, *, after_s: float = 0.0) -> None:
        """One whole renewal."""
        _, read = self.renew()
        self.now += after_s
        self.answer(read)


def owner() -> Talk:
    """A node that owns the VIP and has nothing under way."""
    return Talk().own()


def waiting_behind(name: str = "n2") -> Talk:
    """A node that waits for its turn behind another candidate."""
    talk = Talk()
    talk.store.stand(name)
    talk.start()
    talk.run(1.0)
    assert talk.is_in(Phase.WAITING)
    talk.open.clear()
    return talk


def with_a_rival(talk: Talk) -> Talk:
    """Another candidate stands behind."""
    talk.store.stand()
    talk.tell_changes()
    talk.open.clear()
    return talk


def leaving() -> Talk:
    """An owner that has just been told to move the address to the candidate behind it."""
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.hear(MoveRequested(1, VIP.address, None))
    return talk


def taken_by_word() -> Talk:
    """n2 has said that it leaves; nobody has told etcd yet."""
    talk = waiting_behind()
    speaker = talk.candidacy.queue()[0]
    talk.node._released(THEIRS, Released(speaker.create_revision, VIP.address, "moved"), talk.now)
    talk.hear(PeerAddressChanged("n1:9470"))
    assert talk.is_in(Phase.OWNING)
    return talk


FactArguments = ParamSpec("FactArguments")
Answer = TypeVar("Answer")


def tell(
    ownership: Ownership,
    now: float,
    fact: Callable[Concatenate[Ownership, FactArguments], Answer],
    *arguments: FactArguments.args,
    **named: FactArguments.kwargs,
) -> Answer:
    """One turn of an ownership that stands alone: the fact is recorded, then whatever is due is ordered."""
    answer = fact(ownership, *arguments, **named)
    ownership.advance(now)
    return answer


def restarted(before: Talk, **settings: Any) -> Talk:
    """The agent's next run on the same node, from its state file: the address of the last one may still be there."""
    talk = Talk(store=before.store, now=before.now + 0.2, **settings)
    talk.start(before.saved)
    return talk


def deletes(order: object, key: str) -> bool:
    """Whether the transaction gives this key up."""
    return isinstance(order, Transact) and any(isinstance(op, Delete) and op.key == key for op in order.then)


__all__ = [
    "LAYOUT",
    "LINK",
    "MAC",
    "NEVER",
    "OURS",
    "THEIRS",
    "VIP",
    "SmallEtcd",
    "Talk",
    "agent_record",
    "deletes",
    "identity_of",
    "leaving",
    "owner",
    "restarted",
    "secret_of",
    "taken_by_word",
    "tell",
    "waiting_behind",
    "with_a_rival",
]
