"""Clients of an owner that died are told by whoever takes the address, and nobody else's are (docs/protocol.md)."""

from __future__ import annotations

import pytest

from sharedip.core.clients.standing import LOOK_EVERY_S, OLD_AFTER_S
from sharedip.core.clients.telling import VERIFY_S
from sharedip.core.clients.tickling import AGAIN_S, SEQUENCES
from sharedip.core.messages import StopRequested
from sharedip.core.model import FenceKind
from tests.simulation.clients import CLIENTS, served_by
from tests.simulation.world import Host, World

KNOWN_S = 2 * LOOK_EVERY_S + OLD_AFTER_S + 5.0
"""By then an owner has told all of its clients."""


def served(seed: int) -> tuple[World, Host]:
    """Three nodes, and the one that has had the address for long enough."""
    world = World(seed, ttl_s=4, window_s=1.0, fence=FenceKind.NFTABLES, verbose=True)
    for number, host in enumerate(world.hosts):
        world.later(0.2 * number, host.start)
    world.run_until(world.t + KNOWN_S)
    (owner,) = owners(world)
    return world, owner


def owners(world: World) -> list[Host]:
    return [host for host in world.hosts if host.uses(world.vips[0].address)]


@pytest.mark.parametrize("seed", range(5))
def test_after_a_crash_the_clients_of_the_dead_owner_are_told_twice(seed: int) -> None:
    world, owner = served(seed)
    address = world.vips[0].address
    assert owner.core is not None
    epoch = owner.core.candidacies[address].epoch
    assert epoch is not None
    owner.crash()
    world.run_until(world.t + 5.0 + AGAIN_S)
    (taker,) = owners(world)
    tickled = world.clients.tickled
    assert [(name, order.sequence) for name, order in tickled] == [(taker.name, each) for each in SEQUENCES]
    assert {order.clients for _, order in tickled} == {tuple(served_by(address, epoch))}
    assert sum(f"{CLIENTS} clients told" in line for line in world.transcript) == 1


def test_after_a_handover_nobody_is_asked() -> None:
    """The leaver has reset its connections itself."""
    world, owner = served(1)
    owner.hear(owner.run, StopRequested())
    world.run_until(world.t + 10.0)
    assert owners(world) != [owner]
    assert world.clients.tickled == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("by_word", [True, False])
def test_the_clients_of_an_owner_that_lost_its_link_are_told_by_the_next_one(seed: int, *, by_word: bool) -> None:
    """It lets go in order, and its resets go nowhere: its word and its record say so."""
    world, owner = served(seed)
    if not by_word:
        world.peer_cuts = {(one.name, other.name) for one in world.hosts for other in world.hosts}
    owner.set_link(running=False)
    world.run_until(world.t + 5.0 + AGAIN_S)
    (taker,) = owners(world)
    assert taker is not owner
    tickled = world.clients.tickled
    assert [(name, order.sequence) for name, order in tickled] == [(taker.name, each) for each in SEQUENCES]
    assert any("is down)" in line and f"{taker.name}: taking the address" in line for line in world.transcript)


@pytest.mark.parametrize("seed", range(5))
def test_a_candidate_that_was_started_anew_hears_all_of_it_again(seed: int) -> None:
    """Its agent remembers nothing, and the owner finds that out by itself."""
    world, owner = served(seed)
    others = [host for host in world.hosts if host is not owner]
    for host in others:
        host.kill()
        world.later(0.3, host.start)
    world.run_until(world.t + VERIFY_S + 5.0)
    assert owners(world) == [owner]
    owner.crash()
    world.run_until(world.t + 5.0)
    assert [len(order.clients) for _, order in world.clients.tickled][:1] == [CLIENTS]
