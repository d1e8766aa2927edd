"""The API over real sockets: every path, every limit, every kind of nonsense."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from sharedip.adapters.api import Api
from sharedip.adapters.api.server import Listen
from sharedip.core.messages import Level, Report
from tests.stages.scenes import run, wait_until
from tests.unit.adapters.api.api_stage import FakeAgent, problem, stage, status, vip


async def talk_tcp(api: Api, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.tcp_port)
    return await _talk(reader, writer, data)


async def talk_unix(directory: Path, data: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(directory / "agent.sock")
    return await _talk(reader, writer, data)


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    try:
        writer.write(data)
        return await reader.read()
    finally:
        writer.close()


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("path", "status_line", "part"),
    [
        ("/healthz", b"HTTP/1.1 200 OK", b"ok"),
        ("/readyz", b"HTTP/1.1 200 OK", b"ready"),
        ("/metrics", b"HTTP/1.1 200 OK", b'sharedip_vip_owner{vip="192.168.0.15",link="enp0s2"} 1'),
        ("/status.json", b"HTTP/1.1 200 OK", b'"problems": []'),
        ("/", b"HTTP/1.1 200 OK", b"<!doctype html>"),
        ("/nothing", b"HTTP/1.1 404 Not Found", b"/metrics"),
        ("/v1/status", b"HTTP/1.1 404 Not Found", b"/metrics"),
    ],
)
def test_tcp_shows_what_anybody_may_see(tmp_path: Path, path: str, status_line: bytes, part: bytes) -> None:
    async def scene() -> None:
        async with stage(tmp_path, FakeAgent()) as api:
            answer = await talk_tcp(api, get(path))
            assert answer.startswith(status_line)
            assert part in body_of(answer)

    run(scene())


@pytest.mark.parametrize("name", ["move", "drain", "undrain", "reload", "restart"])
def test_tcp_changes_nothing(tmp_path: Path, name: str) -> None:
    async def scene() -> None:
        agent = FakeAgent()
        async with stage(tmp_path, agent) as api:
            assert (await talk_tcp(api, post(f"/v1/{name}", b'{"vip": "10.0.0.1"}'))).startswith(b"HTTP/1.1 404")
            assert (await talk_tcp(api, post("/healthz", b""))).startswith(b"HTTP/1.1 405")
        assert agent.operations == []

    run(scene())


def test_not_ready_is_503_with_the_reason(tmp_path: Path) -> None:
    async def scene() -> None:
        agent = FakeAgent(status(state="waiting for etcd", detail="connection refused"))
        async with stage(tmp_path, agent) as api:
            answer = await talk_tcp(api, get("/readyz"))
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"waiting for etcd: connection refused" in answer
            assert (await talk_tcp(api, get("/healthz"))).startswith(b"HTTP/1.1 200")

    run(scene())


def test_ready_or_not_the_problems_of_status_stand_below_in_the_same_words(tmp_path: Path) -> None:
    async def scene() -> None:
        agent = FakeAgent(status(problems=[problem(), problem("10.0.0.1 is DOWN", for_s=None, remedy="")]))
        async with stage(tmp_path, agent) as api:
            answer = await talk_tcp(api, get("/readyz"))
            assert answer.startswith(b"HTTP/1.1 200")
            lines = body_of(answer).decode().splitlines()
            assert lines == ["ready", "n2 is unhealthy (for 12 s); mend it", "10.0.0.1 is DOWN"]

    run(scene())


def test_head_is_get_without_a_body(tmp_path: Path) -> None:
    async def scene() -> None:
        async with stage(tmp_path, FakeAgent()) as api:
            answer = await talk_tcp(api, get("/status.json", "HEAD"))
            assert b"Content-Length: " in answer
            assert body_of(answer) == b""

    run(scene())


def test_the_operator_moves_and_drains_over_the_socket(tmp_path: Path) -> None:
    async def scene() -> None:
        agent = FakeAgent()
        async with stage(tmp_path, agent):
            moved = await talk_unix(tmp_path, post("/v1/move", b'{"vip": "192.168.0.15", "to": "n2"}'))
            await talk_unix(tmp_path, post("/v1/move", b'{"vip": "2001:DB8::0:15"}'))
            await talk_unix(tmp_path, post("/v1/drain", b""))
            await talk_unix(tmp_path, post("/v1/undrain", b"{}"))
            await talk_unix(tmp_path, post("/v1/reload", b""))
        assert json.loads(body_of(moved)) == {"accepted": True, "text": "done"}
        assert agent.operations == [
            ("move", {"vip": "192.168.0.15", "to": "n2"}),
            ("move", {"vip": "2001:db8::15", "to": None}),
            ("drain", {}),
            ("undrain", {}),
            ("reload", {}),
        ]

    run(scene())


def test_a_refusal_is_409_with_the_agents_words(tmp_path: Path) -> None:
    async def scene() -> None:
        async with stage(tmp_path, FakeAgent(verdict=(False, "n2 is unhealthy"))):
            answer = await talk_unix(tmp_path, post("/v1/move", b'{"vip": "192.168.0.15", "to": "n2"}'))
            assert answer.startswith(b"HTTP/1.1 409")
            assert json.loads(body_of(answer)) == {"accepted": False, "text": "n2 is unhealthy"}

    run(scene())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/move", b""),
        ("/v1/move", b"not json"),
        ("/v1/move", b"[]"),
        ("/v1/move", b"[" * 30_000),
        ("/v1/move", b'{"vip": "10.0.0"}'),
        ("/v1/move", b'{"vip": 7}'),
        ("/v1/move", b'{"vip": "10.0.0.1", "to": ""}'),
        ("/v1/move", b'{"vip": "10.0.0.1", "to": 3}'),
        ("/v1/move", b'{"vip": "10.0.0.1", "force": true}'),
        ("/v1/drain", b'{"vip": "10.0.0.1"}'),
        ("/v1/reload", b"\xff"),
    ],
)
def test_a_senseless_order_reaches_nobody(tmp_path: Path, path: str, body: bytes) -> None:
    async def scene() -> None:
        agent = FakeAgent()
        async with stage(tmp_path, agent):
            answer = await talk_unix(tmp_path, post(path, body))
            assert answer.startswith(b"HTTP/1.1 400"), answer
        assert agent.operations == []

    run(scene())


@pytest.mark.parametrize(
    ("data", "status_code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", b"431"),
        (b"POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", b"413"),
        (b"POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", b"413"),
        (b"POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 6\r\n\r\n", b"400"),
        (b"GET http://[::1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"404"),
    ],
)
def test_nonsense_is_refused_and_the_next_one_is_served(tmp_path: Path, data: bytes, status_code: bytes) -> None:
    async def scene() -> None:
        async with stage(tmp_path, FakeAgent()) as api:
            answer = await talk_tcp(api, data)
            assert answer.startswith(b"HTTP/1.1 " + status_code), answer[:200]
            assert (await talk_tcp(api, get("/healthz"))).startswith(b"HTTP/1.1 200")

    run(scene())


def test_a_chunked_body_that_grows_too_large_is_refused(tmp_path: Path) -> None:
    async def scene() -> None:
        agent = FakeAgent()
        async with stage(tmp_path, agent):
            chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
            head = b"POST /v1/drain HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            answer = await talk_unix(tmp_path, head + 3 * chunk + b"0\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 413")
        assert agent.operations == []

    run(scene())


def test_one_connection_serves_one_request_after_the_other(tmp_path: Path) -> None:
    async def scene() -> None:
        async with stage(tmp_path, FakeAgent()) as api:
            reader, writer = await asyncio.open_connection("127.0.0.1", api.tcp_port)
            for _ in range(3):
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await reader.readuntil(b"\r\n\r\nok\n")).startswith(b"HTTP/1.1 200")
            writer.close()

    run(scene())


def test_a_slow_reader_gets_all_of_a_large_answer(tmp_path: Path) -> None:
    """A thousand VIPs are some hundred kilobytes: the end of them must not be cut off when the connection closes."""

    async def scene() -> None:
        agent = FakeAgent()
        agent.document["vips"] = [vip(address=f"192.168.{n // 250}.{n % 250}") for n in range(1000)]
        async with stage(tmp_path, agent):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "agent.sock", limit=1024)
            writer.write(get("/v1/status"))
            answer = bytearray()
            while piece := await reader.read(1024):
                answer += piece
            head, _, body = bytes(answer).partition(b"\r\n\r\n")
            assert b"Content-Length: %d" % len(body) in head
            writer.close()

    run(scene())


@pytest.mark.parametrize(
    "drip", [b"", b"GET / HT", b"POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12"]
)
def test_a_request_that_does_not_end_is_dropped_in_time(tmp_path: Path, drip: bytes) -> None:
    async def scene() -> None:
        async with stage(tmp_path, FakeAgent(), idle_s=0.05):
            # The reading ends because the server closes: without the limit this would meet the scene's deadline.
            answer = await talk_unix(tmp_path, drip)
            assert answer == b"" if not drip else answer.startswith(b"HTTP/1.1 408")

    run(scene())


def test_a_watcher_gets_the_status_and_each_fact(tmp_path: Path) -> None:
    async def scene() -> None:
        async with stage(tmp_path, FakeAgent()) as api:
            reader, writer = await asyncio.open_unix_connection(tmp_path / "agent.sock")
            writer.write(get("/v1/events"))
            await reader.readuntil(b"\r\n\r\n")
            first = await _chunk(reader)
            assert first["status"]["problems"] == []
            api.publish(Report(Level.DEBUG, "nobody wants to know"))
            api.publish(Report(Level.INFO, "took the address", epoch=4711, reason="n1 released it"))
            second = await _chunk(reader)
            assert second["event"]["text"] == "took the address"
            assert second["event"]["epoch"] == 4711
            assert "status" in await _chunk(reader)
            writer.close()

    run(scene())


async def _chunk(reader: asyncio.StreamReader) -> dict[str, Any]:
    size = int(await reader.readline(), 16)
    document: dict[str, Any] = json.loads(await reader.readexactly(size))
    await reader.readline()
    return document


def test_watchers_that_leave_make_room_for_others(tmp_path: Path) -> None:
    async def scene() -> None:
        async with stage(tmp_path, FakeAgent()) as api:
            for _ in range(30):
                reader, writer = await asyncio.open_unix_connection(tmp_path / "agent.sock")
                writer.write(get("/v1/events"))
                answer = await reader.readline()
                while b"503" in answer:  # the former ones are still being cleared away
                    writer.close()
                    reader, writer = await asyncio.open_unix_connection(tmp_path / "agent.sock")
                    writer.write(get("/v1/events"))
                    answer = await reader.readline()
                writer.close()
            assert api.tcp_port is not None

    run(scene())


def test_a_stranger_on_the_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        agent = FakeAgent()
        async with stage(tmp_path, agent):
            monkeypatch.setattr("sharedip.adapters.api.listener._UCRED", _Stranger())
            answer = await talk_unix(tmp_path, post("/v1/drain", b""))
            assert answer.startswith(b"HTTP/1.1 403")
            assert b"not user 65534" in answer
        assert agent.operations == []

    run(scene())


class _Stranger:
    size = 12

    def unpack(self, _: bytes) -> tuple[int, int, int]:
        return (1, 65534, 65534)


def test_closing_drops_everybody_and_removes_the_socket(tmp_path: Path) -> None:
    async def scene() -> None:
        async with stage(tmp_path, FakeAgent()):
            assert (tmp_path / "agent.sock").stat().st_mode & 0o777 == 0o600
            reader, writer = await asyncio.open_unix_connection(tmp_path / "agent.sock")
            writer.write(get("/v1/events"))
            await reader.readline()
        await reader.read()
        writer.close()
        assert not (tmp_path / "agent.sock").exists()

    run(scene())


def test_a_socket_left_by_a_dead_agent_is_replaced(tmp_path: Path) -> None:
    async def scene() -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "agent.sock"))
        async with stage(tmp_path, FakeAgent()):
            assert (await talk_unix(tmp_path, get("/v1/status"))).startswith(b"HTTP/1.1 200")

    run(scene())


def test_the_socket_of_a_live_agent_is_left_to_it_and_taken_when_it_is_gone(tmp_path: Path) -> None:
    async def scene() -> None:
        second = FakeAgent(status(node="second"))
        async with stage(tmp_path, FakeAgent()):
            api = second.api()
            await api.start_unix(tmp_path / "agent.sock")
            assert b'"node": "n1"' in await talk_unix(tmp_path, get("/v1/status"))
            assert "another agent listens" in str(second.reports[0].reason)
        await wait_until(lambda: len(second.reports) == 2)
        assert b'"node": "second"' in await talk_unix(tmp_path, get("/v1/status"))
        await api.close()

    run(scene())


def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    async def scene() -> None:
        (tmp_path / "agent.sock").write_text("precious")
        agent = FakeAgent()
        async with stage(tmp_path, agent):
            pass
        assert (tmp_path / "agent.sock").read_text() == "precious"
        assert "is not a socket" in str(agent.reports[0].reason)

    run(scene())


def test_a_taken_port_is_reported_once_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        agent = FakeAgent()
        with socket.socket() as squatter:
            squatter.bind(("127.0.0.1", 0))
            squatter.listen()
            port = squatter.getsockname()[1]
            api = agent.api()
            attempts, try_once = 0, api._try

            async def counted(listen: Listen) -> str | None:
                nonlocal attempts
                attempts += 1
                return await try_once(listen)

            monkeypatch.setattr(api, "_try", counted)
            await api.start_tcp("127.0.0.1", port)
            await wait_until(lambda: attempts >= 4)
            assert len(agent.reports) == 1
            assert agent.reports[0].level is Level.WARNING
        await wait_until(lambda: api.tcp_port is not None)
        assert agent.reports[-1].text.endswith("is open now")
        await api.close()

    run(scene())
