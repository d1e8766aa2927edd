"""Whoever asks, as often and as oddly as he likes: the loop turns, and who asks properly is served (law 11).

A round of the loop is timed by the CPU that its thread takes in it, so that a busy machine fails nothing.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sharedip.adapters.api.listener import CONNECTIONS_MAX, PER_SOURCE_MAX
from sharedip.core.messages import Level
from tests.stages.scenes import run, wait_until
from tests.unit.adapters.api.api_stage import FakeAgent, problem, stage, vip
from tests.unit.adapters.api.test_server import body_of, get, talk_tcp, talk_unix

ROUND_S_MAX = 0.02
"""What `SLEEP`, windows and beats reckon with."""
ROOM = 2.5
"""For a slower machine, and for Python's collector."""
KEPT = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


class Rounds:
    """The CPU time that the loop's thread takes between two looks at its sockets."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.count = 0
        self._at = time.thread_time()
        self._over = False

    def begin(self) -> None:
        self._at = time.thread_time()
        asyncio.get_running_loop().call_soon(self._tick)

    def end(self) -> None:
        self._over = True

    def _tick(self) -> None:
        now = time.thread_time()
        self.longest_s, self._at = max(self.longest_s, now - self._at), now
        self.count += 1
        if not self._over:
            asyncio.get_running_loop().call_soon(self._tick)


@asynccontextmanager
async def timed() -> AsyncIterator[Rounds]:
    rounds = Rounds()
    rounds.begin()
    try:
        yield rounds
    finally:
        rounds.end()


def with_vips(count: int) -> FakeAgent:
    agent = FakeAgent()
    agent.document["vips"] = [vip(address=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(count)]
    agent.document["problems"] = [problem(f"10.0.{n >> 8}.{n & 255} is DOWN") for n in range(count)]
    return agent


def many(count: int, client: Callable[[int], None]) -> list[threading.Thread]:
    """Clients in threads of their own: what they cost is not the loop's."""
    threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.parametrize("vips", [1, 100, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("path", [b"/metrics", b"/status.json", b"/readyz", b"/"])
def test_pipelined_requests_without_end_leave_every_round_short(tmp_path: Path, vips: int, path: bytes) -> None:
    """Once one such connection stood the loop still for 4.5 s, and took a hundred addresses off their owner."""

    async def scene() -> None:
        async with stage(tmp_path, with_vips(vips)) as api:
            port, until = api.tcp_port, time.monotonic() + 0.7

            def ask(_: int) -> None:
                while time.monotonic() < until:
                    with socket.create_connection(("127.0.0.1", port), 5.0) as sock:
                        try:
                            sock.sendall(KEPT % path * 200)
                            while sock.recv(1 << 20):
                                pass
                        except OSError:
                            continue

            async with timed() as rounds:
                threads = many(16, ask)
                await wait_until(lambda: not any(thread.is_alive() for thread in threads))
            print("LONGEST", vips, path, rounds.longest_s * 1e3, rounds.count)
            assert rounds.longest_s < ROUND_S_MAX * ROOM
            assert (await talk_tcp(api, get(path.decode()))).startswith(b"HTTP/1.1 200")

    run(scene())


def test_who_sends_the_next_request_before_the_answer_gets_one_answer(tmp_path: Path) -> None:
    async def scene() -> None:
        async with stage(tmp_path, FakeAgent()) as api:
            answer = await talk_tcp(api, KEPT % b"/healthz" * 3)
            assert answer.count(b"HTTP/1.1 200") == 1
            assert b"connection: close" in answer.lower()
            assert answer.endswith(b"ok\n"), "and gets it whole, though what it sent is not read"

    run(scene())


def test_ten_clients_at_once_cost_one_rendering(tmp_path: Path) -> None:
    async def scene() -> None:
        agent = FakeAgent()
        async with stage(tmp_path, agent) as api:
            answers = await asyncio.gather(*(talk_tcp(api, get("/status.json")) for _ in range(10)))
            assert {body_of(answer) for answer in answers} == {body_of(answers[0])}
            assert agent.rendered == 1
            await talk_tcp(api, get("/metrics"))
            await talk_tcp(api, get("/readyz"))
            assert agent.rendered <= 2, "and one document for every kind of answer"

    run(scene())


def test_the_operator_sees_what_is_and_not_what_was(tmp_path: Path) -> None:
    async def scene() -> None:
        agent = FakeAgent()
        async with stage(tmp_path, agent) as api:
            await talk_tcp(api, get("/status.json"))
            agent.document["drained"] = True
            assert b'"drained": true' in await talk_unix(tmp_path, get("/v1/status"))

    run(scene())


def test_idle_connections_lock_nobody_out(tmp_path: Path) -> None:
    """Once 64 of them made `/healthz` say 503, and the kubelet kill the agent on every node."""

    async def scene() -> None:
        async with stage(tmp_path, FakeAgent()) as api:
            crowd = [await asyncio.open_connection("127.0.0.1", api.tcp_port) for _ in range(3 * CONNECTIONS_MAX)]
            for _, writer in crowd:
                writer.write(b"G")
            for _ in range(20):
                assert (await talk_tcp(api, get("/healthz"))).startswith(b"HTTP/1.1 200")
            for reader, _ in crowd[:CONNECTIONS_MAX]:
                assert await reader.read() == b"", "who has waited longest has left"
            for _, writer in crowd:
                writer.close()

    run(scene())


def test_a_kept_connection_is_served_again_while_others_wait(tmp_path: Path) -> None:
    """A kubelet's or a browser's: its last request is younger than what the crowd waits for."""

    async def scene() -> None:
        async with stage(tmp_path, FakeAgent()) as api:
            crowd = [await asyncio.open_connection("127.0.0.1", api.tcp_port) for _ in range(CONNECTIONS_MAX - 1)]
            reader, writer = await asyncio.open_connection("127.0.0.1", api.tcp_port)
            for _ in range(5):
                writer.write(KEPT % b"/healthz")
                assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200")
                crowd.append(await asyncio.open_connection("127.0.0.1", api.tcp_port))
            for _, other in [*crowd, (reader, writer)]:
                other.close()

    run(scene())


def test_one_source_on_the_network_has_a_few_seats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = iter(["192.0.2.1"] + ["192.0.2.7"] * (2 * PER_SOURCE_MAX))
    monkeypatch.setattr("sharedip.adapters.api.listener._source", lambda *_: next(sources))

    async def scene() -> None:
        async with stage(tmp_path, FakeAgent()) as api:
            reader, writer = await asyncio.open_connection("127.0.0.1", api.tcp_port)
            crowd = [await asyncio.open_connection("127.0.0.1", api.tcp_port) for _ in range(2 * PER_SOURCE_MAX)]
            for left, _ in crowd[:PER_SOURCE_MAX]:
                assert await left.read() == b""
            writer.write(KEPT % b"/healthz")
            assert (await reader.readuntil(b"ok\n")).startswith(b"HTTP/1.1 200"), "another source keeps its own"
            for _, other in [*crowd, (reader, writer)]:
                other.close()

    run(scene())


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("localhost:9471", b"200"),
        ("127.0.0.1:9471", b"200"),
        ("[::1]:9471", b"200"),
        ("cp1", b"200"),
        ("attacker.example", b"421"),
        ("attacker.example:9471", b"421"),
        ("127.0.0.1.attacker.example", b"421"),
    ],
)
def test_a_page_in_a_browser_here_reads_nothing_by_its_own_name(tmp_path: Path, host: str, code: bytes) -> None:
    """DNS rebinding: the name of a stranger's page points to the loopback all of a sudden."""

    async def scene() -> None:
        async with stage(tmp_path, FakeAgent()) as api:
            request = f"GET /status.json HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            answer = await talk_tcp(api, request.encode())
            assert answer.startswith(b"HTTP/1.1 " + code)
            assert (b"192.168.0.15" in answer) is (code == b"200")

    run(scene())


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_a_kernel_without_descriptors_is_weather(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was a bug that ended the agent."""
    monkeypatch.setattr("sharedip.adapters.api.listener.SHORTAGE_S", 0.02)
    refusals = [OSError(number, "none left")] * 2

    def accept(self: socket.socket) -> tuple[socket.socket, object]:
        if refusals:
            raise refusals.pop()
        fd, address = self._accept()  # type: ignore[attr-defined]
        return socket.socket(self.family, self.type, self.proto, fileno=fd), address

    monkeypatch.setattr(socket.socket, "accept", accept)

    async def scene() -> None:
        complaints: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        agent = FakeAgent()
        async with stage(tmp_path, agent) as api:
            assert (await talk_tcp(api, get("/healthz"))).startswith(b"HTTP/1.1 200")
        assert complaints == []
        assert [report.level for report in agent.reports] == [Level.WARNING] * 2

    run(scene())


def test_a_reader_that_takes_nothing_leaves_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was rendered for it is kept for as long as it drips."""
    monkeypatch.setattr("sharedip.adapters.api.connection.WRITE_S", 0.2)

    async def scene() -> None:
        async with stage(tmp_path, with_vips(4000)) as api:
            reader, writer = await asyncio.open_connection("127.0.0.1", api.tcp_port, limit=1024)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(get("/status.json"))
            listener = api._public
            await wait_until(lambda: len(listener._seats) == 1)
            await wait_until(lambda: not listener._seats)
            writer.close()
            assert reader is not None

    run(scene())
