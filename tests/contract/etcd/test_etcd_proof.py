"""What a renewal's second half rests on: a read by an entry of etcd's log tells the term, a plain read may not."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sharedip.adapters.clock import Clock
from sharedip.adapters.etcd import rpc_pb2 as pb
from sharedip.adapters.etcd.endpoint import Endpoint, RequestDeadline
from sharedip.adapters.etcd.methods import TXN
from sharedip.core.messages import (
    GrantLease,
    KeepaliveConfirmed,
    KeepLeaseAlive,
    KeysRead,
    LeaseGranted,
    MemberRead,
    ReadKeys,
    ReadMember,
    RequestFailed,
    Transact,
    TransactionDone,
)
from sharedip.core.model import Delete, Put
from tests.contract.etcd.etcd_cluster import Cluster, Release
from tests.unit.adapters.etcd.etcd_stage import Stage, eventually, play

FOLDER = "proof/"
ENTRIES = 6000
"""A leader keeps 5000 entries behind a snapshot for those who are late (etcdserver/server.go,
DefaultSnapshotCatchUpEntries); who lacks more is sent the snapshot."""
SNAPSHOT_S = 0.4
"""Then it has the snapshot. A read before that would make the leader send heartbeats."""
TRIES = 4


@pytest.fixture
def compacting(release: Release, tmp_path: Path) -> Iterator[Cluster]:
    """Three members that take a snapshot every hundred entries.

    Heartbeats are rare: one that comes while the snapshot is on its way lets an entry of the new term be applied.
    """
    options = ("--snapshot-count=100", "--heartbeat-interval=500", "--election-timeout=2500")
    with Cluster(release, tmp_path / "etcd", members=3, options=options) as cluster:
        yield cluster


def reading(stage: Stage, endpoint: int, *, by_entry: bool, after: int = 0) -> ReadKeys:
    return ReadKeys(stage.next(), endpoint, FOLDER, 3.0, after, by_entry)


async def leader_of(stage: Stage, but: int | None = None) -> int:
    """Which of the members leads, by their own word; `but` is not asked."""

    async def look() -> int | None:
        for index in range(3):
            member = await stage.ask(ReadMember(stage.next(), index, 1.0)) if index != but else None
            if isinstance(member, MemberRead) and member.member_id == member.leader_id:
                return index
        return None

    return await eventually(look, "no leader")


async def write_much(url: str) -> None:
    """So many entries that whoever missed them needs a snapshot."""
    endpoint = Endpoint(url, None, None, Clock())
    left = iter(range(ENTRIES))

    async def write() -> None:
        for number in left:
            put = pb.RequestOp(request_put=pb.PutRequest(key=b"else/%d" % (number % 10), value=b"v"))
            await endpoint.call(TXN, pb.TxnRequest(success=[put]), RequestDeadline.after(20.0))

    await asyncio.gather(*(write() for _ in range(100)))
    endpoint.drop("done")


async def confirmed_by_a_stale_leader(cluster: Cluster, stage: Stage) -> tuple[int, KeepaliveConfirmed, int]:
    """A leader that was stopped while the others elected another and wrote on confirms a keepalive when it wakes.

    Answers which one, what it said, and at which revision the store stood by then.
    """
    stale = await leader_of(stage)
    granted = await stage.expect(LeaseGranted, GrantLease(stage.next(), stale, 60, 5.0))
    put = Transact(stage.next(), stale, (), (Put(FOLDER + "k", b"v", granted.lease),), (), 5.0)
    await stage.expect(TransactionDone, put)
    cluster.members[stale].freeze()
    try:
        leader = await leader_of(stage, but=stale)
        await write_much(cluster.urls[leader])
        now = await stage.expect(KeysRead, reading(stage, leader, by_entry=False))
        asking = asyncio.ensure_future(stage.ask(KeepLeaseAlive(stage.next(), stale, granted.lease, 10.0)))
        await asyncio.sleep(0.1)
    finally:
        cluster.members[stale].signal(signal.SIGCONT)
    kept = await asking
    if not isinstance(kept, KeepaliveConfirmed):  # it heard of the new leader first
        assert isinstance(kept, RequestFailed)
        kept = await stage.expect(KeepaliveConfirmed, KeepLeaseAlive(stage.next(), leader, granted.lease, 5.0))
    return stale, kept, now.revision


@pytest.mark.timeout(120)
def test_a_read_by_entry_never_tells_the_old_term_after_a_snapshot(compacting: Cluster) -> None:
    """A plain linearizable read does: the new state in the old term, which would pass for a proof."""

    async def scene() -> None:
        async with Stage(compacting.urls) as stage:
            for _ in range(TRIES):
                stale, kept, revision = await confirmed_by_a_stale_leader(compacting, stage)

                async def read(by_entry: bool, stale: int = stale) -> KeysRead | None:
                    fact = await stage.ask(reading(stage, stale, by_entry=by_entry))
                    return fact if isinstance(fact, KeysRead) else None

                await asyncio.sleep(SNAPSHOT_S)
                plain = await eventually(lambda: read(by_entry=False), "the woken member never answered")
                assert plain.revision >= revision
                # etcd takes no proposal there ("too many requests") before an entry has come from the leader.
                at_once = await read(by_entry=True)
                other = await leader_of(stage, but=stale)
                poke = Transact(stage.next(), other, (), (Put("else/poke", b"v", 0),), (), 5.0)
                await stage.expect(TransactionDone, poke)
                later = await eventually(lambda: read(by_entry=True), "the woken member never applied an entry")
                for proof in (at_once, later):
                    assert proof is None or proof.raft_term > kept.raft_term or stale != kept.endpoint
                if (plain.raft_term, kept.endpoint) == (kept.raft_term, stale):
                    return  # the hole is real, and the entry showed it
            pytest.fail("no plain read told the new state in the old term: what is tested here was not seen")

    play(scene)


def test_a_read_by_entry_changes_nothing_and_brings_what_a_plain_one_brings(single: Cluster) -> None:
    """No revision, no key; with `after`, what was modified since, and the number of all."""

    async def scene() -> None:
        async with Stage(single.urls) as stage:
            before = await stage.expect(
                TransactionDone, Transact(stage.next(), 0, (), (Put(FOLDER + "a", b"1", 0),), (), 5.0)
            )
            await stage.expect(TransactionDone, Transact(stage.next(), 0, (), (Put(FOLDER + "b", b"2", 0),), (), 5.0))
            for after in (0, before.revision):
                plain = await stage.expect(KeysRead, reading(stage, 0, by_entry=False, after=after))
                proof = await stage.expect(KeysRead, reading(stage, 0, by_entry=True, after=after))
                assert (proof.keys, proof.count, proof.revision) == (plain.keys, plain.count, plain.revision)
                assert (proof.raft_term, proof.count) == (plain.raft_term, 2)
            # Not even a key that has the prefix's own name.
            root = Put(FOLDER, b"v", 0)
            await stage.expect(TransactionDone, Transact(stage.next(), 0, (), (root,), (), 5.0))
            await stage.expect(KeysRead, reading(stage, 0, by_entry=True))
            assert (await stage.expect(KeysRead, reading(stage, 0, by_entry=True))).keys[0].key == FOLDER
            await stage.expect(TransactionDone, Transact(stage.next(), 0, (), (Delete(FOLDER),), (), 5.0))

    play(scene)


def test_a_full_etcd_still_proves_a_lease(release: Release, tmp_path: Path) -> None:
    """NOSPACE refuses whatever writes, for days; a read by entry is not refused."""

    async def scene(cluster: Cluster) -> None:
        async with Stage(cluster.urls) as stage:
            granted = await stage.expect(LeaseGranted, GrantLease(stage.next(), 0, 60, 5.0))
            held = Transact(stage.next(), 0, (), (Put(FOLDER + "k", b"v", granted.lease),), (), 5.0)
            await stage.expect(TransactionDone, held)
            for number in range(100):
                big = Put(f"big/{number}", bytes(1_000_000), 0)
                if isinstance(await stage.ask(Transact(stage.next(), 0, (), (big,), (), 5.0)), RequestFailed):
                    break
            kept = await stage.expect(KeepaliveConfirmed, KeepLeaseAlive(stage.next(), 0, granted.lease, 5.0))
            proof = await stage.expect(KeysRead, reading(stage, 0, by_entry=True))
            assert (proof.raft_term, proof.keys[0].lease) == (kept.raft_term, granted.lease)
            refused = await stage.ask(Transact(stage.next(), 0, (), (Put(FOLDER + "x", b"v", 0),), (), 5.0))
            assert isinstance(refused, RequestFailed)
            assert "space" in refused.detail

    with Cluster(release, tmp_path / "etcd", options=("--quota-backend-bytes=16000000",)) as cluster:
        play(lambda: scene(cluster))
