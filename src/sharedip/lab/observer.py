"""The outside observer: every node's addresses from the kernel, every claim to a VIP on the wire. A process of its own.

Role: `python -m sharedip.lab.observer JSON` prints one JSON line per batch of facts. One netlink socket hears the
address events of all namespaces, so their order is the kernel's own: a remove before an add is seen as that, however
late we read. One packet socket on the segment's bridge hears ARP and neighbour advertisements; every `ask_s`, and
whenever a node gets a VIP, it asks who has it, as any host would, and puts a datagram for it into each node's own
port: who answers, has it. The ports are listened to as well, on the near side of every cut: who is silent there,
though asked, is mute by itself.
Must never: decide anything, or ask an agent. Counterpart: `feeds.py`, which reads the lines.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from sharedip.lab import frames
from sharedip.lab.namespaces import inside
from sharedip.lab.topology import SEGMENT4, SEGMENT6, SEGMENT_BRIDGE, WITNESS_INDEX, WITNESS_MAC

SOL_NETLINK = 270
NETLINK_LISTEN_ALL_NSID = 8  # linux/netlink.h; also the type of the control message that names the namespace
RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x10, 0x100
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
IFA_ADDRESS, IFA_LOCAL = 1, 2
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1
SO_ATTACH_FILTER, SO_RCVBUFFORCE, SO_TIMESTAMPNS = 26, 33, 35
ETH_P_ALL = 3
RECEIVE_BUFFER = 8 << 20
TICK_S = 0.000001
SWEEP_S = 1.0
"""How often the addresses are listed outright, to prove that no event was missed."""

_HEADER = struct.Struct("=IHHII")
_IFADDRMSG = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_TIMESPEC = struct.Struct("@qq")

ECHO_PORT = 7777

# ARP, ICMPv6, and whatever is sent to the observer: (code, jump if true, jump if false, operand), linux/filter.h.
_FOR_THE_OBSERVER = [
    (0x28, 0, 0, 12),  # ethertype
    (0x15, 7, 0, 0x0806),  # ARP: take it
    (0x15, 0, 2, 0x0800),  # not IPv4: two on
    (0x20, 0, 0, 30),  # IPv4 destination
    (0x15, 4, 5, int(SEGMENT4 + WITNESS_INDEX)),
    (0x30, 0, 0, 20),  # IPv6 next header
    (0x15, 2, 0, 58),  # ICMPv6: take it
    (0x20, 0, 0, 50),  # the last four bytes of the IPv6 destination
    (0x15, 0, 1, int(SEGMENT6 + WITNESS_INDEX) & 0xFFFFFFFF),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
]


def keep_time() -> None:
    """Ask for a real-time slot, so that a busy machine doesn't blur what is measured; go on without if refused."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


class AddressWatch:
    """Address events of every node. Invariant: `known` equals what the kernel has told so far."""

    def __init__(self, bridge_namespace: str, nodes: dict[int, tuple[str, str]], vips: set[str]) -> None:
        self.nodes = nodes
        self.vips = vips
        self.known: set[tuple[int, int, str]] = set()
        self.facts: list[list[Any]] = []
        self.lost = 0
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
        """List every node's addresses; a difference means that an event was missed, and is counted."""
        self.read()
        for index, sock in self.lists.items():
            found = {(index, link, address) for link, address in _listed(sock) if address in self.vips}
            self.read()  # what changed while we listed has its own event
            mine = {key for key in self.known if key[0] == index}
            for _, link, address in found ^ mine:
                present = (index, link, address) in found
                again = {(index, link_, address_) for link_, address_ in _listed(sock)}
                self.read()
                if ((index, link, address) in again) == present and ((index, link, address) in self.known) != present:
                    self.lost += 1
                    self._tell(self._stamp(), index, link, address, present=present)


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


@dataclass(frozen=True)
class Door:
    """A node's port on the segment's bridge, seen from the bridge's side and before any cut."""

    socket: socket.socket
    mac: bytes
    name: str


def _waiting(sock: socket.socket) -> Iterator[bytes]:
    """Every frame that waits."""
    while True:
        try:
            yield sock.recv(2048)
        except BlockingIOError:
            return
        except OSError:
            continue


