"""The client against servers that pretend to be etcd: exactly one fact per order, whatever the other side does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedip.adapters.etcd import Credentials, EtcdClient, channel, measure_ttl_floor, survey
from sharedip.adapters.etcd import rpc_pb2 as pb
from sharedip.adapters.etcd.client import EtcdFact
from sharedip.adapters.etcd.methods import AUTHENTICATE, DELETE_RANGE, GRANT, KEEP_ALIVE, RANGE, REVOKE, STATUS, WATCH
from sharedip.core.messages import (
    CloseWatch,
    DropEndpoint,
    GrantLease,
    KeepaliveConfirmed,
    KeepLeaseAlive,
    KeysChanged,
    KeysRead,
    LeaseGranted,
    LeaseRevoked,
    MemberRead,
    OpenWatch,
    ReadKeys,
    ReadMember,
    RequestFailed,
    RevokeLease,
    WatchLost,
    WatchOpened,
)
from sharedip.core.model import Failure
from tests.ports import free_ports
from tests.unit.adapters.etcd.etcd_fake import Conversation, FakeEtcd, ServerStream, header, serving, tcp_server
from tests.unit.adapters.etcd.etcd_stage import Stage, failure_of, play, wait_until

EMPTY = pb.RangeResponse(header=header())


def read(request: int, timeout_s: float = 5.0) -> ReadKeys:
    return ReadKeys(request, 0, "p/", timeout_s)


class CountingClock:
    """Ticks once per look."""

    def __init__(self) -> None:
        self.looks = 0

    def now(self) -> float:
        self.looks += 1
        return float(self.looks)


# ---------------------------------------------------------------------------------------------------------------------
# Orders and their facts


def test_a_sound_answer_is_the_orders_fact() -> None:
    """A grant with the instant before the request left."""

    async def scene() -> None:
        fake = FakeEtcd()
        fake.answers(GRANT, pb.LeaseGrantResponse(header=header(), ID=9, TTL=15))
        async with serving(fake) as url, Stage([url], clock=CountingClock()) as stage:
            assert await stage.ask(GrantLease(1, 0, 15, 5.0)) == LeaseGranted(1, 0, 9, 15, 3, 1.0)

    play(scene)


def test_a_read_by_entry_is_a_read_and_two_entries_in_the_latest_term_of_all() -> None:
    """etcd wakes who waits for an entry before it notes the entry's term: the other one's answer has it."""

    async def scene() -> None:
        for terms in ((3, 3, 4), (3, 4, 3), (4, 3, 3)):
            fake, waiting = FakeEtcd(), list(terms[1:])

            async def delete(stream: ServerStream, waiting: list[int] = waiting) -> None:
                request = await stream.recv_message()
                assert request == pb.DeleteRangeRequest(key=b"p/", range_end=b"p/")
                await stream.send_message(pb.DeleteRangeResponse(header=header(raft_term=waiting.pop())))

            fake.does(DELETE_RANGE, delete)
            fake.answers(RANGE, pb.RangeResponse(header=header(raft_term=terms[0])))
            async with serving(fake) as url, Stage([url]) as stage:
                found = await stage.expect(KeysRead, ReadKeys(1, 0, "p/", 5.0, by_entry=True))
                plain = await stage.expect(KeysRead, ReadKeys(2, 0, "p/", 5.0))
            assert (found.raft_term, plain.raft_term) == (4, terms[0])
            assert sorted(fake.calls) == sorted([DELETE_RANGE.path] * 2 + [RANGE.path] * 2)

    play(scene)


@pytest.mark.parametrize("silent", [RANGE, DELETE_RANGE])
def test_a_read_by_entry_fails_as_a_whole_and_leaves_nothing_behind(silent: Any) -> None:
    """Without the entry's answer the read is none, and without the read the entry."""

    async def scene() -> None:
        fake = FakeEtcd()

        async def hang(_: ServerStream) -> None:
            await asyncio.Event().wait()

        fake.answers(RANGE, EMPTY)
        fake.answers(DELETE_RANGE, pb.DeleteRangeResponse(header=header()))
        fake.does(silent, hang)
        async with serving(fake) as url, Stage([url]) as stage:
            fact = await stage.ask(ReadKeys(1, 0, "p/", 0.3, by_entry=True))
            assert failure_of(fact) is Failure.TIMEOUT
            stage.perform(ReadKeys(2, 0, "p/", 5.0, by_entry=True))
            await wait_until(lambda: len(fake.calls) >= 5, "it never asked")
            stage.perform(DropEndpoint(0))
            assert failure_of(await stage.answer(2)) is Failure.UNAVAILABLE

    play(scene)


