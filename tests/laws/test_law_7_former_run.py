"""Law 7: nothing of a former run counts. What may stand of it is unknown until the kernel or etcd has confirmed it."""

from __future__ import annotations

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.keys import write_record
from sharedip.core.messages import (
    AddressSeen,
    CloseGate,
    DrainRequested,
    Exit,
    HoldAddress,
    KeepLeaseAlive,
    OpenGate,
    PeerAddressChanged,
    Probe,
    ReadKeys,
    RemoveAddress,
    RevokeLease,
    StopRequested,
    Transact,
)
from sharedip.core.model import Delete, FenceKind
from tests.stages.harness import LAYOUT, NEVER, OURS, THEIRS, VIP, Talk, owner, restarted, waiting_behind, with_a_rival
from tests.stages.witnessed import WINDOW_S, Owner, Watch


@pytest.mark.parametrize("ours", [True, False], ids=["tags are kept", "no tags are kept"])
def test_a_run_that_was_killed_before_its_removal_leaves_in_order(ours: bool) -> None:
    """Kernels before 5.18 keep no tags: what the state file has may stand, whatever it looks like."""
    talk = with_a_rival(owner())
    talk.hear(DrainRequested(1, drained=True))  # killed between what was saved and the removal
    again = restarted(talk)
    again.hear(AddressSeen(2, VIP.address, 32, ours=ours))
    again.serve(RemoveAddress)
    assert LAYOUT.candidate(VIP.address, OURS) in again.store.keys
    again.answer(again.expect(RemoveAddress))
    again.serve()
    assert LAYOUT.candidate(VIP.address, OURS) not in again.store.keys


@pytest.mark.parametrize("ours", [True, False], ids=["tags are kept", "no tags are kept"])
def test_a_run_that_is_stopped_at_once_removes_what_it_found_before_it_gives_the_lease_back(ours: bool) -> None:
    """Whether it has been seen by then or not."""
    again = restarted(with_a_rival(owner()))
    again.hear(StopRequested())
    again.hear(AddressSeen(2, VIP.address, 32, ours=ours))
    again.serve(RemoveAddress)
    again.none(RevokeLease, Exit)
    assert LAYOUT.candidate(VIP.address, OURS) in again.store.keys
    again.answer(again.expect(RemoveAddress))
    again.run(1.0)
    assert any(isinstance(order, Exit) for order in again.open)


def test_the_record_is_saved_before_the_address_is_put_up() -> None:
    """A crash in between leaves nothing that nobody knows of."""
    talk = Talk()
    talk.start()
    talk.run(1.0, HoldAddress)
    assert any(isinstance(order, HoldAddress) for order in talk.open)
    assert talk.saved is not None
    assert talk.saved.held == ((VIP.address, 2),)


def test_a_designation_that_cannot_be_read_is_withdrawn_as_well() -> None:
    """Whoever may depose us by it can do so no more when its mod revision has changed."""
    talk = owner()
    talk.store.put(LAYOUT.witness(VIP.address), b"\xff", OURS)
    again = restarted(talk)
    again.serve(Transact, HoldAddress)
    assert again.right_until < again.now
    withdrawal = again.expect(Transact)
    assert withdrawal.then == (Delete(LAYOUT.witness(VIP.address)),)
    again.answer(withdrawal)
    again.run(0.5)
    assert again.is_in(Phase.OWNING)


def test_a_candidate_that_was_restarted_while_it_waited_has_adopted_nothing() -> None:
    """An hour later it comes first: it asks the segment, as everybody does who takes from one that has died."""
    again = restarted(waiting_behind())
    again.run(3600.0)
    again.open.clear()
    again.store.end_lease(THEIRS)
    again.tell_changes()
    again.answer(again.expect(ReadKeys))
    again.expect(Probe)
    again.none(HoldAddress)


def test_a_gate_that_a_former_run_may_have_left_open_is_closed_first() -> None:
    """An address is taken only behind a gate that is known to be closed."""
    talk = Talk(fence=FenceKind.NFTABLES)
    talk.start()
    talk.serve(CloseGate)
    talk.none(HoldAddress, OpenGate)
    talk.run(1.0)
    assert talk.is_in(Phase.OWNING)


def test_a_record_of_another_epoch_binds_nobody() -> None:
    """What was designated in a former bid has no power over this one."""
    talk = owner()
    record = {"epoch": 1, "witnesses": ["900"], "windowMs": 1000}
    talk.store.put(LAYOUT.witness(VIP.address), write_record(record), OURS)
    again = restarted(talk)
    again.serve(HoldAddress)
    assert again.is_in(Phase.OWNING)


def test_a_former_runs_lease_is_believed_only_with_proof() -> None:
    """Adoption: keepalive and read, as for any renewal, before anything is held."""
    before = owner()
    talk = Talk(store=before.store, now=before.now + 1)
    talk.start(before.saved)
    keepalive = talk.expect(KeepLeaseAlive)
    assert keepalive.lease == OURS
    talk.none(HoldAddress, Transact)
    talk.answer(keepalive)
    talk.none(HoldAddress)
    assert talk.right_until == NEVER
    talk.answer(talk.expect(ReadKeys))
    talk.expect(HoldAddress)


def test_a_restarted_owner_has_no_right_until_its_former_runs_witness_is_withdrawn() -> None:
    """When the former run beat last nobody knows, nor whether its fence was tight: nobody beats under what is found."""
    owner = Owner().witnessed()
    owner.acknowledge()
    former = owner.talk
    owner.talk = Talk(window_s=WINDOW_S, store=former.store, now=former.now + 0.2)
    owner.talk.start(former.saved)
    owner.talk.hear(PeerAddressChanged("n1:9470"))
    owner.talk.run(0.3, Transact)
    assert owner.talk.node.session.lease_until > owner.talk.now, "the lease itself is proved"
    assert owner.talk.right_until <= owner.talk.now
    assert not owner.talk.is_in(Phase.OWNING)
    assert not [beat for beat in owner.beats() if beat.revision], "it beats under nothing that it has found"
    owner.talk.run(0.1)
    assert owner.talk.is_in(Phase.OWNING), "the withdrawal has succeeded"


def test_a_restarted_witness_keeps_silent_about_designations_that_it_finds() -> None:
    """Its former run may have tried to depose, and a frozen etcd member may apply that when it wakes up."""
    watch = Watch()
    watch.beat()
    watch.wait(WINDOW_S + 0.2)
    assert watch.depositions(), "the former run's attempt is under way"
    former = watch.talk
    watch.talk = Talk(name="n2", window_s=WINDOW_S, store=former.store, now=former.now + 0.2)
    watch.talk.start(former.saved)
    watch.talk.run(0.5)
    assert watch.talk.node.session.lease == former.node.session.lease
    assert not watch.talk.node.session.is_adopting
    assert watch.beat() == []
    watch.wait(3 * WINDOW_S)
    assert watch.depositions() == []
    watch.designate()  # the owner's next designation ends whatever was under way
    assert watch.beat()
