"""What the adapter promises, kept by a real etcd: leases, transactions, reads, watches, loss."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from itertools import count, pairwise
from pathlib import Path

import pytest

from sharedip.adapters.clock import Clock
from sharedip.adapters.etcd import measure_ttl_floor, survey
from sharedip.core.messages import (
    CloseWatch,
    DropEndpoint,
    GrantLease,
    KeepaliveConfirmed,
    KeepLeaseAlive,
    KeysChanged,
    KeysRead,
    LeaderMoved,
    LeaseGranted,
    LeaseRevoked,
    MemberRead,
    MembersRead,
    MoveLeader,
    OpenWatch,
    ReadKeys,
    ReadMember,
    ReadMembers,
    RequestFailed,
    RevokeLease,
    Transact,
    TransactionDone,
    WatchLost,
    WatchOpened,
)
from sharedip.core.model import Delete, Failure, Get, Guard, GuardTarget, KeyValue, Put
from tests.contract.etcd.etcd_cluster import Cluster, Release
from tests.unit.adapters.etcd.etcd_stage import Stage, eventually, failure_of, play

_numbers = count(1)
GONE = (Failure.UNAVAILABLE, Failure.TIMEOUT, Failure.NO_LEADER)


@pytest.fixture
def prefix() -> Iterator[str]:
    """Keys that no other test uses."""
    return iter([f"test-{next(_numbers)}/"])


def created_at(key: str, revision: int) -> Guard:
    return Guard(key, GuardTarget.CREATE, revision)


async def lease(stage: Stage, ttl_s: int = 60, endpoint: int = 0) -> LeaseGranted:
    return await stage.expect(LeaseGranted, GrantLease(stage.next(), endpoint, ttl_s, 5.0))


async def put(stage: Stage, key: str, value: bytes = b"v", on: int = 0, endpoint: int = 0) -> TransactionDone:
    order = Transact(stage.next(), endpoint, (), (Put(key, value, on),), (), 5.0)
    return await stage.expect(TransactionDone, order)


async def keys(stage: Stage, prefix: str, endpoint: int = 0) -> KeysRead:
    return await stage.expect(KeysRead, ReadKeys(stage.next(), endpoint, prefix, 5.0))


# ---------------------------------------------------------------------------------------------------------------------
# Leases


def test_a_short_ttl_is_raised_to_the_floor_and_told(single: Cluster) -> None:
    """1.5 election timeouts, rounded up: 2 s at the defaults (lease/lessor.go, minLeaseTTL)."""

    async def scene() -> None:
        async with Stage(single.urls) as stage:
            before = stage.clock.now()
            granted = await lease(stage, ttl_s=1)
            assert (granted.ttl_s, granted.lease > 0, granted.raft_term > 0) == (2, True, True)
            assert before <= granted.sent_at <= stage.clock.now()
            assert (await lease(stage, ttl_s=30)).ttl_s == 30
        assert await measure_ttl_floor(single.urls[0], None, None, 5.0, Clock()) == 2

    play(scene)


def test_a_keepalive_renews_and_a_revoked_lease_is_gone(single: Cluster, prefix: Iterator[str]) -> None:
    """Its keys go with it; a keepalive then says so, and revoking it again still succeeds."""

    async def scene() -> None:
        folder = next(prefix)
        async with Stage(single.urls) as stage:
            granted = await lease(stage)
            await put(stage, folder + "k", on=granted.lease)
            kept = await stage.expect(KeepaliveConfirmed, KeepLeaseAlive(stage.next(), 0, granted.lease, 5.0))
            assert (kept.lease, kept.ttl_s, kept.raft_term) == (granted.lease, 60, granted.raft_term)
            assert kept.sent_at > granted.sent_at
            await stage.expect(LeaseRevoked, RevokeLease(stage.next(), 0, granted.lease, 5.0))
            assert (await keys(stage, folder)).keys == ()
            late = await stage.expect(RequestFailed, KeepLeaseAlive(stage.next(), 0, granted.lease, 5.0))
            assert late.failure is Failure.LEASE_NOT_FOUND
            await stage.expect(LeaseRevoked, RevokeLease(stage.next(), 0, granted.lease, 5.0))
            order = Transact(stage.next(), 0, (), (Put(folder + "k", b"v", granted.lease),), (), 5.0)
            assert failure_of(await stage.ask(order)) is Failure.LEASE_NOT_FOUND

    play(scene)


def test_an_expired_lease_takes_its_keys_and_tells_the_watch(single: Cluster, prefix: Iterator[str]) -> None:
    """The key goes 0 to about 0.5 s after the TTL, counted from the send time; never before."""

    async def scene() -> None:
        folder = next(prefix)
        async with Stage(single.urls) as stage:
            granted = await lease(stage, ttl_s=2)
            done = await put(stage, folder + "k", on=granted.lease)
            stage.perform(OpenWatch(1, 0, folder, done.revision + 1, 5.0))
            changed = await stage.watch_fact(KeysChanged, 1)
            waited = stage.clock.now() - granted.sent_at
            assert [(change.key, change.after) for change in changed.changes] == [(folder + "k", None)]
            assert waited >= 2.0
            late = await stage.expect(RequestFailed, KeepLeaseAlive(stage.next(), 0, granted.lease, 5.0))
            assert late.failure is Failure.LEASE_NOT_FOUND

    play(scene)


def test_a_hundred_keepalives_and_reads_at_once_each_have_their_own_answer(
    single: Cluster, prefix: Iterator[str]
) -> None:
    """No answer is taken for another's."""

    async def scene() -> None:
        folder = next(prefix)
        async with Stage(single.urls) as stage:
            leases = [(await lease(stage, ttl_s=10 + n)).lease for n in range(20)]
            orders = {stage.next(): n % 20 for n in range(100)}
            for request, n in orders.items():
                stage.perform(KeepLeaseAlive(request, 0, leases[n], 10.0))
                stage.perform(ReadKeys(stage.next(), 0, folder, 10.0))
            for request, n in orders.items():
                fact = await stage.answer(request)
                assert isinstance(fact, KeepaliveConfirmed)
                assert (fact.lease, fact.ttl_s) == (leases[n], 10 + n)

    play(scene)


