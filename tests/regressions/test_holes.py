"""Holes in the core, each as the events that lead into it. A test that begins to pass must lose its mark (`strict`)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharedip.core.messages import (
    AddressSeen,
    Announce,
    AnnounceOnceHeld,
    HealthChanged,
    MoveRequested,
    RemovalFailed,
    RemoveAddress,
    Transact,
)
from tests.stages.harness import LAYOUT, OURS, VIP, owner, restarted


def hole(reason: str) -> pytest.MarkDecorator:
    """Known to fail until the core is mended."""
    return pytest.mark.xfail(reason=reason, strict=True, raises=(AssertionError, OverflowError))


def test_an_adopted_lease_keeps_no_key_of_an_address_that_is_configured_no_more() -> None:
    """A stale key blocks everybody behind it."""
    before = owner()
    gone = replace(VIP, address=VIP.address + 1)
    before.store.put(LAYOUT.candidate(gone.address, OURS), b"n1", OURS)
    talk = restarted(before)
    talk.run(60.0)
    assert not talk.store.under(LAYOUT.election(gone.address))


def test_nothing_is_announced_after_the_removal() -> None:
    """A frame behind the removal draws the neighbours to a node that has just let go."""
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    holding = talk.candidacy.ownership._holding
    assert holding is not None
    assert holding.announcements.next_at is not None
    talk.now = holding.announcements.next_at
    orders = talk.hear(HealthChanged(healthy=False, detail="500"))
    kinds = [type(order) for order in orders]
    assert RemoveAddress in kinds
    assert not {Announce, AnnounceOnceHeld} & set(kinds[kinds.index(RemoveAddress) :])


def test_a_release_that_failed_waits_until_all_is_clear_again() -> None:
    """Law 3 holds for the second try as well: remove, confirm, and only then release."""
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.hear(MoveRequested(1, VIP.address, None))
    talk.answer(talk.expect(RemoveAddress))
    talk.fail(talk.expect(Transact))
    talk.hear(AddressSeen(2, VIP.address, 32, ours=True))
    talk.hear(RemovalFailed(VIP, "EBUSY"))
    talk.pass_time(0.5)
    talk.none(Transact)
