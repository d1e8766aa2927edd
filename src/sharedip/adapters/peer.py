"""Datagrams between agents: one UDP socket, bytes out, bytes in with the instant at which they were read.

Role: carry `SendDatagram` out, emit `DatagramReceived`.
Must never: judge what it carries, block, or fail the agent: a datagram that can't leave is lost, as any may be.
Counterpart: `core/peers/wire.py`.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from sharedip.core.messages import DatagramReceived, Level, Report, SendDatagram
from sharedip.core.model import Instant
from sharedip.core.peers.wire import DATAGRAM_BYTES_MAX

DATAGRAMS_PER_WAKE_MAX = 64
"""A flood from strangers must leave the loop time for everything else (law 11)."""

RETRY_S = 2.0
RECEIVE_BUFFER_BYTES = 1 << 18


class PeerSocket:
    """Invariant: while open, exactly one reader is registered; binding is tried again until it works."""

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
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
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
        asyncio.get_running_loop().add_reader(channel, self._receive)
        self._bound()

    @property
    def is_bound(self) -> bool:
        """Whether peers reach us, and nobody else on this kernel, at the port."""
        return self._socket is not None

    def close(self) -> None:
        """Stop; nothing is emitted afterwards."""
        if self._retry is not None:
            self._retry.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def perform(self, order: SendDatagram) -> None:
        """Send it, or lose it."""
        host = None if self._socket is None else _literal(order.host, self._socket.family)
        if self._socket is None or host is None:
            self.unsent += 1
            return
        try:
            self._socket.sendto(order.payload, (host, order.port))
            self.sent += 1
        except OSError:  # no route, no buffer, no such host: loss is expected
            self.unsent += 1

    def _receive(self) -> None:
        if self._socket is not None:
            self._emit(self._read(self._socket))

    def _read(self, channel: socket.socket) -> list[DatagramReceived]:
        read: list[DatagramReceived] = []
        for _ in range(DATAGRAMS_PER_WAKE_MAX):
            try:
                # One byte more than any of ours: a longer one is cut, and its length gives it away.
                payload, source = channel.recvfrom(DATAGRAM_BYTES_MAX + 1)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:  # an ICMP error for something we sent earlier
                if error.errno in (errno.EBADF, errno.ENOTSOCK):
                    raise
                continue
            self.received += 1
            host = str(source[0])
            read.append(DatagramReceived(host.removeprefix("::ffff:"), source[1], payload, self._clock()))
        return read


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
    return f"::ffff:{address}" if family == socket.AF_INET6 else str(address)
