"""rtnetlink bytes: links, addresses and routes, as linux/rtnetlink.h, if_link.h and if_addr.h lay them out.

Role: the requests of `netlink.py` as bytes, and what the kernel shows as values. Pure.
Must never: open a socket, or decide anything.
Counterpart: `netlink.py`; the tests compare with pyroute2.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from sharedip.adapters.kernel import wire
from sharedip.adapters.kernel.wire import Message, Request, attribute, nested
from sharedip.core.model import IPAddress, LinkState, Vip

RTNLGRP_LINK: Final = 1
RTNLGRP_IPV4_IFADDR: Final = 5
RTNLGRP_IPV6_IFADDR: Final = 9
RTNLGRP_IPV6_IFINFO: Final = 12
RTNLGRP_IPV6_NETCONF: Final = 25
RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
_RTM_GETLINK: Final = 18
_RTM_SETLINK: Final = 19
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
_RTM_GETADDR: Final = 22
_RTM_DELNEIGH: Final = 29
_NDA_DST: Final = 1
_RTM_GETROUTE: Final = 26
_RTM_NEWNETCONF: Final = 80
_RTM_DELNETCONF: Final = 81

TAG: Final = 0x56
"""IFA_PROTO of our addresses: "V". The kernel keeps 1 to 3 for itself; nobody else is known to use this one."""

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_EXT_MASK = 1, 3, 10, 18, 26, 29
_IFLA_PROP_LIST, _IFLA_ALT_IFNAME = 52, 53
_IFLA_INFO_SLAVE_KIND = 4
_IFLA_INET_CONF = 1
_IFLA_INET6_CONF = 2
_IPV6_DEVCONF_DISABLE_IPV6 = 26  # enum in linux/ipv6.h; an array that begins with setting 0
_NETCONFA_IFINDEX = 1
_IPV4_DEVCONF_PROMOTE_SECONDARIES = 20
_RTEXT_FILTER_SKIP_STATS = 1 << 3
_IFF_UP, _IFF_NOARP, _IFF_LOWER_UP = 0x1, 0x80, 0x10000

_IFA_ADDRESS, _IFA_LOCAL, _IFA_CACHEINFO, _IFA_FLAGS, _IFA_PROTO = 1, 2, 6, 8, 11
IFA_F_SECONDARY: Final = 0x01
_IFA_F_NODAD: Final = 0x02
_IFA_F_NOPREFIXROUTE: Final = 0x200

_RTA_DST, _RTA_OIF, _RTA_PREFSRC = 1, 4, 7

_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")
_CACHEINFO = struct.Struct("=IIII")
_NDMSG = struct.Struct("=BBHiHBB")  # struct ndmsg, linux/neighbour.h
_RTMSG = struct.Struct("=BBBBBBBBI")
_NETCONFMSG = struct.Struct("=B3x")  # struct netconfmsg, linux/netconf.h, and its padding
_U32 = struct.Struct("=I")
_I32 = struct.Struct("=i")


class AddressRecord(NamedTuple):
    """One address on one link, as the kernel shows it."""

    link: int
    address: IPAddress
    prefix_length: int
    flags: int
    tag: int

    @property
    def ours(self) -> bool:
        """Whether this program put it there."""
        return self.tag == TAG


class LinkRecord(NamedTuple):
    """One link, as the kernel shows it. Of the link that it is a port of it shows the kind and the index alone."""

    state: LinkState
    master: int = 0
    """That index; 0: it is nobody's port."""


def hold(index: int, vip: Vip, valid_lft_s: int) -> Request:
    """Add the address, or restart its lifetime.

    IPv6: no duplicate address detection (the election is ours), no route for the /128 but the local one, and
    preferred for 0 s: deprecated, so that RFC 6724 rule 3 chooses any other address of the node as a source.
    IPv4 knows no such thing (inet_select_addr): there the order of the addresses decides.
    """
    address = vip.address
    body = _IFADDR.pack(_family(address), vip.host_prefix_length, 0, 0, index)
    body += attribute(_IFA_LOCAL, address.packed) + attribute(_IFA_ADDRESS, address.packed)
    if isinstance(address, IPv6Address):
        body += attribute(_IFA_FLAGS, _U32.pack(_IFA_F_NODAD | _IFA_F_NOPREFIXROUTE))
        body += attribute(_IFA_CACHEINFO, _CACHEINFO.pack(0, valid_lft_s, 0, 0))
    else:
        body += attribute(_IFA_CACHEINFO, _CACHEINFO.pack(valid_lft_s, valid_lft_s, 0, 0))
    body += attribute(_IFA_PROTO, bytes([TAG]))
    return Request(RTM_NEWADDR, wire.NLM_F_CREATE | wire.NLM_F_REPLACE, body)


