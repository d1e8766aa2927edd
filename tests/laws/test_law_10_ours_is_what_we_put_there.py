"""Law 10: ours is what we put there, by tag or by our own record. Nothing else is removed; the fence mutes it."""

from __future__ import annotations

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import (
    AddressGone,
    AddressSeen,
    DrainRequested,
    HoldAddress,
    RemoveAddress,
)
from sharedip.core.model import FenceKind
from tests.stages.harness import VIP, Talk, owner, restarted, waiting_behind, with_a_rival


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


def test_on_a_kernel_without_tags_the_own_address_is_nobody_elses() -> None:
    """With our mask, on our link, while we have put it there: neither a stray nor a reason to complain."""
    talk = owner()
    talk.hear(AddressSeen(2, VIP.address, 32, ours=False))
    assert not talk.candidacy.history.strays
    again = restarted(talk)
    again.hear(AddressSeen(2, VIP.address, 32, ours=False))
    assert not again.candidacy.history.strays


def test_a_foreign_address_of_the_same_number_is_reported_and_left_alone() -> None:
    """Removed when it is ours, and reported when it is not."""
    talk = waiting_behind()
    talk.hear(AddressSeen(2, VIP.address, 24, ours=False))
    talk.none(RemoveAddress)
    assert any("somebody else" in report.text for report in talk.reports)
    talk.hear(AddressSeen(9, VIP.address, 24, ours=True))
    talk.expect(RemoveAddress)


def test_the_going_of_anothers_copy_says_nothing_of_ours() -> None:
    """On the same link, with another mask: a former run that had resigned would else give its key up over an address
    that stands.
    """
    talk = with_a_rival(owner())
    talk.hear(DrainRequested(1, drained=True))  # resigned and saved; the agent dies before the kernel has removed it
    again = restarted(talk)
    again.hear(AddressSeen(2, VIP.address, 32, ours=True))
    again.hear(AddressSeen(2, VIP.address, 24, ours=False))
    again.hear(AddressGone(2, VIP.address, 24))
    assert not again.candidacy.is_clear
    again.run(1.0)
    assert VIP in {removal.vip for removal in again.removed}


def test_an_owner_is_not_told_of_a_loss_when_anothers_copy_goes() -> None:
    talk = owner()
    talk.hear(AddressSeen(2, VIP.address, 24, ours=False))
    said = len(talk.reports)
    talk.hear(AddressGone(2, VIP.address, 24))
    talk.none(HoldAddress)
    assert not talk.reports[said:]
