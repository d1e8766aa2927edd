"""An endpoint that speaks HTTP/2 well enough to be believed, and then floods.

What `tests/unit/adapters/etcd` does with whole replies, this does with frames: each order has exactly one fact, a watch
exactly one end, nothing reaches the event loop's exception handler, and memory stays bounded.
"""

from __future__ import annotations

import asyncio
import random
import struct
import tracemalloc
from collections import Counter
from typing import Any

import pytest

from sharedip.adapters.clock import Clock
from sharedip.adapters.etcd import EtcdClient
from sharedip.adapters.etcd.client import EtcdFact
from sharedip.core.messages import (
    DropEndpoint,
    GrantLease,
    KeepLeaseAlive,
    OpenWatch,
    ReadKeys,
    ReadMember,
    WatchLost,
)
from tests.fuzz.effort import TIMEOUT_S, times

pytestmark = pytest.mark.timeout(TIMEOUT_S)

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
SETTINGS_FRAME = b"\0\0\0\x04\0\0\0\0\0"
MEMORY_BYTES_MAX = 24 * 2**20
"""One message at its limit, twice while it is joined; windows; and what the test itself holds."""


def frame(kind: int, flags: int, stream: int, body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return struct.pack("!I", size)[1:] + struct.pack("!BBI", kind, flags, stream) + body


def status_200() -> bytes:
    """HPACK: `:status 200` is entry 8 of the static table, then a literal content-type without indexing."""
    return b"\x88\x0f\x10\x10application/grpc"


def any_frame(chance: random.Random) -> bytes:
    """A frame that is well formed, nearly so, or not at all; mostly on a stream that exists."""
    stream = chance.choice([0, 1, 1, 3, 5, 7, 2, 2**31 - 1])
    body = bytes(chance.randrange(256) for _ in range(chance.choice([0, 1, 4, 5, 8, 20])))
    return chance.choice(
        [
            frame(RST_STREAM, 0, stream, struct.pack("!I", chance.randrange(15))),
            frame(GOAWAY, 0, 0, struct.pack("!II", stream, chance.randrange(15)) + body),
            frame(PING, chance.randrange(2), 0, b"12345678"),
            frame(SETTINGS, 0, 0, struct.pack("!HI", chance.randrange(8), chance.choice([0, 1, 2**31 - 1, 2**32 - 1]))),
            frame(WINDOW_UPDATE, 0, stream, struct.pack("!I", chance.choice([0, 1, 2**31 - 1]))),
            frame(HEADERS, chance.choice([4, 5, 0]), stream, status_200()),
            frame(HEADERS, 4, stream, body),
            frame(CONTINUATION, chance.choice([0, 4]), stream, body),
            frame(DATA, chance.choice([0, 1]), stream, struct.pack("!BI", 0, len(body)) + body),
            frame(DATA, 0, stream, struct.pack("!BI", 0, 2**24) + body),
            frame(PUSH_PROMISE, 4, stream, struct.pack("!I", 2) + body),
            frame(chance.randrange(256), chance.randrange(256), stream, body),
            frame(DATA, 0, stream, body, length=chance.choice([0, 2**24 - 1, 16_384])),
            frame(PRIORITY, 0, stream, body),
            body,
        ]
    )


def endless(kind: str) -> tuple[bytes, bytes]:
    """What to begin with, and what to repeat without end."""
    answer = frame(HEADERS, 4, 1, status_200())
    match kind:
        case "data without end":
            return answer + frame(DATA, 0, 1, struct.pack("!BI", 0, 16 * 2**20)), frame(DATA, 0, 1, bytes(8192))
        case "headers without end":
            return frame(HEADERS, 0, 1, status_200()), frame(CONTINUATION, 0, 1, b"\x40\x01a\x7f\x00" + b"b" * 127)
        case "pings":
            return b"", frame(PING, 0, 0, b"12345678") * 50
        case "settings":
            return b"", SETTINGS_FRAME * 50
        case "resets":
            return b"", frame(RST_STREAM, 0, 1, b"\0\0\0\1") * 50
        case "pushes":
            return b"", frame(PUSH_PROMISE, 4, 1, b"\0\0\0\2" + status_200()) * 50
        case _:
            return b"", frame(77, 0, 1, bytes(1000)) * 10


async def scene(talk: Any, facts: list[EtcdFact], chance: random.Random) -> None:
    """Orders of every kind against one hostile server; every one of them must have its fact in the end."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await talk(writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    news = asyncio.Event()

    def emit(fact: EtcdFact) -> None:
        facts.append(fact)
        news.set()

    client = EtcdClient([url], tls=None, credentials=None, clock=Clock(), emit=emit)
    orders = [
        ReadKeys(1, 0, "p", 0.5),
        KeepLeaseAlive(2, 0, 9, 0.5),
        ReadMember(3, 0, 0.5),
        GrantLease(4, 0, 3, 0.5),
        OpenWatch(100, 0, "p", 1, 0.5),
    ]
    for order in orders:
        client.perform(order)
        await asyncio.sleep(0)
    if chance.random() < 0.3:
        client.perform(DropEndpoint(0))
    async with asyncio.timeout(20):
        while len({fact.request for fact in facts if hasattr(fact, "request")}) < 4:
            news.clear()
            await news.wait()
    await client.close()
    server.close()
    for writer in writers:
        writer.transport.abort()
    await server.wait_closed()


def play(talk: Any, chance: random.Random) -> None:
    """Run the scene and look at what was told."""
    facts: list[EtcdFact] = []
    complaints: list[dict[str, Any]] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        await scene(talk, facts, chance)

    asyncio.run(run())
    assert complaints == []
    answered = Counter(fact.request for fact in facts if hasattr(fact, "request"))
    assert answered == {1: 1, 2: 1, 3: 1, 4: 1}
    assert sum(isinstance(fact, WatchLost) for fact in facts) == 1


@pytest.mark.parametrize("seed", range(times(25)))
def test_frames_in_any_order_end_every_order_once(seed: int) -> None:
    """A sound greeting, then a few dozen frames."""
    chance = random.Random(seed)
    data = SETTINGS_FRAME + b"".join(any_frame(chance) for _ in range(chance.randrange(1, 40)))

    async def talk(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    play(talk, chance)


@pytest.mark.parametrize(
    "kind", ["data without end", "headers without end", "pings", "settings", "resets", "pushes", "unknown frames"]
)
def test_a_flood_of_frames_costs_one_deadline_and_bounded_memory(kind: str) -> None:
    """The server sends as fast as it is read, until the client hangs up or has every fact."""
    begin, again = endless(kind)

    async def talk(writer: asyncio.StreamWriter) -> None:
        writer.write(SETTINGS_FRAME + begin)
        while not writer.transport.is_closing():
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(0)

    tracemalloc.start()
    try:
        play(talk, random.Random(1))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MEMORY_BYTES_MAX, f"{peak} bytes"
