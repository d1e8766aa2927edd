"""Frames as RFC 826, 5227, 4861 and 4862 want them; scapy is the oracle, hypothesis the vandal."""

from __future__ import annotations

import logging
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedip.core.address import frames
from sharedip.core.address.frames import Claim, ClaimKind

logging.getLogger("scapy").setLevel(logging.CRITICAL)
from scapy.layers.inet import IP, UDP  # noqa: E402
from scapy.layers.inet6 import (  # noqa: E402 - scapy warns on import when it finds no route
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether  # noqa: E402

MAC = bytes.fromhex("020000000a01")
MAC_TEXT = "02:00:00:00:0a:01"
OTHER_TEXT = "02:00:00:00:0b:02"
OTHER = bytes.fromhex("020000000b02")
VIP4 = IPv4Address("192.168.0.15")
VIP6 = IPv6Address("2001:db8::abcd:1234")

macs = st.binary(min_size=6, max_size=6).filter(lambda mac: not mac[0] & 1 and mac != bytes(6))
ipv4 = st.ip_addresses(v=4).filter(lambda address: int(address) != 0)
ipv6 = st.ip_addresses(v=6).filter(lambda address: address.packed[0] != 0xFF and int(address) != 0)


def arp(**fields: Any) -> bytes:
    return bytes(Ether(src=MAC_TEXT, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=MAC_TEXT, **fields))


def test_an_arp_announcement_is_a_request_for_the_own_address_with_target_mac_zero() -> None:
    oracle = arp(op=1, psrc=str(VIP4), pdst=str(VIP4), hwdst="00:00:00:00:00:00")
    assert frames.arp_announcement(MAC, VIP4) == oracle


def test_a_gratuitous_reply_carries_the_own_mac_as_target() -> None:
    oracle = arp(op=2, psrc=str(VIP4), pdst=str(VIP4), hwdst=MAC_TEXT)
    assert frames.arp_gratuitous_reply(MAC, VIP4) == oracle


def test_an_arp_probe_has_no_sender_address() -> None:
    oracle = arp(op=1, psrc="0.0.0.0", pdst=str(VIP4), hwdst="00:00:00:00:00:00")
    assert frames.arp_probe(MAC, VIP4) == oracle


def test_an_unsolicited_advertisement_overrides_and_names_the_mac_to_all_nodes() -> None:
    oracle = (
        Ether(src=MAC_TEXT, dst="33:33:00:00:00:01")
        / IPv6(src=str(VIP6), dst="ff02::1", hlim=255)
        / ICMPv6ND_NA(tgt=str(VIP6), R=0, S=0, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=MAC_TEXT)
    )
    assert frames.neighbour_advertisement(MAC, VIP6) == bytes(oracle)


def test_a_neighbour_probe_asks_the_solicited_node_group_from_nowhere() -> None:
    oracle = (
        Ether(src=MAC_TEXT, dst="33:33:ff:cd:12:34")
        / IPv6(src="::", dst="ff02::1:ffcd:1234", hlim=255)
        / ICMPv6ND_NS(tgt=str(VIP6))
    )
    assert frames.neighbour_probe(MAC, VIP6) == bytes(oracle)


OWN4, OWN6 = IPv4Address("192.168.0.1"), IPv6Address("2001:db8::1")


@pytest.mark.parametrize("to", [None, OTHER], ids=["everybody", "one MAC"])
def test_an_arp_question_names_who_asks_and_leaves_the_wanted_mac_zero(to: bytes | None) -> None:
    oracle = Ether(src=MAC_TEXT, dst=OTHER_TEXT if to else "ff:ff:ff:ff:ff:ff") / ARP(
        op=1, hwsrc=MAC_TEXT, psrc=str(OWN4), hwdst="00:00:00:00:00:00", pdst=str(VIP4)
    )
    assert frames.question(MAC, OWN4, VIP4, to) == bytes(oracle)


@pytest.mark.parametrize(
    ("to", "mac", "destination"),
    [(None, "33:33:ff:cd:12:34", "ff02::1:ffcd:1234"), (OTHER, OTHER_TEXT, str(VIP6))],
    ids=["everybody", "one MAC"],
)
def test_a_solicitation_goes_to_the_group_or_to_the_target_itself_and_names_our_mac(
    to: bytes | None, mac: str, destination: str
) -> None:
    oracle = (
        Ether(src=MAC_TEXT, dst=mac)
        / IPv6(src=str(OWN6), dst=destination, hlim=255)
        / ICMPv6ND_NS(tgt=str(VIP6))
        / ICMPv6NDOptSrcLLAddr(lladdr=MAC_TEXT)
    )
    assert frames.question(MAC, OWN6, VIP6, to) == bytes(oracle)


def test_nobody_is_asked_across_families() -> None:
    assert frames.question(MAC, OWN4, VIP6, None) is None
    assert frames.question(MAC, OWN6, VIP4, OTHER) is None


@given(mac=macs, source=st.one_of(ipv4, ipv6), target=st.one_of(ipv4, ipv6), to=st.one_of(st.none(), macs))
def test_a_question_claims_for_its_source_and_nothing_for_its_target(
    mac: bytes, source: IPv4Address | IPv6Address, target: IPv4Address | IPv6Address, to: bytes | None
) -> None:
    frame = frames.question(mac, source, target, to)
    if frame is not None and source != target:
        assert frames.decode(frame) == Claim(ClaimKind.USED, mac, source)


def test_an_announcement_is_both_arp_forms_or_one_advertisement() -> None:
    assert frames.announcements(MAC, VIP4) == (
        frames.arp_announcement(MAC, VIP4),
        frames.arp_gratuitous_reply(MAC, VIP4),
    )
    assert frames.announcements(MAC, VIP6) == (frames.neighbour_advertisement(MAC, VIP6),)
    assert frames.probe(MAC, VIP4) == frames.arp_probe(MAC, VIP4)
    assert frames.probe(MAC, VIP6) == frames.neighbour_probe(MAC, VIP6)


def test_the_rules_of_a_former_owner_hear_ipv4_in_a_datagram_that_says_nothing_to_anybody_else() -> None:
    (frame,) = frames.for_rules(MAC, VIP4)
    datagram = Ether(src=MAC_TEXT, dst="01:00:5e:00:00:01") / IP(
        src=str(VIP4), dst="224.0.0.1", ttl=1, flags="DF", id=0
    )
    assert frame == bytes(datagram / UDP(sport=9, dport=9, chksum=0))
    assert frames.decode(frame) is None
    assert frames.for_rules(MAC, VIP6) == ()


@given(mac=macs, address=st.one_of(ipv4, ipv6))
def test_what_we_announce_and_probe_is_read_back(mac: bytes, address: IPv4Address | IPv6Address) -> None:
    for frame in frames.announcements(mac, address):
        assert frames.decode(frame) == Claim(ClaimKind.ANNOUNCED, mac, address)
    assert frames.decode(frames.probe(mac, address)) == Claim(ClaimKind.PROBED, mac, address)


@given(mac=macs, address=ipv6)
def test_every_checksum_agrees_with_scapy(mac: bytes, address: IPv6Address) -> None:
    for frame in (frames.neighbour_advertisement(mac, address), frames.neighbour_probe(mac, address)):
        again = Ether(frame)
        del again[IPv6].payload.cksum
        assert bytes(again) == frame


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"op": 1, "psrc": "192.168.0.15", "pdst": "192.168.0.1"}, ClaimKind.USED),
        ({"op": 2, "psrc": "192.168.0.15", "pdst": "192.168.0.1", "hwdst": OTHER_TEXT}, ClaimKind.ANSWERED),
        ({"op": 2, "psrc": "192.168.0.15", "pdst": "192.168.0.15"}, ClaimKind.ANNOUNCED),
    ],
)
def test_an_arp_sender_claims_its_address(fields: dict[str, Any], kind: ClaimKind) -> None:
    asker = IPv4Address("192.168.0.1") if kind is ClaimKind.ANSWERED else None
    assert frames.decode(arp(**fields)) == Claim(kind, MAC, VIP4, asker)


