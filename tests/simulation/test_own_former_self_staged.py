"""Staged: a node's own former run is out of the way at once after a power cut, and no clone ever loses its lease."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharedip.core.messages import PeerAddressChanged, RevokeLease, SendDatagram
from sharedip.core.model import FenceKind
from tests.simulation import world as worlds
from tests.simulation.world import Host, World

pytestmark = pytest.mark.slow

SEEDS = range(20)
TTL_S = 15


def up(seed: int, *, fence: FenceKind = FenceKind.NFTABLES, window_s: float = 1.0) -> World:
    """Three nodes, one of which owns the address and has a witness."""
    world = World(seed, nodes=3, ttl_s=TTL_S, window_s=window_s, fence=fence, verbose=True)
    for number, host in enumerate(world.hosts):
        world.later(0.3 * number, host.start)
    world.run_until(world.t + 6)
    assert world.owners(world.vips[0].address)
    return world


def dark_s(world: World, limit_s: float = 60.0) -> float:
    """How long from now until somebody has the address."""
    began, address = world.t, world.vips[0].address
    assert world.run_while(lambda: not world.owners(address), limit_s)
    return world.t - began


def accusations(world: World) -> list[str]:
    """Who was called another agent."""
    return [line for line in world.transcript if "another agent" in line]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("down_s", [0.5, 5.0, 40.0])
def test_after_a_power_cut_of_everything_the_address_is_back_within_three_seconds(seed: int, down_s: float) -> None:
    """All nodes and all of etcd; /run is empty. Counted from etcd's first leader."""
    world = up(seed)
    for host in world.hosts:
        host.crash()
    for index in range(3):
        world.etcd.stop_member(index)
    world.run_until(world.t + down_s)
    for number, host in enumerate(world.hosts):
        world.later(0.2 * number, host.start)
    for index in range(3):
        world.etcd.heal_member(index)
    assert world.run_while(lambda: world.etcd.leader is None, 10.0)
    assert dark_s(world) <= 3.0
    world.run_until(world.t + 5)
    assert accusations(world) == []
    assert all(host.core is not None and host.core.session.is_registered for host in world.hosts)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("fence", FenceKind)
def test_all_agents_killed_and_their_state_lost_on_living_kernels(seed: int, fence: FenceKind) -> None:
    """Removed, confirmed, revoked at once: the world checks that no lease goes while its address stands."""
    world = up(seed, fence=fence, window_s=2.5 if fence is FenceKind.LIFETIME else 1.0)
    for host in world.hosts:
        host.kill()
        host.state = None
    for number, host in enumerate(world.hosts):
        world.later(0.1 * number, host.start)
    world.run_until(world.t + 0.05)
    assert dark_s(world) <= 3.0
    world.run_until(world.t + 5)
    assert accusations(world) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_candidate_that_reboots_is_back_in_the_queue_while_the_owner_stays(seed: int) -> None:
    """The owner greets the dead run's record meanwhile, and moves nowhere."""
    world = up(seed)
    address = world.vips[0].address
    (owner,) = world.owners(address)
    other = next(host for host in world.hosts if host.name != owner)
    other.crash()
    world.later(0.5, other.start)
    world.run_until(world.t + 3.0)
    assert other.core is not None
    assert other.core.session.is_registered
    assert world.owners(address) == [owner]
    assert accusations(world) == []


def cloned(monkeypatch: pytest.MonkeyPatch, seed: int, *, same_peer: bool) -> tuple[World, list[Host]]:
    """Two nodes that are copies of one machine, with its id and its name, and a third one."""

    world = World(seed, nodes=3, ttl_s=TTL_S, window_s=1.0, fence=FenceKind.NFTABLES, verbose=True)
    first, second, _ = world.hosts
    second.machine, second.node_name = first.machine, first.node_name
    if same_peer:
        monkeypatch.setattr(worlds, "PeerAddressChanged", _with_one_address)
    return world, [first, second]


def _with_one_address(address: str, *, is_here: bool) -> PeerAddressChanged:
    assert is_here
    return PeerAddressChanged("n1:9470" if address == "n2:9470" else address, is_here=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_of_two_clones_the_living_one_never_loses_its_lease(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """One machine id, one name, two addresses for peers: the second one waits, and says so, however often it starts."""
    world, (first, second) = cloned(monkeypatch, seed, same_peer=False)
    world.later(0.0, first.start)
    world.later(0.3, world.hosts[2].start)
    world.run_until(world.t + 4)
    assert first.core is not None
    lease = first.core.session.lease
    assert lease is not None
    for _ in range(3):
        second.start()
        world.run_until(world.t + 12)
        second.crash()
    second.start()
    world.run_until(world.t + 12)
    assert lease in world.etcd.store.leases
    assert first.core.session.lease == lease
    assert accusations(world)
    first.crash()  # it is gone in earnest: the other one has the name when its lease ends
    world.run_until(world.t + TTL_S + 5)
    assert second.core is not None
    assert second.core.session.is_registered


@pytest.mark.parametrize("seed", SEEDS)
def test_of_two_clones_with_one_address_the_one_that_is_heard_keeps_its_lease(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """An owner's witness answers it, and whoever has its address hears that (docs/safety.md says what remains)."""
    world, (first, second) = cloned(monkeypatch, seed, same_peer=True)
    answer = world.carry

    def carry(sender: Host, order: SendDatagram) -> None:
        """What goes to their one address reaches both."""
        answer(sender, order)
        if order.host == "n1":
            answer(sender, replace(order, host="n2"))

    monkeypatch.setattr(world, "carry", carry)
    world.later(0.0, first.start)
    world.later(0.3, world.hosts[2].start)
    world.run_until(world.t + 4)
    assert first.core is not None
    lease = first.core.session.lease
    assert world.owners(world.vips[0].address) == ["n1"]
    second.start()
    world.run_until(world.t + 3 * TTL_S)
    assert lease in world.etcd.store.leases
    assert world.owners(world.vips[0].address) == ["n1"]
    assert accusations(world)


def test_nobody_revokes_a_lease_that_is_not_its_own_but_its_former_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is revoked in a power cut: three leases, each by the node that had it."""
    world = up(1)
    holders = {lease: host.name for lease, host in world.etcd.holders.items()}
    revoked: list[tuple[str, str]] = []
    receive = world.etcd.receive

    def noting(host: Host, order: object) -> None:
        if isinstance(order, RevokeLease):
            revoked.append((host.name, holders[order.lease]))
        receive(host, order)  # type: ignore[arg-type]

    monkeypatch.setattr(world.etcd, "receive", noting)
    for host in world.hosts:
        host.crash()
        host.start()
    world.run_until(world.t + 10)
    assert sorted(revoked) == [("n1", "n1"), ("n2", "n2"), ("n3", "n3")]
