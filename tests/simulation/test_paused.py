"""A machine that is paused as a whole, and comes back with every clock as it was: for how long two nodes answer.

docs/safety.md, "What is not promised", has these bounds. Three nodes, a window of 1 s and leases of 15 s.
"""

from __future__ import annotations

import pytest

from sharedip.core.messages import Announce
from sharedip.core.model import FenceKind
from tests.simulation.scenarios import Story
from tests.simulation.world import Host, World

ROUND_TRIP_S = 0.02
"""What the model's wires and etcd need for a question, its answer, and the kernel's removal."""
BEAT_S = 0.25
LOOK_S = 0.001


def two_for_s(story: Story, seconds: float) -> float:
    """For how long two nodes had the address."""
    steps = round(seconds / LOOK_S)
    two = 0
    for _ in range(steps):
        story.go_on(LOOK_S)
        two += len(story.owners(story.vips[0].address)) > 1
    return two * LOOK_S


def announced(story: Story, host: Host) -> list[float]:
    """When that node announces the address from now on."""
    at: list[float] = []
    execute = host._execute

    def noted(orders: list) -> None:  # type: ignore[type-arg]
        at.extend(story.t for order in orders if isinstance(order, Announce))
        execute(orders)

    host._execute = noted  # type: ignore[method-assign]
    return at


def paused(seconds: float, *, is_deaf: bool) -> Story:
    """The owner stands still for so long, then runs again."""
    story = Story(witnessed=True)
    story.n1.pause(seconds, is_deaf=is_deaf)
    story.go_on(seconds - 0.001)
    assert story.owners(story.vips[0].address) not in ([], ["n1"]), "another one has it"
    return story


@pytest.mark.parametrize("is_deaf", [False, True], ids=["heard", "lost"])
def test_without_a_witness_and_without_etcd_it_is_the_others_that_tell(*, is_deaf: bool) -> None:
    """Its right would last for another thirteen seconds. Their clocks end it, where their hellos have waited for it.
    Its lease has ended, so they say none any more: else the new owner answers its own first one.
    """
    world = World(7, ttl_s=15, window_s=None, fence=FenceKind.LIFETIME, verbose=True)
    for host in world.hosts:
        world.later(0.1 * int(host.name[1:]), host.start)
    world.run_until(world.t + 12.0)
    address, first = world.vips[0].address, world.hosts[0]
    assert world.owners(address) == [first.name]
    first.pause(20.0, is_deaf=is_deaf)
    world.cuts.update((first.name, member) for member in range(world.members))
    world.run_until(world.t + 19.999)
    assert world.owners(address) not in ([], [first.name])
    assert first.core is not None
    assert first.core.session.lease_until > first.now() + 8.0
    world.run_until(world.t + 1.0 + ROUND_TRIP_S)
    assert first.name not in world.owners(address)
    world.run_until(world.t + 2.0)
    why = "has it by now" if is_deaf else "this machine stood still for 1"
    assert any(line.split("  ", 2)[-1].startswith("n1: ") and why in line for line in world.transcript)


@pytest.mark.parametrize("seconds", [3.0, 8.0, 14.0, 60.0])
@pytest.mark.parametrize("is_deaf", [False, True], ids=["heard", "lost"])
def test_it_lets_go_at_its_first_word_with_others(seconds: float, is_deaf: bool) -> None:
    """Its kernel's rules shut it before it runs where a claim of the new owner has come meanwhile; else the answer to
    its next beat does.
    """
    story = paused(seconds, is_deaf=is_deaf)
    said = announced(story, story.n1)
    bound_s = ROUND_TRIP_S + BEAT_S if is_deaf else 0.0
    assert two_for_s(story, 3.0) <= bound_s
    assert said == []
    assert len(story.owners(story.vips[0].address)) == 1
