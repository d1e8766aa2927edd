"""Random histories: a seed decides the size of the cluster, the clocks and every fault; the judge watches it all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

from sharedip.core.messages import DrainRequested, HealthChanged, MoveRequested, RestartRequested, SettingsChanged
from sharedip.core.model import FenceKind
from tests.simulation.answers import Answers
from tests.simulation.catalogue import strike
from tests.simulation.hooks import PlayedHooks
from tests.simulation.liveness import Watchman, is_apart
from tests.simulation.world import InvariantBrokenError, World

CONVERGED_WITHIN_S = 60.0
"""After the last fault: leases of up to 15 s, extended once by a new leader, and links that must settle."""

FAULTS = 8
TROUBLE_S = 8.0
TROUBLE_SHORT_S = 5.0
"""With beats every 60 ms: as many steps as the others."""

PATIENT_CHANCE = 0.2
PATIENT_FAULTS = 2
WELL_FIRST_S = 5.0
"""Silence is evidence only between those that have heard each other."""
PATIENT_S = 20.0
"""Of these histories' trouble, from its first fault on."""

DRIFT = 0.0005
"""Of each clock: 0.1 % between two of them, which is what docs/safety.md assumes at most (C1)."""


@dataclass(slots=True)
class Outcome:
    """How one history went."""

    seed: int
    steps: int
    transcript: list[str]
    failure: str | None
    due: Counter[str]
    """By each rule of liveness that is judged, how often an answer was due, and came (`answers.py`)."""
    played: Counter[str]
    """Each kind of fault, and what was wrong from the beginning, with how often it was drawn."""


def play(
    seed: int, *, verbose: bool = False, hooks: PlayedHooks | None = None, window_s: float | None = None
) -> Outcome:
    """Play one history. `failure` is None when every invariant held and the cluster converged.

    With hooks, who may answer at all is up to them, so nobody judges how soon somebody does. `window_s`: instead of the
    one that is drawn, where there is a witness and the fence can keep it.
    """
    world = _world(seed, verbose=verbose)
    if window_s is not None and world.window_s is not None and world.fence is FenceKind.NFTABLES:
        world.window_s = window_s
    world.hooks = hooks
    judge = Answers(world) if hooks is None else Answers(world, frozenset())
    failure = None
    try:
        _trouble(world, judge)
        _heal(world)
        _converge(world)
    except InvariantBrokenError as broken:
        failure = str(broken)
        world.note(f"BROKEN: {broken}")
    due = Counter({rule.name: count for rule, count in judge.demanded.items()})
    return Outcome(seed, world.steps, world.transcript, failure, due, world.played)


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
    lots = Random(f"segment {seed}")
    world = World(
        seed,
        nodes=nodes,
        vips=vips,
        ttl_s=ttl_s,
        verbose=verbose,
        window_s=window_s,
        fence=fence,
        members=members,
        vips_of_ipv6=int(lots.random() < (0.5 if vips > 1 else 0.25)),
        gateway=lots.random() < 0.6,
        client=lots.random() < 0.5,
    )
    world.one_network, world.is_patient = lots.random() < 0.5, lots.random() < PATIENT_CHANCE
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
        case _ if world.is_patient and trait.startswith("clones"):
            return False  # two that are one by their name are never all well
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
PAUSED = "paused as a whole"
PAUSED_CHANCE = 0.3
PAUSES = 2
ANEW = "started anew"
ANEW_CHANCE = 0.2
CLONES_AMONG = 3
"""Two that are one by their name leave an election with two candidates."""


