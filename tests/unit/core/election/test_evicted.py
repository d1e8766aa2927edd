"""The ledger of the keys that this node has evicted: kept for the epoch that did it, and only as far as it is saved."""

from __future__ import annotations

from sharedip.core.election.evicted import EvictedKeys
from tests.stages.harness import VIP


def test_what_is_noted_counts_at_once_and_is_saved_when_the_disk_says_so() -> None:
    evicted = EvictedKeys()
    evicted.note(VIP, 5, 7)
    assert evicted.of(VIP, 5) == {7}
    assert not evicted.is_saved(VIP, 5, 7)
    evicted.saved(evicted.for_file)
    assert evicted.is_saved(VIP, 5, 7)


def test_another_epoch_of_ours_has_evicted_nobody() -> None:
    """Its transactions test that epoch: the former one's never hold again."""
    evicted = EvictedKeys()
    evicted.note(VIP, 5, 7)
    evicted.saved(evicted.for_file)
    assert not evicted.of(VIP, 9)
    assert not evicted.is_saved(VIP, 9, 7)
    evicted.note(VIP, 9, 11)
    assert evicted.of(VIP, 9) == {11}
    assert not evicted.of(VIP, 5)


def test_one_that_was_noted_later_is_not_saved_by_an_earlier_file() -> None:
    evicted = EvictedKeys()
    evicted.note(VIP, 5, 7)
    earlier = evicted.for_file
    evicted.note(VIP, 5, 9)
    evicted.saved(earlier)
    assert evicted.is_saved(VIP, 5, 7)
    assert not evicted.is_saved(VIP, 5, 9)


def test_what_a_former_run_evicted_is_evicted() -> None:
    """And saved: its request may leave again."""
    evicted = EvictedKeys()
    evicted.restore(((VIP.address, 5, (7, 9)),))
    assert evicted.of(VIP, 5) == {7, 9}
    assert evicted.is_saved(VIP, 5, 9)
    assert evicted.for_file == ((VIP.address, 5, (7, 9)),)


def test_a_key_that_is_gone_needs_no_memory() -> None:
    """Its create revision never comes again; the others stay."""
    evicted = EvictedKeys()
    evicted.restore(((VIP.address, 5, (7, 9)),))
    evicted.standing(VIP, 9, frozenset({5}))
    assert evicted.of(VIP, 5) == {7, 9}, "another epoch's picture"
    evicted.standing(VIP, 5, frozenset({5, 9, 11}))
    assert evicted.of(VIP, 5) == {9}
    evicted.standing(VIP, 5, frozenset({5, 11}))
    assert evicted.for_file == ()


def test_with_our_key_goes_the_memory() -> None:
    evicted = EvictedKeys()
    evicted.note(VIP, 5, 7)
    evicted.forget(VIP)
    assert evicted.for_file == ()
    evicted.note(VIP, 5, 7)
    evicted.saved(evicted.for_file)
    evicted.clear()
    assert not evicted.of(VIP, 5)
    assert not evicted.is_saved(VIP, 5, 7)