# ---------------------------------------------------------------------------------------------------------------------
# Transactions and reads


def test_guards_choose_the_branch_and_gets_are_read_inside_it(single: Cluster, prefix: Iterator[str]) -> None:
    """The campaign of the recipe: put if absent, else get; then a delete guarded by the epoch."""

    async def scene() -> None:
        folder = next(prefix)
        key = folder + "vip/1"
        async with Stage(single.urls) as stage:
            on = (await lease(stage)).lease
            campaign = (created_at(key, 0),), (Put(key, b"n1", on), Get(folder, prefix=True)), (Get(key),)
            first = await stage.expect(TransactionDone, Transact(stage.next(), 0, *campaign, 5.0))
            assert first.succeeded
            epoch = first.revision
            assert first.keys == (KeyValue(key, b"n1", epoch, epoch, on),)

            await put(stage, folder + "vip/2", on=on)
            again = await stage.expect(TransactionDone, Transact(stage.next(), 0, *campaign, 5.0))
            assert (again.succeeded, again.keys) == (False, first.keys)

            resign = Transact(stage.next(), 0, (created_at(key, epoch + 1),), (Delete(key),), (Get(key),), 5.0)
            assert not (await stage.expect(TransactionDone, resign)).succeeded
            both = created_at(key, epoch), Guard(key, GuardTarget.MOD, epoch)
            gone = await stage.expect(
                TransactionDone,
                Transact(stage.next(), 0, both, (Delete(key), Get(key), Get(folder, prefix=True)), (), 5.0),
            )
            assert gone.succeeded
            assert [found.key for found in gone.keys] == [folder + "vip/2"]

    play(scene)


def test_a_read_is_linearizable_and_tells_revision_and_term(three: Cluster, prefix: Iterator[str]) -> None:
    """What one member acknowledged is read from another at once, in the same term."""

    async def scene() -> None:
        folder = next(prefix)
        async with Stage(three.urls) as stage:
            for n in range(12):
                done = await put(stage, f"{folder}{n % 4}", b"%d" % n, endpoint=n % 3)
                found = await keys(stage, folder, endpoint=(n + 1) % 3)
                assert found.revision >= done.revision
                assert found.raft_term == done.raft_term
                assert {key.key: key.value for key in found.keys}[f"{folder}{n % 4}"] == b"%d" % n
            assert [key.key for key in found.keys] == [f"{folder}{n}" for n in range(4)]
            assert (await keys(stage, folder + "none/")).keys == ()
            members = [await stage.expect(MemberRead, ReadMember(stage.next(), n, 5.0)) for n in range(3)]
            assert len({member.member_id for member in members}) == 3
            assert {member.leader_id for member in members} <= {member.member_id for member in members}
            assert all(member.version.startswith(three.release.name) for member in members)
        told = await survey(three.urls, None, None, 5.0, Clock())
        assert [(one.endpoint, one.reachable, one.error) for one in told] == [(url, True, "") for url in three.urls]
        assert [one.member_id for one in told] == [member.member_id for member in members]

    play(scene)


