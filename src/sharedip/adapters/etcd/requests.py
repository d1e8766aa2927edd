"""Orders of the core as etcd's request messages.

Role: pure translation. Must never: add a guard, an operation or a retry of its own. Counterpart: `answers.py`.
"""

from __future__ import annotations

from sharedip.adapters.etcd import rpc_pb2 as pb
from sharedip.core.messages import OpenWatch, ReadKeys, Transact
from sharedip.core.model import Delete, Get, Guard, GuardTarget, Operation, Put


def prefix_end(prefix: str) -> bytes:
    """The first key behind every key that begins with `prefix` (etcd's clientv3 GetPrefixRangeEnd).

    An empty prefix would mean the whole store, which no order of ours does. UTF-8 has no byte 0xff: the last can grow.
    """
    assert prefix, "an empty prefix would range over the whole store"
    raw = prefix.encode()
    return raw[:-1] + bytes([raw[-1] + 1])


def read_keys(order: ReadKeys) -> pb.RangeRequest:
    """A linearizable read: `serializable` stays false, a cut-off member must not answer from memory.

    etcd leaves the unmodified keys out after it has counted all (etcdserver/apply.go, Range and pruneKVs).
    """
    prefix, after = order.prefix, order.after
    return pb.RangeRequest(
        key=prefix.encode(), range_end=prefix_end(prefix), min_mod_revision=after + 1 if after else 0
    )


def entry(order: ReadKeys) -> pb.DeleteRangeRequest:
    """An entry of etcd's log that changes no key: the deletion of an empty range, from the prefix to the prefix.

    A DeleteRange always goes through the log (etcdserver/v3_server.go), is never refused for want of space
    (v3rpc/quota.go has Put, Txn and LeaseGrant alone; etcd before 3.5.2 refuses every Txn then), and needs no more than
    the permission to write under the prefix. Where nothing is deleted there is no new revision (mvcc/kvstore_txn.go).
    """
    prefix = order.prefix.encode()
    return pb.DeleteRangeRequest(key=prefix, range_end=prefix)


def transact(order: Transact) -> pb.TxnRequest:
    """Guards become compares with EQUAL, which etcd evaluates at one revision."""
    return pb.TxnRequest(
        compare=[_compare(guard) for guard in order.guards],
        success=[_operation(operation) for operation in order.then],
        failure=[_operation(operation) for operation in order.otherwise],
    )


def open_watch(order: OpenWatch) -> pb.WatchRequest:
    """Every change from `from_revision` on, in fragments of some 2 MiB: a backlog is one response otherwise, however
    large it is, and its reader has a limit. `answers.whole_revisions` puts them together.
    """
    assert order.from_revision > 0, "revision 0 means 'from now on' to etcd: changes would be lost"
    return pb.WatchRequest(
        create_request=pb.WatchCreateRequest(
            key=order.prefix.encode(),
            range_end=prefix_end(order.prefix),
            start_revision=order.from_revision,
            fragment=True,
        )
    )


def _compare(guard: Guard) -> pb.Compare:
    key = guard.key.encode()
    if guard.target is GuardTarget.CREATE:
        return pb.Compare(key=key, target=pb.Compare.CREATE, create_revision=guard.revision)
    return pb.Compare(key=key, target=pb.Compare.MOD, mod_revision=guard.revision)


def _operation(operation: Operation) -> pb.RequestOp:
    key = operation.key.encode()
    match operation:
        case Put():
            return pb.RequestOp(request_put=pb.PutRequest(key=key, value=operation.value, lease=operation.lease))
        case Delete():
            return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key))
        case Get(prefix=True):
            return pb.RequestOp(request_range=pb.RangeRequest(key=key, range_end=prefix_end(operation.key)))
        case Get():
            return pb.RequestOp(request_range=pb.RangeRequest(key=key))
