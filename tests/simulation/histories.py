"""Random histories: a seed decides the size of the cluster, the clocks and every fault; the judge watches it all."""

from __future__ import annotations

from dataclasses import dataclass

from sharedip.core.candidacy import Phase
from sharedip.core.messages import DrainRequested, HealthChanged, MoveRequested, SettingsChanged
from sharedip.core.model import FenceKind
from tests.simulation.faults import set_link, strike
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
    return Outcome(seed, world.steps, world.transcript, failure)


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
    return world


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
        wanted = world.hosts[number % len(world.hosts)].name
        for host in world.hosts:
            host.hear(host.run, MoveRequested(number, vip.address, wanted))


def _heal(world: World) -> None:
    """All faults end at once; healings that were still to come find nothing left to heal."""
    world.note("--- all healed")
    world.is_healed = True
    world.loss = world.slow = world.disorder = 0.0
    world.refusals.clear()
    world.cuts.clear()
    world.peer_cuts.clear()
    for member in range(world.members):
        world.etcd.heal_member(member)
    for host in world.hosts:
        host.freeze_after = None
        host.thaw(host.run)
        host.start()
        if not host.running_link:
            set_link(host, running=True)
        host.hear(host.run, HealthChanged(healthy=True, detail=""))
        host.hear(host.run, DrainRequested(3, drained=False))
        host.hear(host.run, SettingsChanged(world.settings(host.name)))


def _converge(world: World) -> None:
    """In the end every address has exactly one owner, the first of its queue, and every other node waits behind it."""
    if not world.run_while(lambda: _is_apart(world), CONVERGED_WITHIN_S):
        state = {h.name: [c.phase.value for c in h.core.candidacies.values()] if h.core else None for h in world.hosts}
        raise InvariantBrokenError(f"not converged {CONVERGED_WITHIN_S:.0f} s after the last fault: {state}")


def _is_apart(world: World) -> bool:
    for vip in world.vips:
        owners = [host for host in world.hosts if host.uses(vip.address)]
        if len(owners) != 1:
            return True
        for host in world.hosts:
            if host.core is None or host.core.candidacies[vip.address].phase is not _REST[host is owners[0]]:
                return True
    return False


_REST = {True: Phase.OWNING, False: Phase.WAITING}
