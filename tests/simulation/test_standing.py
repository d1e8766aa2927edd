"""Five nodes: the next in line is not on the node of etcd's leader, so owner and leader may die in one moment."""

from __future__ import annotations

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.election.fitness import SETTLED_S
from sharedip.core.messages import DrainRequested
from sharedip.core.model import FenceKind
from tests.simulation.world import World

pytestmark = pytest.mark.slow

WINDOW_S = 1.0
ELECTION_S = 3.0
"""The model elects within that."""
UNWATCHED_S = 0.15
"""To learn who leads etcd by now, how long its elections last, and to write it."""


class Five(World):
    """n1 owns, the others stand in the queue by their numbers; etcd's leader is on n1's node, too."""

    def __init__(self, seed: int, nodes: int = 5) -> None:
        super().__init__(seed, nodes=nodes, members=nodes, ttl_s=15, window_s=WINDOW_S, fence=FenceKind.NFTABLES)
        for number, host in enumerate(self.hosts):
            self.later(0.3 * number, host.start)
        self.run_until(self.t + 6.0)

    def queue(self) -> list[str]:
        """The candidates' names, the owner first, as n1 sees them."""
        core = self.hosts[0].core
        assert core is not None
        return [key.value.decode() for key in core.session.registry.candidates(self.vips[0].address)]

    def owner(self) -> list[str]:
        """Who answers."""
        return self.owners(self.vips[0].address)


@pytest.mark.parametrize("seed", range(5))
def test_the_successor_on_the_leaders_node_steps_back_once(seed: int) -> None:
    """And no sooner than the leader has been the same for a while; nobody else moves."""
    world = Five(seed)
    assert world.queue() == ["n1", "n2", "n3", "n4", "n5"]
    world.etcd.move_leader()
    world.run_until(world.t + SETTLED_S - 1.0)
    assert world.queue() == ["n1", "n2", "n3", "n4", "n5"]
    world.run_until(world.t + 3.0)
    assert world.queue() == ["n1", "n3", "n4", "n5", "n2"]
    revision = world.etcd.store.revision
    world.run_until(world.t + 30.0)
    assert world.queue() == ["n1", "n3", "n4", "n5", "n2"]
    assert world.etcd.store.revision == revision, "nothing is written at rest"
    assert world.owner() == ["n1"]


@pytest.mark.parametrize("seed", range(20))
def test_owner_and_leader_that_die_in_one_moment_are_replaced_by_a_living_node(seed: int) -> None:
    """Without the step back the address would wait for the dead successor's lease, 15 s."""
    world = Five(seed)
    world.etcd.move_leader()
    world.run_until(world.t + SETTLED_S + 5.0)
    for number in (0, 1):
        world.hosts[number].crash()
        world.etcd.stop_member(number)
    assert world.run_while(lambda: world.owner() in ([], ["n1"], ["n2"]), WINDOW_S + ELECTION_S)


def witness_and_leader_die(seed: int, leader: int) -> tuple[list[str], float]:
    """In one moment, n3 being the witness: who answers in the end, and for how long nobody did, in seconds."""
    world = Five(seed)
    while world.etcd.leader != leader:
        world.etcd.move_leader()
    world.run_until(world.t + 1.0 + seed * 0.173)
    core = world.hosts[0].core
    assert core is not None
    assert core.designations.witnesses_of(world.vips[0].address) == ["n3", "n4"]
    for number in (2, leader):
        world.hosts[number].crash()
        world.etcd.stop_member(number)
    died_at, dark_s = world.t, 0.0
    while world.t < died_at + 8.0:
        world.run_until(world.t + 0.01)
        dark_s += 0.01 * (world.owner() == [])
    return world.owner(), dark_s


@pytest.mark.parametrize("seed", range(8))
def test_an_owner_keeps_its_key_before_a_successor_that_has_died_with_etcds_leader(seed: int) -> None:
    """It can't free itself of the dead witness before etcd has a leader, so it lets go. Had it resigned, nobody could
    take the address before the successor's lease has ended, 15 s: it keeps its key, and comes back.
    """
    owner, dark_s = witness_and_leader_die(seed, leader=1)
    assert owner == ["n1"]
    assert dark_s <= 2.0


def test_a_successor_that_lives_takes_the_address_while_etcd_elects() -> None:
    """By the owner's word, unless etcd has answered that one a moment ago, which then waits for the election."""
    ends = [witness_and_leader_die(seed, leader=4) for seed in range(8)]
    assert [owner for owner, _ in ends].count(["n2"]) >= 6
    assert all(dark_s <= (0.5 if owner == ["n2"] else 2.0) for owner, dark_s in ends)


@pytest.mark.parametrize("seed", range(20))
def test_who_takes_over_after_an_election_is_watched_at_once(seed: int) -> None:
    """The only witness that is left has been without etcd a moment longer, and says so: nobody else is better. It is on
    the node of etcd's new leader, and so a slow one. Without it the next crash would wait for the lease.
    """
    world = Five(seed, nodes=3)
    world.run_until(world.t + seed * 0.173)
    while world.etcd.leader != 0:
        world.etcd.move_leader()
    world.run_until(world.t + 1.0)
    world.hosts[0].crash()
    world.etcd.stop_member(0)
    assert world.run_while(lambda: world.owner() in ([], ["n1"]), WINDOW_S + ELECTION_S)
    (owner,) = (host for host in world.hosts if host.node_name in world.owner())
    core, took_at, unwatched = owner.core, world.t, 0
    assert core is not None
    while world.t < took_at + 3.0:
        world.run_until(world.t + 0.05)
        unwatched += not core.designations.leases_of(world.vips[0].address)
    assert unwatched * 0.05 <= UNWATCHED_S


@pytest.mark.parametrize("seed", range(3))
def test_where_nobody_sound_stands_behind_the_successor_stays(seed: int) -> None:
    """A sick node is a worse successor than one that may die with another."""
    world = Five(seed)
    for host in world.hosts[2:]:
        host.hear(host.run, DrainRequested(1, drained=True))
    world.etcd.move_leader()
    world.run_until(world.t + SETTLED_S + 5.0)
    assert world.queue()[:2] == ["n1", "n2"]
    assert sorted(world.queue()[2:]) == ["n3", "n4", "n5"], "in the order in which they were drained"


@pytest.mark.parametrize("seed", range(3))
def test_three_nodes_stay_as_they_are(seed: int) -> None:
    """Without two of three members etcd could not say who is next, whoever it is."""
    world = Five(seed, nodes=3)
    world.etcd.move_leader()
    world.run_until(world.t + SETTLED_S + 5.0)
    assert world.queue() == ["n1", "n2", "n3"]


@pytest.mark.parametrize("seed", range(3))
def test_an_owner_never_steps_back(seed: int) -> None:
    """Its own node may have the leader as long as it likes."""
    world = Five(seed)
    world.run_until(world.t + 30.0)
    assert world.etcd.leader == 0
    assert world.owner() == ["n1"]
    core = world.hosts[0].core
    assert core is not None
    assert core.candidacies[world.vips[0].address].phase is Phase.OWNING
