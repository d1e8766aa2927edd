"""One core between an etcd that lies and a kernel that obeys, and the judge of what it orders.

The judge keeps what was proved in the words of the law: a keepalive counts from the
instant before it left, if a read that was ordered after its confirmation came back from the same endpoint in the same
term with a key on the lease. No order for the kernel may reach beyond the best proof of the lease that stands now, no
address may be held but with an own key that such a read showed to be the first, and no key may be given up while its
address may be on a link.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, assert_never

from sharedip.core.messages import (
    AddressGone,
    AddressHeld,
    AddressRefused,
    AddressRemoved,
    AddressSeen,
    Announce,
    AnnounceOnceHeld,
    AnswerOperator,
    ClientsRead,
    ClientsTickled,
    CloseGate,
    CloseWatch,
    Command,
    DatagramReceived,
    DrainRequested,
    DropEndpoint,
    Event,
    Exit,
    ForeignClaim,
    GateOpened,
    GateRefused,
    GrantLease,
    HealthChanged,
    HoldAddress,
    KeepaliveConfirmed,
    KeepLeaseAlive,
    KeysChanged,
    KeysRead,
    LeaseGranted,
    LeaseRevoked,
    LinkChanged,
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
    RemovalFailed,
    RemoveAddress,
    ReorderAddress,
    Report,
    RequestFailed,
    RevokeLease,
    RunHook,
    SaveState,
    SegmentCommand,
    SendDatagram,
    SettingsChanged,
    StateSaved,
    StopHook,
    TickleClients,
    TimePassed,
    Transact,
    TransactionDone,
    WatchLost,
    WatchOpened,
)
from sharedip.core.model import Failure, FenceKind, IPAddress, KeyChange, KeyValue, LinkState, Vip
from sharedip.core.node import Node
from sharedip.core.segment.wire import MAGIC
from sharedip.core.settings import LIFETIME_LATE_S, Settings
from sharedip.core.state import FormerRun
from sharedip.core.view import view
from tests.fuzz.liar import TRIED, Liar, Told, hostile_key, hostile_value, identity_of
from tests.fuzz.peer_model import PeerModel
from tests.fuzz.picture import Readings
from tests.models.judge import LAYOUT, given_up_too_early
from tests.models.kernel import Kernel, KernelOrder
from tests.models.store import Answer, Request

NEVER = float("-inf")
LINK = 2
ORDERS_MAX = 300
"""For one fact, with two VIPs. A core that orders without end would meet it."""
WAKES_MAX = 20
"""At one instant: then there must be nothing left that is due."""
PENDING_MAX = 40

VIPS = (Vip(ip_address("192.168.0.15"), "eth0"), Vip(ip_address("2001:db8::15"), "eth0"))


class Stage:
    """Every `do_…` is one thing that may happen; after each, all that the core ordered has been judged."""

    def __init__(
        self,
        chance: random.Random,
        *,
        fence: FenceKind = FenceKind.NFTABLES,
        absurd: bool = False,
        lies: float = 0.15,
        former_lease: int | None = None,
        reloads: bool = True,
    ) -> None:
        self.now = 1000.0
        self.lies = lies
        self.reloads = reloads
        self.settings = Settings(
            node_name="n1",
            key_prefix="sharedip:v1",
            endpoints=("http://a", "http://b", "http://c"),
            vips=VIPS,
            lease_ttl_s=3,
            window_s=1.0,
            fence=fence,
            local_endpoint=0,
            has_health_checks=False,
        )
        self.etcd = Liar(VIPS, absurd=absurd)
        self.node = Node(
            self.settings,
            chance.getrandbits(32),
            lambda: chance.getrandbits(128).to_bytes(16, "big"),
            identity_of(TRIED),
        )
        self.pending: dict[int, tuple[Request, float]] = {}
        self.told: deque[Told] = deque(maxlen=50)
        self.facts: deque[Event] = deque()
        self.watch: OpenWatch | None = None
        self.watched_until = 0
        self.kernel = Kernel()
        """It removes as late as it may: what it has may be on the link."""
        self.proved: dict[int, float] = {}
        self.first: set[tuple[int, IPAddress, int]] = set()
        self.leases: set[int] = set()
        self.readings = Readings()
        self._reads: dict[int, KeepaliveConfirmed] = {}
        self.peers = PeerModel(self.etcd)
        self.answered = b""
        self.holds = 0
        self.handled = 0
        self.over = False
        former = None
        if former_lease is not None:
            former = FormerRun(former_lease, "sharedip:v1", "n1", tuple(vip.address for vip in VIPS), drained=False)
            self._prepare_former(former_lease)
        self._judge(self.node.start(former, self.now))
        self.handle(PeerAddressChanged("10.0.0.1:9470"))
        self.handle(LinkChanged(LinkState(LINK, ("eth0",), b"\2\0\0\0\0\1", running=True)))
        for address in list(self.kernel.addresses):
            self.handle(AddressSeen(LINK, address, address.max_prefixlen, ours=True))

    def _prepare_former(self, lease: int) -> None:
        self.etcd.store.grant(self.settings.lease_ttl_s, lease)
        self.leases.add(lease)
        self.etcd.store.put(LAYOUT.agent("n1"), b"{}", lease)
        for vip in VIPS:
            self.etcd.store.put(LAYOUT.candidate(vip.address, lease), b"n1", lease)
            self.kernel.addresses[vip.address] = self.now + 3.0

    # -- what may happen ----------------------------------------------------------------------------------------------

    def do_answer(self, chance: random.Random) -> None:
        """etcd answers something that it was asked, truly or not."""
        if not self.pending:
            return
        number = chance.choice(sorted(self.pending)) if chance.random() < 0.3 else min(self.pending)
        order, sent_at = self.pending.pop(number)
        answer = self.etcd.tell(order, sent_at)
        if chance.random() < self.lies:
            answer = self.etcd.distort(chance, answer, self.node.session.lease)
        self._deliver(order, answer)

    def do_answer_again(self, chance: random.Random) -> None:
        """The same once more, or what answers nothing."""
        if not self.told:
            return
        told = chance.choice(list(self.told))
        answer = told.answer
        if chance.random() < 0.5:
            answer = replace(answer, request=chance.choice([0, -1, 10**6, told.answer.request + 1000]))
        elif chance.random() < 0.5:
            answer = self.etcd.distort(chance, answer, self.node.session.lease)
        if answer.request not in self.pending:
            self.handle(answer)

    def do_lose(self, chance: random.Random) -> None:
        """No answer: the write was applied, or not, or will be."""
        if not self.pending:
            return
        order, sent_at = self.pending.pop(chance.choice(sorted(self.pending)))
        if chance.random() < 0.5:
            self.etcd.tell(order, sent_at)
        failure = chance.choice([one for one in Failure if one is not Failure.LEASE_NOT_FOUND])
        self._deliver(order, RequestFailed(order.request, order.endpoint, failure, "lost"))

    def do_watch(self, chance: random.Random) -> None:
        """The watch tells what happened, in disorder if it must lie; or is lost."""
        if self.watch is None:
            return
        number, lease = self.watch.watch, self.node.session.lease
        what = chance.random()
        news = list(self.etcd.news(self.watched_until))
        if what < 0.1:
            endpoint, self.watch = self.watch.endpoint, None
            self.handle(WatchLost(number, endpoint, chance.choice(list(Failure)), "lost"))
            return
        if what < 0.1 + self.lies:
            news = [self._hostile_change(chance, lease) for _ in range(chance.randrange(1, 4))] + news[:3]
            chance.shuffle(news)
            revision = max(change.revision for change in news)
            self.handle(KeysChanged(chance.choice([number, number, number + 1]), tuple(news), revision))
            return
        if news:
            self.watched_until = news[-1].revision
            self.handle(KeysChanged(number, tuple(news), news[-1].revision))

    def _hostile_change(self, chance: random.Random, lease: int | None) -> KeyChange:
        revision = self.etcd._number(
            chance, self.etcd.store.revision, lowest=1, highest=self.etcd.store.revision + 100_000
        )
        name = hostile_key(chance, VIPS, lease)
        if chance.random() < 0.3:
            return KeyChange(name, None, revision)
        found = self.etcd.distort_keys(chance, tuple(self.etcd.store.keys.values())[:3], lease)
        if found and chance.random() < 0.5:
            return KeyChange(found[0].key, found[0], revision)
        value = hostile_value(chance, self.etcd.store.keys, lease)
        from_keys = self.etcd.store.keys.get(name)
        if from_keys is None:
            return KeyChange(name, None, revision)
        return KeyChange(name, replace(from_keys, value=value, mod_revision=revision), revision)

    def do_meddle(self, chance: random.Random) -> None:
        """Others write into the store."""
        self.etcd.meddle(chance, self.node.session.lease)

    def do_wait(self, chance: random.Random) -> None:
        """Time passes, to the next deadline or not so far; what has waited too long for an answer fails."""
        self._settle_kernel(chance)
        due = self.node.next_deadline()
        step_s = chance.choice([0.0, 0.005, 0.05, 0.2, 1.0, 5.0])
        self.pass_to(min(self.now + step_s, max(self.now, due)) if chance.random() < 0.8 else self.now + step_s)

    def pass_to(self, at: float) -> None:
        """Time passes to this instant."""
        self.now = max(self.now, at)
        for address in self.kernel.expire(self.now):
            self.facts.append(AddressGone(LINK, address, address.max_prefixlen))
        for number, (order, sent_at) in list(self.pending.items()):
            if self.now >= sent_at + order.timeout_s and number in self.pending:
                del self.pending[number]
                self._deliver(order, RequestFailed(number, order.endpoint, Failure.TIMEOUT, "no answer in time"))
        wakes = 0
        self.handle(TimePassed())
        while not self.over and self.node.next_deadline() <= self.now:
            wakes += 1
            assert wakes < WAKES_MAX, "the core is woken without end"
            self.handle(TimePassed())

    def do_kernel(self, chance: random.Random) -> None:
        """The kernel answers an order; or something happens on a link."""
        vip = chance.choice(VIPS)
        if self.facts or chance.random() < 0.9:
            self._settle_kernel(chance)
            return
        mac = bytes([2, 0, 0, 0, 0, chance.randrange(2, 9)])
        events: list[Event] = [
            ForeignClaim(vip, mac, self.now),
            AddressSeen(LINK, ip_address("192.168.0.2"), 24, ours=False),
            AddressSeen(LINK, vip.address, vip.host_prefix_length, ours=False),
            LinkChanged(LinkState(LINK, ("eth0", "alt"), mac, running=chance.random() < 0.5)),
            LinkChanged(LinkState(LINK, ("eth0",), mac, running=True)),
        ]
        self.handle(chance.choice(events))

    def do_operator(self, chance: random.Random) -> None:
        """Somebody at the control socket, and the health checks."""
        vip = chance.choice(VIPS)
        if self.reloads and chance.random() < 0.5:
            keep = VIPS if chance.random() < 0.7 else chance.choice([VIPS[:1], VIPS[1:]])
            self.handle(SettingsChanged(replace(self.settings, vips=keep, window_s=chance.choice([None, 1.0, 0.5]))))
            return
        events: list[Event] = [
            MoveRequested(1, vip.address, chance.choice([None, "n2", "n1", "\x1b"])),
            DrainRequested(2, drained=chance.random() < 0.1),
            HealthChanged(healthy=chance.random() < 0.9, detail="x"),
        ]
        self.handle(chance.choice(events))

    def do_datagram(self, chance: random.Random) -> None:
        """Garbage on the peer socket, sometimes with a header that looks right."""
        lease = max(0, self.node.session.lease or 0)
        head = (
            MAGIC
            + bytes([chance.randrange(1, 6), 1])
            + b"".join(number.to_bytes(8, "big") for number in (chance.choice([1, 2]), lease))
        )
        payload = head + chance.getrandbits(320).to_bytes(40, "big")
        self.handle(DatagramReceived("10.0.0.9", 9470, payload[: chance.choice([0, 5, 54, 62, 62])], self.now))

    def do_peer(self, chance: random.Random) -> None:
        """Peers answer our beats and pings, late, twice or never; and beat under designations of their own."""
        lease = self.node.session.lease
        payload = self.peers.next_payload(chance, lease) if lease is not None else None
        if payload is not None:
            self.receive(payload)

    def receive(self, payload: bytes) -> list[Command]:
        """One datagram, authentic or not. Gives what was ordered."""
        return self.handle(DatagramReceived("10.0.0.9", 9470, payload, self.now))

    # -- the loop and the judge ---------------------------------------------------------------------------------------

    def handle(self, event: Event) -> list[Command]:
        """One turn of the agent's loop."""
        if self.over:
            return []
        self.handled += 1
        lease = self.node.session.lease
        self._learn(event, lease)
        orders = self.node.handle(event, self.now)
        if isinstance(event, KeepaliveConfirmed):
            for order in orders:
                if isinstance(order, ReadKeys):
                    self._reads[order.request] = event
        self._judge(orders)
        return orders

    def _deliver(self, order: Request, answer: Answer) -> None:
        self.told.append(Told(order, answer))
        self.handle(answer)

    def _learn(self, event: Event, lease: int | None) -> None:
        """What this fact proves, before the core sees it."""
        if isinstance(event, TransactionDone):
            self.peers.transaction_done(event)
        if isinstance(event, RequestFailed):
            self.peers.failed(event.request)
        if isinstance(event, KeysChanged):
            picture = {key.key: key for key in self.node.session.registry.under("")}
            picture.update({each.key: each.after for each in event.changes if each.after is not None})
            gone = {each.key for each in event.changes if each.after is None}
            self.peers.pictured(key for name, key in picture.items() if name not in gone)
        if isinstance(event, DatagramReceived):
            self.peers.delivered(event.payload)
        if isinstance(event, LeaseGranted):
            self.leases.add(event.lease)
            self._proved(event.lease, event.sent_at + event.ttl_s)
        shown: list[KeyValue] = []
        if isinstance(event, KeysRead | TransactionDone):
            shown = self.readings.shown(event, self.node.session.registry)
        if isinstance(event, KeysRead):
            self.peers.pictured(shown)
        if isinstance(event, KeysRead):
            kept = self._reads.pop(event.request, None)
            same = kept is not None and (kept.endpoint, kept.raft_term) == (event.endpoint, event.raft_term)
            if kept is not None and same and any(key.lease == kept.lease for key in shown):
                self._proved(kept.lease, kept.sent_at + kept.ttl_s)
        if isinstance(event, KeysRead | TransactionDone) and lease is not None:
            for vip in VIPS:
                queue = [key for key in shown if LAYOUT.election_of(key.key) == vip.address]
                own = [key for key in queue if key.key == LAYOUT.candidate(vip.address, lease)]
                if own and own[0].create_revision == min(key.create_revision for key in queue):
                    self.first.add((lease, vip.address, own[0].create_revision))

    def _proved(self, lease: int, until: float) -> None:
        self.proved[lease] = max(self.proved.get(lease, NEVER), until)

    def _judge(self, orders: list[Command]) -> None:
        assert len(orders) < ORDERS_MAX, f"{len(orders)} orders for one fact"
        for order in orders:
            self._judge_one(order)
            self._carry_out(order)
        view(self.node, self.now)
        self.node.next_deadline()

    def _judge_one(self, order: Command) -> None:
        match order:
            case HoldAddress() | ReorderAddress():
                self._judge_use(order, order.vip, order.not_after)
                assert order.valid_lft_s >= 1
                assert self.kernel.refusal(order, self.now) is None, "the kernel's lifetime is too long"
            case OpenGate():
                for vip in order.vips:
                    self._judge_use(order, vip, order.not_after)
                assert self.now + order.timeout_s <= order.not_after, "the gate stays open too long"
            case Announce() | AnnounceOnceHeld():
                self._judge_use(order, order.vip, order.not_after)
            case _:
                broken = given_up_too_early(order, self.node.session.lease, lambda _: self.kernel.addresses)
                assert broken is None, broken

    def _judge_use(self, order: Command, vip: Vip, not_after: float) -> None:
        lease = self.node.session.lease
        assert lease is not None, "an address is used without a lease"
        assert not_after <= self.proved.get(lease, NEVER), f"{vip} until {not_after}, proved {self.proved.get(lease)}"
        epoch = self.node.candidacies[vip.address].epoch if vip.address in self.node.candidacies else None
        assert epoch is None or (lease, vip.address, epoch) in self.first, f"{vip}: no read showed our key first"
        gated = self.settings.fence is FenceKind.NFTABLES
        if epoch is not None and not (gated and isinstance(order, HoldAddress | ReorderAddress)):
            promised = self.peers.promised_until(vip.address, epoch)
            assert not_after <= promised, f"{vip} until {not_after}, its witness promised until {promised}"

    def _carry_out(self, order: Command) -> None:
        if isinstance(order, SegmentCommand):
            return
        match order:
            case HoldAddress() | ReorderAddress():
                self.holds += 1
                self._ask_kernel(order)
            case RemoveAddress() | OpenGate() | CloseGate():
                self._ask_kernel(order)
            case SaveState():
                self.facts.append(StateSaved(order.number))
            case OpenWatch():
                assert self.watch is None, "two watches at once"
                self.watch, self.watched_until = order, order.from_revision - 1
                self.facts.append(WatchOpened(order.watch, self.etcd.store.revision))
            case CloseWatch():
                self.watch = None
            case DropEndpoint():
                for number, (asked, _) in list(self.pending.items()):
                    if asked.endpoint == order.endpoint:
                        del self.pending[number]
                        self.facts.append(RequestFailed(number, asked.endpoint, Failure.UNAVAILABLE, "dropped"))
            case Exit():
                self.over = True
            case ReadClients():
                some = tuple((each, bytes((0, 80, 0, 1, *each.packed[:-1], 1))) for each in order.addresses)
                self.facts.append(ClientsRead(order.number, some, True))
            case TickleClients():
                self.facts.append(ClientsTickled(order.vip, len(order.clients), 0))
            case SendDatagram():
                self.peers.sent(order.payload, self.now)
            case Transact():
                self.readings.ordered(order)
                self.peers.ordered(order)
                self._ask(order)
            case (
                GrantLease()
                | KeepLeaseAlive()
                | ReadKeys()
                | RevokeLease()
                | ReadMember()
                | ReadMembers()
                | MoveLeader()
            ):
                self._ask(order)
            case Report() | AnswerOperator() | ReadSurroundings() | ProbeChecks() | RunHook() | StopHook():
                pass
            case _:
                assert_never(order)

    def _ask_kernel(self, order: KernelOrder) -> None:
        self.facts.append(self.kernel.carry_out(order, self.now, late_s=LIFETIME_LATE_S))

    def _ask(self, order: Request) -> None:
        assert order.request not in self.pending, "a request number was used twice"
        self.pending[order.request] = (order, self.now)
        assert len(self.pending) < PENDING_MAX, f"{len(self.pending)} requests under way"

    def _settle_kernel(self, chance: random.Random) -> None:
        """The kernel's answers, in their order; now and then it refuses, and what it refused did not happen."""
        for _ in range(len(self.facts)):
            fact: Any = self.facts.popleft()
            if isinstance(fact, AddressHeld) and chance.random() < 0.05:
                fact = AddressRefused(fact.vip, "refused")
            elif isinstance(fact, AddressRemoved) and chance.random() < 0.1:
                # It is still there, whatever we ordered; unless a later removal was carried out, whose answer decides.
                if AddressRemoved(fact.vip) not in self.facts:
                    self.kernel.addresses[fact.vip.address] = self.now + 3.0
                fact = RemovalFailed(fact.vip, "EBUSY")
            elif isinstance(fact, GateOpened) and chance.random() < 0.05:
                fact = GateRefused(fact.vips, "refused")
            self.handle(fact)


