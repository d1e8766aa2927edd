"""etcd's replies as facts for the core.

Role: pure translation, and the place where an answer that no etcd gives becomes NONSENSE instead of a fact.
Must never: repair an answer, or guess what was meant: the core builds deadlines and epochs on these numbers.
Counterpart: `requests.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from sharedip.adapters.etcd import rpc_pb2 as pb
from sharedip.adapters.etcd.failures import EtcdError, failure_in, nonsense, refuses_token
from sharedip.core.messages import (
    GrantLease,
    KeepaliveConfirmed,
    KeepLeaseAlive,
    KeysChanged,
    KeysRead,
    LeaseGranted,
    LeaseRevoked,
    MemberRead,
    MembersRead,
    OpenWatch,
    ReadKeys,
    ReadMember,
    ReadMembers,
    RevokeLease,
    Transact,
    TransactionDone,
    WatchOpened,
)
from sharedip.core.model import REVISION_MAX, Delete, Failure, Get, Instant, KeyChange, KeyValue, Operation, Put

TTL_S_MAX = 86_400
"""A day. etcd raises a TTL to 1.5 election timeouts, and its election timeout is 50 s at most (etcdmain/config.go)."""
REVISION_BYTES_MAX = 16 * 2**20
"""A transaction has 1.5 MiB unless etcd is told otherwise (--max-request-bytes)."""
MEMBERS_MAX = 64
"""etcd advises seven."""
TOKEN_CHARS_MAX = 8_192
"""A JWT has about a kilobyte, a simple token 40 characters. gRPC servers take 8 KiB of metadata by convention."""


def lease_granted(order: GrantLease, reply: pb.LeaseGrantResponse, sent_at: Instant) -> LeaseGranted:
    """etcd may raise the TTL, never lower it (lease/lessor.go, Grant)."""
    header = _header(reply)
    if reply.error:
        raise nonsense(f"a granted lease with an error: {reply.error[:100]!r}")
    if reply.ID <= 0:
        raise nonsense(f"lease id {reply.ID}")
    if not order.ttl_s <= reply.TTL <= max(TTL_S_MAX, order.ttl_s):
        raise nonsense(f"a TTL of {reply.TTL} s granted for {order.ttl_s} s asked")
    return LeaseGranted(order.request, order.endpoint, reply.ID, reply.TTL, header.raft_term, sent_at)


def keepalive_confirmed(
    order: KeepLeaseAlive, reply: pb.LeaseKeepAliveResponse, sent_at: Instant
) -> KeepaliveConfirmed:
    """A TTL of 0 or less means that the lease is gone (v3rpc/lease.go, leaseKeepAlive)."""
    header = _header(reply)
    if order.lease != reply.ID:
        raise nonsense(f"a keepalive of lease {reply.ID:x} instead of {order.lease:x}")
    if reply.TTL <= 0:
        raise EtcdError(Failure.LEASE_NOT_FOUND, f"lease {order.lease:x} is gone")
    if reply.TTL > TTL_S_MAX:
        raise nonsense(f"a keepalive with a TTL of {reply.TTL} s")
    return KeepaliveConfirmed(order.request, order.endpoint, order.lease, reply.TTL, header.raft_term, sent_at)


def lease_revoked(order: RevokeLease, reply: pb.LeaseRevokeResponse) -> LeaseRevoked:
    """The reply has nothing but its header."""
    _header(reply)
    return LeaseRevoked(order.request, order.endpoint, order.lease)


def keys_read(order: ReadKeys, reply: pb.RangeResponse, sent_at: Instant) -> KeysRead:
    """Every key under the prefix that was asked for: we set no limit, so nothing may be missing."""
    header = _header(reply)
    if reply.count < len(reply.kvs) or (order.after == 0 and reply.count > len(reply.kvs)):
        raise nonsense(f"{len(reply.kvs)} keys of {reply.count}")
    keys = _keys(reply, lambda key: key.startswith(order.prefix), header.revision)
    if any(key.mod_revision <= order.after for key in keys):
        raise nonsense(f"a key that was not modified after revision {order.after}")
    return KeysRead(
        order.request, order.endpoint, keys, reply.count, header.revision, header.raft_term, sent_at, order.after
    )


def keys_read_by_entry(
    order: ReadKeys, reply: pb.RangeResponse, entries: Iterable[pb.DeleteRangeResponse], sent_at: Instant
) -> KeysRead:
    """The read, in the latest term that it or one of the entries was answered in."""
    raft_term = 0
    for entry in entries:
        raft_term = max(raft_term, _header(entry).raft_term)
        if entry.deleted:
            raise nonsense(f"{entry.deleted} keys deleted in an empty range")
    read = keys_read(order, reply, sent_at)
    return replace(read, raft_term=max(read.raft_term, raft_term))


def transaction_done(order: Transact, reply: pb.TxnResponse, sent_at: Instant) -> TransactionDone:
    """One response per operation of the chosen branch, in order, each of its operation's kind."""
    header = _header(reply)
    branch = order.then if reply.succeeded else order.otherwise
    if len(reply.responses) != len(branch):
        raise nonsense(f"{len(reply.responses)} responses to {len(branch)} operations")
    keys: list[KeyValue] = []
    for operation, response in zip(branch, reply.responses, strict=True):
        keys += _outcome(operation, response, header.revision)
    return TransactionDone(
        order.request, order.endpoint, reply.succeeded, tuple(keys), header.revision, header.raft_term, sent_at
    )