def remove(record: AddressRecord) -> Request:
    """Take off exactly this address; the kernel compares the mask too (inet_rtm_deladdr)."""
    packed = record.address.packed
    body = _IFADDR.pack(_family(record.address), record.prefix_length, 0, 0, record.link)
    return Request(RTM_DELADDR, 0, body + attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed))


def every_link() -> Request:
    """A dump of all links, without their counters."""
    return Request(_RTM_GETLINK, 0, _IFINFO.pack(0, 0, 0, 0, 0) + _WITHOUT_STATISTICS)


def one_link(index: int) -> Request:
    """One link, with the settings of its address families."""
    return Request(_RTM_GETLINK, 0, _IFINFO.pack(0, 0, index, 0, 0) + _WITHOUT_STATISTICS)


def every_address(family: int) -> Request:
    """A dump of all addresses of a family, AF_UNSPEC for both."""
    return Request(_RTM_GETADDR, 0, _IFADDR.pack(family, 0, 0, 0, 0))


def promote_secondaries(index: int, value: int) -> Request:
    """Set the link's `promote_secondaries` (ip-sysctl.rst); through netlink, since /proc may be read-only."""
    setting = attribute(_IPV4_DEVCONF_PROMOTE_SECONDARIES, _U32.pack(value))
    inet = nested(socket.AF_INET, nested(_IFLA_INET_CONF, setting))
    return Request(_RTM_SETLINK, 0, _IFINFO.pack(0, 0, index, 0, 0) + nested(_IFLA_AF_SPEC, inet))


