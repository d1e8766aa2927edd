"""Ethernet frames that say "this address is at this MAC": ARP (RFC 826, 5227) and neighbour discovery (RFC 4861).

Role: bytes out (announcements, probes, questions), bytes in (`decode` names who claims what, and who
had asked for it). Pure.
Must never: raise on what came from the wire, or look further into a frame than its fixed part and 16 options.
Counterpart: `adapters/kernel/packet.py` sends and receives them; what a Linux neighbour believes is in docs/kernel.md.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

from sharedip.core.model import IPAddress

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD
BROADCAST_MAC = b"\xff" * 6
_ZERO_MAC = b"\x00" * 6
_ALL_NODES = IPv6Address("ff02::1").packed
_UNSPECIFIED = b"\x00" * 16
_SOLICITED_NODE_PREFIX = IPv6Address("ff02::1:ff00:0").packed[:13]  # RFC 4291 2.7.1

_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_END = _ETHERNET.size + _ARP.size
_ARP_FIXED = (1, 0x0800, 6, 4)  # Ethernet, IPv4, and their address lengths
_ARP_REQUEST, _ARP_REPLY = 1, 2

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV4_CHECKSUM_AT = 10
_DONT_FRAGMENT = 0x4000
_UDP = struct.Struct("!HHHH")
_UDP_PROTOCOL = 17
_DISCARD = 9
_ALL_SYSTEMS = IPv4Address("224.0.0.1").packed
_ALL_SYSTEMS_MAC = bytes.fromhex("01005e000001")

_IPV6 = struct.Struct("!IHBB16s16s")
_NEIGHBOUR = struct.Struct("!BBHI16s")  # type, code, checksum, flags, target
_NEIGHBOUR_AT = _ETHERNET.size + _IPV6.size
_ICMPV6 = 58
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOURCE_LINK_LAYER, _TARGET_LINK_LAYER = 1, 2
_FLAG_SOLICITED, _FLAG_OVERRIDE = 0x4000_0000, 0x2000_0000
_HOP_LIMIT = 255  # RFC 4861 7.1: a frame from beyond a router can't have it
_OPTIONS_MAX = 16
_MULTICAST = 0xFF
_ICMPV6_MAX = 1500


class ClaimKind(Enum):
    """In which way a frame says that its sender has, or wants, the address."""

    ANNOUNCED = "announced"
    ANSWERED = "answered"
    PROBED = "probed"
    USED = "used"


@dataclass(frozen=True, slots=True)
class Claim:
    """`mac` claims `address`; in an answer to whoever asked from `asker`.

    An answer to a probe names nobody (RFC 5227 section 2.1.1), and what is said to all is no answer.
    """

    kind: ClaimKind
    mac: bytes
    address: IPAddress
    asker: IPAddress | None = None


# ---------------------------------------------------------------------------------------------------------------------
# Out.


def announcements(mac: bytes, address: IPAddress) -> tuple[bytes, ...]:
    """Every frame of one announcement, in the order to send them.

    ARP in both forms, since some neighbours heed only one of them. Both update a Linux neighbour within its lock
    time of one second; a reply to the broadcast MAC would not (see docs/kernel.md).
    """
    if isinstance(address, IPv4Address):
        return arp_announcement(mac, address), arp_gratuitous_reply(mac, address)
    return (neighbour_advertisement(mac, address),)


def for_rules(mac: bytes, address: IPAddress) -> tuple[bytes, ...]:
    """What goes with an announcement for the rules of a former owner that stood still (`nftrules.py`), and no neighbour
    learns from: nftables sees ARP only where it can stop nothing but ARP. An advertisement is IPv6 itself.
    """
    return (ipv4_announcement(mac, address),) if isinstance(address, IPv4Address) else ()


def probe(mac: bytes, address: IPAddress) -> bytes:
    """One question to which only a holder of the address answers; no neighbour learns anything from it."""
    if isinstance(address, IPv4Address):
        return arp_probe(mac, address)
    return neighbour_probe(mac, address)


def question(mac: bytes, source: IPAddress, target: IPAddress, to: bytes | None) -> bytes | None:
    """Who has the target? Asked from an own address, of the MAC `to` or of everybody; None for two families in one.

    A neighbour that hears it learns that the source is at this MAC (RFC 826, RFC 4861 section 7.2.3), as from any
    question of this kernel's own.
    """
    if isinstance(source, IPv4Address) and isinstance(target, IPv4Address):
        return arp_request(mac, source, target, to)
    if isinstance(source, IPv6Address) and isinstance(target, IPv6Address):
        return neighbour_solicitation(mac, source, target, to)
    return None


def arp_announcement(mac: bytes, address: IPv4Address) -> bytes:
    """RFC 5227 section 2.3: a gratuitous request, sender and target are the address, target MAC zero."""
    return _arp(mac, _ARP_REQUEST, address.packed, _ZERO_MAC, address.packed)


def arp_gratuitous_reply(mac: bytes, address: IPv4Address) -> bytes:
    """RFC 5944 section 4.6: the reply form; the target MAC is the own one."""
    return _arp(mac, _ARP_REPLY, address.packed, mac, address.packed)


def arp_probe(mac: bytes, address: IPv4Address) -> bytes:
    """RFC 5227 section 2.1.1: sender address zero, so that it poisons nobody's cache."""
    return _arp(mac, _ARP_REQUEST, bytes(4), _ZERO_MAC, address.packed)


