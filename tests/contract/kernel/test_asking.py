"""Asking neighbours on the link: who answers, what counts as an answer, and what does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from sharedip.adapters.kernel.deadman import Deadman
from sharedip.adapters.kernel.netlink import Netlink
from sharedip.adapters.kernel.nftables import Fence
from sharedip.adapters.kernel.packet import Segment
from sharedip.core.address import frames
from sharedip.core.messages import AskNeighbour, ForeignClaim, NeighbourAnswered
from sharedip.core.model import IPAddress, LinkState, Vip
from tests.contract.kernel.conftest import Pair
from tests.contract.kernel.kernel_loop import VIP4, VIP6, Loop, link_of
from tests.contract.kernel.kernel_netns import Namespace, Recorder, boot_clock, wait_until
from tests.contract.kernel.test_segment import send_from

OWN: dict[int, IPAddress] = {4: IPv4Address("10.0.0.1"), 6: IPv6Address("2001:db8::1")}
PEER: dict[int, IPAddress] = {4: IPv4Address("10.0.0.2"), 6: IPv6Address("2001:db8::2")}
STRANGER = bytes.fromhex("02000000beef")
BOTH = pytest.mark.parametrize("version", [4, 6], ids=["ipv4", "ipv6"])
DIRECT = pytest.mark.parametrize("directly", [True, False], ids=["unicast", "to everybody"])


def mac_of(namespace: Namespace, link: str = "eth0") -> bytes:
    return bytes.fromhex(json.loads(namespace.run(f"ip -json link show {link}"))[0]["address"].replace(":", ""))


def vip_of(version: int) -> Vip:
    return VIP4 if version == 4 else VIP6


def hold_silently(pair: Pair, vip: Vip) -> None:
    nodad = " nodad" if vip.address.version == 6 else ""
    pair.peer.run(f"ip addr add {vip}/{vip.host_prefix_length} dev eth0{nodad}")


def answer(mac: bytes, address: IPAddress, asker: IPAddress, to: bytes) -> bytes:
    """What its holder at `mac` answers to the one who asked."""
    if isinstance(address, IPv4Address):
        return frames._arp(mac, 2, address.packed, to, asker.packed, to)
    message = frames._NEIGHBOUR.pack(136, 0, 0, 0x6000_0000, address.packed) + b"\x02\x01" + mac
    return frames._neighbour_discovery(mac, address.packed, asker.packed, message, to)


def quiet(loop: Loop) -> None:
    while loop.turn(0.1):
        pass


@BOTH
@DIRECT
def test_a_neighbour_answers_for_its_own_address(
    pair: Pair, netlink: Netlink, loop: Loop, segment: Segment, recorder: Recorder, version: int, directly: bool
) -> None:
    index, mac = link_of(netlink).index, mac_of(pair.peer)
    asked_at = boot_clock()
    segment.perform(AskNeighbour(index, OWN[version], PEER[version], mac if directly else None))
    loop.until(lambda: recorder.facts)
    (fact,) = recorder.take()
    assert isinstance(fact, NeighbourAnswered)
    assert (fact.index, fact.address, fact.mac) == (index, PEER[version], mac)
    assert asked_at <= fact.seen_at <= boot_clock()
    quiet(loop)
    assert recorder.take() == []


@BOTH
@DIRECT
def test_an_owner_s_answer_for_the_vip_is_an_answer_and_no_claim(
    pair: Pair, netlink: Netlink, loop: Loop, segment: Segment, recorder: Recorder, version: int, directly: bool
) -> None:
    """As a claim it would forbid to take by the word that the owner may say in the same moment."""
    vip = vip_of(version)
    hold_silently(pair, vip)
    mac = mac_of(pair.peer)
    segment.perform(AskNeighbour(link_of(netlink).index, OWN[version], vip.address, mac if directly else None))
    loop.until(lambda: recorder.facts)
    quiet(loop)
    assert [(type(fact), getattr(fact, "mac", b"")) for fact in recorder.take()] == [(NeighbourAnswered, mac)]


@BOTH
def test_another_s_answer_for_the_vip_is_both(
    pair: Pair, netlink: Netlink, loop: Loop, segment: Segment, recorder: Recorder, version: int
) -> None:
    vip = vip_of(version)
    link = link_of(netlink)
    segment.perform(AskNeighbour(link.index, OWN[version], vip.address, mac_of(pair.peer)))
    send_from(pair.peer, answer(STRANGER, vip.address, OWN[version], link.mac))
    loop.until(lambda: len(recorder.facts) == 2)
    answered, claim = recorder.take()
    assert isinstance(answered, NeighbourAnswered)
    assert isinstance(claim, ForeignClaim)
    assert answered.mac == claim.mac == STRANGER


@BOTH
def test_what_the_owner_announces_stays_a_claim_though_it_was_asked(
    pair: Pair, netlink: Netlink, loop: Loop, segment: Segment, recorder: Recorder, version: int
) -> None:
    vip, mac = vip_of(version), mac_of(pair.peer)
    segment.perform(AskNeighbour(link_of(netlink).index, OWN[version], vip.address, mac))
    send_from(pair.peer, *frames.announcements(mac, vip.address))
    loop.until(lambda: recorder.facts)
    quiet(loop)
    assert [type(fact) for fact in recorder.take()] == [ForeignClaim]


@BOTH
def test_an_answer_for_the_vip_that_everybody_is_sent_stays_a_claim(
    pair: Pair, netlink: Netlink, loop: Loop, segment: Segment, recorder: Recorder, version: int
) -> None:
    vip = vip_of(version)
    segment.perform(AskNeighbour(link_of(netlink).index, OWN[version], vip.address, None))
    send_from(pair.peer, answer(STRANGER, vip.address, OWN[version], b"\xff" * 6))
    loop.until(lambda: recorder.facts)
    quiet(loop)
    assert [type(fact) for fact in recorder.take()] == [ForeignClaim]


@BOTH
def test_answers_that_nobody_asked_for_are_nothing(
    pair: Pair, netlink: Netlink, loop: Loop, segment: Segment, recorder: Recorder, version: int
) -> None:
    """Unasked; for another asker; to another MAC. The same for a VIP is a claim, as it always was."""
    link, vip = link_of(netlink), vip_of(version)
    other = PEER[version] + 1
    send_from(pair.peer, answer(STRANGER, PEER[version], OWN[version], link.mac))
    segment.perform(AskNeighbour(link.index, OWN[version], other, None))
    send_from(pair.peer, answer(STRANGER, PEER[version], OWN[version], link.mac))
    send_from(pair.peer, answer(STRANGER, other, OWN[version] + 100, link.mac))
    send_from(pair.peer, answer(STRANGER, other, OWN[version], b"\xff" * 6))
    quiet(loop)
    assert recorder.take() == []
    send_from(pair.peer, answer(STRANGER, vip.address, OWN[version], link.mac))
    loop.until(lambda: recorder.facts)
    assert [type(fact) for fact in recorder.take()] == [ForeignClaim]


@BOTH
def test_an_answer_by_a_mac_of_this_node_is_nothing(
    pair: Pair, netlink: Netlink, loop: Loop, segment: Segment, recorder: Recorder, version: int
) -> None:
    link = link_of(netlink)
    segment.perform(AskNeighbour(link.index, OWN[version], PEER[version] + 1, None))
    send_from(pair.peer, answer(link.mac, PEER[version] + 1, OWN[version], link.mac))
    quiet(loop)
    assert recorder.take() == []


@BOTH
def test_nobody_is_asked_from_a_shared_address(pair: Pair, netlink: Netlink, segment: Segment, version: int) -> None:
    """Who hears the question believes that its source is here."""
    index = link_of(netlink).index
    segment.perform(AskNeighbour(index, vip_of(version).address, PEER[version], None))
    segment.perform(AskNeighbour(index, OWN[version], PEER[10 - version], None))
    segment.perform(AskNeighbour(index, OWN[version], PEER[version], b"\x02"))
    assert (segment.sent, segment.unsent) == (0, 3)


@BOTH
def test_a_link_is_heard_in_the_family_that_is_asked_for(
    pair: Pair, netlink: Netlink, loop: Loop, segment: Segment, recorder: Recorder, version: int
) -> None:
    """Its VIPs are of the other one. The socket stays, over every change of the link, until the link has no VIP."""
    link, other = link_of(netlink), vip_of(10 - version)
    segment.watch_link(link, [other])
    assert len(loop.readers) == 1
    segment.perform(AskNeighbour(link.index, OWN[version], PEER[version], None))
    segment.watch_link(link, [other])
    assert len(loop.readers) == 2
    loop.until(lambda: recorder.facts)
    assert [type(fact) for fact in recorder.take()] == [NeighbourAnswered]
    send_from(pair.peer, *frames.announcements(STRANGER, vip_of(version).address))
    assert not loop.turn(0.1)
    segment.watch_link(link, [])
    assert loop.readers == {}


def test_a_link_that_is_down_unknown_or_gone_is_weather(
    pair: Pair, netlink: Netlink, loop: Loop, segment: Segment, recorder: Recorder
) -> None:
    index = link_of(netlink).index
    asks = [AskNeighbour(index, OWN[version], PEER[version], None) for version in (4, 6)]
    segment.perform(AskNeighbour(999, OWN[4], PEER[4], None))
    pair.node.run("ip link set eth0 down")
    for order in asks:
        segment.perform(order)
    quiet(loop)
    pair.node.run("ip link del eth0")
    for order in asks:
        segment.perform(order)
    quiet(loop)
    assert (segment.sent, segment.unsent) == (0, 5)
    segment.forget_link(index)
    segment.watch_link(LinkState(index, ("eth0",), STRANGER, running=True), [VIP4])
    segment.perform(asks[1])
    assert segment.unsent == 6
    assert recorder.take() == []


@BOTH
def test_a_flood_of_forged_answers_is_taken_in_bites_and_hides_nobody(
    pair: Pair,
    netlink: Netlink,
    loop: Loop,
    segment: Segment,
    recorder: Recorder,
    version: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link, target, mac = link_of(netlink), PEER[version] + 1, mac_of(pair.peer)
    segment.perform(AskNeighbour(link.index, OWN[version], target, mac))
    forged = [
        answer(b"\x02\0\0\0" + number.to_bytes(2, "big"), target, OWN[version], link.mac) for number in range(200)
    ]
    send_from(pair.peer, *forged, answer(mac, target, OWN[version], link.mac))
    bites: list[int] = [0]
    decode = frames.decode

    def count(frame: bytes) -> frames.Claim | None:
        bites[-1] += 1
        return decode(frame)

    monkeypatch.setattr(frames, "decode", count)
    while loop.turn(0.1):
        bites.append(0)
    assert max(bites) == 64
    assert sum(bites) == 201
    facts = recorder.take()
    assert len(facts) == 9
    assert isinstance(facts[-1], NeighbourAnswered)
    assert facts[-1].mac == mac


@BOTH
def test_it_works_on_a_bridge_whose_port_is_the_cable(
    pair: Pair, netlink: Netlink, loop: Loop, segment: Segment, recorder: Recorder, version: int
) -> None:
    """The answer arrives on the port, and is heard on the link that has the address."""
    pair.node.run("ip link add br0 address 02:00:00:00:00:b0 type bridge")
    for command in ("link set eth0 master br0", "addr flush dev eth0", "link set br0 up"):
        pair.node.run(f"ip {command}")
    for own, length in ((OWN[4], 24), (OWN[6], 64)):
        pair.node.run(f"ip addr add {own}/{length} dev br0" + (" nodad" if length == 64 else ""))
    wait_until(lambda: "forwarding" in pair.node.run("ip -d link show eth0"))

    def is_running() -> bool:
        netlink.receive()
        found = netlink.find_link("br0")
        return found is not None and found.running

    wait_until(is_running)
    link = netlink.find_link("br0")
    assert link is not None
    recorder.take()
    segment.watch_link(link, [Vip(VIP4.address, "br0"), Vip(VIP6.address, "br0")])
    for to in (mac_of(pair.peer), None):
        segment.perform(AskNeighbour(link.index, OWN[version], PEER[version], to))
        loop.until(lambda: recorder.facts)
        (fact,) = recorder.take()
        assert isinstance(fact, NeighbourAnswered)
        assert (fact.index, fact.mac) == (link.index, mac_of(pair.peer))


@pytest.fixture
def fence(pair: Pair, deadman: Deadman) -> Iterator[Fence]:
    """Shut, on the node that has both VIPs."""
    for vip in (VIP4, VIP6):
        pair.node.run(f"ip addr add {vip}/{vip.host_prefix_length} dev eth0")
    with pair.node.inside():
        made = Fence(boot_clock, deadman)
        assert made.available() is None
        assert made.install([VIP4, VIP6]) is None
        yield made
        made.close()


@pytest.fixture
def ask_from_peer(
    pair: Pair, deadman: Deadman, loop: Loop, recorder: Recorder
) -> Iterator[Callable[[IPAddress, bytes | None], bool]]:
    """Whether the node answers the peer."""
    made = Segment(
        recorder,
        boot_clock,
        deadman,
        add_reader=loop.add,
        remove_reader=loop.readers.pop,
        is_own_mac=lambda _: False,
    )
    with pair.peer.inside():
        made.watch_link(
            LinkState(22, ("eth0",), mac_of(pair.peer), running=True), [Vip(ip_address("10.0.0.77"), "eth0")]
        )

    def ask(target: IPAddress, to: bytes | None) -> bool:
        with pair.peer.inside():
            made.perform(AskNeighbour(22, PEER[target.version], target, to))
        quiet(loop)
        return bool(recorder.take())

    yield ask
    made.close()


@BOTH
@DIRECT
def test_a_closed_gate_mutes_the_vip_and_not_the_link_s_own_address(
    pair: Pair,
    netlink: Netlink,
    fence: Fence,
    ask_from_peer: Callable[[IPAddress, bytes | None], bool],
    version: int,
    directly: bool,
) -> None:
    to = link_of(netlink).mac if directly else None
    assert ask_from_peer(OWN[version], to)
    assert not ask_from_peer(vip_of(version).address, to)
    fence.uninstall()
    assert ask_from_peer(vip_of(version).address, to), "only the fence was in the way"


@BOTH
def test_questions_from_the_link_s_own_address_pass_a_closed_gate(
    pair: Pair, netlink: Netlink, loop: Loop, recorder: Recorder, segment: Segment, fence: Fence, version: int
) -> None:
    for to in (mac_of(pair.peer), None):
        segment.perform(AskNeighbour(link_of(netlink).index, OWN[version], PEER[version], to))
        loop.until(lambda: recorder.facts)
        assert [type(fact) for fact in recorder.take()] == [NeighbourAnswered]
