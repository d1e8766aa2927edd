"""Strangers who say things in agents' names: what they own, and what they gain by it."""

from __future__ import annotations

import pytest

from sharedip.core.model import FenceKind
from tests.simulation.forger import forge, forge_release
from tests.simulation.world import World

pytestmark = pytest.mark.slow


def settled(seed: int) -> World:
    """Three nodes, one owner, a witness."""
    world = World(seed, nodes=3, ttl_s=4, window_s=1.0, fence=FenceKind.NFTABLES)
    for number, host in enumerate(world.hosts):
        world.later(0.2 * number, host.start)
    world.run_until(world.t + 5.0)
    assert world.owners(world.vips[0].address) == ["n1"]
    return world


@pytest.mark.parametrize("seed", range(5))
def test_who_owns_everything_that_etcd_shows_and_agents_say_gains_nothing(seed: int) -> None:
    """Every word of his is counted as strange, by everybody, and nothing moves."""
    world = settled(seed)
    first = world.hosts[0]
    began = [host.core.inbox.strange_datagrams for host in world.hosts if host.core is not None]
    for _ in range(5):
        forge(world, first, 0, 5.0)
        world.run_until(world.t + 5.0)
    strange = [host.core.inbox.strange_datagrams for host in world.hosts if host.core is not None]
    assert all(now - before > 100 for now, before in zip(strange, began, strict=True))
    assert world.owners(world.vips[0].address) == ["n1"]
    assert first.core is not None
    assert first.core.designations.witnesses_of(world.vips[0].address)


def test_who_owns_what_two_agents_share_speaks_for_one_of_them_to_the_other() -> None:
    """What his word costs is measured elsewhere; here, that it is a word."""
    world = settled(1)
    first, second, _ = world.hosts
    assert second.core is not None
    strange = second.core.inbox.strange_datagrams
    heard: list[object] = []
    second.core._released = lambda *said: heard.append(said)  # type: ignore[method-assign]  # kept from being acted on
    forge_release(world, first, second, world.vips[0].address)
    assert len(heard) == 1
    assert second.core.inbox.strange_datagrams == strange
