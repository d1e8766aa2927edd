"""The witnessed lease's narrow passages, staged by hand: chance meets them too rarely to prove anything by them.

Each leaves the owner alone with one promise, cut off from etcd and from its witness, at the worst instant for it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import Command, GateRefused, MoveRequested, OpenGate, SendDatagram, StopRequested
from sharedip.core.model import FenceKind
from sharedip.core.segment.wire import RELEASES
from sharedip.core.settings import LIFETIME_LATE_S
from tests.simulation.etcd import Spell
from tests.simulation.faults_of_words import is_execution
from tests.simulation.world import Host, World

pytestmark = pytest.mark.slow

WINDOW_S = 1.0


class Stage(World):
    """Three nodes; n1 owns, and `witness` may depose it."""

    def __init__(
        self, seed: int, window_s: float = WINDOW_S, fence: FenceKind = FenceKind.NFTABLES, ttl_s: int = 15
    ) -> None:
        self.on_datagram: Callable[[Host, SendDatagram], float | None] | None = None
        super().__init__(seed, nodes=3, ttl_s=ttl_s, window_s=window_s, fence=fence)
        for number, host in enumerate(self.hosts):
            self.later(0.2 * number, host.start)
        self.run_until(self.t + 5.0)
        self.n1 = self.hosts[0]
        assert self.n1.core is not None
        (designation,) = self.n1.core.designations.active.values()
        (lease,) = designation.promises
        self.witness = next(host for host in self.hosts if host.core and host.core.session.lease == lease)

    def carry(self, sender: Host, order: SendDatagram) -> None:
        """As the wire would, but later by what `on_datagram` says; None is a loss."""
        late_s = 0.0 if self.on_datagram is None else self.on_datagram(sender, order)
        if late_s is not None:
            self.later(late_s, super().carry, sender, order)

    def cut_from_etcd(self, host: Host) -> None:
        """Nothing gets through to any member."""
        self.cuts |= {(host.name, member) for member in range(self.members)}

    def lead_from_the_successor(self) -> None:
        """Etcd's leader moves to n2, the next in line: n1 could be its witness by that."""
        self.etcd.move_leader()
        self.run_until(self.t + 3.0)

    def hand_over_of_one_cut_off(self) -> str:
        """Cut n1 off from etcd. Returns who follows, in less than 0.1 s, when its lease runs out."""
        self.cut_from_etcd(self.n1)
        assert self.run_while(lambda: self.answers() == ["n1"], 16.0)
        gone_at = self.t
        assert self.run_while(lambda: not self.answers(), 1.0)
        assert self.t - gone_at < 0.1
        (successor,) = self.answers()
        return successor

    def answers(self) -> list[str]:
        """Who answers for the address."""
        return self.owners(self.vips[0].address)


@pytest.mark.parametrize("seed", range(5))
def test_an_acknowledgement_that_took_long_promises_no_more_than_one_that_did_not(seed: int) -> None:
    """Counting from receive time breaks it: one last beat, its acknowledgement comes 0.45 s late, then silence."""
    stage = Stage(seed)
    beaten: list[float] = []

    def wire(sender: Host, order: SendDatagram) -> float | None:
        if sender is stage.n1 and order.host == stage.witness.name:
            if beaten:
                return None
            beaten.append(stage.t)
            stage.cut_from_etcd(stage.n1)
            return 0.0
        return 0.45 if sender is stage.witness and order.host == stage.n1.name else 0.0

    stage.on_datagram = wire
    stage.run_until(stage.t + 1.0 + WINDOW_S)
    assert beaten
    assert stage.answers() == [stage.witness.name]


