"""Datagrams between agents: bytes out, bytes in with the instant at which they were read, and how they came.

Role: carry `SendDatagram` out, emit `DatagramReceived`.
Must never: judge what it carries, block, or fail the agent: a datagram that can't leave is lost, as any may be.
Counterpart: `core/segment/wire.py`.

One UDP socket, where `peer.listen` says. What is sent from a link's own address, and comes back to it, has the same
port, whatever address `peer.listen` names, and goes by that link, whatever the routes say. For IPv4 the first socket
does that if it hears every address. Else a second one, bound to the link, sends and hears it: IPv6 heeds a link beside
a source only for a bound socket (ip6_route_output_flags). Where `peer.listen` does not open the port to this family, it
hears direct datagrams alone: who chose one address for his agents has not opened the port to other networks. It is
opened when the first such datagram is sent, so on no link that has nothing to say.

What is no datagram of ours, or is for another lease than the agent's, the kernel drops before it takes room in the
socket's buffer: a flood of garbage must not crowd out a witness's answer (law 11).

Each family has its own way to tell link and hop limit; on an IPv6 socket that hears IPv4 as well, Linux tells the link
the IPv6 way and the TTL the IPv4 way (ip6_datagram_recv_common_ctl, ip_cmsg_recv_offset).
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from sharedip.core.messages import DatagramReceived, Level, Report, SendDatagram
from sharedip.core.model import Instant, IPAddress
from sharedip.core.segment.wire import DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN, MAGIC, RECEIVER_AT, DatagramKind

DATAGRAMS_PER_WAKE_MAX = 64
"""A flood from strangers must leave the loop time for everything else (law 11)."""

RETRY_S = 2.0
RECEIVE_BUFFER_BYTES = 1 << 18

_IP_PKTINFO: Final = 8  # linux/in.h; Python names neither before 3.14
_IP_RECVTTL: Final = 12
_SO_ATTACH_FILTER: Final = 26
_SO_MEMINFO: Final = 55
_MEMINFO = struct.Struct("=9I")
_DROPS: Final = 8  # SK_MEMINFO_DROPS, linux/sock_diag.h: by the filter, and for want of room
_SO_BINDTOIFINDEX: Final = 62
_DIRECT: Final = struct.pack("=i", 255)
"""The hop limit that no router leaves as it is (RFC 5082)."""
_PKTINFO4 = struct.Struct("=i4s4x")  # struct in_pktinfo: link, own address, and what only an arrival has
_PKTINFO6 = struct.Struct("=16sI")  # struct in6_pktinfo
_ARRIVAL_BYTES: Final = socket.CMSG_SPACE(_PKTINFO6.size) + socket.CMSG_SPACE(len(_DIRECT))
_MAPPED: Final = "::ffff:"
"""What an IPv6 socket puts before an IPv4 address (RFC 4291 section 2.5.5.2)."""
_HOP_LIMIT_AT: Final = {socket.AF_INET: 8, socket.AF_INET6: 7}
_NETWORK_HEADER: Final = 0x1_0000_0000 - 0x10_0000  # SKF_NET_OFF, linux/filter.h
_UDP_HEADER: Final = 8
"""Where a filter on a UDP socket finds the payload (udp_queue_rcv_one_skb)."""
_LENGTH, _WORD, _BYTE = 0x80, 0x20, 0x30  # BPF_LD with BPF_W | BPF_LEN, BPF_W | BPF_ABS, BPF_B | BPF_ABS
_EQUAL, _GREATER, _AT_LEAST = 0x15, 0x25, 0x35  # BPF_JMP with BPF_JEQ, BPF_JGT, BPF_JGE; all with BPF_K
_RETURN, _WHOLE = 0x06, 0x4_0000
_NAMES: Final = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
_EVERY: Final = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104 - direct datagrams alone

_Place = tuple[socket.AddressFamily, int]
"""A family, and the index of a link."""
Ancillary = Sequence[tuple[int, int, bytes]]


class _SocketFilter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


class PeerSocket:
    """Invariant: while open, each socket has exactly one reader; binding is tried again until it works. At rest no
    other socket can be bound beside ours (SO_REUSEADDR is off), so that `is_bound` tells us from any other program.
    """

    def __init__(
        self,
        host: str,
        port: int,
        emit: Callable[[Sequence[DatagramReceived]], None],
        clock: Callable[[], Instant],
        report: Callable[[Report], None],
        bound: Callable[[], None] = lambda: None,
        *,
        retry_s: float = RETRY_S,
    ) -> None:
        """`emit` takes everything that waited, at once; `bound` is called when the port is ours."""
        self._host = host
        self._port = port
        self._emit = emit
        self._clock = clock
        self._report = report
        self._bound = bound
        self._retry_s = retry_s
        self._socket: socket.socket | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._trouble: str | None = None
        self._heard_by_first = _heard_by(host)
        self._beside: dict[_Place, socket.socket] = {}
        self._beside_again_at: dict[_Place, Instant] = {}
        self._beside_trouble: dict[_Place, str] = {}
        self._lease: int | None = None
        self._dropped_by_closed = 0
        self.sent = 0
        self.unsent = 0
        self.received = 0

    def open(self) -> None:
        """Listen, now or as soon as it works."""
        self._retry = None
        try:
            channel = self._bind()
        except OSError as error:
            reason = error.strerror or str(error)
            if reason != self._trouble:
                self._trouble = reason
                text = f"cannot listen for other agents on {self._host} port {self._port} (UDP); trying again"
                self._report(Report(Level.WARNING, text, reason=reason))
            self._retry = asyncio.get_running_loop().call_later(self._retry_s, self.open)
            return
        if self._trouble is not None:
            self._trouble = None
            self._report(Report(Level.INFO, f"listening for other agents on {self._host} port {self._port} (UDP)"))
        self._socket = channel
        asyncio.get_running_loop().add_reader(channel, self._receive, channel)
        self._bound()

    def _bind(self) -> socket.socket:
        host = host_of_every_family(self._host)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        channel = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if family == socket.AF_INET6:
                channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            _prepare(channel)
            self._filter(channel)
            channel.bind((host, self._port))
        except OSError:
            channel.close()
            raise
        self._heard_by_first = _heard_by(host)
        return channel

    @property
    def is_bound(self) -> bool:
        """Whether peers reach us, and nobody else on this kernel, at the port."""
        return self._socket is not None

    @property
    def dropped(self) -> int:
        """Datagrams that the kernel has dropped: none of ours, for another lease, or too many."""
        opened = [*self._beside.values(), *([] if self._socket is None else [self._socket])]
        return self._dropped_by_closed + sum(_drops(channel) for channel in opened)

    def hear_for(self, lease: int | None) -> None:
        """From now on hear what is for this lease alone; None: whatever comes."""
        if lease == self._lease:
            return
        self._lease = lease
        if self._socket is not None:
            self._filter(self._socket)
        for place, channel in self._beside.items():
            self._filter(channel, only_direct=place[0] not in self._heard_by_first)

    def _filter(self, channel: socket.socket, *, only_direct: bool = False) -> None:
        hop_limit_at = _NETWORK_HEADER + _HOP_LIMIT_AT[channel.family] if only_direct else None
        program = filter_program(self._lease, hop_limit_at)
        buffer = _SocketFilter(len(program) // 8, program)
        channel.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(buffer))

    def close(self) -> None:
        """Stop; nothing is emitted afterwards."""
        if self._retry is not None:
            self._retry.cancel()
        opened = [*self._beside.values(), *([] if self._socket is None else [self._socket])]
        self._beside.clear()
        self._socket = None
        for channel in opened:
            _close(channel)

    def perform(self, order: SendDatagram) -> None:
        """Send it, or lose it."""
        is_sent = self._send(order) if order.source is None else self._send_from(order, order.source)
        self.sent += is_sent
        self.unsent += not is_sent

    def _send(self, order: SendDatagram) -> bool:
        host = None if self._socket is None else _literal(order.host, self._socket.family)
        if self._socket is None or host is None:
            return False
        try:
            self._socket.sendto(order.payload, (host, order.port))
        except OSError:  # no route, no buffer, no such host: loss is expected
            return False
        return True

    def _send_from(self, order: SendDatagram, source: IPAddress) -> bool:
        place = (socket.AF_INET if source.version == 4 else socket.AF_INET6, order.index)
        channel = self._channel_for(place)
        destination = None if channel is None else _on_link(order, source.version, channel.family)
        if channel is None or destination is None:
            return False
        try:
            channel.sendmsg((order.payload,), _departure(source, order.index), 0, destination)
        except OSError:  # the same, and a source that is not, or not yet, this node's
            return False
        return True

    def _channel_for(self, place: _Place) -> socket.socket | None:
        """The socket that sends by this link, and hears what comes back by it; None while there is none."""
        family, _ = place
        if self._socket is None or (family == socket.AF_INET and family in self._heard_by_first):
            return self._socket
        if place not in self._beside and self._clock() >= self._beside_again_at.get(place, 0.0):
            self._forget_links()
            self._open_beside(self._socket, place)
        return self._beside.get(place)

    def _forget_links(self) -> None:
        """Indexes are never given again while the machine runs, or by chance alone: what has vanished is of no use."""
        for place in {*self._beside, *self._beside_again_at, *self._beside_trouble}:
            try:
                socket.if_indextoname(place[1])
            except OSError:
                self._beside_again_at.pop(place, None)
                self._beside_trouble.pop(place, None)
                if place in self._beside:
                    gone = self._beside.pop(place)
                    self._dropped_by_closed += _drops(gone)
                    _close(gone)

    def _open_beside(self, first: socket.socket, place: _Place) -> None:
        family, index = place
        try:
            where = f"{socket.if_indextoname(index)}, port {first.getsockname()[1]} (UDP, {_NAMES[family]})"
        except OSError:  # the link has vanished, and the core will hear of it
            return
        try:
            only_direct = family not in self._heard_by_first
            channel = _bind_beside(first, place, lambda made: self._filter(made, only_direct=only_direct))
        except OSError as error:
            self._beside_again_at[place] = self._clock() + self._retry_s
            reason = error.strerror or str(error)
            if reason != self._beside_trouble.get(place):
                self._beside_trouble[place] = reason
                self._report(Report(Level.WARNING, f"cannot hear other agents on {where}; trying again", reason=reason))
            return
        if self._beside_trouble.pop(place, None) is not None:
            self._report(Report(Level.INFO, f"hearing other agents on {where}"))
        self._beside[place] = channel
        asyncio.get_running_loop().add_reader(channel, self._receive, channel)

    def _receive(self, channel: socket.socket) -> None:
        if channel.fileno() >= 0:  # not closed in this very turn
            self._emit(self._read(channel))

    def _read(self, channel: socket.socket) -> list[DatagramReceived]:
        read: list[DatagramReceived] = []
        for _ in range(DATAGRAMS_PER_WAKE_MAX):
            try:
                # One byte more than any of ours: a longer one is cut, and its length gives it away.
                payload, ancillary, _, source = channel.recvmsg(DATAGRAM_BYTES_MAX + 1, _ARRIVAL_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:  # an ICMP error for something we sent earlier
                if error.errno in (errno.EBADF, errno.ENOTSOCK):
                    raise
                continue
            self.received += 1
            host = str(source[0])
            host = host.removeprefix(_MAPPED)
            read.append(DatagramReceived(host, source[1], payload, self._clock(), *_arrival(ancillary)))
        return read


def host_of_every_family(host: str) -> str:
    """Where to listen so that every address of every family is heard: a kernel without IPv6 has those of IPv4 alone."""
    if host != _EVERY[socket.AF_INET6]:
        return host
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError as error:
        return _EVERY[socket.AF_INET] if error.errno == errno.EAFNOSUPPORT else host
    return host


def _heard_by(host: str) -> tuple[socket.AddressFamily, ...]:
    """The families of which a socket at this address hears everything."""
    address = ip_address(host)
    if not address.is_unspecified:
        return ()
    return (socket.AF_INET,) if address.version == 4 else (socket.AF_INET, socket.AF_INET6)


def _prepare(channel: socket.socket) -> None:
    """Have the kernel tell of each datagram on which link it came, and with which hop limit."""
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    channel.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
    if channel.family == socket.AF_INET6:
        channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
    else:
        channel.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def _close(channel: socket.socket) -> None:
    asyncio.get_running_loop().remove_reader(channel)
    channel.close()


def _drops(channel: socket.socket) -> int:
    try:
        told = channel.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
    except OSError:  # kernels before 4.12
        return 0
    return int(_MEMINFO.unpack(told)[_DROPS]) if len(told) == _MEMINFO.size else 0


def _bind_beside(first: socket.socket, place: _Place, prepare: Callable[[socket.socket], None]) -> socket.socket:
    """A socket for what comes by this link to our port; `prepare` is done before it hears anything.

    For each datagram Linux takes the socket that names its address, if there is one (compute_score), so `first` goes on
    hearing its own. Both allow the other for the moment of the binding alone.
    """
    family, index = place
    channel = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        channel.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, index)
        _prepare(channel)
        prepare(channel)
        for one in (first, channel):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            channel.bind((_EVERY[family], first.getsockname()[1]))
        finally:
            for one in (first, channel):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError:
        channel.close()
        raise
    return channel


def filter_program(lease: int | None, hop_limit_at: int | None) -> bytes:
    """A classic BPF program (linux/filter.h) that lets the whole datagram pass, or nothing of it: by its length, its
    first bytes and the lease that it is for, if there is one; and, where `hop_limit_at` says where that is, only if it
    came by no router.
    """
    code: list[tuple[int, int, int, int]] = []
    if lease is not None:
        code += [(_LENGTH, 0, 0, 0), (_AT_LEAST, 1, 0, _UDP_HEADER + DATAGRAM_BYTES_MIN), _REFUSE]
        code += [(_GREATER, 0, 1, _UDP_HEADER + DATAGRAM_BYTES_MAX), _REFUSE]
        code += _only(_WORD, _UDP_HEADER, int.from_bytes(MAGIC))
        code += [(_BYTE, 0, 0, _UDP_HEADER + len(MAGIC)), (_GREATER, 0, 1, max(DatagramKind)), _REFUSE]
        code += _only(_WORD, _UDP_HEADER + RECEIVER_AT, lease >> 32)
        code += _only(_WORD, _UDP_HEADER + RECEIVER_AT + 4, lease & 0xFFFF_FFFF)
    if hop_limit_at is not None:
        code += _only(_BYTE, hop_limit_at, 255)
    code.append((_RETURN, 0, 0, _WHOLE))
    return b"".join(struct.pack("=HBBI", *one) for one in code)


_REFUSE: Final = (_RETURN, 0, 0, 0)


def _only(load: int, at: int, value: int) -> list[tuple[int, int, int, int]]:
    """Go on if this is what stands there, else refuse."""
    return [(load, 0, 0, at), (_EQUAL, 1, 0, value), _REFUSE]


def _arrival(ancillary: Ancillary) -> tuple[int, bool]:
    """On which link it came, 0 if the kernel does not say; and whether no router has passed it on."""
    index, is_direct = 0, False
    for level, kind, told in ancillary:
        if level == socket.IPPROTO_IPV6:
            if kind == socket.IPV6_PKTINFO:
                index = int.from_bytes(told[16:20], sys.byteorder)
            elif kind == socket.IPV6_HOPLIMIT:
                is_direct = told == _DIRECT
        elif kind == socket.IP_TTL:
            is_direct = told == _DIRECT
        elif kind == _IP_PKTINFO:
            index = int.from_bytes(told[:4], sys.byteorder)
    return index, is_direct


@lru_cache(maxsize=256)
def _departure(source: IPAddress, index: int) -> Ancillary:
    """From this own address, by this link, with a hop limit of 255. Linux takes IPv4's on an IPv6 socket, too."""
    if isinstance(source, IPv4Address):
        told = _PKTINFO4.pack(index, source.packed)
        return (socket.IPPROTO_IP, _IP_PKTINFO, told), (socket.IPPROTO_IP, socket.IP_TTL, _DIRECT)
    told = _PKTINFO6.pack(source.packed, index)
    return (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, told), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, _DIRECT)


def _on_link(order: SendDatagram, version: int, family: socket.AddressFamily) -> tuple[str, int] | None:
    """Where to, as a socket of this family takes it. A link-local address is on the order's link, whatever it says.

    None unless it is of the source's own IP version: an IPv6 socket heeds what is said of an IPv4 source only on the
    way to an IPv4 address, and would send from any other one.
    """
    host = _literal(order.host.partition("%")[0], family)
    if host is None or (version == 4) != (family == socket.AF_INET or host.startswith(_MAPPED)):
        return None
    return host, order.port


@lru_cache(maxsize=256)
def _literal(host: str, family: socket.AddressFamily) -> str | None:
    """The address as a socket of this family takes it; None for anything but an IP literal.

    The text is what another agent's record says. A name would be looked up by `sendto` itself, while the agent waits,
    and a text that can't even be looked up is a TypeError there, not an OSError.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        # A scope may be any text at all: one with a NUL in it, or half of a surrogate pair, is no address for `sendto`.
        is_sendable = family == socket.AF_INET6 and str(address).isascii() and str(address).isprintable()
        return str(address) if is_sendable else None
    return f"{_MAPPED}{address}" if family == socket.AF_INET6 else str(address)
