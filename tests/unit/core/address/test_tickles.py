"""The packets that ask a client, with scapy as the oracle."""

from __future__ import annotations

import logging
from ipaddress import ip_address
from typing import Any

import pytest

from sharedip.core.address.tickles import tickle

logging.getLogger("scapy").setLevel(logging.CRITICAL)
from scapy.layers.inet import IP, TCP  # noqa: E402
from scapy.layers.inet6 import IPv6  # noqa: E402 - scapy warns on import when it finds no route


@pytest.mark.parametrize("sequence", [0, 1 << 31])
@pytest.mark.parametrize(("here", "there"), [("192.168.0.15", "10.0.0.9"), ("2001:db8::15", "2001:db8::9")])
def test_a_bare_ack_from_the_address_to_the_client(here: str, there: str, sequence: int) -> None:
    """Checksums included; that of an IPv4 header is the kernel's work."""
    client = (6443).to_bytes(2) + (40000).to_bytes(2) + ip_address(there).packed
    segment = TCP(sport=6443, dport=40000, seq=sequence, ack=0, flags="A", window=0)
    packet: Any = (
        IP(src=here, dst=there, id=0, ttl=64) if "." in here else IPv6(src=here, dst=there, hlim=64)
    ) / segment
    expected = bytes(packet)
    if "." in here:
        expected = expected[:10] + bytes(2) + expected[12:]
    assert tickle(ip_address(here), client, sequence) == expected
