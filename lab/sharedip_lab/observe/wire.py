"""The segment as a host on it sees it: claims to a VIP, answers, and what passes each node's own port.

Role: packet sockets on the segment's bridge and on the nodes' ports; questions as any host would ask them, and a
datagram into each node's own port: who answers, has it. The ports are listened to on the near side of every cut: who is
silent there, though asked, is mute by itself.
Must never: decide anything, or ask an agent. Counterpart: `address_events.py`, for what the kernels say.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from typing import Any

from sharedip_lab.world import frames
from sharedip_lab.world.namespaces import inside
from sharedip_lab.world.topology import ECHO_PORT, FIRST, WITNESS_INDEX, WITNESS_MAC, Segment

SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1
SO_ATTACH_FILTER, SO_RCVBUFFORCE, SO_TIMESTAMPNS = 26, 33, 35
ETH_P_ALL = 3
RECEIVE_BUFFER = 8 << 20

_TIMESPEC = struct.Struct("@qq")
_INSTANT = struct.Struct("!d")
"""What a datagram of the observer's carries: when it was sent. The answer has it, too."""


def _for_the_observer(segment: Segment) -> list[tuple[int, int, int, int]]:
    """ARP, ICMPv6, and whatever is sent to the observer: (code, jump if true, jump if false, operand), filter.h."""
    return [
        (0x28, 0, 0, 12),  # ethertype
        (0x15, 7, 0, 0x0806),  # ARP: take it
        (0x15, 0, 2, 0x0800),  # not IPv4: two on
        (0x20, 0, 0, 30),  # IPv4 destination
        (0x15, 4, 5, int(segment.base4 + WITNESS_INDEX)),
        (0x30, 0, 0, 20),  # IPv6 next header
        (0x15, 2, 0, 58),  # ICMPv6: take it
        (0x20, 0, 0, 50),  # the last four bytes of the IPv6 destination
        (0x15, 0, 1, int(segment.base6 + WITNESS_INDEX) & 0xFFFFFFFF),
        (0x06, 0, 0, 0xFFFF),
        (0x06, 0, 0, 0),
    ]


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
        self,
        bridge_namespace: str,
        owners_by_mac: dict[bytes, str],
        ports: Sequence[tuple[str, bytes]],
        vips: set[str],
        segment: Segment = FIRST,
    ) -> None:
        self.segment = segment
        self.names = owners_by_mac
        self.vips = vips
        self.facts: list[list[Any]] = []
        self.mac = frames.mac_bytes(WITNESS_MAC)
        with inside(bridge_namespace):
            self.socket = self.open_socket(segment.bridge, segment)
            self.doors = [Door(self.open_socket(port, segment), mac, owners_by_mac[mac]) for port, mac in ports]
            self.hear_everything(self.socket, segment)

    @staticmethod
    def hear_everything(sock: socket.socket, segment: Segment = FIRST) -> None:
        """A bridge hands its own device a copy of every frame only while that is promiscuous; call it inside."""
        request = struct.pack("=iHH8s", socket.if_nametoindex(segment.bridge), PACKET_MR_PROMISC, 0, bytes(8))
        sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, request)

    @staticmethod
    def open_socket(interface: str, segment: Segment = FIRST) -> socket.socket:
        """ARP, ICMPv6 and what is sent to the observer, as the interface sees it; call it inside the namespace."""
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        lines = _for_the_observer(segment)
        buffer = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
        request = struct.pack("@HP", len(lines), ctypes.addressof(buffer))
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
            me: frames.IPAddress
            if isinstance(vip, IPv4Address):
                me = self.segment.base4 + WITNESS_INDEX
                question = frames.arp_request(self.mac, me, vip)
            else:
                me = self.segment.base6 + WITNESS_INDEX
                question = frames.neighbour_solicitation(self.mac, me, vip)
            with contextlib.suppress(OSError):
                self.socket.send(question)
            # The instant is taken before sending: an answer is never older than its question.
            self.facts.append(["knocked", time.monotonic(), "", text])
            for door in self.doors:
                with contextlib.suppress(OSError):  # a port that is down: nobody is behind it
                    asked_at = _INSTANT.pack(time.monotonic())
                    door.socket.send(frames.datagram((self.mac, door.mac), (me, vip), ECHO_PORT, asked_at))

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
            if answer is not None and str(answer[0]) in self.vips and len(answer[1]) > _INSTANT.size:
                (asked_at,) = _INSTANT.unpack_from(answer[1])
                self.facts.append(["replied", time.monotonic(), answer[1][8:].decode(), str(answer[0]), asked_at])
                continue
            claim = frames.read_claim(frame)
            if claim is not None and str(claim.address) in self.vips and claim.mac != self.mac:
                who = self.names.get(claim.mac, frames.mac_text(claim.mac))
                word = "announced" if claim.announced else "answered"
                self.facts.append([word, time.monotonic(), who, str(claim.address)])
