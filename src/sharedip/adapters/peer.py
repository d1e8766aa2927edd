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
from sharedip.core.segment.wire import DATAGRAM_BYTES_MAX

DATAGRAMS_PER_WAKE_MAX = 64
"""A flood from strangers must leave the loop time for everything else (law 11)."""

RETRY_S = 2.0
RECEIVE_BUFFER_BYTES = 1 << 18

_IP_PKTINFO: Final = 8  # linux/in.h; Python names neither before 3.14
_IP_RECVTTL: Final = 12
_SO_ATTACH_FILTER: Final = 26
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
_NAMES: Final = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}
_EVERY: Final = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104 - direct datagrams alone

_Place = tuple[socket.AddressFamily, int]
"""A family, and the index of a link."""
Ancillary = Sequence[tuple[int, int, bytes]]


class _DirectFilter(ctypes.Structure):
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
        self.sent = 0
        self.unsent = 0
        self.received = 0

    def open(self) -> None:
        """Listen, now or as soon as it works."""
        self._retry = None
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        channel = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if family == socket.AF_INET6:
                channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            _prepare(channel)
            channel.bind((self._host, self._port))
        except OSError as error:
            channel.close()
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

    @property
    def is_bound(self) -> bool:
        """Whether peers reach us, and nobody else on this kernel, at the port."""
        return self._socket is not None

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
                    _close(self._beside.pop(place))

    def _open_beside(self, first: socket.socket, place: _Place) -> None:
        family, index = place
        try:
            where = f"{socket.if_indextoname(index)}, port {first.getsockname()[1]} (UDP, {_NAMES[family]})"
        except OSError:  # the link has vanished, and the core will hear of it
            return
        try:
            channel = _bind_beside(first, place, is_open=family in self._heard_by_first)
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


def _bind_beside(first: socket.socket, place: _Place, *, is_open: bool) -> socket.socket:
    """A socket for what comes by this link to our port: all of it, or only what comes directly.

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
        if not is_open:
            _drop_what_came_by_a_router(channel)
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


def _drop_what_came_by_a_router(channel: socket.socket) -> None:
    """In the kernel, before it wakes anybody: load the hop limit; is it 255? The whole datagram; else nothing of it."""
    hop_limit_at = _NETWORK_HEADER + _HOP_LIMIT_AT[channel.family]
    code = ((0x30, 0, 0, hop_limit_at), (0x15, 0, 1, 255), (0x06, 0, 0, 0x4_0000), (0x06, 0, 0, 0))
    program = b"".join(struct.pack("=HBBI", *one) for one in code)
    channel.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(_DirectFilter(len(code), program)))


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
