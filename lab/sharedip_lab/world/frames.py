"""The few frames that the outside observer sends and reads: ARP, neighbour discovery, and datagrams to one MAC.

Role: bytes only. Written apart from the agent's own frames on purpose: a shared mistake would hide itself.
Must never: open a socket. Counterpart: `programs/observer.py`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

IPAddress = IPv4Address | IPv6Address
ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD
BROADCAST = b"\xff" * 6
_ARP = struct.Struct("!HHBBH6s4s6s4s")  # RFC 826
_IPV6 = struct.Struct("!IHBB16s16s")  # RFC 8200 section 3
_UDP, _ICMPV6 = 17, 58
_SOLICITATION, _ADVERTISEMENT = 135, 136  # RFC 4861 sections 4.3 and 4.4
_SOURCE_LINK_LAYER, _TARGET_LINK_LAYER = 1, 2  # RFC 4861 section 4.6.1
_OVERRIDE_AND_SOLICITED = 0x60000000


@dataclass(frozen=True, slots=True)
class Claim:
    """A frame that says "this address is at this MAC"."""

    address: IPAddress
    mac: bytes
    announced: bool
    """True when nobody asked: gratuitous ARP, unsolicited advertisement."""


def mac_bytes(text: str) -> bytes:
    """`02:77:…` as six bytes."""
    return bytes.fromhex(text.replace(":", ""))


def mac_text(mac: bytes) -> str:
    """Six bytes as `02:77:…`."""
    return mac.hex(":")


def _ethernet(to: bytes, source: bytes, ethertype: int) -> bytes:
    return to + source + struct.pack("!H", ethertype)


def arp_request(mac: bytes, sender: IPv4Address, target: IPv4Address) -> bytes:
    """Who has `target`? With `sender` = `target` it is a gratuitous announcement (RFC 5227 section 2.3)."""
    body = _ARP.pack(1, 0x0800, 6, 4, 1, mac, sender.packed, bytes(6), target.packed)
    return _ethernet(BROADCAST, mac, ETHERTYPE_ARP) + body


def neighbour_solicitation(mac: bytes, sender: IPv6Address, target: IPv6Address) -> bytes:
    """Who has `target`? Sent to the solicited-node group, with our MAC so that nobody need ask back."""
    group = bytes.fromhex("ff0200000000000000000001ff") + target.packed[13:]
    body = struct.pack("!I", 0) + target.packed + bytes([_SOURCE_LINK_LAYER, 1]) + mac
    frame = _ethernet(b"\x33\x33" + group[12:], mac, ETHERTYPE_IPV6)
    return frame + _icmpv6(sender.packed, group, _SOLICITATION, body)


def neighbour_advertisement(mac: bytes, target: IPv6Address) -> bytes:
    """An unsolicited advertisement with Override, to all nodes (RFC 4861 section 7.2.6)."""
    group = IPv6Address("ff02::1").packed
    body = struct.pack("!I", 0x20000000) + target.packed + bytes([_TARGET_LINK_LAYER, 1]) + mac
    frame = _ethernet(b"\x33\x33" + group[12:], mac, ETHERTYPE_IPV6)
    return frame + _icmpv6(target.packed, group, _ADVERTISEMENT, body)


def announcement(mac: bytes, address: IPAddress) -> bytes:
    """ "This address is at this MAC", to everybody, in the address's own family."""
    if isinstance(address, IPv4Address):
        return arp_request(mac, address, address)
    return neighbour_advertisement(mac, address)


