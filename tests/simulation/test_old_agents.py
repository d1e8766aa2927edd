"""Agents of the version before, beside new ones: nobody believes the other's words, and the lease alone decides."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sharedip.core.messages import SendDatagram, StopRequested
from sharedip.core.model import FenceKind
from tests.models.agreement import ModelAgreement
from tests.simulation import world as simulation
from tests.simulation.world import Host, World

OLD = b"an agent that shows no public value"


class _Agreement(ModelAgreement):
    def __init__(self, private: bytes, table: dict[bytes, bytes]) -> None:
        super().__init__(private, table)
        if private == OLD:
            self.public = b""


class Mixed(World):
    """n1 is new; n2 and n3 are as `old` says."""

    def __init__(self, seed: int, *, old: tuple[int, ...]) -> None:
        self.said: list[tuple[str, str]] = []
        super().__init__(seed, nodes=3, ttl_s=4, window_s=1.0, fence=FenceKind.NFTABLES)
        for number, host in enumerate(self.hosts):
            host.private = OLD if number in old else None
            self.later(0.2 * number, host.start)
        self.run_until(self.t + 6.0)
        assert self.owners(self.vips[0].address) == ["n1"]

    def carry(self, sender: Host, order: SendDatagram) -> None:
        """Who speaks to whom."""
        self.said.append((sender.name, order.host))
        super().carry(sender, order)

    def gap_s(self, trouble: Callable[[], None]) -> float:
        """How long nobody answers."""
        began = self.t
        trouble()
        address = self.vips[0].address
        assert self.run_while(lambda: self.owners(address) in ([], ["n1"]), 10.0)
        return self.t - began


@pytest.fixture(autouse=True)
def old_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "ModelAgreement", _Agreement)


@pytest.mark.parametrize("seed", range(5))
def test_an_old_agent_is_no_witness_and_follows_when_the_lease_ends(seed: int) -> None:
    """Nothing is said between the two; the address moves all the same, by etcd."""
    world = Mixed(seed, old=(1, 2))
    core = world.hosts[0].core
    assert core is not None
    assert core.designations.witnesses_of(world.vips[0].address) == []
    gap_s = world.gap_s(world.hosts[0].crash)
    assert 1.5 < gap_s < 5.5, "the lease of 4 s, extended by nobody"
    assert world.said == []


@pytest.mark.parametrize("seed", range(5))
def test_an_old_agent_is_handed_the_address_by_etcd(seed: int) -> None:
    world = Mixed(seed, old=(1, 2))
    first = world.hosts[0]
    assert world.gap_s(lambda: first.hear(first.run, StopRequested())) < 0.2
    assert world.said == []


@pytest.mark.parametrize("seed", range(5))
def test_a_new_agent_among_old_ones_is_designated(seed: int) -> None:
    world = Mixed(seed, old=(1,))
    core = world.hosts[0].core
    assert core is not None
    assert core.designations.witnesses_of(world.vips[0].address) == ["n3"]
    assert not {pair for pair in world.said if "n2" in pair}
