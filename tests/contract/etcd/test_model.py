"""The models' etcd says what real etcd says: one script, the same words in every world.

`tests/models/store.py` is asked by itself, and as the simulation's cluster has it, where a watch goes over a wire.

Revisions and lease numbers differ, so each is told by what it stands for: revisions count from the first write, leases
from the first grant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from sharedip.core.messages import (
    EtcdCommand,
    GrantLease,
    KeepaliveConfirmed,
    KeepLeaseAlive,
    KeysChanged,
    KeysRead,
    LeaseGranted,
    LeaseRevoked,
    OpenWatch,
    ReadKeys,
    RequestFailed,
    RevokeLease,
    Transact,
    TransactionDone,
    WatchLost,
)
from sharedip.core.model import Delete, Failure, Get, Guard, GuardTarget, KeyValue, Put
from tests.contract.etcd.etcd_cluster import Cluster
from tests.models.store import Store, StoreRequest
from tests.simulation.world import World
from tests.unit.adapters.etcd.etcd_stage import Stage, play, wait_until

PREFIX = "model/"
KEY, OTHER = PREFIX + "a", PREFIX + "b"
_folders = count(1)


@dataclass
class Listener:
    """Stands in for a simulated host: it sends orders and keeps what it hears."""

    name: str = "n1"
    run: int = 1
    rate: float = 1.0
    pending: dict[int, int] = field(default_factory=dict)
    heard: list[Any] = field(default_factory=list)

    def now(self) -> float:
        return 0.0

    def answer(self, run: int, request: int, event: object) -> None:
        if self.pending.pop(request, None) is not None:
            self.heard.append(event)

    def time_out(self, run: int, request: int, endpoint: int) -> None:
        return

    def hear(self, run: int, event: object) -> None:
        self.heard.append(event)

    def drop_endpoint(self, endpoint: int) -> None:
        return


Ask = Callable[[EtcdCommand], Awaitable[Any]]
Changes = Callable[[int], Awaitable[list[Any]]]


async def script(ask: Ask, changes: Changes) -> list[Any]:
    """Everything that the core relies on, in the words of one world."""
    said: list[Any] = []
    granted = await ask(GrantLease(1, 0, 1, 5.0))
    assert isinstance(granted, LeaseGranted)
    said.append(("granted", granted.ttl_s))
    lease = granted.lease
    absent = (Guard(KEY, GuardTarget.CREATE, 0),)
    first = await ask(Transact(2, 0, absent, (Put(KEY, b"n1", lease), Get(PREFIX, prefix=True)), (Get(KEY),), 5.0))
    base = first.revision

    def keys(found: tuple[KeyValue, ...]) -> list[Any]:
        return [(k.key, k.value, k.create_revision - base, k.mod_revision - base, k.lease == lease) for k in found]

    def done(answer: TransactionDone) -> Any:
        return ("done", answer.succeeded, answer.revision - base, keys(answer.keys))

    said.append(done(first))
    said.append(done(await ask(Transact(3, 0, absent, (Put(KEY, b"n2", lease),), (Get(KEY),), 5.0))))
    stands = (Guard(KEY, GuardTarget.CREATE, base), Guard(KEY, GuardTarget.MOD, base))
    said.append(done(await ask(Transact(4, 0, stands, (Put(KEY, b"n3", lease),), (), 5.0))))
    said.append(done(await ask(Transact(5, 0, stands, (Delete(KEY),), (Get(KEY),), 5.0))))
    for request in (60, 6):
        read = await ask(ReadKeys(request, 0, PREFIX, 5.0, by_entry=request == 60))
        assert isinstance(read, KeysRead)
        said.append(("read", read.revision - base, read.count, keys(read.keys)))
    await ask(Transact(20, 0, (), (Put(OTHER, b"y", lease),), (), 5.0))
    for after in (read.revision, read.revision + 1, read.revision + 100):
        fresh = await ask(ReadKeys(21 + after - read.revision, 0, PREFIX, 5.0, after))
        assert isinstance(fresh, KeysRead)
        said.append(("fresh", fresh.revision - base, fresh.count, keys(fresh.keys), fresh.after - base))
    alive = await ask(KeepLeaseAlive(7, 0, lease, 5.0))
    assert isinstance(alive, KeepaliveConfirmed)
    said.append(("alive", alive.ttl_s))
    strange = await ask(Transact(8, 0, (), (Put(OTHER, b"x", lease + 1),), (), 5.0))
    assert isinstance(strange, RequestFailed)
    said.append(strange.failure)
    said.append(done(await ask(Transact(13, 0, (), (Delete(PREFIX + "nothing"),), (), 5.0))))
    await ask(OpenWatch(100, 0, PREFIX, base + 3, 5.0))
    said.append(done(await ask(Transact(14, 0, (), (Put(f"not-{PREFIX}", b"z", lease),), (), 5.0))))
    said.append(done(await ask(Transact(15, 0, (), (Put(KEY, b"n4", 0), Get(KEY)), (), 5.0))))
    both = (Put(OTHER, b"x", lease), Delete(KEY))
    said.append(done(await ask(Transact(9, 0, (), both, (), 5.0))))
    said.append(type(await ask(RevokeLease(10, 0, lease, 5.0))))
    told = await changes(4)
    said.append(sorted((c.revision - base, c.key, b"" if c.after is None else c.after.value) for c in told))
    gone = await ask(KeepLeaseAlive(11, 0, lease, 5.0))
    assert isinstance(gone, RequestFailed)
    said.append(gone.failure)
    said.append(type(await ask(RevokeLease(12, 0, lease, 5.0))))
    return said


async def in_the_store() -> list[Any]:
    """The script against `tests/models/store.py`."""
    store = Store(ttl_floor_s=2)
    watches: list[OpenWatch] = []

    async def ask(order: EtcdCommand) -> Any:
        if isinstance(order, OpenWatch):
            return watches.append(order)
        assert isinstance(order, StoreRequest)
        return store.answer(order, 2, 0.0)

    async def changes(number: int) -> list[Any]:
        return list(store.changes_from(watches[0].from_revision, watches[0].prefix))

    return await script(ask, changes)


async def in_the_simulation() -> list[Any]:
    """The script against `tests/simulation/etcd.py`."""
    world = World(1, nodes=1)
    host = Listener()

    async def ask(order: EtcdCommand) -> Any:
        if not isinstance(order, OpenWatch):
            before = len(host.heard)
            world.etcd.receive(host, order)  # type: ignore[arg-type]
            world.run_while(lambda: not any(hasattr(e, "request") for e in host.heard[before:]), 1.0)
            return next(event for event in host.heard[before:] if hasattr(event, "request"))
        world.etcd.receive(host, order)  # type: ignore[arg-type]
        return None

    async def changes(number: int) -> list[Any]:
        world.run_until(world.t + 1.0)
        return [change for event in host.heard if isinstance(event, KeysChanged) for change in event.changes]

    return await script(ask, changes)


def in_etcd(cluster: Cluster) -> list[Any]:
    """The script against the real thing, through the adapter."""

    async def scene() -> list[Any]:
        async with Stage(cluster.urls) as stage:

            async def ask(order: EtcdCommand) -> Any:
                if isinstance(order, OpenWatch):
                    stage.client.perform(order)
                    return None
                request = order.request  # type: ignore[union-attr]
                stage.client.perform(order)
                await wait_until(lambda: any(getattr(f, "request", None) == request for f in stage.facts), "no answer")
                return next(fact for fact in stage.facts if getattr(fact, "request", None) == request)

            async def changes(number: int) -> list[Any]:
                def told() -> list[Any]:
                    return [c for fact in stage.facts if isinstance(fact, KeysChanged) for c in fact.changes]

                await wait_until(lambda: len(told()) >= number, "the watch told too little")
                return told()

            return await script(ask, changes)

    return play(scene)


def test_the_model_says_what_etcd_says(single: Cluster) -> None:
    """Floors, guards, gets, keepalives, watches, revocations: a simulation is worth what its etcd is worth."""
    model = asyncio.run(in_the_store())
    assert in_etcd(single) == model
    assert asyncio.run(in_the_simulation()) == model
    assert ("granted", 2) in model
    assert Failure.LEASE_NOT_FOUND in model
    assert LeaseRevoked in model


def test_the_model_ends_a_watch_behind_a_compaction_as_etcd_does(single: Cluster) -> None:
    """Both say that the revision is compacted, and nothing else."""
    world, host = World(1, nodes=1), Listener()
    for _ in range(3):
        world.etcd.store.put(KEY, b"x", 1)
    world.etcd.compact()
    world.etcd.receive(host, OpenWatch(5, 0, PREFIX, 2, 1.0))  # type: ignore[arg-type]
    world.run_until(world.t + 1.0)
    assert [(type(event), event.failure) for event in host.heard] == [(WatchLost, Failure.COMPACTED)]

    async def scene() -> Any:
        async with Stage(single.urls) as stage:
            stage.client.perform(Transact(1, 0, (), (Put(KEY, b"x", 0),), (), 5.0))
            await wait_until(lambda: bool(stage.facts), "no answer")
            first = stage.facts[0]
            assert isinstance(first, TransactionDone)
            revision = first.revision
            stage.client.perform(Transact(2, 0, (), (Put(KEY, b"y", 0),), (), 5.0))
            await wait_until(lambda: len(stage.facts) > 1, "no answer")
            single.ctl("compact", str(revision + 1))
            stage.client.perform(OpenWatch(5, 0, PREFIX, revision, 5.0))
            await wait_until(lambda: any(isinstance(fact, WatchLost) for fact in stage.facts), "the watch stands")
            return next(fact for fact in stage.facts if isinstance(fact, WatchLost))

    assert play(scene).failure is Failure.COMPACTED


@pytest.fixture(autouse=True)
def keys_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One etcd serves all tests: each has keys that no other has written."""
    folder = f"model-{next(_folders)}/"
    for name, value in (("PREFIX", folder), ("KEY", folder + "a"), ("OTHER", folder + "b")):
        monkeypatch.setattr(f"{__name__}.{name}", value)
