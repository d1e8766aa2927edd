"""The control socket and the HTTP listener under a peer that means ill.

After every abuse: nothing reached the event loop's exception handler (which ends the agent), no order was given that
nobody asked for, the operator's socket answers, and so does the public one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedip.adapters.api import Api
from sharedip.adapters.api.connection import BODY_BYTES_MAX, HEADER_BYTES_MAX
from sharedip.adapters.api.listener import CONNECTIONS_MAX
from sharedip.core.messages import Level, Report
from tests.fuzz.effort import TIMEOUT_S, times
from tests.unit.adapters.api.api_stage import FakeAgent, stage, status, vip

pytestmark = pytest.mark.timeout(TIMEOUT_S)

IDLE_S = 0.2
ALIVE = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
OPERATOR = b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

Abuse = Callable[[Api, Path], Awaitable[None]]


def play(abuse: Abuse, agent: FakeAgent | None = None, idle_s: float = IDLE_S) -> FakeAgent:
    """Stage an API, let it be abused, and look whether it is still well."""
    agent = agent or FakeAgent()
    complaints: list[dict[str, Any]] = []

    async def scene(directory: Path) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with asyncio.timeout(TIMEOUT_S - 10), stage(directory, agent, idle_s) as api:
            await abuse(api, directory)
            assert (await unix(directory, OPERATOR)).startswith(b"HTTP/1.1 200"), "the operator is locked out"
            while not (await tcp(api, ALIVE)).startswith(b"HTTP/1.1 200"):
                pass  # the abuser's connections are still being cleared away; the scene has a deadline

    with TemporaryDirectory() as directory:
        asyncio.run(scene(Path(directory)))
    assert complaints == []
    return agent


async def tcp(api: Api, *pieces: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.tcp_port)
    return await talk(reader, writer, pieces)


async def unix(directory: Path, *pieces: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(directory / "agent.sock")
    return await talk(reader, writer, pieces)


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: tuple[bytes, ...]) -> bytes:
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if writer.can_write_eof():
            writer.write_eof()
        return await reader.read()
    except OSError:  # reset by a server that had heard enough
        return b""
    finally:
        writer.close()


words = st.sampled_from(
    [
        *(b"GET", b"POST", b"HEAD", b"PUT", b"CONNECT", b" ", b"/", b"/v1/status", b"/v1/events", b"/metrics"),
        *(b"*", b"http://[::1", b"//", b"/%ff%00", b"/?\xff", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/9.9\r\n"),
        *(b"Host: x\r\n", b"Host: y\r\n", b"\r\n", b"\n", b"\0", b": ", b"Connection: close\r\n"),
        *(b"Connection: keep-alive, Upgrade\r\n", b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n"),
        *(b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 1e3\r\n"),
        *(b"Content-Length: " + b"9" * 5000 + b"\r\n", b"Content-Length: 0\r\n"),
        *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n"),
        *(b"ffffffffffffffff\r\n", b"-5\r\n", b"1;" + b"a" * 3000, b"X: " + b"a" * 20_000, b"PRI * HTTP/2.0\r\n\r\n"),
        *(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /v1/reload HTTP/1.1\r\nHost: x\r\n", b"{}", b"hello", b"\xff"),
    ]
)
pieces = st.lists(words | st.binary(max_size=30), max_size=12)


@settings(max_examples=times(60), deadline=None)
@given(talks=st.lists(st.tuples(st.booleans(), pieces), min_size=1, max_size=6))
def test_whatever_is_said_to_either_socket_it_goes_on_answering(talks: list[tuple[bool, list[bytes]]]) -> None:
    """Half requests, requests in line, wrong lengths, binary: a few connections at once, in pieces."""

    async def abuse(api: Api, directory: Path) -> None:
        await asyncio.gather(*((tcp(api, *said) if is_tcp else unix(directory, *said)) for is_tcp, said in talks))

    agent = play(abuse)
    assert {name for name, _ in agent.operations} <= {"reload"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["vip", "to", "\udfff", ""]), inner),
    max_leaves=6,
)


@settings(max_examples=times(60), deadline=None)
@given(documents=st.lists(json_values, min_size=1, max_size=8), name=st.sampled_from(["move", "drain", "reload"]))
def test_whatever_document_is_posted_the_answer_is_json(documents: list[object], name: str) -> None:
    """Half a surrogate pair in a field's name comes back in the refusal."""

    async def abuse(_: Api, directory: Path) -> None:
        for document in documents:
            body = json.dumps(document).encode()
            head = f"POST /v1/{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            answer = await unix(directory, head.encode() + body)
            assert isinstance(json.loads(answer.partition(b"\r\n\r\n")[2])["accepted"], bool), answer

    play(abuse)


HOSTILE = ["\ud800", "\udc80name", "a\nb", "\x1b[2J", "</script>", "\0", '"', "x" * 100_000, "é\u202e"]