def test_sent_at_is_read_before_the_request_leaves() -> None:
    """The server sees the request only after the clock was read, for unary calls and the keepalive's stream alike."""

    async def scene() -> None:
        fake, clock, seen = FakeEtcd(), CountingClock(), []

        def noting(reply: Message) -> Callable[[ServerStream], Any]:
            async def script(stream: ServerStream) -> None:
                seen.append(clock.looks)
                await stream.recv_message()
                await stream.send_message(reply)

            return script

        fake.does(RANGE, noting(EMPTY))
        fake.does(KEEP_ALIVE, noting(pb.LeaseKeepAliveResponse(header=header(), ID=9, TTL=15)))
        async with serving(fake) as url, Stage([url], clock=clock) as stage:
            found = await stage.expect(KeysRead, read(1))
            kept = await stage.expect(KeepaliveConfirmed, KeepLeaseAlive(2, 0, 9, 5.0))
        assert [found.sent_at, kept.sent_at] == seen == [1.0, 2.0]

    play(scene)


def test_an_order_dropped_before_its_first_step_has_its_fact() -> None:
    """DropEndpoint in the same breath: the task never ran, and the fact comes all the same."""

    async def scene() -> None:
        async with serving(FakeEtcd()) as url, Stage([url]) as stage:
            stage.perform(read(1))
            stage.perform(OpenWatch(7, 0, "p/", 1, 5.0))
            stage.perform(DropEndpoint(0))
            assert failure_of(await stage.answer(1)) is Failure.UNAVAILABLE
            assert (await stage.watch_fact(WatchLost, 7)).failure is Failure.UNAVAILABLE

    play(scene)


def test_dropping_an_endpoint_fails_what_is_under_way_and_leaves_the_other_alone() -> None:
    """A frozen endpoint's requests fail at once; the next order on it connects anew."""

    async def scene() -> None:
        hung, fine = FakeEtcd(), FakeEtcd()

        async def hang(_: ServerStream) -> None:
            await asyncio.Event().wait()

        hung.does(RANGE, hang)
        hung.answers(GRANT, pb.LeaseGrantResponse(header=header(), ID=9, TTL=15))
        released = asyncio.Event()

        async def wait(stream: ServerStream) -> None:
            await stream.recv_message()
            await released.wait()
            await stream.send_message(EMPTY)

        fine.does(RANGE, wait)
        async with serving(hung) as first, serving(fine) as second, Stage([first, second]) as stage:
            stage.perform(read(1, 60.0))
            stage.perform(ReadKeys(2, 1, "p/", 60.0))
            await wait_until(lambda: bool(hung.calls and fine.calls), "the requests never arrived")
            stage.perform(DropEndpoint(0))
            fact = await stage.answer(1)
            assert failure_of(fact) is Failure.UNAVAILABLE
            released.set()
            assert isinstance(await stage.answer(2), KeysRead)
            await stage.expect(LeaseGranted, GrantLease(3, 0, 15, 5.0))

    play(scene)


def test_close_answers_every_open_order_and_orders_after_it() -> None:
    """The law of one fact per order holds to the end."""

    async def scene() -> None:
        async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read(-1)

        async with tcp_server(silence) as url:
            stage = Stage([url])
            for number in range(1, 4):
                stage.perform(read(number, 60.0))
            stage.perform(OpenWatch(1, 0, "p/", 1, 60.0))
            await asyncio.sleep(0)
            await stage.client.close()
            stage.perform(read(4))
            assert failure_of(await stage.answer(4)) is Failure.UNAVAILABLE
            assert [type(fact) for fact in stage.facts].count(RequestFailed) == 4
            assert [type(fact) for fact in stage.facts].count(WatchLost) == 1

    play(scene)


def test_a_revoked_lease_that_is_gone_already_is_revoked() -> None:
    """The order's aim is reached."""

    async def scene() -> None:
        fake = FakeEtcd()

        async def gone(_: ServerStream) -> None:
            raise GRPCError(Status.NOT_FOUND, "etcdserver: requested lease not found")

        fake.does(REVOKE, gone)
        async with serving(fake) as url, Stage([url]) as stage:
            assert await stage.ask(RevokeLease(1, 0, 9, 5.0)) == LeaseRevoked(1, 0, 9)

    play(scene)


# ---------------------------------------------------------------------------------------------------------------------
# Failures


