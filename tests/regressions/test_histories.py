"""What an adversary found against the promise, as small histories: each was two owners, or none, once."""

from __future__ import annotations

import json

import pytest

from sharedip.core.messages import Command, SendDatagram, Transact
from sharedip.core.model import FenceKind, Put
from tests.models.judge import LAYOUT
from tests.simulation.world import HEARTBEAT, Doom, Host, World

pytestmark = pytest.mark.slow

FIRST_REVISION = slice(22, 30)
"""Of a datagram's first entry: 0 in a greeting, a designation's in a beat (docs/protocol.md)."""

APPLIED_AFTER_S = 0.0016
"""A request has arrived by then, and its answer is still on its way (`World.delay`: 0.5 to 1.5 ms each)."""


class Cluster(World):
    """Three nodes, started one after the other: n1 owns."""

    def __init__(self, seed: int, fence: FenceKind, window_s: float, ttl_s: int = 15) -> None:
        super().__init__(seed, nodes=3, ttl_s=ttl_s, window_s=window_s, fence=fence)
        for number, host in enumerate(self.hosts):
            self.later(0.3 * number, host.start)
        self.run_until(self.t + 6.0)
        self.n1 = self.hosts[0]
        assert self.answers() == ["n1"]

    def answers(self) -> list[str]:
        """Who answers for the address."""
        return self.owners(self.vips[0].address)

    def isolate_from_peers(self, host: Host) -> None:
        """Nothing gets through between it and the others."""
        for other in self.hosts:
            self.peer_cuts |= {(host.name, other.name), (other.name, host.name)}


def _designates(order: Command) -> bool:
    return isinstance(order, Transact) and any(
        isinstance(op, Put) and LAYOUT.witness_of(op.key) and json.loads(op.value)["witnesses"] for op in order.then
    )


def _beats(order: Command) -> bool:
    return isinstance(order, SendDatagram) and order.payload[4] == HEARTBEAT and any(order.payload[FIRST_REVISION])


@pytest.mark.parametrize(("fence", "window_s"), [(FenceKind.NFTABLES, 1.0), (FenceKind.LIFETIME, 2.5)])
@pytest.mark.parametrize("seed", range(10))
def test_a_run_that_beats_under_a_designation_of_its_former_run_gives_no_witness_power_over_what_stands_open(
    seed: int, fence: FenceKind, window_s: float
) -> None:
    """Killed when its designation was applied and before it knew; its next run is killed after its first beat."""
    world = Cluster(seed, fence, window_s)
    world.isolate_from_peers(world.n1)
    world.run_until(world.t + 6.0)  # an owner without a witness
    world.n1.dooms.append(Doom(_designates, APPLIED_AFTER_S, 0.2))
    world.n1.dooms.append(Doom(_beats, 0.002, 30.0))
    world.peer_cuts.clear()
    world.run_until(world.t + 20.0)


@pytest.mark.parametrize("seed", range(10))
def test_a_restart_from_a_gate_to_a_lifetime_leaves_nobody_without_the_address(seed: int) -> None:
    """The window of the former run's designation has no room for a whole second: nobody may stand on it for long."""
    world = Cluster(seed, FenceKind.NFTABLES, 1.0)
    world.n1.kill()
    world.n1.fence = FenceKind.LIFETIME
    world.later(0.2, world.n1.start)
    world.run_until(world.t + 15.0)
    assert world.answers()


@pytest.mark.parametrize("ttl_s", [4, 5, 6])
@pytest.mark.parametrize("seed", range(10))
def test_while_etcd_is_away_for_everybody_the_owner_keeps_its_place_whatever_the_lease(seed: int, ttl_s: int) -> None:
    """Whoever takes it by a word could prove no more than its owner: an etcd that is away for all moves nothing."""
    world = Cluster(seed, FenceKind.NFTABLES, 1.0, ttl_s)
    for member in range(world.members):
        world.etcd.stop_member(member)
    seen: set[str] = set()
    for _ in range(150):
        world.run_until(world.t + 0.1)
        seen.update(world.answers())
    assert seen == {"n1"}
    assert not world.answers()
    for member in range(world.members):
        world.etcd.heal_member(member)
    assert world.run_while(lambda: not world.answers(), 6.0)
    assert world.answers() == ["n1"]