def test_what_etcd_does_not_do_is_refused(single: Cluster, prefix: Iterator[str]) -> None:
    """More operations than etcd takes (--max-txn-ops, 128), one key twice, a value beyond 1.5 MiB."""

    async def scene() -> None:
        folder = next(prefix)
        async with Stage(single.urls) as stage:
            for operations in (
                tuple(Put(f"{folder}{n}", b"", 0) for n in range(129)),
                (Put(folder + "a", b"", 0), Put(folder + "a", b"", 0)),
                (Put(folder + "a", bytes(2_000_000), 0),),
            ):
                fact = await stage.expect(RequestFailed, Transact(stage.next(), 0, (), operations, (), 5.0))
                assert fact.failure is Failure.REFUSED, fact
            assert (await keys(stage, folder)).keys == ()

    play(scene)


def test_values_larger_than_a_window_are_read(single: Cluster, prefix: Iterator[str]) -> None:
    """Flow control goes on while a message is read: 3 MB with windows of 1 MiB."""

    async def scene() -> None:
        folder = next(prefix)
        async with Stage(single.urls) as stage:
            for n in range(3):
                await put(stage, f"{folder}{n}", bytes([n]) * 1_000_000)
            assert [len(key.value) for key in (await keys(stage, folder)).keys] == [1_000_000] * 3

    play(scene)


# ---------------------------------------------------------------------------------------------------------------------
# Watches


def test_a_watch_brings_every_change_from_its_revision_on(single: Cluster, prefix: Iterator[str]) -> None:
    """From the past and live, in order, several watches at a time, each with its own prefix."""

    async def scene() -> None:
        folder = next(prefix)
        async with Stage(single.urls) as stage:
            first = await put(stage, folder + "a/1", b"1")
            await put(stage, folder + "a/2", b"2")
            stage.perform(OpenWatch(1, 0, folder + "a/", first.revision, 5.0))
            stage.perform(OpenWatch(2, 0, folder + "b/", first.revision, 5.0))
            opened = await stage.watch_fact(WatchOpened, 1)
            assert opened.revision > first.revision
            order = Transact(
                stage.next(),
                0,
                (),
                (Delete(folder + "a/1"), Put(folder + "a/3", b"3", 0), Put(folder + "b/1", b"", 0)),
                (),
                5.0,
            )
            done = await stage.expect(TransactionDone, order)
            await stage.wait_fact(lambda f: isinstance(f, KeysChanged) and (f.watch, f.revision) == (1, done.revision))
            await stage.watch_fact(KeysChanged, 2)
            seen = {
                number: [
                    (change.key.removeprefix(folder), None if change.after is None else change.after.value)
                    for fact in stage.facts
                    if isinstance(fact, KeysChanged) and fact.watch == number
                    for change in fact.changes
                ]
                for number in (1, 2)
            }
            assert seen[1] == [("a/1", b"1"), ("a/2", b"2"), ("a/1", None), ("a/3", b"3")]
            assert seen[2] == [("b/1", b"")]

            stage.perform(CloseWatch(1))
            await put(stage, folder + "a/4")
            after = await put(stage, folder + "b/4")
            await stage.wait_fact(lambda f: isinstance(f, KeysChanged) and (f.watch, f.revision) == (2, after.revision))
            told = [fact.revision for fact in stage.facts if isinstance(fact, KeysChanged) and fact.watch == 1]
            assert max(told) == done.revision

    play(scene)


