"""Random histories: a seed decides the size of the cluster, the clocks and every fault; the judge watches it all."""

from __future__ import annotations

from dataclasses import dataclass

from sharedip.core.messages import DrainRequested, HealthChanged, LinkChanged, MoveRequested, StopRequested
from sharedip.core.model import FenceKind, LinkState
from tests.simulation.world import LINK_INDEX, Host, InvariantBrokenError, World

CONVERGED_WITHIN_S = 60.0
"""After the last fault: leases of up to 15 s, extended once by a new leader, and links that must settle."""

FAULTS = 8
TROUBLE_S = 10.0


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
    nodes = sizes.choice((2, 3, 3, 3, 5))
    ttl_s = sizes.choice((3, 3, 3, 4, 6, 15))
    members = 5 if nodes == 5 else 3
    vips = sizes.choice((1, 1, 1, 2))
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
    return World(
        seed, nodes=nodes, vips=vips, ttl_s=ttl_s, verbose=verbose, window_s=window_s, fence=fence, members=members
    )


def _trouble(world: World) -> None:
    random = world.random
    for host in world.hosts:
        world.later(random.uniform(0, 0.5), host.start)
    if random.random() < 0.8:
        world.run_until(world.t + 2.0)
    end = world.t + TROUBLE_S
    for _ in range(random.randint(1, FAULTS)):
        world.at(random.uniform(world.t, end), _fault, world)
    world.run_until(end)


def _owner(world: World) -> Host | None:
    for host in world.hosts:
        if host.kernel.addresses:
            return host
    return None


def _fault(world: World) -> None:
    """One thing goes wrong, mostly at the owner, and later it is healed."""
    random = world.random
    owner = _owner(world)
    host = owner if owner is not None and random.random() < 0.6 else random.choice(world.hosts)
    member = random.randrange(world.members)
    if world.etcd.leader is not None and random.random() < 0.5:
        member = world.etcd.leader
    seconds = random.choice((0.05, 0.3, 1.0, 2.0, 3.0, 5.0, 8.0, 20.0)) * random.uniform(0.8, 1.2)
    name = random.choice(tuple(_FAULTS))
    world.note(f"--- {name}: {host.name}, member {member}, {seconds:.2f} s")
    _FAULTS[name](world, host, member, seconds)


def _freeze(world: World, host: Host, member: int, seconds: float) -> None:
    host.freeze(seconds)


def _freeze_in_the_act(world: World, host: Host, member: int, seconds: float) -> None:
    host.freeze_after = world.random.randrange(4)
    host.freeze_s = seconds


def _kill(world: World, host: Host, member: int, seconds: float) -> None:
    host.kill()
    world.later(seconds, host.start)


def _crash(world: World, host: Host, member: int, seconds: float) -> None:
    host.crash()
    world.later(seconds, host.start)


def _stop(world: World, host: Host, member: int, seconds: float) -> None:
    host.hear(host.run, StopRequested())
    world.later(seconds, host.start)


def _move(world: World, host: Host, member: int, seconds: float) -> None:
    to = world.random.choice((None, *(each.name for each in world.hosts)))
    host.hear(host.run, MoveRequested(1, world.vips[0].address, to))


def _drain(world: World, host: Host, member: int, seconds: float) -> None:
    host.hear(host.run, DrainRequested(1, drained=True))
    world.later(seconds, lambda: host.hear(host.run, DrainRequested(2, drained=False)))


def _sick(world: World, host: Host, member: int, seconds: float) -> None:
    host.hear(host.run, HealthChanged(healthy=False, detail="readyz: 500"))
    world.later(seconds, lambda: host.hear(host.run, HealthChanged(healthy=True, detail="")))


def _link(world: World, host: Host, member: int, seconds: float) -> None:
    _set_link(host, running=False)
    world.later(seconds, lambda: _set_link(host, running=True))


def _set_link(host: Host, *, running: bool) -> None:
    host.running_link = running
    host.hear(host.run, LinkChanged(LinkState(LINK_INDEX, ("eth0",), b"\2\0\0\0\0\1", running=running)))


