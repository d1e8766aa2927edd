"""The kernel's own word on addresses: who got one, who lost one, in the order in which it happened.

Role: one netlink socket hears the address events of all namespaces, so their order is the kernel's own: a remove before
an add is seen as that, however late we read. Must never: decide anything. Counterpart: `wire.py`, for what is sent.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from sharedip_lab.world.namespaces import inside

SOL_NETLINK = 270
NETLINK_LISTEN_ALL_NSID = 8  # linux/netlink.h; also the type of the control message that names the namespace
RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x10, 0x100
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
IFA_ADDRESS, IFA_LOCAL = 1, 2
SO_RCVBUFFORCE = 33
RECEIVE_BUFFER = 8 << 20
TICK_S = 0.000001

_HEADER = struct.Struct("=IHHII")
_IFADDRMSG = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")


class AddressWatch:
    """Address events of every node. Invariant: `known` equals what the kernel has told so far."""

    def __init__(self, bridge_namespace: str, nodes: dict[int, tuple[str, str]], vips: set[str]) -> None:
        self.nodes = nodes
        self.vips = vips
        self.known: set[tuple[int, int, str]] = set()
        self.facts: list[list[Any]] = []
        self.lost = 0
        self._differed: set[tuple[tuple[int, int, str], bool]] = set()
        """What the last sweep found otherwise than it was told: an address on a link, and whether it is there."""
        self._last = 0.0
        with inside(bridge_namespace):
            self.events = self._open(RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR)
        self.events.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
        self.events.settimeout(0)
        self.lists = {}
        for index, (_, namespace) in nodes.items():
            with inside(namespace):
                self.lists[index] = self._open(0)

    @staticmethod
    def _open(groups: int) -> socket.socket:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        sock.bind((0, groups))
        return sock

    def _stamp(self) -> float:
        """Now, but always later than before: the order of events survives in their instants."""
        self._last = max(time.monotonic(), self._last + TICK_S)
        return self._last

    def read(self) -> None:
        """Take in every event that waits. All are fetched before any is looked at: so their instants are close."""
        for at, index, data in list(self._waiting()):
            for kind, link, address in addresses_in(data):
                if address in self.vips:
                    self._tell(at, index, link, address, present=kind == RTM_NEWADDR)

    def _waiting(self) -> Iterator[tuple[float, int, bytes]]:
        while True:
            try:
                data, controls, _, _ = self.events.recvmsg(1 << 16, socket.CMSG_SPACE(4))
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: events were dropped; the next listing tells what became of the addresses
                self.lost += 1
                continue
            for level, kind, value in controls:
                if level == SOL_NETLINK and kind == NETLINK_LISTEN_ALL_NSID:
                    (index,) = struct.unpack("=i", value[:4])
                    if index in self.nodes:
                        yield self._stamp(), index, data

    def _tell(self, at: float, index: int, link: int, address: str, *, present: bool) -> None:
        key = (index, link, address)
        if (key in self.known) == present:
            return  # a renewed lifetime is no news
        (self.known.add if present else self.known.discard)(key)
        word = "added" if present else "removed"
        self.facts.append([word, at, self.nodes[index][0], str(link), address])

    def sweep(self) -> None:
        """List every node's addresses; what differs from what was told by then, and at the sweep before, was missed.

        One difference shows nothing: the kernel lists an address before it tells of it, and on a busy machine some time
        may lie between the two.
        """
        self.read()
        differs = set()
        for index, sock in self.lists.items():
            found = {(index, link, address) for link, address in _listed(sock) if address in self.vips}
            self.read()  # what changed while we listed has its own event
            mine = {key for key in self.known if key[0] == index}
            for key in found ^ mine:
                difference = key, key in found
                if difference in self._differed:
                    self.lost += 1
                    self._tell(self._stamp(), *key, present=key in found)
                else:
                    differs.add(difference)
        self._differed = differs


def addresses_in(data: bytes) -> list[tuple[int, int, str]]:
    """(RTM_NEWADDR or RTM_DELADDR, link index, address) of each address message in a netlink datagram."""
    found, offset = [], 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            break
        if kind in {RTM_NEWADDR, RTM_DELADDR}:
            family, _, _, _, link = _IFADDRMSG.unpack_from(data, offset + _HEADER.size)
            values: dict[int, bytes] = {}
            at, end = offset + _HEADER.size + _IFADDRMSG.size, min(offset + length, len(data))
            while at + 4 <= end:
                size, attribute = _ATTRIBUTE.unpack_from(data, at)
                if size < 4:
                    break
                values[attribute] = data[at + 4 : at + size]
                at += (size + 3) & ~3
            raw = values.get(IFA_LOCAL, values.get(IFA_ADDRESS))
            if raw is not None:
                address = IPv4Address(raw) if family == socket.AF_INET else IPv6Address(raw)
                found.append((kind, link, str(address)))
        offset += (length + 3) & ~3
    return found


def _listed(sock: socket.socket) -> list[tuple[int, str]]:
    """All addresses of the socket's namespace."""
    body = _IFADDRMSG.pack(0, 0, 0, 0, 0)
    sock.send(_HEADER.pack(_HEADER.size + len(body), RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body)
    found: list[tuple[int, str]] = []
    while True:
        data = sock.recv(1 << 16)
        found += [(link, address) for _, link, address in addresses_in(data)]
        if _HEADER.unpack_from(data)[1] in {NLMSG_DONE, NLMSG_ERROR} or _ends(data):
            return found


def _ends(data: bytes) -> bool:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if kind == NLMSG_DONE or length < _HEADER.size:
            return True
        offset += (length + 3) & ~3
    return False