def datagram(macs: tuple[bytes, bytes], addresses: tuple[IPAddress, IPAddress], port: int, payload: bytes) -> bytes:
    """A UDP datagram from the first to the second of both pairs, with the same port at both ends.

    Its receiver is chosen by MAC: it shows whether *that* node answers for the address, whatever neighbours believe.
    """
    source, target = addresses[0].packed, addresses[1].packed
    length = 8 + len(payload)
    pseudo = source + target + struct.pack("!II", length, _UDP)
    even = payload + b"\0" * (len(payload) % 2)
    checksum = _checksum(pseudo + struct.pack("!HHHH", port, port, length, 0) + even) or 0xFFFF
    body = struct.pack("!HHHH", port, port, length, checksum) + payload
    if len(target) == 16:
        head = _IPV6.pack(0x60000000, length, _UDP, 64, source, target)
        return _ethernet(macs[1], macs[0], ETHERTYPE_IPV6) + head + body
    ipv4 = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0, 64, _UDP, 0, source, target)  # RFC 791
    ipv4 = ipv4[:10] + struct.pack("!H", _checksum(ipv4)) + ipv4[12:]
    return _ethernet(macs[1], macs[0], ETHERTYPE_IPV4) + ipv4 + body


def read_datagram(frame: bytes, port: int) -> tuple[IPAddress, bytes] | None:
    """Who sent it and what it carries, if it is a UDP datagram between these ports without IP options."""
    if len(frame) < 42:
        return None
    (ethertype,) = struct.unpack_from("!H", frame, 12)
    if ethertype == ETHERTYPE_IPV4 and frame[14] == 0x45 and frame[23] == _UDP:
        sender: IPAddress = IPv4Address(frame[26:30])
        at = 34
    elif ethertype == ETHERTYPE_IPV6 and len(frame) >= 62 and frame[20] == _UDP:
        sender, at = IPv6Address(frame[22:38]), 54
    else:
        return None
    from_port, to_port, length = struct.unpack_from("!HHH", frame, at)
    return (sender, frame[at + 8 : at + length]) if from_port == to_port == port else None


def _icmpv6(source: bytes, to: bytes, kind: int, body: bytes) -> bytes:
    pseudo = source + to + struct.pack("!II", 4 + len(body), _ICMPV6)
    checksum = _checksum(pseudo + struct.pack("!BBH", kind, 0, 0) + body)
    message = struct.pack("!BBH", kind, 0, checksum) + body
    return _IPV6.pack(0x60000000, len(message), _ICMPV6, 255, source, to) + message


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(word for (word,) in struct.iter_unpack("!H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def read_claim(frame: bytes) -> Claim | None:
    """What the frame claims, or None. A probe (sender 0.0.0.0) claims nothing."""
    if len(frame) < 14:
        return None
    (ethertype,) = struct.unpack_from("!H", frame, 12)
    if ethertype == ETHERTYPE_ARP and len(frame) >= 14 + _ARP.size:
        hardware, protocol, _, _, _, mac, sender, _, target = _ARP.unpack_from(frame, 14)
        if hardware != 1 or protocol != 0x0800 or sender == bytes(4):
            return None
        return Claim(IPv4Address(sender), mac, announced=sender == target)
    if ethertype == ETHERTYPE_IPV6 and len(frame) >= 78 and frame[20] == _ICMPV6 and frame[54] == _ADVERTISEMENT:
        solicited = bool(struct.unpack_from("!I", frame, 58)[0] & 0x40000000)
        return Claim(IPv6Address(frame[62:78]), _target_mac(frame), announced=not solicited)
    return None


def read_question(frame: bytes) -> IPAddress | None:
    """For which address it asks: an ARP request that is no announcement, or a neighbour solicitation; else None."""
    if len(frame) < 42:
        return None
    (ethertype,) = struct.unpack_from("!H", frame, 12)
    if ethertype == ETHERTYPE_ARP:
        _, protocol, _, _, operation, _, sender, _, target = _ARP.unpack_from(frame, 14)
        return IPv4Address(target) if protocol == 0x0800 and operation == 1 and sender != target else None
    if ethertype == ETHERTYPE_IPV6 and len(frame) >= 78 and frame[20] == _ICMPV6 and frame[54] == _SOLICITATION:
        return IPv6Address(frame[62:78])
    return None


def _target_mac(frame: bytes) -> bytes:
    """The target link-layer option if there is one, else the frame's sender."""
    if len(frame) >= 86 and frame[78] == _TARGET_LINK_LAYER and frame[79] == 1:
        return frame[80:86]
    return frame[6:12]