def _cut_from_member(world: World, host: Host, member: int, seconds: float) -> None:
    pair = (host.name, member)
    world.cuts.add(pair)
    world.later(seconds, world.cuts.discard, pair)
    world.later(seconds, world.etcd.feed_all)


def _cut_from_etcd(world: World, host: Host, member: int, seconds: float) -> None:
    for each in range(world.members):
        _cut_from_member(world, host, each, seconds)


def _cut_from_peers(world: World, host: Host, member: int, seconds: float) -> None:
    for other in world.hosts:
        both = ((host.name, other.name), (other.name, host.name))
        for pair in both if world.random.random() < 0.6 else both[: world.random.randint(0, 1)] or both[1:]:
            world.peer_cuts.add(pair)
            world.later(seconds, world.peer_cuts.discard, pair)


def _cut_member(world: World, host: Host, member: int, seconds: float) -> None:
    world.etcd.cut_member(member)
    world.later(seconds, world.etcd.heal_member, member)


def _stop_member(world: World, host: Host, member: int, seconds: float) -> None:
    world.etcd.stop_member(member)
    world.later(seconds, world.etcd.heal_member, member)


def _stop_etcd(world: World, host: Host, member: int, seconds: float) -> None:
    for each in range(world.members):
        _stop_member(world, host, each, seconds)


def _move_leader(world: World, host: Host, member: int, seconds: float) -> None:
    world.etcd.move_leader()


def _compact(world: World, host: Host, member: int, seconds: float) -> None:
    world.etcd.compact()


def _lose(world: World, host: Host, member: int, seconds: float) -> None:
    world.loss = world.random.choice((0.05, 0.3, 0.8))
    world.later(seconds, lambda: setattr(world, "loss", 0.0))


def _slow(world: World, host: Host, member: int, seconds: float) -> None:
    world.slow = world.random.choice((0.1, 0.5, 1.0))
    world.later(seconds, lambda: setattr(world, "slow", 0.0))


def _removals_fail(world: World, host: Host, member: int, seconds: float) -> None:
    world.removals_fail = True
    world.later(seconds, lambda: setattr(world, "removals_fail", False))


_FAULTS = {
    "freeze": _freeze,
    "freeze in the act": _freeze_in_the_act,
    "kill": _kill,
    "crash": _crash,
    "stop": _stop,
    "move": _move,
    "drain": _drain,
    "sick": _sick,
    "link": _link,
    "cut from member": _cut_from_member,
    "cut from etcd": _cut_from_etcd,
    "cut from peers": _cut_from_peers,
    "cut member": _cut_member,
    "stop member": _stop_member,
    "stop etcd": _stop_etcd,
    "move leader": _move_leader,
    "compact": _compact,
    "loss": _lose,
    "slow": _slow,
    "removals fail": _removals_fail,
}


def _heal(world: World) -> None:
    """All faults end at once; healings that were still to come find nothing left to heal."""
    world.note("--- all healed")
    world.loss = world.slow = 0.0
    world.removals_fail = False
    world.cuts.clear()
    world.peer_cuts.clear()
    for member in range(world.members):
        world.etcd.heal_member(member)
    for host in world.hosts:
        host.freeze_after = None
        host.thaw(host.run)
        host.start()
        if not host.running_link:
            _set_link(host, running=True)
        host.hear(host.run, HealthChanged(healthy=True, detail=""))
        host.hear(host.run, DrainRequested(3, drained=False))


def _converge(world: World) -> None:
    """In the end every address has exactly one owner, the first of its queue."""

    def apart() -> bool:
        return any(len(world.owners(vip.address)) != 1 for vip in world.vips)

    if not world.run_while(apart, CONVERGED_WITHIN_S):
        state = {h.name: [c.phase.value for c in h.core.candidacies.values()] if h.core else None for h in world.hosts}
        raise InvariantBrokenError(f"not converged {CONVERGED_WITHIN_S:.0f} s after the last fault: {state}")
