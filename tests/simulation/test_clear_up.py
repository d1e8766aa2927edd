"""A simulated node starts as the agent does: every situation through `Host` and through `FormerFence`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from types import SimpleNamespace
from typing import Any

import pytest

from sharedip.agent.reports import Reports
from sharedip.agent.start import FormerFence
from sharedip.core.messages import Exit
from sharedip.core.model import FenceKind, IPAddress
from sharedip.core.state import FormerRun
from tests.models.judge import KEY_PREFIX
from tests.simulation.wire import LINK_INDEX
from tests.simulation.world import World
from tests.unit.agent.played_kernel import PlayedKernel

pytestmark = pytest.mark.slow

Addresses = frozenset[IPAddress]
Seen = tuple[Addresses, Addresses, bool] | FormerRun | None
"""What stands, what of it is mute, and whether the tables stand; first what the core is told of the former run."""


def subsets(*addresses: IPAddress) -> list[Addresses]:
    return [frozenset(some) for size in range(len(addresses) + 1) for some in combinations(addresses, size)]


def former_runs(*addresses: IPAddress) -> Iterator[FormerRun | None]:
    """Each state file that there may be, and none."""
    yield None
    for lease, named, held, fence in product((None, 1), subsets(*addresses), subsets(*addresses), (None, *FenceKind)):
        record = tuple((address, LINK_INDEX) for address in held)
        yield FormerRun(lease, KEY_PREFIX, "n1", tuple(named), drained=False, held=record, fence=fence)


def in_the_simulation(
    kind: FenceKind, former: FormerRun | None, standing: Addresses, guarded: Addresses, *, tags: bool, stuck: bool
) -> list[Seen]:
    """At the start, when all that stands has gone but the last, and at the end."""
    world = World(1, nodes=1)
    host = world.hosts[0]
    host.fence, host.keeps_tags = kind, tags
    host.kernel.addresses = dict.fromkeys(sorted(standing, key=int), float("inf"))
    host.kernel.guarded = set(guarded)
    if stuck:
        world.refusals[host.name, "removals"] = 1.0
    seen: list[Seen] = []

    def look() -> None:
        here, mute = frozenset(host.kernel.addresses), frozenset(host.kernel.guarded)
        seen.append((here, here & mute, bool(mute)))

    settings = world.settings(host.name)
    seen.append(host._clear_up(former, settings))
    look()
    core: Any = SimpleNamespace(settings=settings, starts_anew=False)
    host.core = core
    for address in sorted(host.kernel.addresses, key=int)[:1]:
        host.take_off(address)
        look()
    host._carry_out(Exit())
    look()
    return seen


def in_the_agent(
    kind: FenceKind, former: FormerRun | None, standing: Addresses, guarded: Addresses, *, tags: bool, stuck: bool
) -> list[Seen]:
    """The same with `agent/start.py`."""
    kernel = PlayedKernel(set(standing), set(standing) if stuck else set(), set(guarded) or None)
    kernel.tags_stick = tags
    played: Any = kernel
    fence = FormerFence(kind, played, played, Reports(lambda _: None, lambda _: None))
    seen: list[Seen] = []

    def look() -> None:
        here, mute = frozenset(kernel.standing), frozenset(kernel.mute())
        seen.append((here, here & mute, kernel.guarded() is not None))

    seen.append(fence.begin(World(1, nodes=1).vips, former))
    look()
    for address in sorted(kernel.standing, key=int)[:1]:
        kernel.standing.discard(address)
        fence.address_gone()
        look()
    fence.end()
    look()
    return seen


@pytest.mark.parametrize("kind", list(FenceKind))
@pytest.mark.parametrize("tags", [True, False], ids=["tags", "no tags"])
def test_a_simulated_node_clears_up_as_the_agent_does(kind: FenceKind, tags: bool) -> None:
    """What is kept, what stays mute, and when the tables go: a VIP, and an address that is configured no more."""
    (vip,) = World(1, nodes=1).vips
    both = (vip.address, vip.address + 1)
    for former, standing, guarded, stuck in product(former_runs(*both), subsets(*both), subsets(*both), (True, False)):
        simulated = in_the_simulation(kind, former, standing, guarded, tags=tags, stuck=stuck)
        agents = in_the_agent(kind, former, standing, guarded, tags=tags, stuck=stuck)
        assert simulated == agents, f"{former}, {standing=}, {guarded=}, {stuck=}"
