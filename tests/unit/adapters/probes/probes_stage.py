"""Servers that misbehave in one way each, over plain TCP or real TLS, and checks that fit the documents' shape."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
FOREVER_S = 3600.0


@dataclass(frozen=True)
class Url:
    """As the documents have it."""

    tls: bool
    host: str
    port: int
    target: str = "/readyz"


@dataclass(frozen=True, kw_only=True)
class Check:
    """As the documents have it; thresholds of 1 make each result count."""

    name: str = "api"
    interval_s: float = 0.01
    timeout_s: float = 2.0
    failure_threshold: int = 1
    success_threshold: int = 1


@dataclass(frozen=True, kw_only=True)
class HttpCheck(Check):
    url: Url
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class TcpCheck(Check):
    host: str
    port: int


@dataclass(frozen=True, kw_only=True)
class ExecCheck(Check):
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class KubeApiServerCheck(Check):
    port: int


def answering(head: str, body: bytes = b"ok") -> Behaviour:
    """Read a request's head, then answer."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    return behave


def keeping(status: str = "200 OK", answers: int = 1_000_000) -> Behaviour:
    """Answer request after request on one connection, and close it in order after so many."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(answers):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok".encode())
            await writer.drain()

    return behave


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept, and never answer."""
    await asyncio.sleep(FOREVER_S)


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send one byte after the other, each soon enough for a timeout that counts reads."""
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: " + b"x" * 100_000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.005)


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer 200 with a body that does not end."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak another protocol."""
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    await writer.drain()


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Promise more than comes."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok")
    await writer.drain()


async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reset the connection."""
    writer.transport.abort()


@dataclass
class Server:
    """What the test needs to know of it."""

    port: int
    connections: int = 0
    listener: asyncio.Server = field(init=False)
    failures: list[BaseException] = field(default_factory=list)


@asynccontextmanager
async def serving(behave: Behaviour, tls: SSLContext | None = None, port: int = 0) -> AsyncIterator[Server]:
    """A server on 127.0.0.1 that treats every connection in the same way."""
    tasks: set[asyncio.Task[None]] = set()
    server = Server(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        server.connections += 1
        try:
            await behave(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            tasks.discard(task)

    listener = await asyncio.start_server(serve, "127.0.0.1", port, ssl=tls)
    server.listener = listener
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