@pytest.mark.parametrize("seed", range(5))
def test_a_kernel_that_refuses_to_shorten_the_fence_gives_no_witness_its_power(seed: int) -> None:
    """Beating before the fence is tight breaks it: the gate stays open for the whole lease, and the agent freezes."""
    stage = Stage(seed)
    n1 = stage.n1
    for host in stage.hosts[1:]:
        host.crash()
    stage.run_until(stage.t + 25.0)  # nobody is left to depose n1: its gate is open for the lease
    open_gate = n1._carry_out

    def refuse(order: Command) -> None:
        if isinstance(order, OpenGate):
            n1._soon(GateRefused(order.vips, "EBUSY"))
        else:
            open_gate(order)

    n1._carry_out = refuse  # type: ignore[method-assign]
    for host in stage.hosts[1:]:
        host.start()
    stage.run_until(stage.t + 0.2)  # long enough to designate, and less than the core takes refusals for
    n1.freeze(30.0)
    stage.run_until(stage.t + 20.0)
    assert stage.answers() != [n1.name]


@pytest.mark.parametrize("ttl_s", [4, 5, 6, 15])
@pytest.mark.parametrize("seed", range(5))
def test_an_owner_that_is_cut_off_from_etcd_alone_hands_over_when_its_lease_ends(seed: int, ttl_s: int) -> None:
    """Its word reaches the next candidate; waiting until etcd ends the lease would cost seconds more."""
    stage = Stage(seed, ttl_s=ttl_s)
    stage.lead_from_the_successor()
    successor = stage.hand_over_of_one_cut_off()
    address = stage.vips[0].address
    core = next(host.core for host in stage.hosts if host.name == successor)
    assert core is not None
    assert stage.run_while(lambda: not core.designations.witnesses_of(address), 1.0)
    assert "n1" not in core.designations.witnesses_of(address), "it leaves, and hears nothing of etcd"
    stage.run_until(stage.t + 10.0)
    stage.cuts.clear()
    stage.run_until(stage.t + 10.0)
    assert stage.answers() == [successor]


@pytest.mark.parametrize("seed", range(5))
def test_an_owner_whose_etcd_and_peers_are_away_keeps_its_place(seed: int) -> None:
    """Nobody would hear its word: it takes the address again as soon as its right is proved."""
    stage = Stage(seed)
    for host in stage.hosts[1:]:
        host.freeze(40.0)
    stage.run_until(stage.t + 8.0)  # without a witness, and nobody has answered for long
    stage.cut_from_etcd(stage.n1)
    assert stage.run_while(lambda: stage.answers() == ["n1"], 16.0)
    core = stage.n1.core
    assert core is not None
    candidacy = core.candidacies[stage.vips[0].address]
    assert stage.run_while(lambda: candidacy.phase is Phase.OWNING, 2.0)
    assert candidacy.phase in (Phase.LAPSED, Phase.WAITING)


@pytest.mark.parametrize("seed", range(5))
def test_who_hands_over_is_not_the_new_owners_witness(seed: int) -> None:
    """Its key stands in front until etcd hears of its release, and it answers greetings until it ends."""
    stage = Stage(seed)
    stage.etcd.spells += [Spell(is_execution, stage.t + 10.0, None) for _ in range(100)]  # the new owner's, all lost
    stage.lead_from_the_successor()
    stage.cut_from_etcd(stage.n1)
    stage.n1.hear(stage.n1.run, StopRequested())
    assert stage.run_while(lambda: stage.answers() != ["n2"], 1.0)
    n2 = next(host for host in stage.hosts if host.name == "n2")
    assert n2.core is not None
    for _ in range(30):
        stage.run_until(stage.t + 0.05)
        assert "n1" not in n2.core.designations.witnesses_of(stage.vips[0].address)
    assert stage.answers() == ["n2"]


@pytest.mark.parametrize("seed", range(5))
def test_whom_a_former_bid_was_left_for_is_forgotten(seed: int) -> None:
    """Moved to n3 and back by the operator, then cut off from etcd: the next in line is n2."""
    stage = Stage(seed)
    address = stage.vips[0].address
    stage.n1.hear(stage.n1.run, MoveRequested(1, address, "n3"))
    assert stage.run_while(lambda: stage.answers() != ["n3"], 2.0)
    stage.run_until(stage.t + 3.0)
    n3 = next(host for host in stage.hosts if host.name == "n3")
    n3.hear(n3.run, MoveRequested(2, address, "n1"))
    assert stage.run_while(lambda: stage.answers() != ["n1"], 2.0)
    stage.run_until(stage.t + 5.0)
    stage.hand_over_of_one_cut_off()