ACTIONS = {
    Stage.do_answer: 40,
    Stage.do_wait: 12,
    Stage.do_kernel: 12,
    Stage.do_watch: 10,
    Stage.do_meddle: 6,
    Stage.do_lose: 2,
    Stage.do_answer_again: 4,
    Stage.do_operator: 2,
    Stage.do_datagram: 2,
    Stage.do_peer: 25,
}


def play(stage: Stage, chance: random.Random, steps: int) -> None:
    """So many things happen, at random."""
    actions, weights = list(ACTIONS), list(ACTIONS.values())
    for _ in range(steps):
        chance.choices(actions, weights)[0](stage, chance)


def sizes(node: Node) -> dict[str, int]:
    """How many things every collection inside the core holds, by its place."""
    found: dict[str, int] = {}
    seen: set[int] = set()

    def look(thing: object, place: str, depth: int) -> None:
        if depth > 7 or id(thing) in seen or isinstance(thing, str | bytes | int | float | type(None)):
            return
        seen.add(id(thing))
        if isinstance(thing, dict | list | set | tuple | deque | frozenset):
            found[place] = found.get(place, 0) + len(thing)
            values = thing.values() if isinstance(thing, dict) else thing
            for value in list(values):
                look(value, f"{place}[]", depth + 1)
            return
        if type(thing).__module__.startswith("sharedip.core"):
            names = getattr(thing, "__dict__", None) or {
                name: getattr(thing, name, None) for name in getattr(type(thing), "__slots__", ())
            }
            for name, value in list(names.items()):
                look(value, f"{place}.{name}", depth + 1)

    look(node, "node", 0)
    return found


__all__ = ["ACTIONS", "LeaseRevoked", "Stage", "play", "sizes"]
