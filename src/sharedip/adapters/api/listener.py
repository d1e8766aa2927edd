"""One listener's connections: who gets a place, and who leaves it for another.

Role: accepts, bounds and serves. Must never: let anybody keep a place by waiting in it, take more of a round than the
share of outsiders, or take the kernel's shortage (of descriptors, of memory) for anything but weather.
Counterparts: `server.py` (binds), `connection.py` (speaks), `routes.py` (answers).

When all places are taken, the connection that has waited longest without a whole request leaves: who sends one at once
is always served. A source on the network has a few places of them; on this machine everybody is one source.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from sharedip.adapters.api.connection import (
    Connection,
    HttpRequest,
    HttpResponse,
    PeerGoneError,
    text_response,
)
from sharedip.adapters.api.routes import Routes
from sharedip.adapters.api.turns import Turns
from sharedip.core.messages import Level, Report
from sharedip.core.schedule import Pace

CONNECTIONS_MAX = 64
"""On each listener: a flood on TCP must not lock the operator out (law 11)."""
PER_SOURCE_MAX = 16
"""Of one IPv4 address or one /64 of IPv6. A browser has six."""
BACKLOG = 128
"""A flood is to wait in the kernel, honest ones with it: they are served in their turn."""
ACCEPTS_AT_ONCE = 4
"""Of a round; one costs 0.2 ms with all that follows from it."""
ACCEPTS_BURST, ACCEPTS_PER_S = 64, 500.0
"""A flood of connections costs a tenth of a core, and no more."""
SHORTAGE_S = 1.0
"""After a shortage in the kernel, as asyncio has it (ACCEPT_RETRY_DELAY)."""
RECEIVE_BUFFER_BYTES = 32 * 1024
"""What a peer may send that nobody has read yet: a request is one to two kilobytes."""

_SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_UCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid
_LOCAL = "this machine"


@dataclass(slots=True)
class _Seat:
    source: str
    connection: Connection


class Listener:
    """Invariant: at most `CONNECTIONS_MAX` connections, and of one source on the network `PER_SOURCE_MAX`."""

    def __init__(
        self, routes: Routes, idle_s: float, report: Callable[[Report], None], *, is_control: bool = False
    ) -> None:
        """`is_control`: only root and our own user may ask."""
        self._routes = routes
        self._idle_s = idle_s
        self._report = report
        self._is_control = is_control
        self._turns = Turns()
        self._pace = Pace(ACCEPTS_BURST, ACCEPTS_PER_S)
        self._seats: dict[asyncio.Task[None], _Seat] = {}
        self._leaving: dict[asyncio.Task[None], _Seat] = {}
        self._channels: set[socket.socket] = set()
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}

    def listen(self, channel: socket.socket) -> None:
        """Serve everybody who connects to this bound socket. Raises OSError."""
        try:
            channel.settimeout(0)
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)  # what it accepts inherits it
            channel.listen(BACKLOG)
        except OSError:
            channel.close()
            raise
        self._channels.add(channel)
        asyncio.get_running_loop().add_reader(channel, self._accept, channel)

    @property
    def ports(self) -> list[int]:
        """Of TCP: which ports it listens on."""
        return [one.getsockname()[1] for one in self._channels if one.family != socket.AF_UNIX]

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        loop = asyncio.get_running_loop()
        for timer in self._pauses.values():
            timer.cancel()
        for channel in self._channels:
            loop.remove_reader(channel)
            channel.close()
        self._pauses.clear()
        self._channels.clear()
        tasks = [*self._seats, *self._leaving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- places -------------------------------------------------------------------------------------------------------

    def _accept(self, channel: socket.socket) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                made, address = channel.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _SHORTAGE:
                    text = "no new connections to the API for now"
                    self._report(Report(Level.WARNING, text, reason=error.strerror or str(error)))
                    self._pause(channel, SHORTAGE_S)
                return  # accept(2): what the network did to that one connection
            self._take(made, _source(made, address))
            now = time.monotonic()
            if (free_at := self._pace.take(now)) > now:
                self._pause(channel, free_at - now)
                return

    def _pause(self, channel: socket.socket, for_s: float) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(channel)
        self._pauses[channel] = loop.call_later(for_s, self._resume, channel)

    def _resume(self, channel: socket.socket) -> None:
        self._pauses.pop(channel, None)
        asyncio.get_running_loop().add_reader(channel, self._accept, channel)

    def _take(self, made: socket.socket, source: str) -> None:
        """Give it a place, its own source's or the longest waiting one's if there is none left; else turn it away."""
        of_source = [each for each in self._seats.items() if each[1].source == source]
        is_crowd = source != _LOCAL and len(of_source) >= PER_SOURCE_MAX
        if is_crowd or len(self._seats) >= CONNECTIONS_MAX:
            leaves = _longest_waiting(of_source if is_crowd else self._seats.items())
            if leaves is None:
                _turn_away(made)
                return
            self._leaving[leaves] = self._seats.pop(leaves)
            leaves.cancel()
        made.settimeout(0)
        connection = Connection(made, self._turns, self._idle_s)
        task = asyncio.get_running_loop().create_task(self._serve(made, connection))
        self._seats[task] = _Seat(source, connection)
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        place = self._seats.pop(task, None) or self._leaving.pop(task)
        place.connection.close()
        if not task.cancelled() and (error := task.exception()) is not None:
            context = {"message": "a connection to the API failed", "exception": error, "task": task}
            asyncio.get_running_loop().call_exception_handler(context)

    async def _serve(self, channel: socket.socket, connection: Connection) -> None:
        """One connection to its end."""
        try:
            await connection.open()
            refusal = self._stranger(channel)
            is_loopback = _is_loopback(channel)
            while (request := await connection.request()) is not None:
                if refusal is None and is_loopback:
                    refusal = _of_another_host(request)
                if refusal is not None:
                    await connection.respond(refusal, is_last=True)
                    return
                response = await self._routes.answer(request)
                await connection.respond(response, head_only=request.method == "HEAD")
        except PeerGoneError:
            pass

    def _stranger(self, channel: socket.socket) -> HttpResponse | None:
        if not self._is_control:
            return None
        _, uid, _ = _UCRED.unpack(channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if uid in {0, os.geteuid()}:
            return None
        return text_response(403, f"only root and the agent's own user may control it, not user {uid}; try sudo")


def _longest_waiting(places: Iterable[tuple[asyncio.Task[None], _Seat]]) -> asyncio.Task[None] | None:
    """None if all of them are being answered; that has a deadline of its own."""
    waiting = [(place.connection.waits_since, task) for task, place in places]
    since = [(at, task) for at, task in waiting if at is not None]
    return min(since, key=lambda each: each[0])[1] if since else None


def _turn_away(made: socket.socket) -> None:
    """Nothing is read, no time is granted."""
    made.settimeout(0)
    try:
        made.send(_FULL)
    except OSError:
        pass
    finally:
        made.close()


def _source(made: socket.socket, address: object) -> str:
    if made.family == socket.AF_UNIX or not isinstance(address, tuple):
        return _LOCAL
    host = ip_address(str(address[0]).partition("%")[0])
    if isinstance(host, IPv6Address):
        if host.ipv4_mapped is None:
            return _LOCAL if host.is_loopback else str(IPv6Address(int(host) >> 64 << 64))
        host = host.ipv4_mapped
    return _LOCAL if host.is_loopback else str(host)


def _is_loopback(channel: socket.socket) -> bool:
    if channel.family == socket.AF_UNIX:
        return False
    try:
        return ip_address(channel.getsockname()[0].partition("%")[0]).is_loopback
    except OSError as error:
        raise PeerGoneError from error


def _of_another_host(request: HttpRequest) -> HttpResponse | None:
    """A page of a stranger in a browser on this machine, whose name has been pointed here (DNS rebinding)."""
    host = request.host.rpartition(":")[0] if request.host[-1:].isdigit() and ":" in request.host else request.host
    name = host.removeprefix("[").removesuffix("]")
    if "." not in name.removesuffix("."):
        return None  # `localhost`, or a name that no public DNS has
    try:
        ip_address(name)
    except ValueError:
        return text_response(421, "on this machine ask for an address, or for localhost")
    return None
