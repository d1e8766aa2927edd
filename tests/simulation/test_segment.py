"""What passes on the model segment, and what agents hear of what others send there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address

import pytest

from sharedip.core.messages import (
    Announce,
    AnnounceOnceHeld,
    AskNeighbour,
    DatagramReceived,
    Event,
    ForeignClaim,
    NeighbourAnswered,
    Probe,
    ReadSurroundings,
    SendDatagram,
    SurroundingsRead,
)
from sharedip.core.model import FenceKind, IPAddress
from sharedip.core.node import Node
from tests.models.segment import BOTH_FAMILIES, Port, Segment
from tests.simulation.wire import CLIENT, GATEWAY, LINK_INDEX, NETWORKS, own_addresses
from tests.simulation.world import Host, World

A, B, C = "a", "b", "c"
VIP4, VIP6 = ip_address("10.77.0.100"), ip_address("fd77::100")
HELLO = bytes(4) + b"\6" + bytes(40)


def segment() -> Segment:
    return Segment(
        [Port(name, bytes([2, 0, 0, 0, 0, n]), set(own_addresses(n))) for n, name in enumerate((A, B, C), 1)]
    )


def both(name: str, eaten: str) -> Callable[[Segment], None]:
    return lambda each: getattr(each.ports[name], eaten).update(BOTH_FAMILIES)


# -- what passes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("breaks", "passing"),
    [
        (lambda _: None, {(A, B), (B, A), (A, C), (C, A), (B, C), (C, B)}),
        (both(A, "deaf"), {(A, B), (A, C), (B, C), (C, B)}),
        (both(A, "dumb"), {(B, A), (C, A), (B, C), (C, B)}),
        (lambda each: each.ports[A].deaf.add(6), {(A, B), (B, A), (A, C), (C, A), (B, C), (C, B)}),
        (lambda each: each.ports[A].deaf.add(4), {(A, B), (A, C), (B, C), (C, B)}),
        (lambda each: each.apart.add((A, B)), {(B, A), (A, C), (C, A), (B, C), (C, B)}),
        (lambda each: setattr(each, "beyond", frozenset({A})), {(B, C), (C, B)}),
        (lambda each: setattr(each.ports[A], "is_up", False), {(B, C), (C, B)}),
        (lambda each: setattr(each.ports[A], "blocks_udp", True), {(A, B), (B, A), (A, C), (C, A), (B, C), (C, B)}),
    ],
    ids=["well", "deaf", "dumb", "IPv6 alone", "IPv4 alone", "a pair", "in two", "down", "UDP blocked"],
)
def test_frames_of_ipv4_pass_as_the_fault_says(
    breaks: Callable[[Segment], None], passing: set[tuple[str, str]]
) -> None:
    """Between each two ports, one way and the other; and after healing everything passes but what is down."""
    each = segment()
    breaks(each)
    pairs = [(one, other) for one in each.ports for other in each.ports if one != other]
    assert {pair for pair in pairs if each.passes(*pair, 4)} == passing
    each.heal()
    down = {name for name, port in each.ports.items() if not port.is_up}
    assert {pair for pair in pairs if each.passes(*pair, 4)} == {pair for pair in pairs if not down & set(pair)}


def test_blocked_datagrams_leave_frames_alone() -> None:
    """An ACL on the agents' port, at either end."""
    each = segment()
    each.ports[B].blocks_udp = True
    assert each.passes(A, B, 4)
    assert [each.carries(A, B, 4), each.carries(B, A, 4), each.carries(A, C, 4)] == [False, False, True]


def test_a_spoof_guard_eats_what_says_where_a_vip_is_and_nothing_else() -> None:
    """At the owner's port; its own address is what the platform has given out."""
    each = segment()
    each.ports[A].guards = True
    own = own_addresses(1)[0]
    assert [each.tells(A, B, VIP4), each.tells(A, B, own), each.tells(B, A, VIP4)] == [False, True, True]


def test_sides_are_those_that_hear_each_other_by_whatever_way() -> None:
    """One way is no way."""
    each = segment()
    each.apart.add((A, B))
    assert each.sides(4, each.ports) == [{A, B, C}]
    each.apart.add((C, A))
    assert each.sides(4, each.ports) == [{A}, {B, C}]


def test_who_answers_for_what() -> None:
    """The link's own address, a VIP that a kernel lets be used; to everybody's request, and to one for this MAC."""
    each = Segment(segment().ports.values(), lambda name, address: (name, address) == (B, VIP4))

    def answering(asker: str, target: IPAddress, to: bytes | None = None) -> list[str]:
        return [port.name for port in each.responders(asker, target, to)]

    own = own_addresses(2)[0]
    assert (answering(A, own), answering(A, VIP4), answering(A, VIP6)) == ([B], [B], [])
    assert answering(A, VIP4, each.ports[B].mac) == [B]
    assert answering(A, VIP4, each.ports[C].mac) == []
    assert answering(B, VIP4) == []
    each.ports[B].guards = True
    assert (answering(A, own), answering(A, VIP4)) == ([B], [])
    each.ports[A].deaf.add(4)
    assert answering(A, own) == []


