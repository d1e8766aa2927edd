"""Replies of etcd become facts only when they make sense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from sharedip.adapters.etcd import answers
from sharedip.adapters.etcd import rpc_pb2 as pb
from sharedip.adapters.etcd.failures import EtcdError
from sharedip.core.messages import (
    GrantLease,
    KeepLeaseAlive,
    KeysChanged,
    KeysRead,
    LeaseGranted,
    OpenWatch,
    ReadKeys,
    ReadMember,
    RevokeLease,
    Transact,
)
from sharedip.core.model import Delete, Failure, Get, KeyChange, KeyValue, Put
from tests.unit.adapters.etcd.etcd_fake import header

GRANT = GrantLease(1, 0, 15, 1.0)
KEEP = KeepLeaseAlive(1, 0, 77, 1.0)
READ = ReadKeys(1, 0, "p/", 1.0)
MEMBER = ReadMember(1, 0, 1.0)
TRANSACT = Transact(
    1, 0, (), (Put("p/a", b"v", 77), Delete("p/b"), Get("p/a"), Get("p/", prefix=True)), (Get("p/a"),), 1.0
)
WATCH = OpenWatch(4, 0, "p/", 5, 1.0)


def kv(key: bytes = b"p/a", create: int = 3, mod: int = 5, lease: int = 77) -> pb.KeyValue:
    return pb.KeyValue(key=key, value=b"v", create_revision=create, mod_revision=mod, lease=lease)


def granted() -> pb.LeaseGrantResponse:
    return pb.LeaseGrantResponse(header=header(), ID=77, TTL=15)


def kept() -> pb.LeaseKeepAliveResponse:
    return pb.LeaseKeepAliveResponse(header=header(), ID=77, TTL=15)


def found() -> pb.RangeResponse:
    return pb.RangeResponse(header=header(), kvs=[kv(b"p/a"), kv(b"p/b")], count=2)


def done() -> pb.TxnResponse:
    return pb.TxnResponse(
        header=header(),
        succeeded=True,
        responses=[
            pb.ResponseOp(response_put=pb.PutResponse()),
            pb.ResponseOp(response_delete_range=pb.DeleteRangeResponse(deleted=1)),
            pb.ResponseOp(response_range=pb.RangeResponse(kvs=[kv(b"p/a")], count=1)),
            pb.ResponseOp(response_range=pb.RangeResponse(kvs=[kv(b"p/a"), kv(b"p/c")], count=2)),
        ],
    )


def status() -> pb.StatusResponse:
    return pb.StatusResponse(header=header(), version="3.5.1", leader=2, raftTerm=3)


def changes() -> pb.WatchResponse:
    return pb.WatchResponse(
        header=header(),
        watch_id=0,
        events=[pb.Event(kv=kv(mod=5)), pb.Event(type=pb.Event.DELETE, kv=pb.KeyValue(key=b"p/b", mod_revision=6))],
    )


READERS: dict[str, tuple[Callable[[], Message], Callable[[Any], Any]]] = {
    "grant": (granted, lambda reply: answers.lease_granted(GRANT, reply, 1.0)),
    "keepalive": (kept, lambda reply: answers.keepalive_confirmed(KEEP, reply, 1.0)),
    "range": (found, lambda reply: answers.keys_read(READ, reply, 1.0)),
    "entry": (
        lambda: pb.DeleteRangeResponse(header=header()),
        lambda reply: answers.keys_read_by_entry(READ, found(), (reply,), 1.0),
    ),
    "txn": (done, lambda reply: answers.transaction_done(TRANSACT, reply, 1.0)),
    "status": (status, lambda reply: answers.member_read(MEMBER, reply)),
    "watch": (changes, lambda reply: answers.keys_changed(WATCH, 0, 4, reply)),
    "revoke": (
        lambda: pb.LeaseRevokeResponse(header=header()),
        lambda reply: answers.lease_revoked(RevokeLease(1, 0, 77, 1.0), reply),
    ),
    "created": (
        lambda: pb.WatchResponse(header=header(), created=True),
        lambda reply: answers.watch_opened(WATCH, reply),
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_a_sane_reply_becomes_a_fact(name: str) -> None:
    """The replies that the breakages below start from are good."""
    make, read = READERS[name]
    assert read(make()) is not None


def test_facts_carry_what_etcd_said() -> None:
    """Field by field, since the core builds epochs and deadlines on them."""
    a = KeyValue("p/a", b"v", 3, 5, 77)
    assert answers.lease_granted(GRANT, granted(), 9.5) == LeaseGranted(1, 0, 77, 15, 3, 9.5)
    assert answers.keys_read(READ, found(), 9.5) == KeysRead(1, 0, (a, KeyValue("p/b", b"v", 3, 5, 77)), 2, 7, 3, 9.5)
    assert answers.transaction_done(TRANSACT, done(), 9.5).keys == (a, a, KeyValue("p/c", b"v", 3, 5, 77))
    assert answers.keys_changed(WATCH, 0, 4, changes()) == KeysChanged(
        4, (KeyChange("p/a", a, a.mod_revision), KeyChange("p/b", None, 6)), 6
    )


def fragment(*revisions: int, is_last: bool = False) -> pb.WatchResponse:
    events = [pb.Event(kv=kv(mod=revision)) for revision in revisions]
    return pb.WatchResponse(header=header(revision=20), watch_id=0, fragment=not is_last, events=events)


def test_a_revision_that_goes_on_in_the_next_fragment_is_told_when_it_is_whole() -> None:
    begun: list[pb.Event] = []
    told: list[list[int]] = []
    for reply in (fragment(5, 6, 6), fragment(6), fragment(6, 7), fragment(8, is_last=True)):
        answers.whole_revisions(begun, reply)
        changed = answers.keys_changed(WATCH, 0, told[-1][-1] if told else 4, reply)
        if changed is not None:
            told.append([change.revision for change in changed.changes])
    assert told == [[5], [6, 6, 6, 6], [7, 8]]
    assert begun == []


def test_a_revision_without_end_is_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "REVISION_BYTES_MAX", 1000)
    begun = [pb.Event(kv=kv(mod=6)) for _ in range(1000)]
    with pytest.raises(EtcdError, match="without end"):
        answers.whole_revisions(begun, fragment(6))


BREAKAGES: list[tuple[str, str, Callable[[Any], None]]] = [
    *((name, "no header", lambda m: m.ClearField("header")) for name in READERS),
    *((name, "revision 0", lambda m: setattr(m.header, "revision", 0)) for name in READERS),
    *((name, "negative revision", lambda m: setattr(m.header, "revision", -1)) for name in READERS),
    # A watch from the revision behind it would not fit into 64 bits, and an order that can't be encoded is a bug.
    *((name, "revision beyond reach", lambda m: setattr(m.header, "revision", 2**63 - 1)) for name in READERS),
    *((name, "term 0", lambda m: setattr(m.header, "raft_term", 0)) for name in READERS),
    ("entry", "a key deleted", lambda m: setattr(m, "deleted", 1)),
    ("grant", "lease 0", lambda m: setattr(m, "ID", 0)),
    ("grant", "negative lease", lambda m: setattr(m, "ID", -5)),
    ("grant", "ttl lowered", lambda m: setattr(m, "TTL", 14)),
    ("grant", "ttl of years", lambda m: setattr(m, "TTL", 10**8)),
    ("grant", "an error", lambda m: setattr(m, "error", "no")),
    ("keepalive", "another lease", lambda m: setattr(m, "ID", 78)),
    ("keepalive", "ttl of years", lambda m: setattr(m, "TTL", 10**8)),
    ("range", "more keys held back", lambda m: setattr(m, "more", True)),
    ("range", "count differs", lambda m: setattr(m, "count", 3)),
    ("range", "key not UTF-8", lambda m: setattr(m.kvs[0], "key", b"p/\xff")),
    ("range", "key outside the prefix", lambda m: setattr(m.kvs[0], "key", b"o/a")),
    ("range", "one key twice", lambda m: setattr(m.kvs[1], "key", b"p/a")),
    ("range", "keys out of order", lambda m: setattr(m.kvs[0], "key", b"p/z")),
    ("range", "create revision 0", lambda m: setattr(m.kvs[0], "create_revision", 0)),
    ("range", "negative mod revision", lambda m: setattr(m.kvs[0], "mod_revision", -5)),
    ("range", "modified before created", lambda m: setattr(m.kvs[0], "mod_revision", 2)),
    ("range", "modified in the future", lambda m: setattr(m.kvs[0], "mod_revision", 8)),
    ("range", "negative lease", lambda m: setattr(m.kvs[0], "lease", -1)),
    ("txn", "a response missing", lambda m: m.responses.pop()),
    ("txn", "a response too many", lambda m: m.responses.add(response_put=pb.PutResponse())),
    ("txn", "the other branch's responses", lambda m: setattr(m, "succeeded", False)),
    ("txn", "an empty response", lambda m: m.responses[0].Clear()),
    ("txn", "put answered by range", lambda m: m.responses[0].response_range.Clear()),
    ("txn", "two keys deleted", lambda m: setattr(m.responses[1].response_delete_range, "deleted", 2)),
    ("txn", "a get's key is another", lambda m: setattr(m.responses[2].response_range.kvs[0], "key", b"p/b")),
    ("txn", "a prefix's key is outside", lambda m: setattr(m.responses[3].response_range.kvs[0], "key", b"o")),
    ("status", "no member id", lambda m: setattr(m.header, "member_id", 0)),
    ("status", "own term 0", lambda m: setattr(m, "raftTerm", 0)),
    ("status", "no version", lambda m: setattr(m, "version", "")),
    ("watch", "another watch", lambda m: setattr(m, "watch_id", 1)),
    ("watch", "created once more", lambda m: setattr(m, "created", True)),
    ("watch", "a fragment", lambda m: setattr(m, "fragment", True)),
    ("watch", "a change that was told before", lambda m: setattr(m.events[0].kv, "mod_revision", 4)),
    ("watch", "changes that go backwards", lambda m: setattr(m.events[1].kv, "mod_revision", 4)),
    ("watch", "a change from the future", lambda m: setattr(m.events[1].kv, "mod_revision", 8)),
    ("watch", "a key outside the prefix", lambda m: setattr(m.events[1].kv, "key", b"o")),
    ("watch", "an unknown kind of event", lambda m: setattr(m.events[0], "type", 9)),
    ("created", "not created", lambda m: setattr(m, "created", False)),
    ("created", "events at once", lambda m: m.events.add(kv=kv())),
]


@pytest.mark.parametrize(("name", "what", "damage"), BREAKAGES, ids=[f"{name}-{what}" for name, what, _ in BREAKAGES])
def test_a_broken_reply_is_nonsense(name: str, what: str, damage: Callable[[Any], None]) -> None:
    """Each rule by itself: one field of a good reply is broken."""
    make, read = READERS[name]
    reply = make()
    damage(reply)
    with pytest.raises(EtcdError) as caught:
        read(reply)
    assert caught.value.failure is Failure.NONSENSE


@pytest.mark.parametrize("ttl", [0, -1])
def test_a_keepalive_without_ttl_means_that_the_lease_is_gone(ttl: int) -> None:
    """etcd reports a lost lease as TTL 0, not as an error (v3rpc/lease.go)."""
    reply = kept()
    reply.TTL = ttl
    with pytest.raises(EtcdError) as caught:
        answers.keepalive_confirmed(KEEP, reply, 1.0)
    assert caught.value.failure is Failure.LEASE_NOT_FOUND


@pytest.mark.parametrize(
    ("reply", "failure", "token_refused"),
    [
        (pb.WatchResponse(canceled=True, compact_revision=9), Failure.COMPACTED, False),
        (pb.WatchResponse(canceled=True, cancel_reason="etcdserver: no leader"), Failure.NO_LEADER, False),
        (pb.WatchResponse(canceled=True, cancel_reason="etcdserver: permission denied"), Failure.REFUSED, True),
        (
            pb.WatchResponse(canceled=True, cancel_reason="code = Unauthenticated desc = invalid auth token"),
            Failure.UNAUTHENTICATED,
            True,
        ),
        (pb.WatchResponse(canceled=True), Failure.UNAVAILABLE, False),
    ],
)
def test_a_cancelled_watch_says_why(reply: pb.WatchResponse, failure: Failure, token_refused: bool) -> None:
    """Both as the first response and later; before etcd 3.5.3 a permission denied may be a token that expired."""
    for read in (lambda: answers.watch_opened(WATCH, reply), lambda: answers.keys_changed(WATCH, 0, 4, reply)):
        with pytest.raises(EtcdError) as caught:
            read()
        assert (caught.value.failure, caught.value.token_refused) == (failure, token_refused)


def test_a_progress_notification_brings_no_fact() -> None:
    """Its revision may run ahead of events under way, so it moves nothing."""
    assert answers.keys_changed(WATCH, 0, 4, pb.WatchResponse(header=header())) is None


def test_the_resume_point_is_the_last_change_and_not_the_header() -> None:
    """A backlog comes in several responses, all with the store's revision in the header (watcher_group.go)."""
    reply = changes()
    reply.header.revision = 900
    changed = answers.keys_changed(WATCH, 0, 4, reply)
    assert changed is not None
    assert changed.revision == 6