class Wire:
    """The segment as a host on it sees it."""

    def __init__(
        self, bridge_namespace: str, owners_by_mac: dict[bytes, str], ports: dict[str, bytes], vips: set[str]
    ) -> None:
        self.names = owners_by_mac
        self.vips = vips
        self.facts: list[list[Any]] = []
        self.mac = frames.mac_bytes(WITNESS_MAC)
        with inside(bridge_namespace):
            self.socket = self.open_socket(SEGMENT_BRIDGE)
            self.doors = [Door(self.open_socket(port), mac, owners_by_mac[mac]) for port, mac in ports.items()]
            self.hear_everything(self.socket)

    @staticmethod
    def hear_everything(sock: socket.socket) -> None:
        """A bridge hands its own device a copy of every frame only while that is promiscuous; call it inside."""
        request = struct.pack("=iHH8s", socket.if_nametoindex(SEGMENT_BRIDGE), PACKET_MR_PROMISC, 0, bytes(8))
        sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, request)

    @staticmethod
    def open_socket(interface: str) -> socket.socket:
        """ARP, ICMPv6 and what is sent to the observer, as the interface sees it; call it inside the namespace."""
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        program = b"".join(struct.pack("=HBBI", *line) for line in _FOR_THE_OBSERVER)
        buffer = ctypes.create_string_buffer(program)
        request = struct.pack("@HP", len(_FOR_THE_OBSERVER), ctypes.addressof(buffer))
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, request)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        sock.bind((interface, ETH_P_ALL))
        sock.settimeout(0)
        return sock

    @staticmethod
    def stamped(sock: socket.socket) -> Iterator[tuple[float, bytes]]:
        """Every frame that waits, with the instant at which the kernel received it: on a socket with SO_TIMESTAMPNS."""
        wall_ahead_s = time.time() - time.monotonic()
        while True:
            try:
                frame, controls, _, _ = sock.recvmsg(128, 64)
            except BlockingIOError:
                return
            except OSError:
                continue
            at = time.monotonic()
            for _, name, value in controls:
                if name == SO_TIMESTAMPNS:
                    seconds, nanoseconds = _TIMESPEC.unpack(value[: _TIMESPEC.size])
                    at = seconds + nanoseconds / 1e9 - wall_ahead_s
            yield at, frame

    def ask(self, vips: Iterable[str]) -> None:
        """Who has it? And through each door: do you? A full queue loses the question, which is no answer."""
        for text in sorted(vips):
            vip = ip_address(text)
            me: frames.IPAddress = SEGMENT4 + WITNESS_INDEX
            if isinstance(vip, IPv4Address):
                question = frames.arp_request(self.mac, SEGMENT4 + WITNESS_INDEX, vip)
            else:
                me = SEGMENT6 + WITNESS_INDEX
                question = frames.neighbour_solicitation(self.mac, SEGMENT6 + WITNESS_INDEX, vip)
            with contextlib.suppress(OSError):
                self.socket.send(question)
            # The instant is taken before sending: an answer is never older than its question.
            self.facts.append(["knocked", time.monotonic(), "", text])
            for door in self.doors:
                with contextlib.suppress(OSError):  # a port that is down: nobody is behind it
                    door.socket.send(frames.datagram((self.mac, door.mac), (me, vip), ECHO_PORT, b"observer"))

    def listen_at_doors(self) -> None:
        """Take in every sign of a node at its own port that it serves a VIP."""
        for door in self.doors:
            for frame in _waiting(door.socket):
                answer = frames.read_datagram(frame, ECHO_PORT)
                claim = None if answer is not None else frames.read_claim(frame)
                address = str(answer[0]) if answer is not None else "" if claim is None else str(claim.address)
                # Frames *to* the node pass its port, too; only its own speak of it.
                if address in self.vips and frame[6:12] == door.mac:
                    self.facts.append(["spoke", time.monotonic(), door.name, address])

    def read(self) -> None:
        """Take in every frame that waits, in the order in which it came."""
        for frame in _waiting(self.socket):
            answer = frames.read_datagram(frame, ECHO_PORT)
            if answer is not None and str(answer[0]) in self.vips:
                self.facts.append(["answered", time.monotonic(), answer[1][8:].decode(), str(answer[0])])
                continue
            claim = frames.read_claim(frame)
            if claim is not None and str(claim.address) in self.vips and claim.mac != self.mac:
                who = self.names.get(claim.mac, frames.mac_text(claim.mac))
                word = "announced" if claim.announced else "answered"
                self.facts.append([word, time.monotonic(), who, str(claim.address)])


def main(argument: str) -> None:
    """Observe until standard input closes (the lab has ended) or the pipe breaks. A line on it is a new `ask_s`."""
    told = json.loads(argument)
    nodes = {int(index): (name, namespace) for index, name, namespace, _, _ in told["nodes"]}
    macs = {frames.mac_bytes(mac): name for _, name, _, mac, _ in told["nodes"]}
    ports = {port: frames.mac_bytes(mac) for _, _, _, mac, port in told["nodes"]}
    vips, ask_s = set(told["vips"]), float(told["ask_s"])
    watch = AddressWatch(told["bridge_namespace"], nodes, vips)
    wire = Wire(told["bridge_namespace"], macs, ports, vips)
    heard = [watch.events, wire.socket, *(door.socket for door in wire.doors), sys.stdin]
    keep_time()
    ask_at = sweep_at = flush_at = time.monotonic()
    while True:
        now = time.monotonic()
        wakes = min(sweep_at, flush_at, ask_at) if ask_s else min(sweep_at, flush_at)
        ready, _, _ = select.select(heard, [], [], max(0.0, wakes - now))
        watch.read()
        wire.read()
        wire.listen_at_doors()
        if sys.stdin in ready:
            orders = os.read(sys.stdin.fileno(), 4096).split()
            if not orders:
                return
            ask_s = float(orders[-1])
            ask_at = time.monotonic()
        now = time.monotonic()
        # A node that gets the address is the moment to see whether another one still serves it.
        given = {fact[-1] for fact in watch.facts if fact[0] == "added"}
        if ask_s and (now >= ask_at or given):
            wire.ask(vips if now >= ask_at else given)
            ask_at = max(ask_at + ask_s, now) if now >= ask_at else ask_at
        if now >= sweep_at:
            watch.sweep()
            sweep_at = now + SWEEP_S
        if now >= flush_at or watch.facts:
            line = {"now": now, "lost": watch.lost, "facts": [*watch.facts, *wire.facts]}
            watch.facts.clear()
            wire.facts.clear()
            print(json.dumps(line), flush=True)
            flush_at = now + 0.02


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.argv[1])