def test_a_backlog_larger_than_a_message_may_be_comes_in_fragments(single: Cluster, prefix: Iterator[str]) -> None:
    """Once 2,100 values of 50 kB took etcd away from an agent for 11 s. A revision of several keys stays together."""

    async def scene() -> None:
        folder = next(prefix)
        async with Stage(single.urls) as stage:
            value, count = bytes(500_000), 24
            first = await put(stage, folder + "0", value)
            for number in range(1, count):
                two = (Put(f"{folder}{number}a", value, 0), Put(f"{folder}{number}b", value, 0))
                last = await stage.expect(TransactionDone, Transact(stage.next(), 0, (), two, (), 5.0))
            stage.perform(OpenWatch(1, 0, folder, first.revision, 5.0))
            await stage.wait_fact(lambda f: isinstance(f, KeysChanged) and f.revision == last.revision)
            told = [fact for fact in stage.facts if isinstance(fact, KeysChanged)]
            assert len(told) > 2
            per_revision = [[change.revision for change in fact.changes] for fact in told]
            assert sorted(each for revisions in per_revision for each in revisions) == [
                first.revision,
                *(revision for number in range(1, count) for revision in 2 * [first.revision + number]),
            ]
            for before, after in pairwise(per_revision):
                assert before[-1] < after[0], "no revision in two facts"

    play(scene)


def test_a_watch_behind_compaction_is_lost_as_compacted(single: Cluster, prefix: Iterator[str]) -> None:
    """The core must read anew; from the present on it can watch again."""

    async def scene() -> None:
        folder = next(prefix)
        async with Stage(single.urls) as stage:
            first = await put(stage, folder + "a")
            last = await put(stage, folder + "a")
            await asyncio.to_thread(single.ctl, "compact", str(last.revision))
            stage.perform(OpenWatch(1, 0, folder, first.revision, 5.0))
            assert (await stage.watch_fact(WatchLost, 1)).failure is Failure.COMPACTED
            stage.perform(OpenWatch(2, 0, folder, last.revision + 1, 5.0))
            await stage.watch_fact(WatchOpened, 2)

    play(scene)


# ---------------------------------------------------------------------------------------------------------------------
# Loss


async def leader_of(stage: Stage) -> int:
    """The endpoint index of the cluster's leader."""

    async def look() -> int | None:
        for index in range(3):
            member = await stage.ask(ReadMember(stage.next(), index, 2.0))
            if isinstance(member, MemberRead) and member.member_id == member.leader_id:
                return index
        return None

    return await eventually(look, "no leader")


def test_the_leader_hands_over_to_the_member_that_is_named_and_nobody_else_does(three: Cluster) -> None:
    """Every member lists them all; it answers when the other one leads; who does not lead refuses."""

    async def scene() -> None:
        async with Stage(three.urls) as stage:
            leads = await leader_of(stage)
            members = [await stage.expect(MemberRead, ReadMember(stage.next(), n, 5.0)) for n in range(3)]
            ids = [member.member_id for member in members]
            for index in range(3):
                told = await stage.expect(MembersRead, ReadMembers(stage.next(), index, 5.0))
                assert sorted(told.members) == sorted(ids)
            follows = (leads + 1) % 3
            refused = await stage.expect(RequestFailed, MoveLeader(stage.next(), follows, ids[follows], 5.0))
            assert refused.failure is Failure.NO_LEADER
            unknown = await stage.expect(RequestFailed, MoveLeader(stage.next(), leads, 1, 5.0))
            assert unknown.failure is not Failure.NONSENSE
            await stage.expect(LeaderMoved, MoveLeader(stage.next(), leads, ids[follows], 10.0))
            shown = await stage.expect(MemberRead, ReadMember(stage.next(), follows, 5.0))
            assert shown.leader_id == ids[follows]

    play(scene)


def test_a_killed_leader_is_weather(three: Cluster, prefix: Iterator[str]) -> None:
    """Its endpoint fails, the others answer again in a newer term, and the lease lives on."""

    async def scene() -> None:
        folder = next(prefix)
        async with Stage(three.urls) as stage:
            leader = await leader_of(stage)
            other = (leader + 1) % 3
            granted = await lease(stage, endpoint=other)
            done = await put(stage, folder + "k", on=granted.lease, endpoint=other)
            stage.perform(OpenWatch(1, leader, folder, done.revision + 1, 5.0))
            await stage.watch_fact(WatchOpened, 1)
            three.members[leader].kill()
            assert (await stage.watch_fact(WatchLost, 1)).failure in GONE
            dead = await stage.expect(RequestFailed, KeepLeaseAlive(stage.next(), leader, granted.lease, 1.0))
            assert dead.failure is Failure.UNAVAILABLE
            assert "connection refused" in dead.detail

            async def renewed() -> KeepaliveConfirmed | None:
                fact = await stage.ask(KeepLeaseAlive(stage.next(), other, granted.lease, 1.0))
                if isinstance(fact, KeepaliveConfirmed):
                    return fact
                assert failure_of(fact) in GONE, fact
                return None

            kept = await eventually(renewed, "no keepalive after the election")
            found = await keys(stage, folder, endpoint=other)
            assert kept.ttl_s == 60
            assert found.raft_term > granted.raft_term
            assert [key.key for key in found.keys] == [folder + "k"]

    play(scene)