@pytest.mark.parametrize("seed", range(5))
def test_a_witness_that_freezes_as_its_owner_loses_etcd_costs_no_more_than_its_lease(seed: int) -> None:
    """L10c: the owner says its last word, for it can't know whether the witness's key, which comes next, is as dead as
    its agent. Here it stands until its lease ends; then the third has the address, whose owner has long let go.
    """
    stage = Stage(seed, 2.5, FenceKind.LIFETIME)
    stage.witness.freeze(60.0)
    stage.cut_from_etcd(stage.n1)
    stage.run_until(stage.t + 4.0)
    assert not stage.answers()
    stage.cuts.clear()
    third = {"n2", "n3"} - {stage.witness.name}
    assert stage.run_while(lambda: set(stage.answers()) != third, 20.0)


@pytest.mark.parametrize("seed", range(5))
def test_while_etcd_is_away_for_everybody_the_owner_keeps_its_place(seed: int) -> None:
    """Whoever took its word could do no more with it, and it is here that etcd's answer is waited for."""
    stage = Stage(seed)
    for member in range(stage.members):
        stage.etcd.stop_member(member)
    assert stage.run_while(lambda: stage.answers() == ["n1"], 16.0)
    stage.run_until(stage.t + 3.0)
    assert not stage.answers()
    for member in range(stage.members):
        stage.etcd.heal_member(member)
    assert stage.run_while(lambda: not stage.answers(), 6.0)
    assert stage.answers() == ["n1"]


@pytest.mark.parametrize("ttl_s", [4, 5, 6, 15])
def test_nobody_hands_over_to_one_that_etcd_has_left_as_well(ttl_s: int) -> None:
    """With a short lease a candidate still counts as in touch when the owner's last lifetime ends: it must have been
    proved after etcd had failed the owner. Before, 18 to 60 of these 60 seeds handed over with 4 to 6 s.
    """
    for seed in range(60):
        stage = Stage(seed, ttl_s=ttl_s)
        stage.run_until(stage.t + stage.random.random())
        words: list[str] = []
        stage.on_datagram = lambda sender, order, words=words: _note_words(sender, order, words)
        for member in range(stage.members):
            stage.etcd.stop_member(member)
        stage.run_until(stage.t + ttl_s + 3.0)
        assert words == [], f"seed {seed}"


def _note_words(sender: Host, order: SendDatagram, words: list[str]) -> float:
    if order.payload[4] in RELEASES:
        words.append(sender.name)
    return 0.0


@pytest.mark.parametrize("seed", range(10))
def test_on_a_dead_agents_node_the_address_is_gone_a_lifetime_after_its_last_renewal(seed: int) -> None:
    """Two seconds and the kernel's own: before that nobody on that node reaches the next owner."""
    stage = Stage(seed)
    stage.run_until(stage.t + seed * 0.1)  # at any time between two renewals
    stage.n1.kill()
    killed_at, address = stage.t, stage.vips[0].address
    stage.run_until(killed_at + 1.5)
    assert stage.owners(address) != ["n1"], "another one has it"
    stage.run_until(killed_at + 2.0 + LIFETIME_LATE_S)
    assert address not in stage.n1.kernel.addresses


@pytest.mark.parametrize("window_s", [0.5, 1.0, 1.9])
@pytest.mark.parametrize("seed", range(10))
def test_a_pause_that_the_window_forgives_does_not_end_the_lifetime(seed: int, window_s: float) -> None:
    """However short that is."""
    stage = Stage(seed, window_s=window_s)
    stage.run_until(stage.t + seed * 0.1)
    stage.n1.freeze(0.8 * window_s)
    end, address = stage.t + 0.8 * window_s, stage.vips[0].address
    while stage.t < end:
        stage.run_until(stage.t + 0.02)
        assert address in stage.n1.kernel.addresses