@pytest.mark.parametrize("text", HOSTILE, ids=[ascii(text[:8]) for text in HOSTILE])
def test_hostile_text_from_etcd_breaks_no_page(text: str) -> None:
    """Owners' names, reasons and changes come out of records that anybody with access to etcd may write."""
    document = status(
        vips=[
            vip(owner=text, reason=text, queue=[text], witnesses=[text], changes=[{"at": "", "text": text}]),
            vip(owner=None, conflict={"mac": "02:00", "age_s": 1.0, "count": 1}, reason=text),
        ],
        detail=text,
        state="name taken",
        health={"healthy": False, "detail": text, "checks": []},
    )

    async def abuse(api: Api, directory: Path) -> None:
        for path in ("/", "/status.json", "/metrics", "/readyz"):
            request = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            answer = await tcp(api, request)
            assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 503")), answer[:200]
            answer.decode()
        reader, writer = await asyncio.open_unix_connection(directory / "agent.sock")
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        api.publish(Report(Level.ERROR, text, reason=text))
        for wanted in ("status", "event"):
            size = int(await reader.readuntil(b"\r\n"), 16)
            line = (await reader.readexactly(size + 2)).strip()
            assert line.count(b"\n") == 0
            assert wanted in json.loads(line)
        writer.close()

    play(abuse, FakeAgent(document))


def test_a_refusal_does_not_say_back_all_that_was_said() -> None:
    """h11 quotes what it can't read, four characters for each byte of it: an answer of 64 KiB to 16 KiB."""

    async def abuse(api: Api, _directory: Path) -> None:
        answer = await tcp(api, b"GET " + b"\1" * 8000 + b" HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert len(answer) < 1000

    play(abuse)


def test_slow_drips_and_silent_crowds_cost_neither_the_loop_nor_the_operator() -> None:
    """Every place on TCP is taken by somebody who drips; the operator is served all the while, and promptly."""

    async def abuse(api: Api, directory: Path) -> None:
        crowd = [await asyncio.open_connection("127.0.0.1", api.tcp_port) for _ in range(CONNECTIONS_MAX + 10)]
        loop = asyncio.get_running_loop()
        worst_s = 0.0
        for turn in range(40):
            for _, writer in crowd:
                if not writer.transport.is_closing():
                    writer.write(b"GET / HTTP/1.1\r\nX: y"[turn % 20 : turn % 20 + 1])
            began = loop.time()
            assert (await unix(directory, OPERATOR)).startswith(b"HTTP/1.1 200")
            worst_s = max(worst_s, loop.time() - began)
        assert worst_s < 2.0
        for reader, writer in crowd:
            with contextlib.suppress(OSError):
                await reader.read()  # ends: the server has dropped everyone
            writer.close()

    play(abuse)


def test_memory_stays_bounded_whatever_is_sent() -> None:
    """Endless headers, endless bodies, endless pipelines and readers that never read, on every connection at once."""
    head = b"POST /v1/drain HTTP/1.1\r\nHost: x\r\n"
    endless = [
        (b"GET / HTTP/1.1\r\n", b"X-Header: " + b"a" * 4000 + b"\r\n"),
        (head + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"a" * 0x1000 + b"\r\n"),
        (head + b"Content-Length: 9999999999\r\n\r\n", b"a" * 4096),
        (b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100),
        (b"", b"\r\n" * 2000),
        (b"", b"a" * 4096),
    ]
    document = status(vips=[vip(address=f"10.0.0.{i % 250}") for i in range(200)])

    async def flood(api: Api, number: int) -> None:
        begin, again = endless[number % len(endless)]
        _, writer = await asyncio.open_connection("127.0.0.1", api.tcp_port, limit=1024)
        try:
            async with asyncio.timeout(1.0):
                writer.write(begin)
                for _ in range(200):  # far beyond every limit, unless the server closes or stops reading
                    writer.write(again)
                    await writer.drain()
        except (OSError, TimeoutError):
            pass
        finally:
            writer.transport.abort()

    async def abuse(api: Api, directory: Path) -> None:
        tracemalloc.start()
        try:
            for _ in range(times(2)):
                await asyncio.gather(*(flood(api, number) for number in range(CONNECTIONS_MAX)))
            await asyncio.sleep(0)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # asyncio's stream buffers twice its limit of 64 KiB; then come h11's share, one body, and our own side's.
        assert peak < CONNECTIONS_MAX * (3 * 65_536 + 2 * HEADER_BYTES_MAX + 3 * BODY_BYTES_MAX), f"{peak} bytes"

    play(abuse, FakeAgent(document))


@pytest.mark.parametrize("seed", range(times(1)))
def test_connections_that_are_torn_down_at_any_moment_leave_nothing_behind(seed: int) -> None:
    """Reset, half-closed, left in the middle of an answer or of a stream of events; then everything is free again."""
    chance = random.Random(seed)
    said = [ALIVE, OPERATOR, b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b""]

    async def one(api: Api, directory: Path) -> None:
        if chance.random() < 0.5:
            reader, writer = await asyncio.open_unix_connection(directory / "agent.sock")
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", api.tcp_port)
        try:
            data = chance.choice(said)
            writer.write(data[: chance.randint(0, len(data))])
            if chance.random() < 0.5:
                async with asyncio.timeout(0.05):
                    await reader.read(chance.randint(1, 200))
            if chance.random() < 0.3 and writer.can_write_eof():
                writer.write_eof()
        except (OSError, TimeoutError):
            pass
        finally:
            (writer.transport.abort if chance.random() < 0.5 else writer.close)()

    async def abuse(api: Api, directory: Path) -> None:
        for _ in range(10):
            await asyncio.gather(*(one(api, directory) for _ in range(30)), return_exceptions=False)

    play(abuse)
