"""After a power cut an agent finds its own former self in etcd; a clone finds somebody else who looks the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sharedip.core.messages import Event, RequestFailed
from sharedip.core.model import FenceKind
from tests.simulation.world import Host, World

pytestmark = pytest.mark.slow

BACK_WITHIN_S = 3.0
"""From etcd's first answer on: a window in which the former self is silent, an election, and the probes."""


class Site(World):
    """Some machines and their etcd; `answered_at` tells when etcd answered first since it was cleared."""

    def __init__(self, seed: int, nodes: int = 3) -> None:
        super().__init__(seed, nodes=nodes, ttl_s=15, window_s=1.0, fence=FenceKind.NFTABLES)
        self.answered_at: float | None = None
        for host in self.hosts:
            host.answer = self._noting(host)  # type: ignore[method-assign, assignment]

    def begin(self) -> None:
        """Start all, one after the other."""
        for number, host in enumerate(self.hosts):
            self.later(0.3 * number, host.start)
        self.run_until(self.t + 6.0)
        assert self.answers() == ["n1"]

    def answers(self) -> list[str]:
        """Who answers for the address."""
        return self.owners(self.vips[0].address)

    def is_candidate(self, host: Host) -> bool:
        """Whether a key of the host's own lease stands in the queue."""
        core = host.core
        return core is not None and any(
            key.lease == core.session.lease for key in core.session.registry.candidates(self.vips[0].address)
        )

    def _noting(self, host: Host) -> Callable[[int, int, Event], None]:
        told = host.answer

        def answer(run: int, request: int, event: Event) -> None:
            if self.answered_at is None and not isinstance(event, RequestFailed):
                self.answered_at = self.t
            told(run, request, event)

        return answer

    def power_cut(self, lasts_s: float) -> None:
        """Every machine is off at once, etcd with it, and comes back without its /run."""
        for host in self.hosts:
            host.crash()
        for member in range(self.members):
            self.etcd.stop_member(member)
        self.run_until(self.t + lasts_s)
        self.answered_at = None
        for member in range(self.members):
            self.later(self.random.uniform(0.0, 1.0), self.etcd.heal_member, member)
        for host in self.hosts:
            self.later(self.random.uniform(0.0, 1.0), host.start)


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.parametrize("lasts_s", [2.0, 30.0])
@pytest.mark.parametrize("seed", range(5))
def test_after_a_power_cut_of_everything_the_address_is_back_soon_after_etcds_first_answer(
    seed: int, lasts_s: float, nodes: int
) -> None:
    """The kernels of the former runs are gone, and nothing of theirs need be waited for."""
    site = Site(seed, nodes)
    site.begin()
    site.power_cut(lasts_s)
    assert site.run_while(lambda: not site.answers(), 60.0)
    assert site.answered_at is not None
    assert site.t - site.answered_at <= BACK_WITHIN_S


@pytest.mark.parametrize("seed", range(5))
def test_an_agent_whose_state_is_lost_over_a_restart_is_a_candidate_again_soon(seed: int) -> None:
    """Same boot, and the lock is its own: what stands is removed, seen to be gone, and the former lease given back."""
    site = Site(seed)
    site.begin()
    n1 = site.hosts[0]
    n1.kill()
    n1.state = None
    site.later(0.2, n1.start)
    site.run_until(site.t + 0.2 + BACK_WITHIN_S)
    assert site.is_candidate(n1)


@pytest.mark.parametrize("shares_address", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_a_clone_takes_nothing_from_the_machine_that_it_was_copied_from(seed: int, *, shares_address: bool) -> None:
    """Same machine id, same node name, maybe the same peer address in its documents: the living one keeps its lease."""
    site = Site(seed)
    n1, n3 = site.hosts[0], site.hosts[2]
    n3.machine, n3.node_name = n1.machine, n1.node_name
    if shares_address:
        n3.peer_host = n1.peer_host
    site.begin()
    assert n1.core is not None
    lease = n1.core.session.lease
    for _ in range(3):
        site.run_until(site.t + 10.0)
        n3.crash()
        site.later(0.5, n3.start)
    site.run_until(site.t + 20.0)
    assert n1.core is not None
    assert n1.core.session.lease == lease
    assert site.answers() == ["n1"]
    assert not site.is_candidate(n3)
