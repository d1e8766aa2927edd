"""Two agents and a tie-breaking member of etcd: the only candidate left may be on the node of etcd's leader."""

from __future__ import annotations

import pytest

from sharedip.core.model import FenceKind
from sharedip.core.peers.leader_away import QUIET_S
from tests.simulation.world import World

pytestmark = pytest.mark.slow

WINDOW_S = 1.0


class Two(World):
    """n1 owns, n2 stands behind it; etcd's third member has a machine of its own. `beside`: which one leads."""

    def __init__(
        self,
        seed: int,
        beside: int,
        *,
        ttl_s: int = 15,
        election_timeout_s: float = 1.0,
        move_leader: bool = False,
    ) -> None:
        super().__init__(
            seed,
            nodes=2,
            members=3,
            ttl_s=ttl_s,
            window_s=WINDOW_S,
            fence=FenceKind.NFTABLES,
            election_timeout_s=election_timeout_s,
        )
        self.move_leader = move_leader
        for number, host in enumerate(self.hosts):
            self.later(0.3 * number, host.start)
        self.run_until(self.t + 5.0)
        while self.etcd.leader != beside:
            self.etcd.move_leader()
        self.run_until(self.t + 10.0 + seed * 0.173)
        assert self.owner() == ["n1"]

    def owner(self) -> list[str]:
        """Who answers."""
        return self.owners(self.vips[0].address)

    def window_s_of_n1(self) -> float | None:
        """What its witness has promised; None: it has none."""
        core = self.hosts[0].core
        assert core is not None
        return next((each.window_s for each in core.designations.active.values()), None)

    def lose(self, number: int, *, with_member: bool = True) -> None:
        """A node loses its power."""
        self.hosts[number].crash()
        if with_member:
            self.etcd.stop_member(number)


@pytest.mark.parametrize(("beside", "window_s"), [(0, WINDOW_S), (1, 8.0), (2, WINDOW_S)])
def test_whoever_is_left_watches_and_slowly_beside_etcds_leader(beside: int, window_s: float) -> None:
    assert Two(0, beside).window_s_of_n1() == window_s


@pytest.mark.parametrize("seed", range(20))
def test_a_dead_owner_is_replaced_within_the_slow_window(seed: int) -> None:
    """The lease would have taken up to 15.6 s."""
    world = Two(seed, beside=1)
    world.lose(0)
    assert world.run_while(lambda: world.owner() != ["n2"], 8.0 + 0.3)


@pytest.mark.parametrize("seed", range(10))
def test_a_long_lease_gains_most(seed: int) -> None:
    """k3s and RKE2 have an election timeout of 5 s, and so the shortest lease is 8 s, and the slow window 32 s."""
    world = Two(seed, beside=1, ttl_s=60, election_timeout_s=5.0)
    assert world.window_s_of_n1() == 32.0
    world.lose(0)
    assert world.run_while(lambda: world.owner() != ["n2"], 32.0 + 0.3)


def test_a_slow_window_that_gains_nothing_is_none() -> None:
    world = Two(0, beside=1, ttl_s=15, election_timeout_s=5.0)
    assert world.window_s_of_n1() is None


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("election_timeout_s", "ttl_s"), [(1.0, 15), (5.0, 60)])
def test_who_watches_and_leads_etcd_may_die_and_the_address_stays(
    seed: int, election_timeout_s: float, ttl_s: int
) -> None:
    """The promise outlasts the election, and etcd, which has a leader again, frees the owner from it."""
    world = Two(seed, beside=1, ttl_s=ttl_s, election_timeout_s=election_timeout_s)
    world.lose(1)
    assert not world.run_while(lambda: world.owner() == ["n1"], 10 * election_timeout_s + 30.0), "it was dark"
    assert world.window_s_of_n1() is None


@pytest.mark.parametrize("seed", range(20))
def test_an_election_whose_votes_were_split_is_outlasted_as_well(seed: int) -> None:
    """Held twice, it takes up to four election timeouts."""
    world = Two(seed, beside=1)
    world.etcd.election_timeout_s = 2.0
    world.lose(1)
    assert not world.run_while(lambda: world.owner() == ["n1"], 40.0), "it was dark"


@pytest.mark.parametrize("seed", range(10))
def test_a_leader_that_moves_away_makes_the_witness_fast_again(seed: int) -> None:
    world = Two(seed, beside=1)
    world.etcd.move_leader()
    assert world.run_while(lambda: world.window_s_of_n1() != WINDOW_S, 3.0)
    world.run_until(world.t + 1.0)  # a witness has its power with the first beat
    world.lose(0)
    assert world.run_while(lambda: world.owner() != ["n2"], WINDOW_S + 0.3)


@pytest.mark.parametrize("seed", range(10))
def test_etcd_may_be_away_for_as_long_as_the_lease_lasts(seed: int) -> None:
    """A slow witness that lives answers without etcd, too."""
    world = Two(seed, beside=1)
    for number in range(3):
        world.etcd.stop_member(number)
    assert not world.run_while(lambda: world.owner() == ["n1"], 11.0)


@pytest.mark.parametrize("seed", range(5))
def test_an_owner_beside_etcds_leader_has_it_moved_to_the_member_beside_nobody(seed: int) -> None:
    """Then its death is not etcd's, and its witness a fast one; and nothing is asked again."""
    world = Two(seed, beside=0, move_leader=True)
    assert world.run_while(lambda: world.etcd.leader != 2, 5.0 + QUIET_S)
    term = world.etcd.term
    world.run_until(world.t + 60.0)
    assert (world.etcd.leader, world.etcd.term) == (2, term)
    assert world.window_s_of_n1() == WINDOW_S
    world.lose(0)
    assert world.run_while(lambda: world.owner() != ["n2"], WINDOW_S + 0.3)


def test_without_being_asked_to_nobody_moves_etcds_leader() -> None:
    world = Two(0, beside=0)
    world.run_until(world.t + 60.0)
    assert world.etcd.leader == 0
