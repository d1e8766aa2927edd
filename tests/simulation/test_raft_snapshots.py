"""The model etcd after a raft snapshot, as etcd 3.5.1 was seen: new state, old term, until an entry comes."""

from __future__ import annotations

from sharedip.core.messages import GrantLease, KeepaliveConfirmed, KeepLeaseAlive, KeysRead, LeaseGranted, ReadKeys
from tests.models.judge import LAYOUT
from tests.simulation.world import World


def woken_leader() -> tuple[World, int]:
    """Member 0 led in term 2 and slept while another one came; it has just caught up by a snapshot. And a lease."""
    world = World(0)
    etcd = world.etcd
    granted = etcd._serve(GrantLease(1, 0, 15, 1.0), 0.0)
    assert isinstance(granted, LeaseGranted)
    etcd.freeze_member(0)
    etcd.members[0].needs_snapshot = True
    world.run_until(world.t + 4.0)
    assert etcd.leader != 0
    etcd.heal_member(0)
    return world, granted.lease


def read(world: World, *, by_entry: bool = False) -> KeysRead:
    """A linearizable read of everything on member 0."""
    answer = world.etcd._serve(ReadKeys(2, 0, LAYOUT.root, 1.0, 0, by_entry), 0.0)
    assert isinstance(answer, KeysRead)
    return answer


def test_a_woken_leader_confirms_a_keepalive_that_nobody_else_hears_of() -> None:
    world, lease = woken_leader()
    before = world.etcd.store.leases[lease].expires_at
    answer = world.etcd._serve(KeepLeaseAlive(3, 0, lease, 1.0), 0.0)
    assert isinstance(answer, KeepaliveConfirmed)
    assert answer.raft_term == 2 < world.etcd.term
    assert world.etcd.store.leases[lease].expires_at == before


def test_its_reads_are_of_the_newest_state_and_of_the_old_term_until_an_entry_comes() -> None:
    world, _ = woken_leader()
    assert read(world).raft_term == 2
    assert read(world).revision == world.etcd.store.revision
    world.etcd._serve(GrantLease(4, 1, 15, 1.0), 0.0)
    assert read(world).raft_term == world.etcd.term


def test_a_read_by_an_entry_is_of_the_term_of_that_entry() -> None:
    world, _ = woken_leader()
    assert read(world, by_entry=True).raft_term == world.etcd.term
    assert read(world).raft_term == world.etcd.term
