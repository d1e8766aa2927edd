"""Law 7: nothing of a former run counts. What may stand of it is unknown until the kernel or etcd has confirmed it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from sharedip.core.election.candidacy import IDLE_S_MIN, Phase
from sharedip.core.etcd.keys import read_record, write_record
from sharedip.core.messages import (
    AddressGone,
    AddressRefused,
    AddressSeen,
    CloseGate,
    DrainRequested,
    Exit,
    GrantLease,
    HoldAddress,
    OpenGate,
    Probe,
    ReadKeys,
    RemovalFailed,
    RemoveAddress,
    RevokeLease,
    SettingsChanged,
    StateNotSaved,
    StateSaved,
    StopRequested,
    Transact,
)
from sharedip.core.model import FenceKind, Put, Vip
from tests.stages.harness import LAYOUT, OURS, THEIRS, VIP, Talk, owner, restarted, waiting_behind

OTHER = Vip(ip_address("192.168.0.16"), "eth0")


def with_a_rival(talk: Talk) -> Talk:
    """Another candidate stands behind."""
    talk.store.stand()
    talk.tell_changes()
    talk.open.clear()
    return talk


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


def test_what_a_person_puts_up_after_a_clean_removal_is_not_a_former_runs() -> None:
    """The record of what we put up ends when the kernel has confirmed that it is gone."""
    talk = with_a_rival(owner())
    assert talk.saved is not None
    talk.hear(DrainRequested(1, drained=True))
    talk.run(1.0)
    assert not talk.saved.held
    again = restarted(talk)
    again.hear(AddressSeen(2, VIP.address, 32, ours=False))
    again.serve()
    again.none(RemoveAddress)
    assert again.candidacy.history.strays == {(2, 32)}


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
    (put,) = (op for op in withdrawal.then if isinstance(op, Put))
    assert (read_record(replace(again.store.keys[put.key], value=put.value)) or {})["witnesses"] == []
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


def test_a_campaign_that_is_applied_after_its_vip_has_left_the_documents_is_released() -> None:
    """No key on our lease without somebody who answers for it: it would block everybody else for as long as we live."""
    talk = owner()
    talk.hear(SettingsChanged(replace(talk.settings, vips=(VIP, OTHER))))
    campaign = next(
        order
        for order in talk.open
        if isinstance(order, Transact) and any(".16/" in getattr(operation, "key", "") for operation in order.then)
    )
    talk.open.remove(campaign)
    talk.hear(SettingsChanged(talk.settings))
    talk.fail(campaign)
    talk.run(1.0)
    talk.store.apply(campaign.guards, campaign.then, campaign.otherwise)
    talk.store.stand("n2", THEIRS, OTHER)
    talk.tell_changes()
    talk.run(5.0)
    queue = talk.store.under(LAYOUT.election(OTHER.address))
    assert [key.lease for key in queue] == [THEIRS]


def test_who_comes_first_and_cannot_use_the_address_gives_it_up() -> None:
    """The lease is proved all the while, so nobody else gets it: a place that can't be used is not kept."""
    talk = with_a_rival(owner())
    talk.candidacy.ownership.right.set("nobody prolongs this", talk.now + 0.5)
    talk.run(IDLE_S_MIN + 2.0)
    queue = talk.store.under(LAYOUT.election(VIP.address))
    assert min(queue, key=lambda key: key.create_revision).lease == THEIRS


def test_who_comes_first_alone_keeps_its_place() -> None:
    """Nobody waits."""
    talk = owner()
    talk.candidacy.ownership.right.set("nobody prolongs this", talk.now + 0.5)
    talk.run(IDLE_S_MIN + 2.0)
    assert LAYOUT.candidate(VIP.address, OURS) in talk.store.keys


def test_a_gate_that_a_former_run_may_have_left_open_is_closed_first() -> None:
    """An address is taken only behind a gate that is known to be closed."""
    talk = Talk(fence=FenceKind.NFTABLES)
    talk.start()
    talk.serve(CloseGate)
    talk.none(HoldAddress, OpenGate)
    talk.run(1.0)
    assert talk.is_in(Phase.OWNING)