def test_an_answer_to_a_probe_names_nobody_who_asked() -> None:
    """RFC 5227 section 2.1.1: the probe had no sender address."""
    answer = arp(op=2, psrc=str(VIP4), pdst="0.0.0.0", hwdst=OTHER_TEXT)
    assert frames.decode(answer) == Claim(ClaimKind.ANSWERED, MAC, VIP4, None)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        arp(op=1, psrc="10.0.0.1", pdst="10.0.0.2")[:-1],
        arp(op=3, psrc="10.0.0.1", pdst="10.0.0.2"),
        arp(op=2, psrc="0.0.0.0", pdst="10.0.0.2"),
        arp(op=1, psrc="10.0.0.1", pdst="10.0.0.2", hwtype=6),
        arp(op=1, psrc="10.0.0.1", pdst="10.0.0.2", ptype=0x86DD),
        bytes(Ether(src=MAC_TEXT) / ARP(op=1, hwsrc="ff:ff:ff:ff:ff:ff", psrc="10.0.0.1")),
        bytes(Ether(src=MAC_TEXT) / ARP(op=1, hwsrc="00:00:00:00:00:00", psrc="10.0.0.1")),
        bytes(Ether(src=MAC_TEXT) / Dot1Q(vlan=7) / ARP(op=1, hwsrc=MAC_TEXT, psrc="10.0.0.1")),
    ],
)
def test_other_frames_and_broken_arp_claim_nothing(frame: bytes) -> None:
    assert frames.decode(frame) is None


