"""What neighbours believe, and what we hear: real frames between two namespaces."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from sharedip.adapters.kernel.deadman import Deadman
from sharedip.adapters.kernel.netlink import Netlink
from sharedip.adapters.kernel.packet import Segment
from sharedip.core.address import frames
from sharedip.core.messages import Announce, AnnounceOnceHeld, ForeignClaim, HoldAddress, Probe
from sharedip.core.model import IPAddress, LinkState, Vip
from tests.contract.kernel.conftest import Pair
from tests.contract.kernel.kernel_loop import VIP4, VIP6, Loop, link_of
from tests.contract.kernel.kernel_netns import Namespace, Recorder, boot_clock, wait_until

IPV4, IPV6 = IPv4Address("10.0.0.50"), IPv6Address("2001:db8::50")
BOTH = pytest.mark.parametrize("vip", [VIP4, VIP6], ids=["ipv4", "ipv6"])
STRANGER = bytes.fromhex("02000000beef")
OLD = "02:00:00:00:00:0d"


def text_of(mac: bytes) -> str:
    return mac.hex(":")


def believe(namespace: Namespace, address: IPAddress, mac: str) -> None:
    """The neighbour has just learned this: its entry is younger than the lock time of one second."""
    namespace.run(f"ip neigh replace {address} lladdr {mac} nud reachable dev eth0")


def believed(namespace: Namespace, address: IPAddress) -> str | None:
    found = json.loads(namespace.run(f"ip -json neigh show {address} dev eth0"))
    return found[0].get("lladdr") if found else None


def send_from(namespace: Namespace, *prepared: bytes) -> None:
    with namespace.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind(("eth0", 0))
        for frame in prepared:
            raw.send(frame)


@BOTH
def test_an_announcement_updates_a_neighbour_that_has_just_learned_otherwise(
    pair: Pair, netlink: Netlink, segment: Segment, vip: Vip
) -> None:
    believe(pair.peer, vip.address, OLD)
    segment.perform(AnnounceOnceHeld(vip, boot_clock() + 1))
    mine = text_of(link_of(netlink).mac)
    wait_until(lambda: believed(pair.peer, vip.address) == mine)
    assert segment.sent == (3 if vip.address.version == 4 else 1)


@pytest.mark.parametrize(
    ("make", "updates"),
    [
        (lambda mac: frames.arp_announcement(mac, IPV4), True),
        (lambda mac: frames.arp_gratuitous_reply(mac, IPV4), True),
        (lambda mac: frames.neighbour_advertisement(mac, IPV6), True),
        (lambda mac: frames._arp(mac, 2, IPV4.packed, frames.BROADCAST_MAC, IPV4.packed), False),
        (lambda mac: frames.arp_probe(mac, IPV4), False),
        (lambda mac: frames.neighbour_probe(mac, IPV6), False),
    ],
    ids=["request", "reply", "advertisement", "reply to broadcast", "probe", "neighbour probe"],
)
def test_each_form_alone_does_to_a_young_entry_what_the_docs_say(
    pair: Pair, netlink: Netlink, make: Callable[[bytes], bytes], updates: bool
) -> None:
    mine = link_of(netlink).mac
    vip = VIP6 if make(mine)[12:14] == b"\x86\xdd" else VIP4
    marker = IPv4Address("10.0.0.77")
    believe(pair.peer, marker, OLD)
    believe(pair.peer, vip.address, OLD)
    # The marker comes after it on the same cable: once it is believed, the frame before it has had its effect.
    send_from(pair.node, make(mine), frames.arp_announcement(mine, marker))
    wait_until(lambda: believed(pair.peer, marker) == text_of(mine))
    assert believed(pair.peer, vip.address) == (text_of(mine) if updates else OLD)


@BOTH
def test_an_announcement_after_its_deadline_is_not_sent(pair: Pair, segment: Segment, vip: Vip) -> None:
    segment.perform(AnnounceOnceHeld(vip, boot_clock() - 0.1))
    assert (segment.sent, segment.unsent) == (0, 1)


def hold_silently(pair: Pair, vip: Vip) -> None:
    """Give the peer the address, without a word on the segment."""
    nodad = " nodad" if vip.address.version == 6 else ""
    pair.peer.run(f"ip addr add {vip}/{vip.host_prefix_length} dev eth0{nodad}")


@BOTH
def test_a_probe_is_answered_by_whoever_holds_the_address(
    pair: Pair, loop: Loop, segment: Segment, recorder: Recorder, vip: Vip
) -> None:
    hold_silently(pair, vip)
    segment.perform(Probe(vip))
    loop.until(lambda: recorder.facts)
    (claim,) = recorder.take()
    holder = json.loads(pair.peer.run("ip -json link show eth0"))[0]["address"]
    assert isinstance(claim, ForeignClaim)
    assert (claim.vip, text_of(claim.mac)) == (vip, holder)
    assert boot_clock() - claim.seen_at < 5


@BOTH
def test_an_owner_that_asks_finds_a_stranger_that_never_said_a_word(
    pair: Pair, loop: Loop, segment: Segment, recorder: Recorder, vip: Vip
) -> None:
    """`ip address add` on another machine announces nothing, and Linux does not answer a gratuitous request."""
    hold_silently(pair, vip)
    segment.perform(AnnounceOnceHeld(vip, boot_clock() + 1))
    assert not loop.turn(0.2)
    assert recorder.take() == []
    segment.perform(Announce(vip, boot_clock() + 1))
    loop.until(lambda: recorder.facts)
    (claim,) = recorder.take()
    assert isinstance(claim, ForeignClaim)
    assert claim.vip == vip


@BOTH
def test_a_probe_that_nobody_answers_stays_without_an_answer(
    loop: Loop, segment: Segment, recorder: Recorder, vip: Vip
) -> None:
    segment.perform(Probe(vip))
    assert segment.sent == 1
    assert not loop.turn(0.2)
    assert recorder.take() == []


@BOTH
def test_a_stranger_s_announcement_and_probe_are_named(
    pair: Pair, loop: Loop, segment: Segment, recorder: Recorder, vip: Vip
) -> None:
    send_from(pair.peer, *frames.announcements(STRANGER, vip.address))
    loop.until(lambda: recorder.facts)
    (claim,) = recorder.take()
    assert isinstance(claim, ForeignClaim)
    assert (claim.vip, claim.mac) == (vip, STRANGER)
    other = STRANGER[:-1] + b"\x01"
    if vip.address.version == 4:  # to hear an IPv6 probe one must be in the address's group: when holding it
        send_from(pair.peer, frames.probe(other, vip.address))
        loop.until(lambda: recorder.facts)
        (claim,) = recorder.take()
        assert isinstance(claim, ForeignClaim)
        assert claim.mac == other


@BOTH
def test_who_looks_reads_what_waits_without_a_round_of_the_loop(
    pair: Pair, segment: Segment, recorder: Recorder, vip: Vip
) -> None:
    send_from(pair.peer, *frames.announcements(STRANGER, vip.address))

    def looked() -> bool:
        segment.look()
        return bool(recorder.facts)

    wait_until(looked)
    (claim,) = recorder.take()
    assert isinstance(claim, ForeignClaim)
    assert (claim.vip, claim.mac) == (vip, STRANGER)


def test_an_owner_hears_a_stranger_probe_for_its_ipv6_address(
    pair: Pair, netlink: Netlink, loop: Loop, segment: Segment, recorder: Recorder
) -> None:
    netlink.perform(HoldAddress(VIP6, 60, boot_clock() + 63))
    recorder.take()
    send_from(pair.peer, frames.probe(STRANGER, VIP6.address))
    loop.until(lambda: recorder.facts)
    (claim,) = recorder.take()
    assert isinstance(claim, ForeignClaim)
    assert (claim.vip, claim.mac) == (VIP6, STRANGER)


@BOTH
def test_the_same_stranger_is_not_news_again_at_once_but_after_a_probe(
    pair: Pair, loop: Loop, segment: Segment, recorder: Recorder, vip: Vip
) -> None:
    for _ in range(3):
        send_from(pair.peer, *frames.announcements(STRANGER, vip.address))
    loop.until(lambda: recorder.facts and not loop.turn(0.05))
    assert len(recorder.take()) == 1
    assert segment.suppressed >= 2
    segment.perform(Probe(vip))
    send_from(pair.peer, *frames.announcements(STRANGER, vip.address))
    loop.until(lambda: recorder.facts)


@BOTH
def test_this_node_s_own_links_are_no_strangers(
    pair: Pair, netlink: Netlink, loop: Loop, segment: Segment, recorder: Recorder, vip: Vip
) -> None:
    pair.node.run("ip link add mac0 link eth0 address 02:00:00:00:00:33 type macvlan mode bridge")
    netlink.receive()
    recorder.take()
    mine = bytes.fromhex("020000000033")
    send_from(pair.peer, *frames.announcements(mine, vip.address))  # as if a switch sent it back
    send_from(pair.peer, *frames.announcements(link_of(netlink).mac, vip.address))
    loop.until(lambda: loop.wakes)
    while loop.turn(0.05):
        pass
    assert recorder.take() == []


def test_ordinary_traffic_and_claims_to_other_addresses_never_wake_the_agent(
    pair: Pair, netlink: Netlink, loop: Loop, segment: Segment
) -> None:
    other4, other6 = ip_address("10.0.0.60"), ip_address("2001:db8::60")
    pair.peer.run("ping -c 3 -i 0.01 10.0.0.1" if _has_ping(pair.peer) else "ip -br link")
    send_from(pair.peer, *frames.announcements(STRANGER, other4), *frames.announcements(STRANGER, other6))
    # A client asks for the address: no claim.
    send_from(pair.peer, frames._arp(STRANGER, 1, other4.packed, bytes(6), VIP4.address.packed))
    assert not loop.turn(0.2)


def test_frames_of_a_vlan_are_not_the_link_s_own(pair: Pair, loop: Loop, segment: Segment) -> None:
    """No VLAN links here, but a tag in the frame is taken off by the receiving veth as by a card."""
    plain = frames.arp_announcement(STRANGER, IPV4)
    send_from(pair.peer, plain[:12] + b"\x81\x00\x00\x07" + plain[12:])
    assert not loop.turn(0.2)
    send_from(pair.peer, plain[:12] + b"\x81\x00\xe0\x00" + plain[12:])  # VLAN 0: only a priority
    assert loop.turn(2)


def test_a_flood_is_taken_in_bounded_bites(pair: Pair, loop: Loop, segment: Segment, recorder: Recorder) -> None:
    flood = [frames.arp_announcement(b"\x02\0\0\0" + number.to_bytes(2, "big"), IPV4) for number in range(400)]
    send_from(pair.peer, *flood)
    loop.turn(1)
    assert 0 < len(recorder.facts) <= 64
    while loop.turn(0.1):
        pass
    assert len(recorder.take()) <= 256
    assert len(segment._heard) <= 256


def test_a_link_that_is_down_or_gone_is_weather(
    pair: Pair, netlink: Netlink, loop: Loop, segment: Segment, recorder: Recorder
) -> None:
    index = link_of(netlink).index
    pair.node.run("ip link set eth0 down")
    segment.perform(AnnounceOnceHeld(VIP4, boot_clock() + 1))
    assert segment.unsent == 3
    while loop.turn(0.05):
        pass
    pair.node.run("ip link set eth0 up")
    pair.peer.run("ip link set eth0 up")

    def is_running() -> bool:
        netlink.receive()
        return link_of(netlink).running

    wait_until(is_running)
    recorder.take()
    send_from(pair.peer, *frames.announcements(STRANGER, VIP4.address))
    loop.until(lambda: recorder.facts)
    pair.node.run("ip link del eth0")
    segment.perform(AnnounceOnceHeld(VIP4, boot_clock() + 1))
    segment.perform(Probe(VIP6))
    while loop.turn(0.05):
        pass
    segment.forget_link(index)
    assert loop.readers == {}
    before = segment.unsent
    segment.perform(AnnounceOnceHeld(VIP4, boot_clock() + 1))
    assert segment.unsent == before + 1


def test_watching_follows_mac_and_addresses(
    pair: Pair, netlink: Netlink, loop: Loop, segment: Segment, recorder: Recorder
) -> None:
    pair.node.run("ip link set eth0 address 02:00:00:00:00:99")
    netlink.receive()
    link = link_of(netlink)
    new = Vip(IPv4Address("10.0.0.61"), "eth0")
    with pair.node.inside():
        segment.watch_link(link, [new])
    assert len(loop.readers) == 1, "no IPv6 address, no IPv6 socket"
    recorder.take()
    believe(pair.peer, new.address, OLD)
    segment.perform(AnnounceOnceHeld(new, boot_clock() + 1))
    wait_until(lambda: believed(pair.peer, new.address) == "02:00:00:00:00:99")
    send_from(pair.peer, *frames.announcements(STRANGER, VIP4.address))
    assert not loop.turn(0.1)
    with pair.node.inside():
        segment.watch_link(link, [])
    assert loop.readers == {}


def test_a_link_that_vanished_before_it_is_watched_is_weather(pair: Pair, loop: Loop, segment: Segment) -> None:
    with pair.node.inside():
        segment.watch_link(LinkState(999, ("eth9",), STRANGER, running=True), [VIP4])
    segment.perform(AnnounceOnceHeld(Vip(VIP4.address, "eth9"), boot_clock() + 1))
    assert segment.unsent == 1


def _has_ping(namespace: Namespace) -> bool:
    return "ping" in namespace.run("ls /bin /usr/bin").split()


def with_timers(
    netlink: Netlink,
    loop: Loop,
    deadman: Deadman,
    recorder: Recorder,
    later: list[Callable[[], None]],
    clock: Callable[[], float],
) -> Segment:
    """One that paces: what it does later waits in `later`."""
    return Segment(
        recorder,
        clock,
        deadman,
        add_reader=loop.add,
        remove_reader=loop.readers.pop,
        is_own_mac=netlink.is_own_mac,
        call_later=lambda _, callback: later.append(callback),
    )


def test_a_thousand_announcements_leave_at_a_pace_and_what_is_withheld_never_does(
    pair: Pair, netlink: Netlink, loop: Loop, deadman: Deadman, recorder: Recorder
) -> None:
    """The first ones at once, the others within half a second; one whose address leaves meanwhile is not sent."""
    later: list[Callable[[], None]] = []
    now = [boot_clock()]
    vips = [Vip(ip_address(f"10.0.{n // 250}.{n % 250 + 1}"), "eth0") for n in range(1000)]
    made = with_timers(netlink, loop, deadman, recorder, later, lambda: now[0])
    with pair.node.inside():
        made.watch_link(link_of(netlink), vips)
    for vip in vips:
        made.perform(AnnounceOnceHeld(vip, boot_clock() + 30))
    made.perform(AnnounceOnceHeld(vips[-1], boot_clock() + 30))  # again, before its turn has come: once is enough
    at_once = made.sent
    assert 3 <= at_once <= 390
    made.withhold(vips[-2])
    began = now[0]
    while later:
        now[0] += 0.01
        before = made.sent
        later.pop()()
        assert made.sent - before <= 3 * 21
    assert made.sent == 3 * 999
    assert now[0] - began < 0.6
    made.close()


def test_a_flood_has_its_rests_and_whoever_closes_in_one_is_not_read_again(
    pair: Pair, netlink: Netlink, loop: Loop, deadman: Deadman, recorder: Recorder
) -> None:
    """Of a socket that always has more the loop would never be rid; each MAC is another stranger."""
    later: list[Callable[[], None]] = []
    made = with_timers(netlink, loop, deadman, recorder, later, boot_clock)
    with pair.node.inside():
        made.watch_link(link_of(netlink), [VIP4])
    listening = set(loop.readers)
    flood = [frames.arp_announcement(b"\x02\0\0\0" + number.to_bytes(2, "big"), IPV4) for number in range(250)]
    send_from(pair.peer, *flood)
    loop.until(lambda: len(recorder.facts) == 64)
    assert not loop.readers, "nothing wakes the loop for it"
    made.look()  # who stood still reads all the same, and the rest is one
    assert len(recorder.take()) == 128
    assert len(later) == 1
    later.pop()()
    assert loop.readers.keys() == listening
    loop.until(lambda: len(later) == 1)
    made.close()
    later.pop()()
    assert not loop.readers


@BOTH
def test_a_neighbour_that_is_forgotten_is_asked_for_anew(
    pair: Pair, netlink: Netlink, segment: Segment, vip: Vip
) -> None:
    """What this node believes of an address says nothing of who else would answer for it."""
    believe(pair.node, vip.address, OLD)
    netlink.forget_neighbour(vip)
    assert believed(pair.node, vip.address) in (None, "")
    netlink.forget_neighbour(vip)  # nobody is known: nothing to forget
