"""Coverage-guided fuzzing of everything pure that reads bytes from outside; run by hand, see docs/fuzzing.md.

    python tests/fuzz/atheris_inputs.py TARGET [libFuzzer's options] [corpus]; TARGETS below has the names

Any exception ends it, with the input in a file `crash-…`.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

try:
    atheris: Any = importlib.import_module("atheris")
except ImportError:  # `test_atheris_inputs.py` plays the starters all the same
    atheris = None

with nullcontext() if atheris is None else atheris.instrument_imports(include=["sharedip", "yaml", "h11"]):
    from google.protobuf.message import DecodeError

    from sharedip.adapters.api.connection import BODY_BYTES_MAX, Connection, PeerGoneError, text_response
    from sharedip.adapters.api.turns import Turns
    from sharedip.adapters.etcd import answers
    from sharedip.adapters.etcd import rpc_pb2 as pb
    from sharedip.adapters.etcd.failures import EtcdError
    from sharedip.adapters.kernel import diagwire, routewire, rtwire, wire
    from sharedip.adapters.probes.http import HttpProbe, _Line
    from sharedip.config.load import parse
    from sharedip.core.address import frames
    from sharedip.core.etcd.agent_records import split_address
    from sharedip.core.etcd.keys import Layout, Registry, read_record
    from sharedip.core.messages import GrantLease, KeepLeaseAlive, OpenWatch, ReadKeys, ReadMember, Transact
    from sharedip.core.model import Get, KeyValue, Put
    from sharedip.core.peers.witness import read_witnesses
    from sharedip.core.segment import wire as peerwire
    from sharedip.core.state import read_state

SECRET = b"0123456789abcdef"
ROOT = "sharedip:v1:vip:"


def datagrams(data: bytes) -> None:
    """No datagram is authentic by chance."""
    envelope = peerwire.unseal(data)
    for body, tag in envelope.entries if envelope is not None else ():
        assert peerwire.open_entry(envelope, body, tag, SECRET) is None  # type: ignore[arg-type]


def segment(data: bytes) -> None:
    """ARP and neighbour discovery."""
    claim = frames.decode(data)
    assert claim is None or len(claim.mac) == 6


def netlink(data: bytes) -> None:
    """Whatever the kernel could say."""
    for message in wire.decode(data):
        wire.refusal(message)
        rtwire.parse_link(message)
        rtwire.parse_address(message)
        rtwire.parse_promote_secondaries(message)
        rtwire.parse_route_source(message)
        rtwire.parse_touched_by_ipv6(message)
        routewire.route_key(message._replace(kind=routewire.RTM_NEWROUTE))
        routewire.way_of(message, 2)
        routewire.destination(message)
        routewire.parse_neighbour(message._replace(kind=routewire.RTM_NEWNEIGH), 2)
        diagwire.parse_socket(message, 6)


def documents(data: bytes) -> None:
    """YAML with places."""
    parse({"fuzz.yaml": data.decode("utf-8", "replace")}, "cp1")


def records(data: bytes) -> None:
    """What stands under our keys in etcd, and in the state file."""
    read_state(data)
    record = read_record(KeyValue("k", data, 1, 1, 1)) or {}
    read_witnesses(record)
    split_address(record.get("peer"))


class _Wire:
    """What h11 and asyncio's streams need of a peer that takes everything."""

    transport: Any

    def __init__(self) -> None:
        self.transport = self
        self.written = 0

    def set_write_buffer_limits(self, high: int) -> None:
        """Nothing is buffered."""

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        self.written += len(data)

    async def drain(self) -> None:
        """At once."""

    def write_eof(self) -> None:
        """Nothing more is written."""

    def close(self) -> None:
        """Nothing to close."""

    def abort(self) -> None:
        """The same."""


