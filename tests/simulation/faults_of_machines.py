"""Faults of whole machines and of what runs beside the agent: power, load, programs that flush the fence.

Must never: touch what an agent believes. Counterpart: `Host` in `world.py`.
"""

from __future__ import annotations

from sharedip.core.model import FenceKind
from tests.simulation.faults import (
    Fault,
    crash,
    cut_from_etcd,
    cut_from_peers,
    freeze,
    move,
    stop_member,
    undisturbed,
    while_ill,
)
from tests.simulation.world import LOOKS_AT_FENCE_WITHIN_S, Host, World


def _power_cut(world: World, host: Host, member: int, seconds: float) -> None:
    """Everything at once, etcd too; what stood in /run is gone."""
    for each in range(world.members):
        stop_member(world, host, each, seconds)
    for other in world.hosts:
        crash(world, other, member, seconds + world.random.uniform(-0.5, 2.0) if seconds > 1.0 else seconds)


def _facts_wait(world: World, host: Host, member: int, seconds: float) -> None:
    """A loop that is late: other programs, a long turn, a slow system call."""
    if world.t < host.unharmed_until:
        return
    host.stall_s = world.random.choice((0.05, 0.2, 0.4))
    world.later(seconds, setattr, host, "stall_s", 0.0)


def _flush_fence(world: World, host: Host, member: int, seconds: float) -> None:
    """By another program, while the agent is well: what stands mute already would be heard, and is spared."""
    willing = host.core is not None and not host.frozen and host.freeze_after is None and not host.dooms
    willing = willing and not host.stall_s and host.busy_until <= world.t and not host.pause_at_word_s
    if host.fence is not FenceKind.NFTABLES or not willing or not all(map(host.uses, host.kernel.addresses)):
        return
    host.flush_fence()
    if world.random.random() < 0.6:  # just when the agent must have seen it
        fate = world.random.choice((freeze, _kill))
        while_ill(world, LOOKS_AT_FENCE_WITHIN_S + 0.001, fate, world, host, member, max(seconds, 3.0))
    occasion = world.random.choice((None, None, cut_from_etcd, cut_from_peers, move))
    if occasion is not None:
        occasion(world, host, member, seconds)


def _kill(world: World, host: Host, member: int, seconds: float) -> None:
    undisturbed(world, host.kill)
    world.later(seconds, host.start)


FAULTS: dict[str, Fault] = {
    "power cut": _power_cut,
    "facts wait in the loop": _facts_wait,
    "the fence is flushed": _flush_fence,
}
