"""Servers that pretend to be etcd: a scripted gRPC server (grpclib's own server side) and raw TCP ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import grpclib.const
import grpclib.server
from google.protobuf.message import Message
from grpclib.encoding.base import CodecBase

from sharedip.adapters.etcd import methods
from sharedip.adapters.etcd import rpc_pb2 as pb

ServerStream = grpclib.server.Stream[Any, Any]
Script = Callable[[ServerStream], Awaitable[None]]
METHODS = [value for value in vars(methods).values() if isinstance(value, methods.Method)]


def header(revision: int = 7, raft_term: int = 3) -> pb.ResponseHeader:
    return pb.ResponseHeader(cluster_id=1, member_id=2, revision=revision, raft_term=raft_term)


class RawCodec(CodecBase):
    """Sends bytes as they are, so that a test may send what is no message at all; reads messages."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return message if isinstance(message, bytes) else bytes(message.SerializeToString())

    def decode(self, data: bytes, message_type: Any) -> Any:
        return message_type.FromString(data)


class FakeEtcd:
    """Answers each method as its script says; a method without one is answered with an empty message."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.calls: list[str] = []
        self.metadata: list[dict[str, str]] = []

    def answers(self, method: methods.Method[Any, Any], *replies: Message | bytes) -> None:
        """Read one request, then send these replies and end well."""

        async def script(stream: ServerStream) -> None:
            await stream.recv_message()
            for reply in replies:
                await stream.send_message(reply)

        self.scripts[method.path] = script

    def does(self, method: methods.Method[Any, Any], script: Script) -> None:
        self.scripts[method.path] = script

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {
            method.path: grpclib.const.Handler(self._entry(method), method.cardinality, method.request, method.reply)
            for method in METHODS
        }

    def _entry(self, method: methods.Method[Any, Any]) -> Script:
        async def entry(stream: ServerStream) -> None:
            self.calls.append(method.path)
            self.metadata.append({key: str(value) for key, value in (stream.metadata or {}).items()})
            script = self.scripts.get(method.path)
            if script is not None:
                await script(stream)
            else:
                await stream.recv_message()
                await stream.send_message(method.reply())

        return entry


@asynccontextmanager
async def serving(fake: FakeEtcd) -> AsyncIterator[str]:
    """The fake on a free loopback port; gives its URL."""
    server = grpclib.server.Server([fake], codec=RawCodec())
    await server.start("127.0.0.1", 0)
    assert server._server is not None
    port = cast("asyncio.Server", server._server).sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()
        await server.wait_closed()


Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def tcp_server(conversation: Conversation) -> AsyncIterator[str]:
    """A TCP server that talks to every client as it is told, then closes; gives its URL."""
    writers: list[asyncio.StreamWriter] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await conversation(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
