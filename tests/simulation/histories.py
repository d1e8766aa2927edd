"""Random histories: a seed decides the size of the cluster, the clocks and every fault; the judge watches it all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sharedip.core.messages import DrainRequested, HealthChanged, MoveRequested, SettingsChanged
from sharedip.core.model import FenceKind
from tests.simulation.catalogue import strike
from tests.simulation.faults import set_link
from tests.simulation.liveness import Watchman, is_apart
from tests.simulation.world import InvariantBrokenError, World

CONVERGED_WITHIN_S = 60.0
"""After the last fault: leases of up to 15 s, extended once by a new leader, and links that must settle."""

FAULTS = 8
TROUBLE_S = 8.0
TROUBLE_SHORT_S = 5.0
"""With beats every 60 ms: as many steps as the others."""

DRIFT = 0.0005
"""Of each clock: 0.1 % between two of them, which is what docs/safety.md assumes at most (C1)."""


@dataclass(slots=True)
class Outcome:
    """How one history went."""

    seed: int
    steps: int
    transcript: list[str]
    failure: str | None
    played: Counter[str]
    """Each kind of fault, and what was wrong from the beginning, with how often it was drawn."""


def play(seed: int, *, verbose: bool = False) -> Outcome:
    """Play one history. `failure` is None when every invariant held and the cluster converged."""
    world = _world(seed, verbose=verbose)
    failure = None
    try:
        _trouble(world)
        _heal(world)
        _converge(world)
    except InvariantBrokenError as broken:
        failure = str(broken)
        world.note(f"BROKEN: {broken}")
    return Outcome(seed, world.steps, world.transcript, failure, world.played)


def _world(seed: int, *, verbose: bool) -> World:
    sizes = World(seed).random
    nodes = sizes.choice((2, 3, 3, 3, 3, 5))
    ttl_s = sizes.choice((3, 3, 3, 4, 6, 15))
    members = 5 if nodes == 5 else 3
    vips = sizes.choice((1, 1, 1, 1, 2, 3))
    window_s, fence = sizes.choice(
        (
            (None, FenceKind.LIFETIME),
            (None, FenceKind.LIFETIME),
            (None, FenceKind.NFTABLES),
            (1.0, FenceKind.NFTABLES),
            (1.0, FenceKind.NFTABLES),
            (0.3, FenceKind.NFTABLES),
            (2.5, FenceKind.LIFETIME),
        )
    )
    if window_s is not None:
        ttl_s = max(ttl_s, 4)
    world = World(
        seed, nodes=nodes, vips=vips, ttl_s=ttl_s, verbose=verbose, window_s=window_s, fence=fence, members=members
    )
    if sizes.random() < 0.5:  # the worst clocks, and not only some between
        world.etcd.clock_rate = 1.0 + sizes.choice((-DRIFT, DRIFT))
        for host in world.hosts:
            host.rate = 1.0 + sizes.choice((-DRIFT, DRIFT))
    drawn = [trait for trait in TRAITS if sizes.random() < TRAIT_CHANCE]
    for trait in drawn:
        if _take_on(world, trait):
            world.played[trait] += 1
            world.note(f"--- {trait}")
    return world


def _take_on(world: World, trait: str) -> bool:
    """Give the whole history this trait; False where it has no room for it."""
    random, hosts = world.random, world.hosts
    match trait:
        case "kernels without tags":
            for host in random.sample(hosts, random.randint(1, len(hosts))):
                host.keeps_tags = False
        case "raft snapshots":
            world.etcd.makes_snapshots = True
        case "mixed fences":
            for host in hosts:
                host.fence = random.choice((FenceKind.NFTABLES, FenceKind.LIFETIME))
        case "clones" | "clones with one peer address":
            one, other = hosts[0], hosts[-1]
            if len(hosts) < CLONES_AMONG or other.node_name == one.node_name:
                return False
            other.machine, other.node_name = one.machine, one.node_name
            if trait != "clones":
                other.peer_host = one.peer_host
    return True


TRAITS = ("kernels without tags", "raft snapshots", "mixed fences", "clones", "clones with one peer address")
TRAIT_CHANCE = 0.15
CLONES_AMONG = 3
"""Two that are one by their name leave an election with two candidates."""


def _trouble(world: World) -> None:
    random = world.random
    for host in world.hosts:
        world.later(random.uniform(0, 0.5), host.start)
    if random.random() < 0.8:
        world.run_until(world.t + 1.5)
        _scatter(world)
        world.run_until(world.t + 0.5)
    end = world.t + (TROUBLE_SHORT_S if world.window_s == 0.3 else TROUBLE_S)
    for _ in range(random.randint(1, FAULTS)):
        world.at(random.uniform(world.t, end), strike, world)
    world.run_until(end)


def _scatter(world: World) -> None:
    """Several addresses: let them have different owners."""
    for number, vip in enumerate(world.vips[1:], start=1):
        wanted = world.hosts[number % len(world.hosts)].node_name
        for host in world.hosts:
            host.hear(host.run, MoveRequested(number, vip.address, wanted))


def _heal(world: World) -> None:
    """All faults end at once; healings that were still to come find nothing left to heal."""
    world.note("--- all healed")
    world.is_healed = True
    world.loss = world.slow = world.disorder = world.late_words = 0.0
    world.etcd.spells.clear()
    world.etcd.make_room()
    world.refusals.clear()
    world.cuts.clear()
    world.rejects.clear()
    world.peer_cuts.clear()
    for member in range(world.members):
        world.etcd.heal_member(member)
    for host in world.hosts:
        host.freeze_after, host.disk = None, "well"
        host.stall_s = host.pause_at_word_s = 0.0
        host.dooms.clear()
        host.thaw(host.run)
        host.start()
        if not host.running_link:
            set_link(host, running=True)
        host.hear(host.run, HealthChanged(healthy=True, detail=""))
        host.hear(host.run, DrainRequested(3, drained=False))
        host.hear(host.run, SettingsChanged(world.settings(host.name)))


def _converge(world: World) -> None:
    """In the end every address has exactly one owner, the first of its queue, and every other node waits behind it."""
    Watchman(world).begin()
    if not world.run_while(lambda: is_apart(world), CONVERGED_WITHIN_S):
        state = {h.name: [c.phase.value for c in h.core.candidacies.values()] if h.core else None for h in world.hosts}
        raise InvariantBrokenError(f"not converged {CONVERGED_WITHIN_S:.0f} s after the last fault: {state}")
