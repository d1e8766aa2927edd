"""Hooks that pass, fail, hang, answer late or never, on every node, under every fault: two owners there never are, no
address goes up that was not let in, nobody waits longer than a deadline, and in the end every world converges.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from sharedip.core.messages import StopRequested
from sharedip.core.model import FenceKind, Hook
from tests.simulation.histories import play
from tests.simulation.hooks import FATES, PlayedHooks
from tests.simulation.world import World

HISTORIES = max(6, int(os.environ.get("SHAREDIP_HISTORIES", "1000")) // 250)
PARTS = 2


@pytest.mark.parametrize("part", range(PARTS))
def test_random_histories_with_hooks(part: int) -> None:
    played = Counter[tuple[Hook, str]]()
    for seed in range(part, HISTORIES, PARTS):
        hooks = PlayedHooks(seed)
        outcome = play(seed, hooks=hooks)
        assert outcome.failure is None, f"seed {seed}: {outcome.failure}"
        played += hooks.played
    assert all(any(each is hook for each, _ in played) for hook in (Hook.ACQUIRE, Hook.CHANGE))


def settled(fate: str) -> World:
    """Three nodes whose hooks pass until somebody owns; from then on they meet that fate."""
    world = World(3, nodes=3, vips=1, ttl_s=15, window_s=1.0, fence=FenceKind.NFTABLES)
    world.hooks = PlayedHooks(3, ("passes",))
    for host in world.hosts:
        host.start()
    assert world.run_while(lambda: not world.owners(world.vips[0].address), 10.0)
    world.run_until(world.t + 3.0)
    world.hooks.fates = (fate,)
    return world


@pytest.mark.parametrize("fate", sorted(set(FATES)))
def test_whatever_on_release_does_a_stop_hands_over_within_its_deadline(fate: str) -> None:
    world = settled(fate)
    assert world.hooks is not None
    address = world.vips[0].address
    (name,) = world.owners(address)
    owner = next(host for host in world.hosts if host.name == name)
    begin = world.t
    owner.hear(owner.run, StopRequested())
    assert world.hooks.stories[-1][1]["hook"] == "onRelease"
    world.hooks.fates = ("passes",)
    assert world.run_while(lambda: name in world.owners(address), 10.0)
    assert world.t - begin < world.hooks.times[0][1] + 0.1
    assert world.run_while(lambda: not world.owners(address), 10.0)


@pytest.mark.parametrize("fate", ["fails", "hangs", "late", "silent"])
def test_who_is_refused_delays_the_next_one_by_a_deadline_at_most(fate: str) -> None:
    """The first to come after a crash is refused, the second is let in."""
    world = settled(fate)
    assert world.hooks is not None
    address = world.vips[0].address
    (name,) = world.owners(address)
    next(host for host in world.hosts if host.name == name).crash()
    told, begin = len(world.hooks.stories), world.t
    asked = world.hooks.stories
    assert world.run_while(lambda: not any(each["hook"] == "onAcquire" for _, each in asked[told:]), 5.0)
    world.hooks.fates = ("passes",)
    assert world.run_while(lambda: not world.owners(address), 10.0)
    first = next(node for node, each in asked[told:] if each["hook"] == "onAcquire")
    assert world.owners(address) != [first]
    assert world.t - begin < 1.0 + 0.5 + world.hooks.times[0][1] + 0.5