def member_read(order: ReadMember, reply: pb.StatusResponse) -> MemberRead:
    """Who answers, and whom it follows; 0 for no leader. Alarms stand among its errors (v3rpc/maintenance.go)."""
    header = check_status(reply)
    is_full = any("NOSPACE" in error for error in reply.errors)
    return MemberRead(
        order.request, order.endpoint, header.member_id, reply.leader, reply.raftTerm, reply.version, is_full
    )


def members_read(order: ReadMembers, reply: pb.MemberListResponse) -> MembersRead:
    """The members that vote. etcd leaves the revision out of this header."""
    if len(reply.members) > MEMBERS_MAX or any(member.ID == 0 for member in reply.members):
        raise nonsense(f"{len(reply.members)} members, or one without an id")
    return MembersRead(order.request, order.endpoint, tuple(one.ID for one in reply.members if not one.isLearner))


def check_status(reply: pb.StatusResponse) -> pb.ResponseHeader:
    """The header of a Maintenance.Status reply that makes sense."""
    header = _header(reply)
    if header.member_id == 0:
        raise nonsense("a member without an id")
    if reply.raftTerm == 0:
        raise nonsense("raft term 0")
    if not reply.version or len(reply.version) > 100 or not reply.version.isprintable():
        raise nonsense("a version that is none")
    return header


def token(reply: pb.AuthenticateResponse) -> str:
    """A token that fits into a header."""
    if (
        not reply.token
        or len(reply.token) > TOKEN_CHARS_MAX
        or not (reply.token.isascii() and reply.token.isprintable())
    ):
        raise nonsense("an auth token that fits no header")
    return reply.token


# ---------------------------------------------------------------------------------------------------------------------
# Watches


def watch_opened(order: OpenWatch, reply: pb.WatchResponse) -> WatchOpened:
    """The first response says that the watch was created, or why not.

    etcd before 3.5.3 says "permission denied" for an expired token, too (etcd issue 12385): a new token may help.
    """
    if reply.canceled:
        raise watch_cancelled(reply)
    header = _header(reply)
    if not reply.created or reply.events:
        raise nonsense("a watch that begins without having been created")
    return WatchOpened(order.watch, header.revision)


def watch_cancelled(reply: pb.WatchResponse) -> EtcdError:
    """Why etcd ended the watch: the resume point is compacted, no permission, no leader, or its own words."""
    text = reply.cancel_reason[:300] or "etcd cancelled the watch and gave no reason"
    if reply.compact_revision > 0:
        return EtcdError(Failure.COMPACTED, f"{text} (up to revision {reply.compact_revision})")
    if refuses_token(text):
        return EtcdError(Failure.UNAUTHENTICATED, text, token_refused=True)
    if "permission denied" in text:
        return EtcdError(Failure.REFUSED, text, token_refused=True)
    return EtcdError(failure_in(text) or Failure.UNAVAILABLE, text)


def whole_revisions(begun: list[pb.Event], reply: pb.WatchResponse) -> None:
    """Have one revision's changes in one response. `begun` is what the fragment before this one has begun and not
    ended, and then what this one has; etcd cuts a response between any two events (v3rpc/watch.go, sendFragments).
    """
    if reply.canceled:
        return
    events = [*begun, *reply.events]
    begun.clear()
    if reply.fragment and events:
        last = events[-1].kv.mod_revision
        begun += [event for event in events if event.kv.mod_revision == last]
        events = [event for event in events if event.kv.mod_revision != last]
        if sum(event.ByteSize() for event in begun) > REVISION_BYTES_MAX:
            raise nonsense("a revision without end")
    reply.fragment = False
    del reply.events[:]
    reply.events.extend(events)