def _said(data: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


def http(data: bytes) -> None:
    """Whatever a peer says to the listener or the control socket, in one breath, and closes."""

    async def serve() -> None:
        wire_ = _Wire()
        connection = Connection(None, Turns())  # type: ignore[arg-type]
        connection._reader, connection._writer = _said(data), wire_  # type: ignore[assignment]
        requests = 0
        try:
            while (request := await connection.request()) is not None:
                assert len(request.body) <= BODY_BYTES_MAX
                requests += 1
                await connection.respond(text_response(200, "ok"), head_only=request.method == "HEAD")
        except PeerGoneError:
            pass
        connection.close()
        assert wire_.written <= 1000 * (requests + 1), "an answer that its peer chose the size of"

    LOOP.run_until_complete(serve())


def health(data: bytes) -> None:
    """Whatever a server answers to a health check."""

    async def look() -> None:
        probe = HttpProbe(SimpleNamespace(tls=False, host="192.0.2.1", port=80, target="/"), None, 1.0)

        async def connect(_: Any) -> Any:
            return _Line(_said(data), _Wire())  # type: ignore[arg-type]

        probe._connect = connect  # type: ignore[method-assign,assignment]
        outcome = await probe.probe()
        assert len(outcome.detail) < 1000
        probe.close()

    LOOP.run_until_complete(look())


def etcd(data: bytes) -> None:
    """Whatever an etcd answers inside a well-formed frame: a fact that makes sense, or an `EtcdError`."""
    if not data:
        return
    kind, body = data[0] % 6, data[1:]
    watch = OpenWatch(1, 0, ROOT, 5, 1.0)
    writes = Transact(1, 0, (), (Put(f"{ROOT}agent:n1", b"{}", 7), Get(ROOT, prefix=True)), (Get(ROOT),), 1.0)
    try:
        match kind:
            case 0:
                answers.lease_granted(GrantLease(1, 0, 15, 1.0), pb.LeaseGrantResponse.FromString(body), 0.0)
            case 1:
                reply = pb.LeaseKeepAliveResponse.FromString(body)
                answers.keepalive_confirmed(KeepLeaseAlive(1, 0, 7, 1.0), reply, 0.0)
            case 2:
                fact = answers.keys_read(ReadKeys(1, 0, ROOT, 1.0), pb.RangeResponse.FromString(body), 0.0)
                Registry(Layout("sharedip:v1")).apply_snapshot(fact.keys, fact.revision)
            case 3:
                answers.transaction_done(writes, pb.TxnResponse.FromString(body), 0.0)
            case 4:
                answers.member_read(ReadMember(1, 0, 1.0), pb.StatusResponse.FromString(body))
            case _:
                watched, begun = pb.WatchResponse.FromString(body), list[pb.Event]()
                answers.whole_revisions(begun, watched)
                change = answers.keys_changed(watch, 0, 4, watched)
                assert change is None or change.revision > 4
    except (EtcdError, DecodeError):
        return


LOOP = asyncio.new_event_loop()
TARGETS = {
    "datagrams": datagrams,
    "frames": segment,
    "netlink": netlink,
    "documents": documents,
    "records": records,
    "http": http,
    "health": health,
    "etcd": etcd,
}


def _header() -> pb.ResponseHeader:
    return pb.ResponseHeader(cluster_id=1, member_id=1, revision=9, raft_term=3)


def starters(name: str) -> list[bytes]:
    """What a fuzzer would take long to guess: inputs that make sense."""
    if name == "http":
        get = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
        post = b"POST /v1/move HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
        chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
        return [get + get, post, chunked]
    if name == "health":
        return [b"HTTP/1.1 500 no\r\nContent-Length: 4\r\n\r\n[-]x", b"HTTP/1.1 200 ok\r\n\r\n"]
    if name != "etcd":
        return []
    key = pb.KeyValue(key=b"sharedip:v1:vip:agent:n1", value=b"{}", create_revision=5, mod_revision=6, lease=7)
    reads = pb.RangeResponse(header=_header(), kvs=[key], count=1)
    put = pb.ResponseOp(response_put=pb.PutResponse())
    writes = pb.TxnResponse(header=_header(), succeeded=True, responses=[put, pb.ResponseOp(response_range=reads)])
    events = [pb.Event(type=pb.Event.PUT, kv=key)]
    replies = (
        pb.LeaseGrantResponse(header=_header(), ID=7, TTL=15),
        pb.LeaseKeepAliveResponse(header=_header(), ID=7, TTL=15),
        reads,
        writes,
        pb.StatusResponse(header=_header(), version="3.5.1", leader=1, raftTerm=3),
        pb.WatchResponse(header=_header(), watch_id=0, events=events),
    )
    return [bytes([number]) + reply.SerializeToString() for number, reply in enumerate(replies)]


def sow(name: str, corpus: Path) -> None:
    """Begin an empty corpus."""
    corpus.mkdir(exist_ok=True)
    if not any(corpus.iterdir()):
        for number, data in enumerate(starters(name)):
            (corpus / f"starter-{number}").write_bytes(data)


if __name__ == "__main__":
    if atheris is None:
        sys.exit("atheris is not installed: see docs/fuzzing.md")
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(TARGETS)} [libFuzzer's options] [corpus]")
    chosen = sys.argv.pop(1)
    for argument in sys.argv[1:]:
        if not argument.startswith("-"):
            sow(chosen, Path(argument))
    atheris.Setup(sys.argv, TARGETS[chosen])
    atheris.Fuzz()
