"""The two listeners: the control socket for this machine's operator, TCP for everybody's eyes.

Role: who may connect and how many, and listening again when it did not work.
Must never: end the agent because a port is taken or a directory not writable (weather: reported once, tried again),
take a socket away from a live agent, or let TCP change anything.
Counterparts: `routes.py` (what is answered), `agent/status.py`, `agent/operator.py`; `cli/agent_client.py` (the other
end).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sharedip.adapters.api.connection import IDLE_S, Connection, HttpResponse, PeerGoneError, text_response
from sharedip.adapters.api.routes import Operate, Routes, control_routes, public_routes
from sharedip.adapters.api.watchers import Watchers
from sharedip.core.messages import Level, Report

if TYPE_CHECKING:
    from sharedip.core.status import Status

CONNECTIONS_MAX = 64
"""On each listener: a flood on TCP must not lock the operator out (law 11)."""
BACKLOG = 16
RETRY_FIRST_S = 1.0
RETRY_LAST_S = 30.0
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_UCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid

Listen = Callable[[], Awaitable[asyncio.Server]]


class Api:
    """Invariant: each listener listens, or a task tries again to.

    Steps: `start_unix`, `start_tcp` (either may be left out), `publish` for each fact, `close`.
    `report` gets what an operator should know of the listeners themselves.
    """

    def __init__(
        self,
        status: Callable[[], Status],
        operate: Operate,
        metrics: Callable[[], str],
        report: Callable[[Report], None] = lambda _: None,
        *,
        idle_s: float = IDLE_S,
        retry_s: float = RETRY_FIRST_S,
    ) -> None:
        self._report = report
        self._idle_s = idle_s
        self._retry_s = retry_s
        self._watchers = Watchers(status)
        self._control = _Listener(control_routes(status, operate, self._watchers), idle_s, check_peer=True)
        self._public = _Listener(public_routes(status, metrics), idle_s, check_peer=False)
        self._retries: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._socket_file: tuple[Path, int] | None = None

    async def start_unix(self, path: Path) -> None:
        """Listen on `path`, now or as soon as it works."""

        async def listen() -> asyncio.Server:
            channel = _bind_unix(path)
            self._socket_file = (path, os.stat(path).st_ino)
            return await asyncio.start_unix_server(self._control.serve, sock=channel, backlog=BACKLOG)

        await self._start(f"the control socket {path}", listen)

    async def start_tcp(self, host: str, port: int) -> None:
        """Listen on `host` and `port`, now or as soon as it works."""

        async def listen() -> asyncio.Server:
            return await asyncio.start_server(self._public.serve, host, port, backlog=BACKLOG)

        await self._start(f"the API on {host} port {port}", listen)

    @property
    def tcp_port(self) -> int | None:
        """Which port TCP listens on; None while it does not. Port 0 lets the kernel choose."""
        for server in self._servers:
            for channel in server.sockets:
                if channel.family != socket.AF_UNIX:
                    return int(channel.getsockname()[1])
        return None

    def publish(self, report: Report) -> None:
        """Pass one fact on to the watchers."""
        self._watchers.publish(report)

    async def close(self) -> None:
        """Stop listening and drop every connection; the socket file goes if it is still ours."""
        for task in self._retries:
            task.cancel()
        await asyncio.gather(*self._retries, return_exceptions=True)
        for server in self._servers:
            server.close()
        await self._control.close()
        await self._public.close()
        self._servers.clear()
        if self._socket_file is not None:
            path, inode = self._socket_file
            with contextlib.suppress(OSError):
                if os.lstat(path).st_ino == inode:
                    path.unlink()
            self._socket_file = None

    async def _start(self, what: str, listen: Listen) -> None:
        reason = await self._try(listen)
        if reason is None:
            return
        self._report(Report(Level.WARNING, f"{what} does not open, trying again", reason=reason))
        task = asyncio.create_task(self._retry(what, listen))
        self._retries.add(task)
        task.add_done_callback(self._retries.discard)

    async def _retry(self, what: str, listen: Listen) -> None:
        delay_s = self._retry_s
        while True:
            await asyncio.sleep(delay_s)
            if await self._try(listen) is None:
                self._report(Report(Level.INFO, f"{what} is open now"))
                return
            delay_s = min(2 * delay_s, RETRY_LAST_S)

    async def _try(self, listen: Listen) -> str | None:
        try:
            self._servers.append(await listen())
        except OSError as error:  # socket.gaierror as well: a host name that does not resolve yet
            return error.strerror or str(error)
        return None


class _Listener:
    """Serves every connection of one listener, up to a number."""

    def __init__(self, routes: Routes, idle_s: float, *, check_peer: bool) -> None:
        self._routes = routes
        self._idle_s = idle_s
        self._check_peer = check_peer
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= CONNECTIONS_MAX:
            # Nothing is read, no time is granted: this is the way out when somebody floods.
            writer.write(_FULL)
            writer.close()
            return
        self._tasks.add(task)
        connection = Connection(reader, writer, self._idle_s)
        try:
            refusal = self._refusal(writer)
            while (request := await connection.request()) is not None:
                if refusal is not None:
                    await connection.respond(refusal)
                    return
                response = await self._routes.answer(request)
                await connection.respond(response, head_only=request.method == "HEAD")
        except PeerGoneError:
            pass
        except asyncio.CancelledError:
            # The agent is closing. Swallowed, because the streams' own callback would log it as an error.
            pass
        finally:
            self._tasks.discard(task)
            connection.close()

    async def close(self) -> None:
        """Drop every connection."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _refusal(self, writer: asyncio.StreamWriter) -> HttpResponse | None:
        if not self._check_peer:
            return None
        channel = writer.get_extra_info("socket")
        _, uid, _ = _UCRED.unpack(channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if uid in {0, os.geteuid()}:
            return None
        return text_response(403, f"only root and the agent's own user may control it, not user {uid}; try sudo")


def _bind_unix(path: Path) -> socket.socket:
    """Make the control socket, mode 0600; a file left over from a dead agent is replaced. Raises OSError."""
    _remove_stale(path)
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    # The mode has to be right from the first moment: chmod after bind leaves a gap.
    former = os.umask(0o177)
    try:
        channel.bind(str(path))
    except OSError:
        channel.close()
        raise
    finally:
        os.umask(former)
    return channel


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(f"{path} is no socket; remove it, or set stateDir to another directory")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Never wait: a frozen agent with a full backlog is an agent all the same (EAGAIN).
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass
    raise FileExistsError(f"another agent listens on {path}; stop it, or set stateDir to another directory")