def keys_changed(order: OpenWatch, watch_id: int, after: int, reply: pb.WatchResponse) -> KeysChanged | None:
    """Changes behind revision `after`, in order; None for a progress notification, which brings none.

    `revision` is the last change's own: the header's may be ahead of events that come in the next response
    (mvcc/watcher_group.go splits a backlog by revisions).
    """
    if reply.canceled:
        raise watch_cancelled(reply)
    header = _header(reply)
    if reply.watch_id != watch_id or reply.created or reply.fragment:
        raise nonsense("a watch response that belongs to no watch of ours")
    if not reply.events:
        return None
    last = after
    changes: list[KeyChange] = []
    for event in reply.events:
        if not max(last, after + 1) <= event.kv.mod_revision <= header.revision:
            raise nonsense(f"a change at revision {event.kv.mod_revision}, after {last} and within {header.revision}")
        last = event.kv.mod_revision
        changes.append(_change(order, event, header.revision))
    return KeysChanged(order.watch, tuple(changes), last)


def _change(order: OpenWatch, event: pb.Event, revision: int) -> KeyChange:
    if event.type == pb.Event.PUT:
        value = _key_value(event.kv, lambda key: key.startswith(order.prefix), revision)
        return KeyChange(value.key, value, value.mod_revision)
    if event.type == pb.Event.DELETE:
        deleted = _key(event.kv.key, lambda key: key.startswith(order.prefix))
        return KeyChange(deleted, None, event.kv.mod_revision)
    raise nonsense(f"an event of type {event.type}")


# ---------------------------------------------------------------------------------------------------------------------
# Parts of replies

_WithHeader = (
    pb.LeaseGrantResponse
    | pb.LeaseKeepAliveResponse
    | pb.LeaseRevokeResponse
    | pb.RangeResponse
    | pb.DeleteRangeResponse
    | pb.TxnResponse
    | pb.StatusResponse
    | pb.WatchResponse
)


def _header(reply: _WithHeader) -> pb.ResponseHeader:
    """Every reply says at which revision (the empty store's is 1) and in which term it was given."""
    if not reply.HasField("header"):
        raise nonsense("an answer without a header")
    if not 0 < reply.header.revision <= REVISION_MAX:
        raise nonsense(f"an answer at revision {reply.header.revision}")
    if reply.header.raft_term == 0:
        raise nonsense("an answer in raft term 0")
    return reply.header


def _outcome(operation: Operation, response: pb.ResponseOp, revision: int) -> Sequence[KeyValue]:
    kind = response.WhichOneof("response")
    match operation:
        case Put() if kind == "response_put":
            return ()
        case Delete() if kind == "response_delete_range":
            if response.response_delete_range.deleted not in {0, 1}:
                raise nonsense(f"{response.response_delete_range.deleted} keys deleted instead of one")
            return ()
        case Get(prefix=True) if kind == "response_range":
            return _range(response.response_range, lambda key: key.startswith(operation.key), revision)
        case Get() if kind == "response_range":
            return _range(response.response_range, lambda key: key == operation.key, revision)
    raise nonsense(f"{kind or 'an empty response'} to a {type(operation).__name__}")


def _range(reply: pb.RangeResponse, wanted: Callable[[str], bool], revision: int) -> tuple[KeyValue, ...]:
    if reply.count != len(reply.kvs):
        raise nonsense(f"{len(reply.kvs)} keys of {reply.count}")
    return _keys(reply, wanted, revision)


def _keys(reply: pb.RangeResponse, wanted: Callable[[str], bool], revision: int) -> tuple[KeyValue, ...]:
    if reply.more:
        raise nonsense("only a part of the keys, though all were asked for")
    keys = tuple(_key_value(kv, wanted, revision) for kv in reply.kvs)
    if not _is_ascending(key.key.encode() for key in keys):
        raise nonsense("keys out of order, or one twice")
    return keys


def _key_value(kv: pb.KeyValue, wanted: Callable[[str], bool], revision: int) -> KeyValue:
    key = _key(kv.key, wanted)
    if not 0 < kv.create_revision <= kv.mod_revision <= revision:
        raise nonsense(f"{key}: created at {kv.create_revision}, modified at {kv.mod_revision}, read at {revision}")
    if kv.lease < 0:
        raise nonsense(f"{key}: lease {kv.lease}")
    return KeyValue(key, kv.value, kv.create_revision, kv.mod_revision, kv.lease)


def _key(raw: bytes, wanted: Callable[[str], bool]) -> str:
    try:
        key = raw.decode()
    except UnicodeDecodeError:
        raise nonsense(f"the key {raw[:100]!r} is not UTF-8") from None
    if not wanted(key):
        raise nonsense(f"the key {key[:100]!r}, which nobody asked for")
    return key


def _is_ascending(keys: Iterable[bytes]) -> bool:
    last: bytes | None = None
    for key in keys:
        if last is not None and key <= last:
            return False
        last = key
    return True