def arp_request(mac: bytes, source: IPv4Address, target: IPv4Address, to: bytes | None = None) -> bytes:
    """RFC 826, target MAC zero; to one MAC alone as RFC 1122 section 2.3.2.1 polls a known neighbour."""
    return _arp(mac, _ARP_REQUEST, source.packed, _ZERO_MAC, target.packed, to or BROADCAST_MAC)


def ipv4_announcement(mac: bytes, address: IPv4Address) -> bytes:
    """An empty datagram from the address to all systems of the segment (RFC 1112), to the discard port (RFC 863)."""
    head = _IPV4.pack(
        0x45, 0, _IPV4.size + _UDP.size, 0, _DONT_FRAGMENT, 1, _UDP_PROTOCOL, 0, address.packed, _ALL_SYSTEMS
    )
    checksum = struct.pack("!H", internet_checksum(head))
    head = head[:_IPV4_CHECKSUM_AT] + checksum + head[_IPV4_CHECKSUM_AT + 2 :]
    return _ETHERNET.pack(_ALL_SYSTEMS_MAC, mac, ETHERTYPE_IPV4) + head + _UDP.pack(_DISCARD, _DISCARD, _UDP.size, 0)


def neighbour_advertisement(mac: bytes, address: IPv6Address) -> bytes:
    """RFC 4861 section 7.2.6: unsolicited, Override, with the target link-layer option, to all nodes.

    The router flag stays clear: a neighbour looks at it only for the address by which it knows a router, and the
    shared address is none.
    """
    option = struct.pack("!BB6s", _TARGET_LINK_LAYER, 1, mac)
    message = _NEIGHBOUR.pack(_ADVERTISEMENT, 0, 0, _FLAG_OVERRIDE, address.packed) + option
    return _neighbour_discovery(mac, address.packed, _ALL_NODES, message)


def neighbour_probe(mac: bytes, address: IPv6Address) -> bytes:
    """RFC 4862 section 5.4.2: a solicitation from the unspecified address, without a source link-layer option."""
    message = _NEIGHBOUR.pack(_SOLICITATION, 0, 0, 0, address.packed)
    return _neighbour_discovery(mac, _UNSPECIFIED, solicited_node_group(address), message)


def neighbour_solicitation(mac: bytes, source: IPv6Address, target: IPv6Address, to: bytes | None = None) -> bytes:
    """RFC 4861 section 7.2.2, with the source link-layer option. To one MAC alone the destination is the target itself,
    as when a neighbour is verified (section 7.3.3).
    """
    option = struct.pack("!BB6s", _SOURCE_LINK_LAYER, 1, mac)
    message = _NEIGHBOUR.pack(_SOLICITATION, 0, 0, 0, target.packed) + option
    destination = solicited_node_group(target) if to is None else target.packed
    return _neighbour_discovery(mac, source.packed, destination, message, to)


def solicited_node_group(address: IPv6Address) -> bytes:
    """RFC 4291 section 2.7.1: the multicast group that a holder of the address has joined."""
    return _SOLICITED_NODE_PREFIX + address.packed[13:]


def _arp(
    mac: bytes, operation: int, sender: bytes, target_mac: bytes, target: bytes, to: bytes = BROADCAST_MAC
) -> bytes:
    assert len(mac) == len(to) == len(_ZERO_MAC), "only Ethernet-like links carry a shared address"
    header = _ETHERNET.pack(to, mac, ETHERTYPE_ARP)
    return header + _ARP.pack(*_ARP_FIXED, operation, mac, sender, target_mac, target)


def _neighbour_discovery(
    mac: bytes, source: bytes, destination: bytes, message: bytes, to: bytes | None = None
) -> bytes:
    """`to`: the MAC that a unicast destination is at; a multicast one has its own."""
    checksum = _checksum(source, destination, message)
    body = message[:2] + struct.pack("!H", checksum) + message[4:]
    if to is None:
        to = b"\x33\x33" + destination[12:]  # RFC 2464 section 7
    assert len(mac) == len(to) == len(_ZERO_MAC), "only Ethernet-like links carry a shared address"
    ethernet = _ETHERNET.pack(to, mac, ETHERTYPE_IPV6)
    return ethernet + _IPV6.pack(6 << 28, len(body), _ICMPV6, _HOP_LIMIT, source, destination) + body


def _checksum(source: bytes, destination: bytes, body: bytes) -> int:
    """RFC 4443 section 2.3, over the pseudo header of RFC 8200 section 8.1. A body with a good checksum gives 0."""
    return internet_checksum(source + destination + struct.pack("!II", len(body), _ICMPV6) + body)