def test_the_end_waits_for_the_lifetime_and_not_for_the_right() -> None:
    """Under the nftables fence the lifetime follows the lease, whatever the witness's promise was."""
    talk = Talk(fence=FenceKind.NFTABLES).own()
    talk.candidacy.ownership.right.set("witness", talk.now + 1.0)
    ends_at = talk.candidacy.ownership.stands_until
    talk.hear(StopRequested())
    while not any(isinstance(order, Exit) for order in talk.open) and talk.now < ends_at + 30.0:
        for order in [order for order in talk.open if isinstance(order, RemoveAddress)]:
            talk.open.remove(order)
            talk.hear(RemovalFailed(order.vip, "EBUSY"))
        talk.serve(RemoveAddress, RevokeLease, Transact)
        talk.pass_time(0.1)
    assert talk.now >= ends_at


@pytest.mark.parametrize("fence", FenceKind)
def test_a_copy_that_no_fence_mutes_keeps_its_node_from_being_a_candidate(fence: FenceKind) -> None:
    """It is not ours to remove, and would answer beside the next owner."""
    talk = Talk(fence=fence)
    talk.store.stand()
    talk.start()
    talk.run(1.0)
    talk.hear(AddressSeen(3, VIP.address, 24, ours=False))
    talk.run(1.0)
    assert talk.is_in(Phase.OUT if fence is FenceKind.LIFETIME else Phase.WAITING)
    talk.hear(AddressGone(3, VIP.address, 24))
    talk.run(1.0)
    assert talk.is_in(Phase.WAITING)


def test_an_owner_beside_a_copy_stays_for_the_copy_would_stay_too() -> None:
    """To hand over would make two of them."""
    talk = with_a_rival(owner())
    talk.hear(AddressSeen(3, VIP.address, 24, ours=False))
    talk.run(1.0)
    assert talk.is_in(Phase.OWNING)


def test_a_lost_lease_is_revoked_only_when_no_later_run_can_stand_on_it() -> None:
    """The state file names it until something newer is there, or nothing."""
    talk = with_a_rival(owner())
    talk.disk_answers = False
    talk.lose_lease("an etcd that answers nonsense")
    talk.pass_time(0.0)
    talk.serve(RevokeLease, GrantLease)
    talk.none(RevokeLease)
    for order in list(talk.saves):
        talk.hear(StateNotSaved(order.number, "EIO"))
    talk.saves.clear()
    talk.none(RevokeLease)
    talk.disk_answers = True
    talk.pass_time(1.0)
    assert talk.expect(RevokeLease).lease == OURS


def test_a_refused_hold_leaves_it_unknown_whether_the_address_stands() -> None:
    """So a later run must know of it."""
    talk = Talk()
    talk.start()
    talk.run(0.5, HoldAddress)
    hold = talk.expect(HoldAddress)
    talk.hear(AddressRefused(hold.vip, "the kernel did not answer"))
    assert talk.saved is not None
    assert talk.saved.held == ((VIP.address, 2),)


def test_a_record_of_another_epoch_binds_nobody() -> None:
    """What a former tenure designated has no power over this one."""
    talk = owner()
    record = {"epoch": 1, "witnesses": ["900"], "windowMs": 1000}
    talk.store.put(LAYOUT.witness(VIP.address), write_record(record), OURS)
    again = restarted(talk)
    again.serve(HoldAddress)
    assert again.is_in(Phase.OWNING)


def test_on_a_kernel_without_tags_the_own_address_is_nobody_elses() -> None:
    """With our mask, on our link, while we have put it there: neither a stray nor a reason to complain."""
    talk = owner()
    talk.hear(AddressSeen(2, VIP.address, 32, ours=False))
    assert not talk.candidacy.history.strays
    again = restarted(talk)
    again.hear(AddressSeen(2, VIP.address, 32, ours=False))
    assert not again.candidacy.history.strays


def test_the_lease_is_given_back_only_when_no_later_run_can_stand_on_it() -> None:
    """The file that names it is gone, or names it no more, before the revocation leaves."""
    talk = owner()
    talk.disk_answers = False
    talk.hear(StopRequested())
    for _ in range(5):
        for order in [order for order in talk.saves if b'"lease": null' not in order.content]:
            talk.saves.remove(order)
            talk.hear(StateSaved(order.number))
        talk.serve(RevokeLease)
    talk.none(RevokeLease, Exit)
    (last,) = talk.saves
    talk.hear(StateSaved(last.number))
    assert talk.expect(RevokeLease).lease == OURS