def _trouble(world: World, judge: Answers) -> None:
    random = world.random
    for host in world.hosts:
        world.later(random.uniform(0, 0.5), host.start)
    if random.random() < 0.8:
        world.run_until(world.t + 1.5)
        _scatter(world)
        world.run_until(world.t + 0.5)
    judge.begin()
    if world.is_patient:
        begin = world.t + WELL_FIRST_S
        for _ in range(random.randint(1, PATIENT_FAULTS)):
            world.at(random.uniform(begin, begin + PATIENT_S / 2), strike, world)
        world.run_until(begin + PATIENT_S)
        return
    end = world.t + (TROUBLE_SHORT_S if world.window_s == 0.3 else TROUBLE_S)
    _pauses(world, end)
    _anew(world, end)
    for _ in range(random.randint(1, FAULTS)):
        world.at(random.uniform(world.t, end), strike, world)
    world.run_until(end)


def _pauses(world: World, end: float) -> None:
    """Machines stand still as a whole. By lots of their own, so that nothing else of a history hangs on them."""
    lots = Random(f"pauses {world.seed}")
    if lots.random() >= PAUSED_CHANCE:
        return
    for _ in range(lots.randint(1, PAUSES)):
        seconds = lots.choice((0.05, 0.5, 1.5, 3.0, 6.0)) * lots.uniform(0.8, 1.2)
        is_deaf, any_host = lots.random() < 0.3, lots.randrange(len(world.hosts))
        world.at(lots.uniform(world.t, end), _pause, world, any_host, seconds, is_deaf)


def _anew(world: World, end: float) -> None:
    """Agents are started anew, keeping what they have; by lots of their own, too."""
    lots = Random(f"anew {world.seed}")
    if lots.random() >= ANEW_CHANCE:
        return
    for _ in range(lots.randint(1, PAUSES)):
        world.at(lots.uniform(world.t, end), _start_anew, world, lots.randrange(len(world.hosts)), lots.random() * 4.0)


def _start_anew(world: World, number: int, seconds: float) -> None:
    host = world.hosts[number]
    if host.core is not None and not world.is_healed:
        host.anew_s = seconds
        host.hear(host.run, RestartRequested(9))
        world.played[ANEW] += 1
        world.note(f"--- {ANEW}: {host.name}, {seconds:.2f} s")


def _pause(world: World, number: int, seconds: float, is_deaf: bool) -> None:
    owners = [host for host in world.hosts if host.kernel.addresses]
    host = owners[number % len(owners)] if owners and number % 3 else world.hosts[number]
    if host.pause(seconds, is_deaf=is_deaf):
        world.played[PAUSED] += 1
        world.note(f"--- {PAUSED}: {host.name}, {seconds:.2f} s" + (", and hears nothing of it" if is_deaf else ""))


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
    if world.hooks is not None:
        world.hooks.heal()
    world.loss = world.slow = world.disorder = world.late_words = 0.0
    world.etcd.spells.clear()
    world.etcd.make_room()
    world.refusals.clear()
    world.cuts.clear()
    world.rejects.clear()
    world.peer_cuts.clear()
    world.segment.heal()
    for port in world.segment.ports.values():
        port.addresses.difference_update(vip.address for vip in world.vips)
    for member in range(world.members):
        world.etcd.heal_member(member)
    for host in world.hosts:
        host.freeze_after, host.disk = None, "well"
        host.stall_s = host.pause_at_word_s = 0.0
        host.dooms.clear()
        host.resume(host.run)
        host.thaw(host.run)
        host.start()
        if not host.running_link:
            host.set_link(running=True)
        host.fails_until = float("-inf")
        host.hear(host.run, HealthChanged(healthy=True, detail=""))
        host.hear(host.run, DrainRequested(3, drained=False))
        host.hear(host.run, SettingsChanged(world.settings(host.name)))


def _converge(world: World) -> None:
    """In the end every address has exactly one owner, the first of its queue, and every other node waits behind it."""
    Watchman(world).begin()
    if not world.run_while(lambda: is_apart(world), CONVERGED_WITHIN_S):
        state = {h.name: [c.phase.value for c in h.core.candidacies.values()] if h.core else None for h in world.hosts}
        raise InvariantBrokenError(f"not converged {CONVERGED_WITHIN_S:.0f} s after the last fault: {state}")