# ---------------------------------------------------------------------------------------------------------------------
# Whatever decodes is read or refused

revisions = st.one_of(st.integers(-2, 9), st.integers(-(2**63), 2**63 - 1))
raw_keys = st.one_of(st.sampled_from([b"p/", b"p/a", b"p/b", b"o"]), st.binary(max_size=4))
headers = st.one_of(
    st.none(),
    st.builds(pb.ResponseHeader, revision=revisions, raft_term=st.integers(0, 3), member_id=st.integers(0, 3)),
)
key_values = st.builds(pb.KeyValue, key=raw_keys, create_revision=revisions, mod_revision=revisions, lease=revisions)
ranges = st.builds(
    pb.RangeResponse,
    header=headers,
    kvs=st.lists(key_values, max_size=3),
    more=st.booleans(),
    count=st.integers(0, 3),
)
events = st.builds(pb.Event, type=st.integers(0, 3), kv=key_values)
MUTANTS: dict[str, st.SearchStrategy[Any]] = {
    "grant": st.builds(pb.LeaseGrantResponse, header=headers, ID=revisions, TTL=revisions),
    "keepalive": st.builds(pb.LeaseKeepAliveResponse, header=headers, ID=st.sampled_from([77, 1]), TTL=revisions),
    "range": ranges,
    "txn": st.builds(
        pb.TxnResponse,
        header=headers,
        succeeded=st.booleans(),
        responses=st.lists(
            st.one_of(
                st.just(pb.ResponseOp()),
                st.just(pb.ResponseOp(response_put=pb.PutResponse())),
                st.builds(pb.ResponseOp, response_range=ranges),
                st.builds(
                    pb.ResponseOp,
                    response_delete_range=st.builds(pb.DeleteRangeResponse, deleted=st.integers(-1, 2)),
                ),
            ),
            max_size=5,
        ),
    ),
    "watch": st.builds(
        pb.WatchResponse,
        header=headers,
        watch_id=st.integers(0, 1),
        created=st.booleans(),
        canceled=st.booleans(),
        compact_revision=revisions,
        cancel_reason=st.text(max_size=5),
        events=st.lists(events, max_size=3),
    ),
    "status": st.builds(
        pb.StatusResponse,
        header=headers,
        version=st.text(max_size=5),
        leader=st.integers(0, 3),
        raftTerm=st.integers(0, 3),
    ),
}


def check_keys(keys: tuple[KeyValue, ...], revision: int) -> None:
    for key in keys:
        assert key.key.startswith("p/")
        assert 0 < key.create_revision <= key.mod_revision <= revision
        assert key.lease >= 0


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_whatever_etcd_sends_is_a_sound_fact_or_a_failure(name: str, data: st.DataObject) -> None:
    """No reply makes the translation raise anything but EtcdError, and no unsound number passes."""
    _, read = READERS[name]
    try:
        fact = read(data.draw(MUTANTS[name]))
    except EtcdError:
        return
    match fact:
        case LeaseGranted():
            assert fact.lease > 0
            assert 15 <= fact.ttl_s <= 86_400
        case KeysRead():
            check_keys(fact.keys, fact.revision)
        case KeysChanged():
            assert fact.revision > 4
            check_keys(tuple(change.after for change in fact.changes if change.after), fact.revision)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=300, deadline=None)
@given(raw=st.binary(max_size=200))
def test_random_bytes_never_pass_unseen(name: str, raw: bytes) -> None:
    """Bytes that decode by accident are refused, or are a reply in their own right; nothing else is raised."""
    make, read = READERS[name]
    try:
        read(type(make()).FromString(raw))
    except (DecodeError, EtcdError):
        return