# -- what agents hear -------------------------------------------------------------------------------------------------


class Heard(World):
    """Three nodes, n1 owns an address of each family; what the cores hear from now on is kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(
            3, vips=2, vips_of_ipv6=1, ttl_s=15, window_s=1.0, fence=FenceKind.NFTABLES, gateway=True, client=True
        )
        for number, host in enumerate(self.hosts):
            self.later(0.2 * number, host.start)
        self.run_until(self.t + 8.0)
        self.heard: list[tuple[str, Event]] = []
        handle_all = Node.handle_all

        def keep(core: Node, events: Iterable[Event], now: float) -> object:
            events = tuple(events)
            self.heard += [(core.settings.node_name, event) for event in events]
            return handle_all(core, events, now)

        monkeypatch.setattr(Node, "handle_all", keep)
        assert [self.owners(vip.address) for vip in self.vips] == [["n1"], ["n1"]]

    def of(self, kind: type[Event]) -> list[tuple[str, Event]]:
        """Who has heard such a fact within 50 ms from now."""
        del self.heard[:]
        self.run_until(self.t + 0.05)
        return [each for each in self.heard if isinstance(each[1], kind)]

    def claims(self) -> list[tuple[str, str, bytes]]:
        """Who hears of which address by which MAC."""
        told = self.of(ForeignClaim)
        return sorted((name, str(event.vip), event.mac) for name, event in told if isinstance(event, ForeignClaim))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Heard:
    return Heard(monkeypatch)


def mac(number: int) -> bytes:
    return bytes([2, 0, 0, 0, 0, number])


def send(world: World, host: Host, payload: bytes = HELLO, version: int = 4, to: int = 2) -> None:
    source, target = (own_addresses(number)[version == 6] for number in (int(host.name[1:]), to))
    host._carry_out(SendDatagram(str(target), 9470, payload, source, LINK_INDEX))


@pytest.mark.parametrize("version", [4, 6])
def test_a_hello_arrives_on_the_link_from_the_own_address_that_it_left_from(world: Heard, version: int) -> None:
    """Once, or now and then twice; a port that is deaf in the other family alone does not matter."""
    world.hosts[1].port.deaf.add(10 - version)
    send(world, world.hosts[0], version=version)
    source = str(own_addresses(1)[version == 6])
    arrived = [each for name, each in world.of(DatagramReceived) if name == "n2" and each.payload == HELLO]  # type: ignore[union-attr]
    assert arrived
    for event in arrived:
        assert isinstance(event, DatagramReceived)
        assert (event.host, event.index, event.is_direct) == (source, LINK_INDEX, True)
        assert event.received_at > 0


@pytest.mark.parametrize("what", ["deaf", "dumb", "blocks_udp", "cuts of the other network", "not its own address"])
def test_what_stops_a_hello_and_what_does_not(world: Heard, what: str) -> None:
    """The segment's own troubles alone."""
    first, second = world.hosts[:2]
    match what:
        case "deaf":
            second.port.deaf.add(4)
        case "dumb":
            first.port.dumb.add(4)
        case "blocks_udp":
            second.port.blocks_udp = True
        case "not its own address":
            first.port.addresses.clear()
        case _:
            world.peer_cuts.add(("n1", "n2"))
    send(world, first)
    arrived = [each for _, each in world.of(DatagramReceived) if each.payload == HELLO]  # type: ignore[union-attr]
    assert bool(arrived) is (what == "cuts of the other network")


@pytest.mark.parametrize("version", [4, 6])
def test_an_announcement_is_a_claim_to_all_who_list_the_address(world: Heard, version: int) -> None:
    """By the announcer's MAC; not after its deadline; the first one only if the kernel has the address."""
    first, vip = world.hosts[0], world.vips[version == 6]
    world.hosts[2].port.deaf |= BOTH_FAMILIES
    soon = first.now() + 1.0
    first._carry_out(AnnounceOnceHeld(vip, soon))
    assert world.claims() == [("n2", str(vip), mac(1))]
    world.run_until(world.t + 0.3)
    first._carry_out(AnnounceOnceHeld(vip, first.now() - 0.1))
    world.hosts[1]._carry_out(AnnounceOnceHeld(vip, world.hosts[1].now() + 1.0))
    assert world.claims() == []