def test_without_quorum_a_read_fails_and_a_watch_ends(three: Cluster, prefix: Iterator[str]) -> None:
    """`hasleader` makes a leaderless member end the watch; no read comes from its memory."""

    async def scene() -> None:
        folder = next(prefix)
        async with Stage(three.urls) as stage:
            await put(stage, folder + "k")
            stage.perform(OpenWatch(1, 0, folder, 1, 5.0))
            await stage.watch_fact(WatchOpened, 1)
            for member in three.members[1:]:
                member.kill()
            fact = await stage.expect(RequestFailed, ReadKeys(stage.next(), 0, folder, 1.0))
            assert fact.failure in GONE
            lost = await stage.watch_fact(WatchLost, 1)
            assert lost.failure is Failure.NO_LEADER, lost

    play(scene)


def test_a_frozen_endpoint_is_left_within_one_deadline(three: Cluster, prefix: Iterator[str]) -> None:
    """SIGSTOP: established connection and new connection alike; another endpoint answers meanwhile."""

    async def scene() -> None:
        folder = next(prefix)
        async with Stage(three.urls) as stage:
            frozen = (await leader_of(stage) + 1) % 3
            other = (frozen + 1) % 3
            granted = await lease(stage, endpoint=frozen)
            stage.perform(OpenWatch(1, frozen, folder, 1, 5.0))
            await stage.watch_fact(WatchOpened, 1)
            with three.members[frozen].frozen():
                for _ in range(2):
                    began = asyncio.get_running_loop().time()
                    order = KeepLeaseAlive(stage.next(), frozen, granted.lease, 1.0)
                    fact = await stage.expect(RequestFailed, order)
                    took = asyncio.get_running_loop().time() - began
                    assert fact.failure is Failure.TIMEOUT
                    assert "timed out after 1 s" in fact.detail
                    assert 0.9 <= took < 5.0
                    stage.perform(DropEndpoint(frozen))
                lost = await stage.watch_fact(WatchLost, 1)
                assert (lost.failure, "dropped" in lost.detail) == (Failure.UNAVAILABLE, True)
                await stage.expect(KeepaliveConfirmed, KeepLeaseAlive(stage.next(), other, granted.lease, 5.0))
                await keys(stage, folder, endpoint=other)

            async def thawed() -> KeysRead | None:
                fact = await stage.ask(ReadKeys(stage.next(), frozen, folder, 1.0))
                return fact if isinstance(fact, KeysRead) else None

            await eventually(thawed, "the thawed member never answered")

    play(scene)


def test_a_restarted_etcd_is_found_again(release: Release, tmp_path: Path) -> None:
    """While it is away every order fails at once and says why; lease and key survive the restart."""

    async def scene() -> None:
        with Cluster(release, tmp_path / "etcd") as cluster:
            async with Stage(cluster.urls) as stage:
                granted = await lease(stage)
                done = await put(stage, "k/a", on=granted.lease)
                stage.perform(OpenWatch(1, 0, "k/", done.revision + 1, 5.0))
                await stage.watch_fact(WatchOpened, 1)
                cluster.members[0].signal(signal.SIGTERM)
                lost = await stage.watch_fact(WatchLost, 1)
                assert lost.failure in GONE
                cluster.members[0].kill()
                away = await stage.expect(RequestFailed, ReadKeys(stage.next(), 0, "k/", 1.0))
                assert away.detail == f"{cluster.urls[0]}: connection refused"
                cluster.members[0].start()

                async def back() -> KeysRead | None:
                    fact = await stage.ask(ReadKeys(stage.next(), 0, "k/", 1.0))
                    return fact if isinstance(fact, KeysRead) else None

                found = await eventually(back, "etcd never came back")
                assert [(key.key, key.lease) for key in found.keys] == [("k/a", granted.lease)]
                stage.perform(OpenWatch(2, 0, "k/", done.revision + 1, 5.0))
                await put(stage, "k/b")
                assert (await stage.watch_fact(KeysChanged, 2)).changes[0].key == "k/b"

    play(scene)
