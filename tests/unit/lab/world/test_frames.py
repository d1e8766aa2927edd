"""The observer's own frames, held against scapy's."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedip_lab.world import frames

scapy = pytest.importorskip("scapy.all")

MAC = "02:77:00:00:00:01"
VIP4, VIP6 = IPv4Address("10.77.0.100"), IPv6Address("fd77::100")


def test_an_arp_request_is_what_scapy_makes() -> None:
    frame = frames.arp_request(frames.mac_bytes(MAC), IPv4Address("10.77.0.253"), VIP4)
    wanted = scapy.Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / scapy.ARP(
        op=1, hwsrc=MAC, psrc="10.77.0.253", hwdst="00:00:00:00:00:00", pdst=str(VIP4)
    )
    assert frame == bytes(wanted)


def test_a_solicitation_and_an_advertisement_carry_scapys_checksum() -> None:
    for frame in (
        frames.neighbour_solicitation(frames.mac_bytes(MAC), IPv6Address("fd77::fd"), VIP6),
        frames.neighbour_advertisement(frames.mac_bytes(MAC), VIP6),
    ):
        again = scapy.Ether(frame)
        del again[scapy.IPv6].payload.cksum
        assert bytes(again) == frame


def test_a_solicitation_goes_to_the_solicited_node_group() -> None:
    frame = scapy.Ether(frames.neighbour_solicitation(frames.mac_bytes(MAC), IPv6Address("fd77::fd"), VIP6))
    assert (frame.dst, frame[scapy.IPv6].dst) == ("33:33:ff:00:01:00", "ff02::1:ff00:100")


@pytest.mark.parametrize(
    ("frame", "announced"),
    [
        (scapy.Ether(src=MAC) / scapy.ARP(op=1, hwsrc=MAC, psrc=str(VIP4), pdst=str(VIP4)), True),
        (scapy.Ether(src=MAC) / scapy.ARP(op=2, hwsrc=MAC, psrc=str(VIP4), pdst="10.77.0.253"), False),
        (
            scapy.Ether(src=MAC)
            / scapy.IPv6(src=str(VIP6), dst="ff02::1")
            / scapy.ICMPv6ND_NA(tgt=str(VIP6), R=0, S=0, O=1)
            / scapy.ICMPv6NDOptDstLLAddr(lladdr=MAC),
            True,
        ),
        (
            scapy.Ether(src=MAC)
            / scapy.IPv6(src=str(VIP6), dst="fd77::fd")
            / scapy.ICMPv6ND_NA(tgt=str(VIP6), R=0, S=1, O=1),
            False,
        ),
    ],
)
def test_a_claim_is_read_with_its_mac(frame: Any, announced: bool) -> None:
    claim = frames.read_claim(bytes(frame))
    assert claim is not None
    assert claim.address in {VIP4, VIP6}
    assert frames.mac_text(claim.mac) == MAC
    assert claim.announced == announced


@pytest.mark.parametrize("payload", [b"observer", b"odd"])
def test_a_datagram_is_what_scapy_makes_and_is_read_back(payload: bytes) -> None:
    macs = (frames.mac_bytes(MAC), frames.mac_bytes("02:77:00:00:00:02"))
    for sender, target, layer in (
        (IPv4Address("10.77.0.253"), VIP4, scapy.IP),
        (IPv6Address("fd77::fd"), VIP6, scapy.IPv6),
    ):
        frame = frames.datagram(macs, (sender, target), 7777, payload)
        again = scapy.Ether(frame)
        del again[scapy.UDP].chksum
        if layer is scapy.IP:
            del again[scapy.IP].chksum
        assert bytes(again) == frame
        assert frames.read_datagram(frame, 7777) == (sender, payload)
        assert frames.read_datagram(frame, 7778) is None


def test_a_probe_and_a_solicitation_claim_nothing() -> None:
    probe = scapy.Ether(src=MAC) / scapy.ARP(op=1, hwsrc=MAC, psrc="0.0.0.0", pdst=str(VIP4))
    assert frames.read_claim(bytes(probe)) is None
    assert frames.read_claim(frames.neighbour_solicitation(bytes(6), IPv6Address("fd77::fd"), VIP6)) is None


@given(st.binary(max_size=120), st.sampled_from([b"", b"\x08\x00\x45", b"\x08\x06", b"\x86\xdd"]))
def test_no_frame_is_too_strange_to_read(data: bytes, ethertype: bytes) -> None:
    frames.read_claim(bytes(12) + ethertype + data)
    frames.read_datagram(bytes(12) + ethertype + data, 7777)


@pytest.mark.parametrize(
    ("frame", "asked"),
    [
        (frames.arp_request(frames.mac_bytes(MAC), IPv4Address("10.77.0.1"), VIP4), VIP4),
        (frames.arp_request(frames.mac_bytes(MAC), IPv4Address("0.0.0.0"), VIP4), VIP4),
        (frames.announcement(frames.mac_bytes(MAC), VIP4), None),
        (frames.neighbour_solicitation(frames.mac_bytes(MAC), IPv6Address("fd77::1"), VIP6), VIP6),
        (frames.announcement(frames.mac_bytes(MAC), VIP6), None),
        (b"", None),
    ],
)
def test_a_question_names_the_address_that_is_asked_for(frame: bytes, asked: object) -> None:
    assert frames.read_question(frame) == asked


def test_an_answer_is_no_question() -> None:
    reply = scapy.Ether(src=MAC, dst=MAC) / scapy.ARP(op=2, hwsrc=MAC, psrc=str(VIP4), hwdst=MAC, pdst="10.77.0.1")
    assert frames.read_question(bytes(reply)) is None