@pytest.mark.parametrize(
    ("status", "text", "failure"),
    [
        (Status.UNKNOWN, "lease: not a primary lessor", Failure.UNAVAILABLE),
        (Status.UNAVAILABLE, "etcdserver: no leader", Failure.NO_LEADER),
        (Status.UNAVAILABLE, "etcdserver: leader changed", Failure.NO_LEADER),
        (Status.FAILED_PRECONDITION, "etcdserver: not leader", Failure.NO_LEADER),
        (Status.UNAVAILABLE, "etcdserver: request timed out", Failure.UNAVAILABLE),
        (Status.UNAVAILABLE, "etcdserver: server stopped", Failure.UNAVAILABLE),
        (Status.NOT_FOUND, "etcdserver: requested lease not found", Failure.LEASE_NOT_FOUND),
        (Status.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", Failure.COMPACTED),
        (Status.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision", Failure.REFUSED),
        (Status.UNAUTHENTICATED, "etcdserver: invalid auth token", Failure.UNAUTHENTICATED),
        (Status.INVALID_ARGUMENT, "etcdserver: revision of auth store is old", Failure.UNAUTHENTICATED),
        (Status.UNKNOWN, "auth: revision in header is old", Failure.UNAUTHENTICATED),
        (Status.INVALID_ARGUMENT, "etcdserver: user name is empty", Failure.UNAUTHENTICATED),
        (Status.PERMISSION_DENIED, "etcdserver: permission denied", Failure.REFUSED),
        (Status.INVALID_ARGUMENT, "etcdserver: too many operations in txn request", Failure.REFUSED),
        (Status.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", Failure.FULL),
        (Status.RESOURCE_EXHAUSTED, "etcdserver: too many requests", Failure.UNAVAILABLE),
        (Status.DEADLINE_EXCEEDED, "context deadline exceeded", Failure.TIMEOUT),
        (Status.CANCELLED, "", Failure.UNAVAILABLE),
        (Status.INTERNAL, "", Failure.UNAVAILABLE),
        (Status.DATA_LOSS, "etcdserver: corrupt cluster", Failure.UNAVAILABLE),
        (Status.UNIMPLEMENTED, "unknown service etcdserverpb.KV", Failure.NONSENSE),
    ],
)
def test_etcds_own_failures_keep_their_meaning(status: Status, text: str, failure: Failure) -> None:
    """Code and text as etcd sends them (api/v3rpc/rpctypes/error.go); the detail names endpoint and cause."""

    async def scene() -> None:
        fake = FakeEtcd()

        async def fail(_: ServerStream) -> None:
            raise GRPCError(status, text)

        fake.does(RANGE, fail)
        async with serving(fake) as url, Stage([url]) as stage:
            fact = await stage.expect(RequestFailed, read(1))
            assert fact.failure is failure
            assert fact.detail.startswith(f"{url}: ")
            assert text in fact.detail

    play(scene)


async def http_1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.write(bytes(range(256)) * 64)
    await writer.drain()


async def closes_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def closes_after_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(100)
    writer.close()


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(-1)


def h2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113, 4.1."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


GREETING = h2_frame(4, 0, 0, b"")


async def greet_and_wait_for_the_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send SETTINGS; read the client's preface and its frames up to the first HEADERS."""
    writer.write(GREETING)
    await reader.readexactly(24)
    kind = None
    while kind != 1:
        head = await reader.readexactly(9)
        kind = head[3]
        await reader.readexactly(int.from_bytes(head[:3]))


async def goes_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await greet_and_wait_for_the_request(reader, writer)
    writer.write(h2_frame(7, 0, 0, struct.pack(">II", 0, 11) + b"too_many_pings"))
    await reader.read(-1)


async def goes_away_and_pings(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As etcd does on SIGTERM (grpc-go's GracefulStop): both frames may arrive in one read."""
    await greet_and_wait_for_the_request(reader, writer)
    writer.write(h2_frame(7, 0, 0, struct.pack(">II", 2**31 - 1, 0)) + h2_frame(6, 0, 0, b"\1\6\1\x08\0\3\3\x09"))
    await reader.read(-1)


async def closes_under_a_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await greet_and_wait_for_the_request(reader, writer)


async def sends_binary_header_names(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await greet_and_wait_for_the_request(reader, writer)
    field = b"\x00\x02\xff\xfe\x01a"  # HPACK literal: a name that is not ASCII
    writer.write(h2_frame(1, 0x4, 1, b"\x88" + field))
    await reader.read(-1)


async def sends_no_status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await greet_and_wait_for_the_request(reader, writer)
    writer.write(h2_frame(1, 0x5, 1, b"\x00\x01a\x01b"))
    await reader.read(-1)


async def breaks_http2_after_the_greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await greet_and_wait_for_the_request(reader, writer)
    writer.write(h2_frame(0, 0, 0, b"data of no stream"))
    await reader.read(-1)


async def sends_frames_that_nobody_knows(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """They must be ignored (RFC 9113, 5.5), so that what follows still counts."""
    await greet_and_wait_for_the_request(reader, writer)
    writer.write(h2_frame(0xB0, 0, 0, b"grease") + h2_frame(7, 0, 0, struct.pack(">II", 0, 0)))
    await reader.read(-1)


@pytest.mark.parametrize(
    ("conversation", "failure", "words"),
    [
        (http_1, Failure.NONSENSE, "no HTTP/2 is spoken there"),
        (garbage, Failure.NONSENSE, "no HTTP/2 is spoken there"),
        (closes_at_once, Failure.UNAVAILABLE, "connection lost"),
        (closes_after_reading, Failure.UNAVAILABLE, "connection lost"),
        (resets, Failure.UNAVAILABLE, "connection lost: connection reset by peer"),
        (silent, Failure.TIMEOUT, "timed out after 0.3 s while connecting"),
        (goes_away, Failure.UNAVAILABLE, "GOAWAY"),
        (goes_away_and_pings, Failure.UNAVAILABLE, "etcd closed the connection (GOAWAY)"),
        (closes_under_a_request, Failure.UNAVAILABLE, "connection lost: closed by the other side"),
        (sends_binary_header_names, Failure.NONSENSE, "no HTTP/2 is spoken there"),
        (sends_no_status, Failure.NONSENSE, "breaks the protocol"),
        (breaks_http2_after_the_greeting, Failure.NONSENSE, "no HTTP/2 is spoken there"),
        (sends_frames_that_nobody_knows, Failure.UNAVAILABLE, "GOAWAY, error code 0"),
    ],
)
def test_what_is_no_etcd_is_named(conversation: Conversation, failure: Failure, words: str) -> None:
    """One fact in time for a request, one for a watch, with words that help."""

    async def scene() -> None:
        async with tcp_server(conversation) as url, Stage([url]) as stage:
            fact = await stage.expect(RequestFailed, read(1, 0.3))
            assert fact.failure is failure, fact
            assert words in fact.detail
            assert fact.detail.startswith(url)
            stage.perform(DropEndpoint(0))
            stage.perform(OpenWatch(1, 0, "p/", 1, 0.3))
            lost = await stage.watch_fact(WatchLost, 1)
            assert lost.failure is failure, lost

    play(scene)


def test_nobody_listens() -> None:
    """The kernel's word, without Python's decoration."""

    async def scene() -> None:
        url = f"http://127.0.0.1:{free_ports(1)[0]}"
        async with Stage([url]) as stage:
            fact = await stage.expect(RequestFailed, read(1))
            assert (fact.failure, fact.detail) == (Failure.UNAVAILABLE, f"{url}: connection refused")

    play(scene)


@contextlib.contextmanager
def accepts_nobody() -> Iterator[socket.socket]:
    """A listener whose backlog is full: connects hang."""
    with socket.socket() as deaf, socket.socket() as filler, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for extra in (filler, second):
            extra.setblocking(False)
            extra.connect_ex(deaf.getsockname())
        yield deaf


def test_a_name_whose_first_address_says_nothing_is_reached_at_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several A records, and the first machine is gone: all of the deadline would go by at it, each time."""
    fake = FakeEtcd()
    fake.answers(RANGE, EMPTY)

    async def scene() -> None:
        with accepts_nobody() as deaf:
            async with serving(fake) as url:
                living = ("127.0.0.1", int(url.rpartition(":")[2]))
                found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", each) for each in (deaf.getsockname(), living)]
                monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
                async with Stage(["http://etcd.lab:2379"]) as stage:
                    assert await stage.expect(KeysRead, read(1, 5.0))

    play(scene)


def test_a_listener_that_accepts_nobody_costs_one_deadline() -> None:
    """A blackhole: with its backlog full, connects hang. The deadline covers connecting, too."""

    async def scene() -> None:
        with accepts_nobody() as deaf:
            url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
            async with Stage([url]) as stage:
                began = asyncio.get_running_loop().time()
                for number in (1, 2, 3):
                    stage.perform(read(number, 0.2))
                facts = [await stage.answer(number) for number in (1, 2, 3)]
                assert asyncio.get_running_loop().time() - began < 2.0
            for fact in facts:
                assert isinstance(fact, RequestFailed)
                assert (fact.failure, fact.detail) == (
                    Failure.TIMEOUT,
                    f"{url}: timed out after 0.2 s while connecting",
                )

    play(scene)


@pytest.mark.parametrize(("timeout_s", "words"), [(1.0, "0.3 s"), (4.0, "1.2 s")])
def test_a_machine_that_says_nothing_is_given_up_long_before_the_deadline(timeout_s: float, words: str) -> None:
    """It is gone, not slow: the next endpoint's turn comes. Who gives requests more time has a longer way to etcd."""

    async def scene() -> None:
        with accepts_nobody() as deaf:
            url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
            async with Stage([url]) as stage:
                stage.perform(read(1, timeout_s))
                fact = await stage.answer(1)
            assert isinstance(fact, RequestFailed)
            assert (fact.failure, fact.detail) == (
                Failure.TIMEOUT,
                f"{url}: no answer to a connection within {words}",
            )

    play(scene)


def message(body: bytes, length: int | None = None, compressed: int = 0) -> bytes:
    return struct.pack(">BI", compressed, len(body) if length is None else length) + body


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (message(b"", length=2**31), "the limit"),
        (message(b"", length=channel.MESSAGE_BYTES_MAX + 1), "the limit"),
        (message(b"x", compressed=1), "compressed"),
        (message(b"xyz", length=10), "less data"),
        (message(b"\xff\xff\xff"), "DecodeError"),
        (b"\x00\x00", "less data"),
        (b"", "without a message"),
    ],
)
def test_a_broken_message_is_nonsense(frame: bytes, words: str) -> None:
    """Oversized (refused before a byte of it is kept), compressed, cut short, undecodable, missing."""

    async def scene() -> None:
        fake = FakeEtcd()

        async def script(stream: ServerStream) -> None:
            await stream.recv_message()
            await stream.send_initial_metadata()
            await stream._stream.send_data(frame)
            stream._send_message_done = True
            await stream.send_trailing_metadata()

        fake.does(RANGE, script)
        async with serving(fake) as url, Stage([url]) as stage:
            fact = await stage.expect(RequestFailed, read(1))
            assert fact.failure is Failure.NONSENSE
            assert words in fact.detail

    play(scene)


@settings(max_examples=15, deadline=None)
@given(bodies=st.lists(st.binary(max_size=60), min_size=1, max_size=10))
def test_random_bodies_over_the_wire_end_in_one_fact_each(bodies: list[bytes]) -> None:
    """Reads, keepalives, statuses and a watch on a server that sends random messages."""

    async def scene() -> None:
        fake = FakeEtcd()
        for method in (RANGE, KEEP_ALIVE, STATUS):
            fake.answers(method, *bodies[:1])
        fake.answers(WATCH, *bodies)
        async with serving(fake) as url, Stage([url]) as stage:
            for order in (read(1), KeepLeaseAlive(2, 0, 9, 5.0), ReadMember(3, 0, 5.0)):
                await stage.ask(order)
            stage.perform(OpenWatch(1, 0, "p/", 1, 5.0))
            await stage.watch_fact(WatchLost, 1)

    play(scene)


# ---------------------------------------------------------------------------------------------------------------------
# Users


def credentials(folder: Path, password: str = "secret\n") -> Credentials:
    (folder / "password").write_text(password)
    return Credentials("vip", folder / "password")


class TokenEtcd(FakeEtcd):
    """Hands tokens out and accepts the last one only."""

    def __init__(self, password: str = "secret") -> None:
        super().__init__()
        self.password, self.issued, self.valid = password, 0, ""
        self.does(AUTHENTICATE, self._authenticate)
        self.does(RANGE, self._range)

    async def _authenticate(self, stream: ServerStream) -> None:
        request = await stream.recv_message()
        assert request is not None
        if (request.name, request.password) != ("vip", self.password):
            raise GRPCError(Status.INVALID_ARGUMENT, "etcdserver: authentication failed, invalid user ID or password")
        self.issued += 1
        self.valid = f"token.{self.issued}"
        await stream.send_message(pb.AuthenticateResponse(header=header(), token=self.valid))

    async def _range(self, stream: ServerStream) -> None:
        if self.metadata[-1].get("token") != self.valid:
            raise GRPCError(Status.UNAUTHENTICATED, "etcdserver: invalid auth token")
        await stream.recv_message()
        await stream.send_message(EMPTY)


def test_one_authentication_serves_many_requests(tmp_path: Path) -> None:
    """Also requests that begin at the same time share it."""

    async def scene() -> None:
        fake = TokenEtcd()
        async with serving(fake) as url, Stage([url], credentials=credentials(tmp_path)) as stage:
            for number in (1, 2, 3):
                stage.perform(read(number))
            for number in (1, 2, 3):
                assert isinstance(await stage.answer(number), KeysRead)
        assert fake.issued == 1

    play(scene)


def test_an_expired_token_is_renewed_once_and_sent_at_is_read_anew(tmp_path: Path) -> None:
    """The deadline of the core counts from the request that was answered, not from the refused one."""

    async def scene() -> None:
        fake, clock = TokenEtcd(), CountingClock()
        async with serving(fake) as url, Stage([url], credentials=credentials(tmp_path), clock=clock) as stage:
            await stage.expect(KeysRead, read(1))
            fake.valid = "expired"
            before = clock.looks
            found = await stage.expect(KeysRead, read(2))
            # Looked at for the refused request, for the authentication, and for the repeated request.
            assert found.sent_at == clock.looks == before + 3
        assert fake.issued == 2

    play(scene)


def test_a_token_that_is_refused_twice_is_a_failure(tmp_path: Path) -> None:
    """One repetition, no loop."""

    async def scene() -> None:
        fake = TokenEtcd()

        async def refuse(_: ServerStream) -> None:
            raise GRPCError(Status.UNAUTHENTICATED, "etcdserver: invalid auth token")

        fake.does(RANGE, refuse)
        async with serving(fake) as url, Stage([url], credentials=credentials(tmp_path)) as stage:
            fact = await stage.expect(RequestFailed, read(1))
            assert fact.failure is Failure.UNAUTHENTICATED
        assert fake.calls.count(RANGE.path) == 2
        assert fake.issued == 2

    play(scene)


def test_a_changed_password_file_is_read(tmp_path: Path) -> None:
    """A wrong password is named with its user; the right one, once in the file, works without a restart."""

    async def scene() -> None:
        fake = TokenEtcd(password="new")
        async with serving(fake) as url, Stage([url], credentials=credentials(tmp_path)) as stage:
            fact = await stage.expect(RequestFailed, read(1))
            assert fact.failure is Failure.UNAUTHENTICATED
            assert "invalid user ID or password (user vip)" in fact.detail
            (tmp_path / "password").write_text("new\n")
            await stage.expect(KeysRead, read(2))

    play(scene)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x" * 5000])
def test_a_password_file_that_cannot_be_read_is_weather(tmp_path: Path, content: bytes | None) -> None:
    """Missing, binary, huge: the agent waits and the operator sees the file's name."""

    async def scene() -> None:
        file = tmp_path / "pw"
        if content is not None:
            file.write_bytes(content)
        async with serving(TokenEtcd()) as url, Stage([url], credentials=Credentials("vip", file)) as stage:
            fact = await stage.expect(RequestFailed, read(1))
            assert fact.failure is Failure.UNAVAILABLE
            assert str(file) in fact.detail

    play(scene)


def test_credentials_are_not_needed_where_authentication_is_off(tmp_path: Path) -> None:
    """etcd says so once; requests go out without a token, until etcd asks for a user."""

    async def scene() -> None:
        fake, off = TokenEtcd(), True
        authenticate = fake.scripts[AUTHENTICATE.path]

        async def switched(stream: ServerStream) -> None:
            if off:
                raise GRPCError(Status.FAILED_PRECONDITION, "etcdserver: authentication is not enabled")
            await authenticate(stream)

        async def ranged(stream: ServerStream) -> None:
            if not off and "token" not in fake.metadata[-1]:
                raise GRPCError(Status.INVALID_ARGUMENT, "etcdserver: user name is empty")
            await stream.recv_message()
            await stream.send_message(EMPTY)

        fake.does(AUTHENTICATE, switched)
        fake.does(RANGE, ranged)
        async with serving(fake) as url, Stage([url], credentials=credentials(tmp_path)) as stage:
            await stage.expect(KeysRead, read(1))
            await stage.expect(KeysRead, read(2))
            assert fake.calls.count(AUTHENTICATE.path) == 1
            off = False
            await stage.expect(KeysRead, read(3))

    play(scene)


# ---------------------------------------------------------------------------------------------------------------------
# Watches

CREATED = pb.WatchResponse(header=header(revision=4), created=True)


def change(revision: int, key: bytes = b"p/a") -> pb.WatchResponse:
    kv = pb.KeyValue(key=key, value=b"v", create_revision=revision, mod_revision=revision)
    return pb.WatchResponse(header=header(revision), events=[pb.Event(kv=kv)])


def test_a_watch_opens_tells_and_is_lost_once() -> None:
    """In this order, with etcd's own reason from the trailers; and it asks for a leader."""

    async def scene() -> None:
        fake, told = FakeEtcd(), asyncio.Event()

        async def script(stream: ServerStream) -> None:
            await stream.recv_message()
            for reply in (CREATED, change(5), pb.WatchResponse(header=header(8)), change(9)):
                await stream.send_message(reply)
            await told.wait()
            raise GRPCError(Status.UNAVAILABLE, "etcdserver: no leader")

        fake.does(WATCH, script)
        async with serving(fake) as url, Stage([url]) as stage:
            stage.perform(OpenWatch(3, 0, "p/", 5, 5.0))
            await stage.watch_fact(KeysChanged, 3, nth=1)
            told.set()
            lost = await stage.watch_fact(WatchLost, 3)
            assert lost.failure is Failure.NO_LEADER
            assert [type(fact) for fact in stage.facts] == [WatchOpened, KeysChanged, KeysChanged, WatchLost]
            assert [fact.revision for fact in stage.facts if isinstance(fact, KeysChanged)] == [5, 9]
        assert fake.metadata[0]["hasleader"] == "true"

    play(scene)


def test_a_closed_watch_tells_nothing_more_and_its_number_is_free() -> None:
    """Even when a change is on its way; a new watch of the same number is another watch."""

    async def scene() -> None:
        fake, go = FakeEtcd(), asyncio.Event()

        async def script(stream: ServerStream) -> None:
            await stream.recv_message()
            await stream.send_message(CREATED)
            await go.wait()
            await stream.send_message(change(5))
            await asyncio.Event().wait()

        fake.does(WATCH, script)
        async with serving(fake) as url, Stage([url]) as stage:
            stage.perform(OpenWatch(3, 0, "p/", 5, 5.0))
            await stage.watch_fact(WatchOpened, 3)
            stage.perform(CloseWatch(3))
            go.set()
            stage.perform(OpenWatch(3, 0, "p/", 5, 5.0))
            await stage.watch_fact(KeysChanged, 3)
            assert [type(fact) for fact in stage.facts] == [WatchOpened, WatchOpened, KeysChanged]
            stage.perform(CloseWatch(3))
            stage.perform(CloseWatch(3))  # an order that crossed the watch's end

    play(scene)


def test_a_watch_closed_by_the_one_who_hears_of_it_tells_nothing_more() -> None:
    """`emit` may lead straight to CloseWatch; changes that have arrived already are then nobody's."""

    async def scene() -> None:
        fake = FakeEtcd()
        told: list[EtcdFact] = []

        async def script(stream: ServerStream) -> None:
            await stream.recv_message()
            await stream.send_message(CREATED)
            await stream._stream.send_data(b"".join(message(change(n).SerializeToString()) for n in (5, 6, 7)))
            await asyncio.Event().wait()

        def close_on_first_change(fact: EtcdFact) -> None:
            told.append(fact)
            if isinstance(fact, KeysChanged):
                client.perform(CloseWatch(1))

        fake.does(WATCH, script)
        async with serving(fake) as url:
            client = EtcdClient([url], tls=None, credentials=None, clock=CountingClock(), emit=close_on_first_change)
            client.perform(OpenWatch(1, 0, "p/", 5, 5.0))
            await wait_until(lambda: len(told) > 1, "no change was told")
            await client.close()
        assert [type(fact) for fact in told] == [WatchOpened, KeysChanged]

    play(scene)


def test_a_watch_that_is_never_confirmed_times_out() -> None:
    """The deadline is for the confirmation; a watch that stands may be silent for ever."""

    async def scene() -> None:
        fake = FakeEtcd()
        stand = False

        async def script(stream: ServerStream) -> None:
            await stream.recv_message()
            if stand:
                await stream.send_message(CREATED)
            await asyncio.Event().wait()

        fake.does(WATCH, script)
        async with serving(fake) as url, Stage([url]) as stage:
            stage.perform(OpenWatch(1, 0, "p/", 5, 0.2))
            lost = await stage.watch_fact(WatchLost, 1)
            assert (lost.failure, "watch to be created" in lost.detail) == (Failure.TIMEOUT, True)
            stand = True
            stage.perform(OpenWatch(2, 0, "p/", 5, 0.2))
            await stage.watch_fact(WatchOpened, 2)
            await asyncio.sleep(0.4)  # the deadline passes: this is what must not matter
            assert not [fact for fact in stage.facts if isinstance(fact, WatchLost) and fact.watch == 2]

    play(scene)


def test_a_compacted_watch_says_so_after_it_opened() -> None:
    """etcd confirms first and cancels then; the core must read anew."""

    async def scene() -> None:
        fake = FakeEtcd()
        fake.answers(WATCH, CREATED, pb.WatchResponse(header=header(), canceled=True, compact_revision=90))
        async with serving(fake) as url, Stage([url]) as stage:
            stage.perform(OpenWatch(1, 0, "p/", 5, 5.0))
            assert (await stage.watch_fact(WatchLost, 1)).failure is Failure.COMPACTED

    play(scene)


def test_a_watch_with_an_expired_token_is_opened_with_a_new_one(tmp_path: Path) -> None:
    """etcd 3.4 says "permission denied" there; a real denial comes back after one more try."""

    async def scene() -> None:
        fake, denied = TokenEtcd(), False

        async def script(stream: ServerStream) -> None:
            await stream.recv_message()
            if denied or fake.metadata[-1].get("token") != fake.valid:
                refusal = "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
                await stream.send_message(
                    pb.WatchResponse(header=header(), created=True, canceled=True, watch_id=-1, cancel_reason=refusal)
                )
            else:
                await stream.send_message(CREATED)
            await asyncio.Event().wait()

        fake.does(WATCH, script)
        async with serving(fake) as url, Stage([url], credentials=credentials(tmp_path)) as stage:
            await stage.expect(KeysRead, read(1))
            fake.valid = "expired"
            stage.perform(OpenWatch(1, 0, "p/", 5, 5.0))
            await stage.watch_fact(WatchOpened, 1)
            denied = True
            stage.perform(OpenWatch(2, 0, "p/", 5, 5.0))
            assert (await stage.watch_fact(WatchLost, 2)).failure is Failure.REFUSED

    play(scene)


# ---------------------------------------------------------------------------------------------------------------------
# Survey


def test_a_survey_tells_of_every_endpoint_in_its_order() -> None:
    """Reachable or not, each has its line; the shortest TTL is what etcd made of one second."""

    async def scene() -> None:
        fake = FakeEtcd()
        fake.answers(
            STATUS, pb.StatusResponse(header=header(), version="3.5.1", leader=2, raftTerm=3, errors=["NOSPACE"])
        )
        fake.answers(GRANT, pb.LeaseGrantResponse(header=header(), ID=9, TTL=2))
        fake.answers(REVOKE, pb.LeaseRevokeResponse(header=header()))
        nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
        clock = CountingClock()
        async with serving(fake) as url:
            dead, alive = await survey([nobody, url], None, None, 5.0, clock)
            assert await measure_ttl_floor(url, None, None, 5.0, clock) == 2
        assert (dead.endpoint, dead.reachable, dead.error) == (nobody, False, f"{nobody}: connection refused")
        assert (alive.reachable, alive.version, alive.member_id, alive.leader_id) == (True, "3.5.1", 2, 2)
        assert (alive.raft_term, alive.alarms, alive.rtt_s) == (3, ("NOSPACE",), 1.0)

    play(scene)


def test_a_member_that_refuses_to_tell_is_there_all_the_same() -> None:
    """Some releases let root alone ask for Status; they serve the agent, and `sharedip check` has to say so."""

    async def scene() -> None:
        fake = FakeEtcd()

        async def refuse(_: ServerStream) -> None:
            raise GRPCError(Status.PERMISSION_DENIED, "etcdserver: permission denied")

        fake.does(STATUS, refuse)
        async with serving(fake) as url:
            (told,) = await survey([url], None, None, 5.0, CountingClock())
        assert (told.reachable, told.leader_id, "permission denied" in told.error) == (True, 0, True)

    play(scene)


def test_a_member_without_a_leader_is_read_as_such() -> None:
    """0 is etcd's "none"."""

    async def scene() -> None:
        fake = FakeEtcd()
        fake.answers(STATUS, pb.StatusResponse(header=header(), version="3.5.1", leader=0, raftTerm=3))
        async with serving(fake) as url, Stage([url]) as stage:
            assert await stage.ask(ReadMember(1, 0, 5.0)) == MemberRead(1, 0, 2, 0, 3, "3.5.1")

    play(scene)
