"""Faults around a restart of the agent: at every instruction, with another fence, with a state file that lies.

Must never: touch what an agent believes. Counterpart: `Doom` in `world.py`, which ends a process at an order.
"""

from __future__ import annotations

from collections.abc import Callable

from sharedip.core.messages import Command, MoveRequested, SendDatagram, StopRequested, Transact
from sharedip.core.model import Delete, FenceKind, Put
from tests.models.judge import LAYOUT
from tests.models.store import Request
from tests.simulation.etcd import Spell
from tests.simulation.faults import (
    Fault,
    cut_from_etcd,
    cut_from_peers,
    freeze,
    kill_briefly,
    move,
    undisturbed,
    while_ill,
)
from tests.simulation.world import HEARTBEAT, Doom, Host, World

ORDERS_MAX = 60
"""A start and a whole hand over take some dozens of orders."""

FIRST_REVISION = slice(22, 30)
"""Of a datagram's first entry: 0 in a greeting, a designation's in a beat (docs/protocol.md)."""

APPLIED_AFTER_S = 0.0016
"""A request has arrived by then, and its answer is still on its way (`World.delay`: 0.5 to 1.5 ms each)."""


def _after_orders(number: int) -> Callable[[Command], bool]:
    left = [number]

    def strikes(order: Command) -> bool:
        left[0] -= 1
        return left[0] < 0

    return strikes


def _is_designation(order: Command) -> bool:
    return isinstance(order, Transact) and any(isinstance(op, Put) and LAYOUT.witness_of(op.key) for op in order.then)


def _is_beat(order: Command) -> bool:
    return isinstance(order, SendDatagram) and order.payload[4] == HEARTBEAT and any(order.payload[FIRST_REVISION])


def _soon(world: World) -> float:
    return world.random.uniform(0.01, 0.5)


def _somewhere(world: World) -> Doom:
    """Between any two orders, more often among the first."""
    number = int(ORDERS_MAX ** world.random.random()) - 1
    return Doom(_after_orders(number), None, _soon(world))


def _kill_in_the_act(world: World, host: Host, member: int, seconds: float) -> None:
    host.dooms.append(_somewhere(world))
    occasion = world.random.choice((None, None, move, cut_from_etcd, cut_from_peers))
    if occasion is not None:  # something to give orders for
        occasion(world, host, member, seconds / 4)


def _kill_in_the_act_twice(world: World, host: Host, member: int, seconds: float) -> None:
    host.dooms.extend((_somewhere(world), _somewhere(world)))
    if world.random.random() < 0.5:
        world.later(_soon(world), undisturbed, world, host.kill)
        world.later(0.6, host.start)


def _kill_around_its_designation(world: World, host: Host, member: int, seconds: float) -> None:
    """An owner finds a witness, and dies before it hears so; its next run beats once, and dies as well."""
    random = world.random
    host = next((owner for owner in world.hosts if any(map(owner.uses, owner.kernel.addresses))), host)
    alone_s = random.uniform(0.5, 1.5) * (world.window_s or 1.0)
    for other in world.hosts:
        for pair in ((host.name, other.name), (other.name, host.name)):
            world.peer_cuts.add(pair)
            world.later(alone_s, world.peer_cuts.discard, pair)
    after_s = random.choice((APPLIED_AFTER_S, APPLIED_AFTER_S, 0.0, 0.003))
    while_ill(world, alone_s, host.dooms.append, Doom(_is_designation, after_s, random.uniform(0.01, 0.3)))
    if random.random() < 0.8:
        second = Doom(_is_beat, random.choice((0.0, 0.002, 0.3)), random.choice((seconds, 5.0)))
        while_ill(world, alone_s, host.dooms.append, second)


def _stop_soon_after_a_restart(world: World, host: Host, member: int, seconds: float) -> None:
    """The next run is told to go before its lease is proved: what its former run left is all that it knows."""
    host.kill()
    started_in_s = world.random.uniform(0.01, 0.5)
    world.later(started_in_s, host.start)
    world.later(started_in_s + world.random.choice((0.0, 0.001, 0.003, 0.1)), _stop, host)
    world.later(started_in_s + seconds, host.start)


def _stop(host: Host) -> None:
    host.hear(host.run, StopRequested())


def _restart_with_another_fence(world: World, host: Host, member: int, seconds: float) -> None:
    """`fence: auto` takes what it finds at each start: nft may have failed then."""
    if world.random.random() < 0.3:
        freeze(world, host, member, seconds)
        world.later(min(seconds, 2.0), _change_fence, world, host)
        return
    _change_fence(world, host)


def _change_fence(world: World, host: Host) -> None:
    host.kill()
    if host.core is None:
        if world.random.random() < 0.25:  # so the former fence's address cannot be taken off at once
            pair = host.name, "removals"
            world.refusals[pair] = 1.0
            world.later(2.0, _accept_again, world, pair)
        host.fence = FenceKind.LIFETIME if host.fence is FenceKind.NFTABLES else FenceKind.NFTABLES
        world.later(world.random.choice((0.01, 0.3, 1.5)), host.start)


def _accept_again(world: World, pair: tuple[str, str]) -> None:
    world.refusals.pop(pair, None)


def _disk(state: str) -> Fault:
    def fail(world: World, host: Host, member: int, seconds: float) -> None:
        host.disk = state
        world.later(seconds, setattr, host, "disk", "well")
        occasion = world.random.choice(
            (None, _move_without_release, _move_without_release, cut_from_etcd, _kill_in_the_act)
        )
        if occasion is not None:
            occasion(world, host, member, seconds / 2)
        if world.random.random() < 0.8:
            world.later(world.random.choice((0.0, 0.005, 0.05, 0.5)), kill_briefly, world, host, member, seconds)

    return fail


def _move_without_release(world: World, host: Host, member: int, seconds: float) -> None:
    """The word is heard, and etcd never hears of it: the speaker's transaction is lost, often the taker's as well."""
    by_all = world.random.random() < 0.7
    spell = Spell(lambda by, request: (by_all or by is host) and _is_release(request), world.t + 1.5, None)
    world.etcd.spells += [spell] * (40 if by_all else 1)
    for vip in world.vips:
        host.hear(host.run, MoveRequested(1, vip.address, None))


def _is_release(request: Request) -> bool:
    return isinstance(request, Transact) and any(
        isinstance(op, Delete) and LAYOUT.election_of(op.key) is not None for op in request.then
    )


def _lose_state(world: World, host: Host, member: int, seconds: float) -> None:
    """A person empties the state directory, the agent dies, and begins again."""
    world.later(world.random.choice((0.0, 0.3)), setattr, host, "state", None)
    kill_briefly(world, host, member, seconds)


FAULTS: dict[str, Fault] = {
    "kill between two orders": _kill_in_the_act,
    "kill between two orders, twice": _kill_in_the_act_twice,
    "kill around its designation": _kill_around_its_designation,
    "stop soon after a restart": _stop_soon_after_a_restart,
    "restart with another fence": _restart_with_another_fence,
    "state can only be deleted": _disk("full"),
    "state can be neither written nor deleted": _disk("stuck"),
    "state lost": _lose_state,
}
