"""How the kernel's messages about addresses are read."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from sharedip_lab.observe.address_events import RTM_DELADDR, RTM_NEWADDR, addresses_in


def _address_message(kind: int, link: int, address: IPv4Address) -> bytes:
    attributes = struct.pack("=HH", 8, 1) + address.packed + struct.pack("=HH", 8, 2) + address.packed
    return struct.pack("=IHHIIBBBBI", 16 + 8 + len(attributes), kind, 0, 0, 0, 2, 32, 0, 0, link) + attributes


def test_address_messages_are_read_and_a_torn_one_ends_the_reading() -> None:
    vip = IPv4Address("10.77.0.100")
    data = _address_message(RTM_NEWADDR, 3, vip) + _address_message(RTM_DELADDR, 3, vip)
    assert addresses_in(data) == [(RTM_NEWADDR, 3, str(vip)), (RTM_DELADDR, 3, str(vip))]
    assert addresses_in(data + b"\x01\x00\x00\x00" + bytes(12)) == addresses_in(data)
    assert addresses_in(data[:-30])[:1] == addresses_in(data)[:1]