@pytest.mark.parametrize("version", [4, 6])
def test_a_probe_is_answered_by_a_kernel_whose_gate_is_open(world: Heard, version: int) -> None:
    """The prober hears the owner's MAC; the others take the probe for a claim; in IPv6 they hear the answer as well."""
    vip = world.vips[version == 6]
    world.hosts[0].freeze(30.0)  # its kernel answers as long as the gate stands
    world.hosts[1]._carry_out(Probe(vip))
    answer = [("n2", str(vip), mac(1)), *([("n3", str(vip), mac(1))] if version == 6 else [])]
    assert world.claims() == sorted([*answer, ("n3", str(vip), mac(2))])
    world.hosts[0].kernel.gates.clear()
    world.hosts[1]._carry_out(Probe(vip))
    assert [claim for claim in world.claims() if claim[2] == mac(1)] == []


def test_the_same_claim_is_no_news_for_a_while(world: Heard) -> None:
    """As the adapter has it: at most once in 0.2 s, and the probe behind an announcement says the same."""
    first, vip = world.hosts[0], world.vips[0]
    for _ in range(3):
        first._carry_out(Announce(vip, first.now() + 1.0))
    assert world.claims() == [("n2", str(vip), mac(1)), ("n3", str(vip), mac(1))]


def test_asks_are_answered_by_the_machine_and_not_by_its_agent(world: Heard) -> None:
    """By a dead agent's kernel for the link's own address; not by a machine that is off, nor for a VIP of nobody's."""
    first, second = world.hosts[:2]
    second.kill()
    source, own = own_addresses(1)[0], own_addresses(2)[0]
    first._carry_out(AskNeighbour(LINK_INDEX, source, own))
    (answer,) = [event for _, event in world.of(NeighbourAnswered)]
    assert isinstance(answer, NeighbourAnswered)
    assert (answer.index, answer.address, answer.mac) == (LINK_INDEX, own, mac(2))
    assert answer.seen_at == pytest.approx(first.now(), abs=0.1)
    first._carry_out(AskNeighbour(LINK_INDEX, source, own, mac(3)))
    first._carry_out(AskNeighbour(LINK_INDEX, source, ip_address("10.77.0.199")))
    assert world.of(NeighbourAnswered) == []
    second.crash()
    first._carry_out(AskNeighbour(LINK_INDEX, source, own))
    assert world.of(NeighbourAnswered) == []


def test_an_answer_that_waits_for_a_frozen_agent_is_seen_when_that_reads_it(world: Heard) -> None:
    """The adapter reads the clock when it reads the socket."""
    first = world.hosts[1]
    first._carry_out(AskNeighbour(LINK_INDEX, own_addresses(2)[0], own_addresses(3)[0]))
    first.freeze(0.02)
    ((_, answer),) = world.of(NeighbourAnswered)
    assert isinstance(answer, NeighbourAnswered)
    assert answer.seen_at == pytest.approx(first.now() - 0.03, abs=0.002)


def test_a_nodes_surroundings(world: Heard) -> None:
    """Networks of its own addresses, the gateway, and who has talked with it."""
    first = world.hosts[0]
    first._carry_out(AskNeighbour(LINK_INDEX, own_addresses(1)[0], own_addresses(2)[0]))
    world.run_until(world.t + 0.05)
    first._carry_out(ReadSurroundings(LINK_INDEX))
    ((_, read),) = world.of(SurroundingsRead)
    assert isinstance(read, SurroundingsRead)
    assert read.on_link == NETWORKS
    assert set(read.gateways) == world.segment.ports[GATEWAY].addresses
    known = dict(read.neighbours)
    assert known[own_addresses(2)[0]] == mac(2)
    assert all(known[address] == world.segment.ports[CLIENT].mac for address in world.segment.ports[CLIENT].addresses)
    first.port.addresses.discard(own_addresses(1)[1])
    first._carry_out(ReadSurroundings(LINK_INDEX))
    ((_, read),) = world.of(SurroundingsRead)
    assert isinstance(read, SurroundingsRead)
    assert read.on_link == NETWORKS[:1]


@pytest.mark.parametrize("one_network", [True, False])
def test_where_there_is_one_network_its_troubles_are_the_beats_troubles(world: Heard, one_network: bool) -> None:
    """A witness that hears no beat deposes; over a network of its own the beats go on."""
    world.one_network = one_network
    world.hosts[0].port.dumb |= BOTH_FAMILIES
    world.run_until(world.t + 0.05)  # what was on its way
    world.heard.clear()
    world.run_until(world.t + 0.5)
    arrived = [name for name, event in world.heard if isinstance(event, DatagramReceived) and event.host == "n1"]
    assert bool(arrived) is not one_network
