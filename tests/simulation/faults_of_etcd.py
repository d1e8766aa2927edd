"""Faults of etcd beyond those of `faults.py`: what a leader that has slept for long still believes, and who hears it.

Must never: touch what an agent believes. Counterpart: `etcd.py`, which says what such a member answers.
"""

from __future__ import annotations

from sharedip.core.messages import KeepLeaseAlive, StopRequested
from tests.simulation.faults import (
    Fault,
    crash,
    cut_from_etcd,
    cut_from_member,
    freeze,
    kill_briefly,
    move,
    while_ill,
    witnesses,
)
from tests.simulation.world import Host, World

SLEEP_S_MIN, ASLEEP_FOR_A_REQUEST_S = 3.2, 6.0
"""Long enough for another leader, which extends every lease by an election timeout beyond its TTL."""

WAKING_STEP_S = 0.02


def _leader_wakes_by_a_snapshot(world: World, host: Host, member: int, seconds: float) -> None:
    """Frozen until another one leads and the log is compacted; some agents reach no other member, and then none."""
    etcd, random = world.etcd, world.random
    leader = etcd.leader
    if leader is None:
        return
    sleeps_s, most_s = SLEEP_S_MIN, SLEEP_S_MIN + min(world.ttl_s, ASLEEP_FOR_A_REQUEST_S)
    for other in world.hosts:
        if other is host or random.random() < 0.5:
            for each in range(world.members):
                if each != leader:
                    cut_from_member(world, other, each, most_s + 3.0)
                    world.rejects.add((other.name, each))
                    world.later(most_s + 3.0, world.rejects.discard, (other.name, each))
    etcd.freeze_member(leader)
    etcd.members[leader].needs_snapshot = True
    world.later(sleeps_s, _wake, world, host, leader, world.t + most_s)


def _wake(world: World, host: Host, member: int, until: float) -> None:
    """At the worst instant: as soon as a keepalive that is still waited for is in its buffer."""
    held = world.etcd.members[member].held
    if world.t < until and not any(
        isinstance(each, KeepLeaseAlive) and each.request in by.pending for by, _, each, _ in held
    ):
        while_ill(world, WAKING_STEP_S, _wake, world, host, member, until)
        return
    world.etcd.heal_member(member)
    while_ill(world, world.random.uniform(0.0, 0.3), cut_from_etcd, world, host, member, world.ttl_s + 2.0)


def _cut_off_but_for_its_witness(world: World, host: Host, member: int, seconds: float) -> None:
    """An owner without etcd whose witness still answers; that may end while etcd is away."""
    cut_from_etcd(world, host, member, seconds)
    answering = witnesses(world)
    for other in world.hosts:
        if other is host:
            continue
        begins_s = world.random.choice((0.5, 0.9, 1.0)) * seconds if other in answering else 0.0
        for pair in ((host.name, other.name), (other.name, host.name)):
            if begins_s < seconds:
                while_ill(world, begins_s, world.peer_cuts.add, pair)
                world.later(seconds, world.peer_cuts.discard, pair)


def _is_full(world: World, host: Host, member: int, seconds: float) -> None:
    """Its database; and meanwhile an owner, or who could depose it, goes in one way or another."""
    world.etcd.fill()
    world.later(seconds, world.etcd.make_room)
    random = world.random
    about = random.choice((host, *witnesses(world)))
    fate = random.choice((None, _stop, crash, freeze, kill_briefly, move, cut_from_etcd))
    if fate is not None:
        while_ill(world, random.uniform(0.0, seconds / 2), fate, world, about, member, seconds)


def _stop(world: World, host: Host, member: int, seconds: float) -> None:
    host.hear(host.run, StopRequested())
    world.later(seconds / 2, host.start)


FAULTS: dict[str, Fault] = {
    "etcd is full": _is_full,
    "a leader wakes by a snapshot": _leader_wakes_by_a_snapshot,
    "cut off but for its witness": _cut_off_but_for_its_witness,
}
