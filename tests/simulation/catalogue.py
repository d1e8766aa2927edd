"""Every kind of fault by its name, and the lot that draws among them.

Counterparts: `faults.py` and its likes, which know how each is done.
"""

from __future__ import annotations

from tests.simulation import (
    faults,
    faults_of_etcd,
    faults_of_machines,
    faults_of_restarts,
    faults_of_segment,
    faults_of_words,
)
from tests.simulation.faults import Fault
from tests.simulation.world import World

FAULTS: dict[str, Fault] = {
    **faults.FAULTS,
    **faults_of_restarts.FAULTS,
    **faults_of_etcd.FAULTS,
    **faults_of_words.FAULTS,
    **faults_of_machines.FAULTS,
    **faults_of_segment.FAULTS,
}
NAMES = tuple(FAULTS)

PATIENT_NAMES = (
    *faults_of_segment.FAULTS,
    *("segment in two", "deaf and dumb"),
    *("freeze", "kill", "crash") * 2,
    *("stop", "move", "drain", "sick", "all sick", "kill briefly"),
)
"""In histories that are about who answers meanwhile: what is left of a cluster after one or two of these could."""
PATIENT_S = 60.0
"""Until all is healed."""


def strike(world: World) -> None:
    """One thing goes wrong, mostly at an owner, and later it is healed."""
    if world.t < world.undisturbed_until:
        world.at(world.undisturbed_until, strike, world)
        return
    random = world.random
    owners = [host for host in world.hosts if host.kernel.addresses]
    host = random.choice(owners) if owners and random.random() < 0.6 else random.choice(world.hosts)
    member = random.randrange(world.members)
    if world.etcd.leader is not None and random.random() < 0.5:
        member = world.etcd.leader
    seconds = random.choice((0.05, 0.3, 1.0, 2.0, 3.0, 5.0, 8.0, 20.0)) * random.uniform(0.8, 1.2)
    name = random.choice(NAMES)
    if world.is_patient:
        name, seconds = random.choice(PATIENT_NAMES), PATIENT_S
    world.note(f"--- {name}: {host.name}, member {member}, {seconds:.2f} s")
    world.played[name] += 1
    FAULTS[name](world, host, member, seconds)