def neighbour(message: object, source: str, destination: str, hop_limit: int = 255) -> bytes:
    return bytes(Ether(src=MAC_TEXT, dst=OTHER_TEXT) / IPv6(src=source, dst=destination, hlim=hop_limit) / message)


GROUP6 = "ff02::1:ffcd:1234"


@pytest.mark.parametrize(
    ("frame", "claim"),
    [
        (
            neighbour(ICMPv6ND_NA(tgt=str(VIP6), S=1) / ICMPv6NDOptDstLLAddr(lladdr=OTHER_TEXT), str(VIP6), "fe80::1"),
            Claim(ClaimKind.ANSWERED, OTHER, VIP6, IPv6Address("fe80::1")),
        ),
        (
            neighbour(ICMPv6ND_NA(tgt=str(VIP6), S=1), "fe80::2", "fe80::1"),
            Claim(ClaimKind.ANSWERED, MAC, VIP6, IPv6Address("fe80::1")),
        ),
        (
            neighbour(ICMPv6ND_NS(tgt="fe80::1") / ICMPv6NDOptSrcLLAddr(lladdr=OTHER_TEXT), str(VIP6), "fe80::1"),
            Claim(ClaimKind.USED, OTHER, VIP6),
        ),
        (neighbour(ICMPv6ND_NS(tgt=str(VIP6)), "::", GROUP6), Claim(ClaimKind.PROBED, MAC, VIP6)),
        # RFC 4861 section 7.1: each of these is to be discarded in silence.
        (neighbour(ICMPv6ND_NA(tgt=str(VIP6), S=1), str(VIP6), "ff02::1"), None),
        (neighbour(ICMPv6ND_NA(tgt=str(VIP6)), str(VIP6), "ff02::1", hop_limit=254), None),
        (neighbour(ICMPv6ND_NA(tgt="ff02::1"), str(VIP6), "ff02::1"), None),
        (neighbour(ICMPv6ND_NA(tgt=str(VIP6), code=1), str(VIP6), "ff02::1"), None),
        (neighbour(ICMPv6ND_NA(tgt=str(VIP6), cksum=1), str(VIP6), "ff02::1"), None),
        (neighbour(ICMPv6ND_NS(tgt=str(VIP6)) / ICMPv6NDOptSrcLLAddr(lladdr=MAC_TEXT), "::", GROUP6), None),
        (neighbour(ICMPv6ND_NS(tgt=str(VIP6)), "::", "ff02::1"), None),
        (neighbour(ICMPv6ND_NA(tgt=str(VIP6)) / ICMPv6NDOptDstLLAddr(len=0), str(VIP6), "ff02::1"), None),
        (neighbour(ICMPv6ND_NA(tgt=str(VIP6)) / ICMPv6NDOptDstLLAddr(len=9), str(VIP6), "ff02::1"), None),
        (neighbour(ICMPv6ND_NA(tgt=str(VIP6)) / ICMPv6NDOptDstLLAddr(lladdr="01:00:5e:00:00:01"), "::2", "::3"), None),
    ],
)
def test_neighbour_discovery_is_judged_as_rfc_4861_says(frame: bytes, claim: Claim | None) -> None:
    assert frames.decode(frame) == claim


def test_more_than_sixteen_options_are_not_looked_at() -> None:
    message = ICMPv6ND_NA(tgt=str(VIP6))
    for _ in range(16):
        message /= ICMPv6NDOptDstLLAddr(lladdr=OTHER_TEXT)
    assert frames.decode(neighbour(message, str(VIP6), "ff02::1")) is not None
    message /= ICMPv6NDOptDstLLAddr(lladdr=OTHER_TEXT)
    assert frames.decode(neighbour(message, str(VIP6), "ff02::1")) is None


@given(st.binary(max_size=200))
def test_garbage_never_raises(garbage: bytes) -> None:
    frames.decode(garbage)
    frames.decode(bytes(12) + b"\x08\x06" + garbage)
    frames.decode(bytes(12) + b"\x86\xdd" + garbage)


@given(address=st.one_of(ipv4, ipv6), at=st.integers(0, 200), value=st.integers(0, 255), cut=st.integers(0, 120))
def test_a_damaged_frame_never_raises_and_never_names_a_multicast_mac(
    address: IPv4Address | IPv6Address, at: int, value: int, cut: int
) -> None:
    for frame in (*frames.announcements(MAC, address), frames.probe(MAC, address)):
        damaged = bytearray(frame)
        damaged[at % len(damaged)] = value
        claim = frames.decode(bytes(damaged[: len(damaged) - cut] if cut < len(damaged) else b""))
        assert claim is None or (not claim.mac[0] & 1 and len(claim.mac) == 6)


def test_a_padded_frame_says_the_same() -> None:
    """Ethernet pads to 60 bytes."""
    for address in (VIP4, ip_address("2001:db8::7")):
        for frame in frames.announcements(MAC, address):
            assert frames.decode(frame + bytes(18)) == frames.decode(frame)
