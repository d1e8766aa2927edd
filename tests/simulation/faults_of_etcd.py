"""Faults of etcd beyond those of `faults.py`: what a leader that has slept for long still believes, and who hears it.

Must never: touch what an agent believes. Counterpart: `etcd.py`, which says what such a member answers.
"""

from __future__ import annotations

from tests.simulation.faults import Fault, cut_from_etcd, cut_from_member, while_ill, witnesses
from tests.simulation.world import Host, World


def _leader_wakes_by_a_snapshot(world: World, host: Host, member: int, seconds: float) -> None:
    """Frozen until another one leads and much has been written; one agent knows no other member, and then none."""
    etcd, random = world.etcd, world.random
    leader = etcd.leader
    if leader is None:
        return
    for each in range(world.members):
        if each != leader:
            cut_from_member(world, host, each, seconds + 3.0)
    etcd.freeze_member(leader)
    slept_s = max(seconds, random.uniform(2.5, 6.0))
    world.later(slept_s, etcd.heal_member, leader)
    while_ill(world, slept_s + random.uniform(0.0, 0.3), cut_from_etcd, world, host, member, world.ttl_s + 2.0)


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


FAULTS: dict[str, Fault] = {
    "a leader wakes by a snapshot": _leader_wakes_by_a_snapshot,
    "cut off but for its witness": _cut_off_but_for_its_witness,
}