def internet_checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\x00"
    # Since 2**16 is 1 modulo 0xffff, the sum of all 16-bit words is the whole number modulo 0xffff.
    rest = int.from_bytes(data, "big") % 0xFFFF
    return 0xFFFF - rest if rest else 0


# ---------------------------------------------------------------------------------------------------------------------
# In.


def decode(frame: bytes) -> Claim | None:
    """Who claims which address in this frame; None for everything else, garbage and tagged frames included."""
    if len(frame) < _ARP_END:
        return None
    _, source_mac, ethertype = _ETHERNET.unpack_from(frame)
    if ethertype == ETHERTYPE_ARP:
        return _decode_arp(frame)
    if ethertype == ETHERTYPE_IPV6:
        return _decode_neighbour_discovery(frame, source_mac)
    return None


def _decode_arp(frame: bytes) -> Claim | None:
    *fixed, operation, mac, sender, _, target = _ARP.unpack_from(frame, _ETHERNET.size)
    if tuple(fixed) != _ARP_FIXED or operation not in (_ARP_REQUEST, _ARP_REPLY) or not _is_unicast(mac):
        return None
    if sender == bytes(4):
        return Claim(ClaimKind.PROBED, mac, IPv4Address(target)) if operation == _ARP_REQUEST else None
    if sender == target:
        kind = ClaimKind.ANNOUNCED
    else:
        kind = ClaimKind.ANSWERED if operation == _ARP_REPLY else ClaimKind.USED
    asker = IPv4Address(target) if kind is ClaimKind.ANSWERED and target != bytes(4) else None
    return Claim(kind, mac, IPv4Address(sender), asker)


def _neighbour_message(frame: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Source, destination and ICMPv6 body of a whole packet that comes from this segment."""
    if len(frame) < _NEIGHBOUR_AT + _NEIGHBOUR.size:
        return None
    version, length, protocol, hop_limit, source, destination = _IPV6.unpack_from(frame, _ETHERNET.size)
    body = frame[_NEIGHBOUR_AT : _NEIGHBOUR_AT + length]
    if version >> 28 != 6 or protocol != _ICMPV6 or hop_limit != _HOP_LIMIT:
        return None
    if not _NEIGHBOUR.size <= length <= _ICMPV6_MAX or len(body) != length or _checksum(source, destination, body):
        return None
    return source, destination, body


def _decode_neighbour_discovery(frame: bytes, source_mac: bytes) -> Claim | None:
    message = _neighbour_message(frame)
    options = _link_layer_options(message[2]) if message is not None else None
    if message is None or options is None:
        return None
    source, destination, body = message
    kind, code, _, flags, target = _NEIGHBOUR.unpack_from(body)
    if code or target[0] == _MULTICAST:
        return None
    if kind == _ADVERTISEMENT:
        return _decode_advertisement(flags, destination, options.get(_TARGET_LINK_LAYER, source_mac), target)
    if kind == _SOLICITATION and source != _UNSPECIFIED:
        # Who asks from an address has it. RFC 4861 section 7.2.2: the option names the MAC to answer to.
        return _claim(ClaimKind.USED, options.get(_SOURCE_LINK_LAYER, source_mac), source)
    if kind == _SOLICITATION and _SOURCE_LINK_LAYER not in options:
        # RFC 4861 section 7.1.1: from the unspecified address only to the target's own group.
        probed = destination == solicited_node_group(IPv6Address(target))
        return _claim(ClaimKind.PROBED, source_mac, target) if probed else None
    return None


def _decode_advertisement(flags: int, destination: bytes, mac: bytes, target: bytes) -> Claim | None:
    if not flags & _FLAG_SOLICITED:
        return _claim(ClaimKind.ANNOUNCED, mac, target)
    if destination[0] == _MULTICAST:
        return None  # RFC 4861 section 7.1.2
    return _claim(ClaimKind.ANSWERED, mac, target, IPv6Address(destination))


def _claim(kind: ClaimKind, mac: bytes, address: bytes, asker: IPv6Address | None = None) -> Claim | None:
    return Claim(kind, mac, IPv6Address(address), asker) if _is_unicast(mac) else None


def _link_layer_options(body: bytes) -> dict[int, bytes] | None:
    """The link-layer options by type; None if the options are broken (RFC 4861 section 4.6: length in 8 octets)."""
    found: dict[int, bytes] = {}
    at = _NEIGHBOUR.size
    for _ in range(_OPTIONS_MAX):
        if at == len(body):
            return found
        if at + 2 > len(body):
            return None
        kind, size = body[at], body[at + 1] * 8
        if not size or at + size > len(body):
            return None
        if kind in (_SOURCE_LINK_LAYER, _TARGET_LINK_LAYER) and size == 8:
            found.setdefault(kind, body[at + 2 : at + 8])
        at += size
    return found if at == len(body) else None


def _is_unicast(mac: bytes) -> bool:
    return not mac[0] & 1 and mac != _ZERO_MAC
