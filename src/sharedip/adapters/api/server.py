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
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sharedip.adapters.api.connection import IDLE_S
from sharedip.adapters.api.listener import Listener
from sharedip.adapters.api.rendering import Renderings
from sharedip.adapters.api.routes import Operate, control_routes, public_routes
from sharedip.adapters.api.watchers import Watchers
from sharedip.core.messages import Level, Report
from sharedip.core.steps import Steps

if TYPE_CHECKING:
    from sharedip.core.status import Status

RETRY_FIRST_S = 1.0
RETRY_LAST_S = 30.0

Listen = Callable[[], Awaitable[None]]


class Api:
    """Invariant: each listener listens, or a task tries again to.

    Steps: `start_unix`, `start_tcp` (either may be left out), `publish` for each fact, `close`.
    `report` gets what an operator should know of the listeners themselves.
    """

    def __init__(
        self,
        status: Callable[[], Steps[Status]],
        operate: Operate,
        report: Callable[[Report], None] = lambda _: None,
        *,
        idle_s: float = IDLE_S,
        retry_s: float = RETRY_FIRST_S,
    ) -> None:
        self._report = report
        self._retry_s = retry_s
        self._renderings = Renderings(status)
        self._watchers = Watchers(self._renderings)
        routes = control_routes(self._renderings, operate, self._watchers)
        self._control = Listener(routes, idle_s, report, is_control=True)
        self._public = Listener(public_routes(self._renderings), idle_s, report)
        self._retries: set[asyncio.Task[None]] = set()
        self._socket_file: tuple[Path, int] | None = None

    async def start_unix(self, path: Path) -> None:
        """Listen on `path`, now or as soon as it works."""

        async def listen() -> None:
            channel = _bind_unix(path)
            self._socket_file = (path, os.stat(path).st_ino)
            self._control.listen(channel)

        await self._start(f"the control socket {path}", listen)

    async def start_tcp(self, host: str, port: int) -> None:
        """Listen on `host` and `port`, now or as soon as it works."""

        async def listen() -> None:
            for channel in await _bind_tcp(host, port):
                self._public.listen(channel)

        await self._start(f"the API on {host} port {port}", listen)

    @property
    def tcp_port(self) -> int | None:
        """Which port TCP listens on; None while it does not. Port 0 lets the kernel choose."""
        return next(iter(self._public.ports), None)

    def publish(self, report: Report) -> None:
        """Pass one fact on to the watchers."""
        self._watchers.publish(report)

    async def close(self) -> None:
        """Stop listening and drop every connection; the socket file goes if it is still ours."""
        for task in self._retries:
            task.cancel()
        await asyncio.gather(*self._retries, return_exceptions=True)
        await self._control.close()
        await self._public.close()
        self._renderings.close()
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
            await listen()
        except OSError as error:  # socket.gaierror as well: a host name that does not resolve yet
            return error.strerror or str(error)
        return None


async def _bind_tcp(host: str, port: int) -> list[socket.socket]:
    """A socket for each address that the name has. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            channel = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
            bound.append(channel)
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                channel.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            channel.bind(address)
    except OSError:
        for channel in bound:
            channel.close()
        raise
    return bound


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
            raise FileExistsError(f"{path} is not a socket; remove it, or set stateDir to another directory")
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
