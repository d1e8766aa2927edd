"""rtnetlink bytes of what lies around a link: routes and neighbours (linux/rtnetlink.h, linux/neighbour.h).

Role: the questions of `surroundings.py` as bytes, and their answers as values. Pure.
Must never: open a socket, or take a route of another link or table for one of this link.
Counterparts: `surroundings.py`; `rtwire.py` for links and addresses; the tests compare with the ip program.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, NamedTuple

from sharedip.adapters.kernel import wire
from sharedip.adapters.kernel.wire import Message, Request, attribute
from sharedip.core.model import IPAddress, IPNetwork

RTM_NEWROUTE: Final = 24
_RTM_GETROUTE: Final = 26
RTM_NEWNEIGH: Final = 28
_RTM_GETNEIGH: Final = 30

_RTMSG = struct.Struct("=BBBBBBBBI")  # struct rtmsg: family, lengths, tos, table, protocol, scope, type, flags
_NDMSG = struct.Struct("=BBHiHBB")
_NEXT_HOP = struct.Struct("=HBBi")  # struct rtnexthop: length, flags, hops, index
_U32 = struct.Struct("=I")
_ATTRIBUTE = struct.Struct("=HH")
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA = 1, 4, 5, 9, 15, 18
_RT_TABLE_MAIN = 254
_RTN_UNICAST = 1
_RTM_F_CLONED = 0x200
_RTNH_F_DEAD = 1
_NDA_DST, _NDA_LLADDR, _NDA_IFINDEX = 1, 2, 8
_NUD_TALKED = 0x02 | 0x04 | 0x08 | 0x10  # reachable, stale, delay, probe: it has answered before
_MAC_BYTES = 6


class Way(NamedTuple):
    """Where routes of a link lead: to next hops, or, without any, to whoever is on the link."""

    is_on_link: bool
    next_hops: tuple[IPAddress, ...]


NOWHERE: Final = Way(is_on_link=False, next_hops=())
"""Another link, another table, or no way at all."""


def routes_of(index: int, family: int) -> Request:
    """A dump of the main table's routes of one link; kernels that check strictly (4.20) leave all others out."""
    body = _RTMSG.pack(family, 0, 0, 0, _RT_TABLE_MAIN, 0, 0, _RTN_UNICAST, 0)
    body += attribute(_RTA_OIF, _U32.pack(index)) + attribute(_RTA_TABLE, _U32.pack(_RT_TABLE_MAIN))
    return Request(_RTM_GETROUTE, 0, body)


def neighbours_of(index: int) -> Request:
    """A dump of one link's neighbours, of both families."""
    body = _NDMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0, 0, 0)
    return Request(_RTM_GETNEIGH, 0, body + attribute(_NDA_IFINDEX, _U32.pack(index)))


def route_key(message: Message) -> tuple[int, bytes] | None:
    """Length of the destination, and all that the route has beside it: routes with the same key lead the same way.

    A node may have thousands of routes by one next hop: those need to be understood once. None for what is no route.
    """
    body = message.body
    if message.kind != RTM_NEWROUTE or len(body) < _RTMSG.size:
        return None
    at = _RTMSG.size
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if kind == _RTA_DST:  # 4 or 16 bytes, so it needs no padding
            return body[1], b"%c%b%b" % (body[0], body[2:at], body[at + length :])
        if length < _ATTRIBUTE.size:
            break
        at += length + (-length % 4)
    return body[1], body[:1] + body[2:]


def way_of(message: Message, index: int) -> Way:
    """Where this route leads on the link."""
    body = message.body
    if len(body) < _RTMSG.size:
        return NOWHERE
    _, _, _, _, table, _, _, kind, flags = _RTMSG.unpack_from(body)
    found = wire.attributes(body, _RTMSG.size)
    table = _u32(found.get(_RTA_TABLE)) or table
    if table != _RT_TABLE_MAIN or kind != _RTN_UNICAST or flags & (_RTM_F_CLONED | _RTNH_F_DEAD):
        return NOWHERE
    if _RTA_MULTIPATH in found:
        hops = [(link, hop) for link, hop in _each_next_hop(found[_RTA_MULTIPATH]) if link == index]
    elif _u32(found.get(_RTA_OIF)) == index:
        hops = [(index, _next_hop(found))]
    else:
        hops = []
    next_hops = tuple(hop for _, hop in hops if hop is not None)
    return Way(is_on_link=any(hop is None for _, hop in hops), next_hops=next_hops)


def destination(message: Message) -> IPNetwork | None:
    """The network that the route is for; None for one that makes no sense."""
    body = message.body
    if len(body) < _RTMSG.size:
        return None
    family, length = body[0], body[1]
    packed = wire.attributes(body, _RTMSG.size).get(_RTA_DST)
    try:
        if family == socket.AF_INET:
            return IPv4Network((packed or bytes(4), length))
        if family == socket.AF_INET6:
            return IPv6Network((packed or bytes(16), length))
    except ValueError:  # AddressValueError and NetmaskValueError are of its kind
        return None
    return None


def parse_neighbour(message: Message, index: int) -> tuple[IPAddress, bytes] | None:
    """A neighbour of this link that has talked with this node; None for all others."""
    body = message.body
    if message.kind != RTM_NEWNEIGH or len(body) < _NDMSG.size:
        return None
    family, _, _, link, state, _, _ = _NDMSG.unpack_from(body)
    if link != index or not state & _NUD_TALKED or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    found = wire.attributes(body, _NDMSG.size)
    address, mac = _address(found.get(_NDA_DST)), found.get(_NDA_LLADDR, b"")
    return (address, mac) if address is not None and len(mac) == _MAC_BYTES else None


def _each_next_hop(payload: bytes) -> Iterator[tuple[int, IPAddress | None]]:
    at = 0
    while at + _NEXT_HOP.size <= len(payload):
        length, flags, _, link = _NEXT_HOP.unpack_from(payload, at)
        if length < _NEXT_HOP.size or at + length > len(payload):
            return
        if not flags & _RTNH_F_DEAD:
            yield link, _next_hop(wire.attributes(payload[at : at + length], _NEXT_HOP.size))
        at += length + (-length % 4)


def _next_hop(found: dict[int, bytes]) -> IPAddress | None:
    """RTA_GATEWAY, or RTA_VIA where the next hop is of the other family (RFC 5549)."""
    via = found.get(_RTA_VIA)
    return _address(found.get(_RTA_GATEWAY) if via is None else via[2:])


def _address(packed: bytes | None) -> IPAddress | None:
    if packed is None or len(packed) not in (4, 16):
        return None
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def _u32(payload: bytes | None) -> int | None:
    return None if payload is None or len(payload) != _U32.size else int(_U32.unpack(payload)[0])