def route_to(destination: IPAddress, index: int) -> Request:
    """Which way, and from which address, would this node send to `destination` out of this link?"""
    body = _RTMSG.pack(_family(destination), destination.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    body += attribute(_RTA_DST, destination.packed) + attribute(_RTA_OIF, _U32.pack(index))
    return Request(_RTM_GETROUTE, 0, body)


def forget_neighbour(address: IPAddress, index: int) -> Request:
    """Drop what this node believes of a neighbour, so that it asks the whole link again (RTM_DELNEIGH)."""
    body = _NDMSG.pack(_family(address), 0, 0, index, 0, 0, 0) + attribute(_NDA_DST, address.packed)
    return Request(_RTM_DELNEIGH, 0, body)


_WITHOUT_STATISTICS = attribute(_IFLA_EXT_MASK, _U32.pack(_RTEXT_FILTER_SKIP_STATS))


def parse_link(message: Message) -> LinkRecord | None:
    """The link of an RTM_NEWLINK or RTM_DELLINK; None for what other families (bridge ports) and wireless extensions
    say under that name.
    """
    if len(message.body) < _IFINFO.size:
        return None
    family, _, index, flags, _ = _IFINFO.unpack_from(message.body)
    if family != socket.AF_UNSPEC:
        return None
    name, mac, master, master_kind, has_ipv6 = "", b"", 0, "", False
    others: list[str] = []
    for kind, payload in wire.each_attribute(message.body, _IFINFO.size):
        if kind == _IFLA_IFNAME:
            name = _text(payload)
        elif kind == _IFLA_ADDRESS:
            mac = payload
        elif kind == _IFLA_PROP_LIST:
            others += [_text(value) for inner, value in wire.each_attribute(payload) if inner == _IFLA_ALT_IFNAME]
        elif kind == _IFLA_MASTER and len(payload) == _U32.size:
            master = _U32.unpack(payload)[0]
        elif kind == _IFLA_LINKINFO:
            # rtnl_link_slave_info_fill names the master's own kind here: "bridge", "bond", "openvswitch", "vrf" ...
            master_kind = _text(wire.attributes(payload).get(_IFLA_INFO_SLAVE_KIND, b""))
        elif kind == _IFLA_AF_SPEC:
            has_ipv6 = _has_ipv6(payload)
    if not name:
        return None
    running = flags & (_IFF_UP | _IFF_LOWER_UP) == _IFF_UP | _IFF_LOWER_UP
    has_arp = not flags & _IFF_NOARP
    state = LinkState(index, (name, *others), mac, running, master_kind=master_kind, has_arp=has_arp, has_ipv6=has_ipv6)
    return LinkRecord(state, master)


def _has_ipv6(families: bytes) -> bool:
    """By IFLA_AF_SPEC: below an MTU of 1280 the link has no part for IPv6 (addrconf_notify), and with `disable_ipv6`
    no address is let in (inet6_addr_add).
    """
    part = wire.attributes(families).get(socket.AF_INET6)
    if part is None:
        return False
    settings, at = wire.attributes(part).get(_IFLA_INET6_CONF, b""), _IPV6_DEVCONF_DISABLE_IPV6 * _U32.size
    return len(settings) < at + _U32.size or _U32.unpack_from(settings, at)[0] == 0


def parse_touched_by_ipv6(message: Message) -> int | None:
    """The link on which IPv6 may have been switched on or off: neither has an event that says so itself. Off takes
    the link's addresses (RTM_DELADDR) and, by the MTU, its settings (RTM_DELNETCONF); on shows the link to listeners
    of IPv6 (RTM_NEWLINK of that family), or its settings.
    """
    body = message.body
    if message.kind in (_RTM_NEWNETCONF, _RTM_DELNETCONF) and len(body) >= _NETCONFMSG.size:
        index = wire.attributes(body, _NETCONFMSG.size).get(_NETCONFA_IFINDEX, b"")
        return _I32.unpack(index)[0] if body[0] == socket.AF_INET6 and len(index) == _I32.size else None
    if message.kind == RTM_NEWLINK and len(body) >= _IFINFO.size and body[0] == socket.AF_INET6:
        return int(_IFINFO.unpack_from(body)[2])
    if message.kind == RTM_DELADDR and len(body) >= _IFADDR.size and body[0] == socket.AF_INET6:
        return int(_IFADDR.unpack_from(body)[4])
    return None


def parse_address(message: Message) -> AddressRecord | None:
    """The address of an RTM_NEWADDR or RTM_DELADDR; None for families that are not ours."""
    if len(message.body) < _IFADDR.size:
        return None
    family, prefix_length, flags, _, index = _IFADDR.unpack_from(message.body)
    found = wire.attributes(message.body, _IFADDR.size)
    # On a point-to-point link IFA_ADDRESS is the far end. IPv6 shows IFA_LOCAL only on such links.
    address = _address(found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS))
    if address is None or family != _family(address):
        return None
    wide_flags = found.get(_IFA_FLAGS, b"")
    tag = found.get(_IFA_PROTO)
    if len(wide_flags) == _U32.size:
        flags = _U32.unpack(wide_flags)[0]
    return AddressRecord(index, address, prefix_length, flags, tag[0] if tag else 0)


def parse_promote_secondaries(message: Message) -> int | None:
    """The link's own setting; None for a link without IPv4."""
    families = wire.attributes(wire.attributes(message.body, _IFINFO.size).get(_IFLA_AF_SPEC, b""))
    settings = wire.attributes(families.get(socket.AF_INET, b"")).get(_IFLA_INET_CONF, b"")
    at = (_IPV4_DEVCONF_PROMOTE_SECONDARIES - 1) * _U32.size  # an array that begins with setting 1
    return _U32.unpack_from(settings, at)[0] if len(settings) >= at + _U32.size else None


def parse_route_source(message: Message) -> IPAddress | None:
    """The source address of an RTM_NEWROUTE that answers `route_to`."""
    return _address(wire.attributes(message.body, _RTMSG.size).get(_RTA_PREFSRC))


def _address(packed: bytes | None) -> IPAddress | None:
    """An address of either family by its length; None for anything else."""
    if packed is None or len(packed) not in (4, 16):
        return None
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def _family(address: IPAddress) -> int:
    return socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6


def _text(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode("utf-8", "surrogateescape")
