"""The ledger of what this node has given up, and whom our word can make the next owner."""

from __future__ import annotations

import pytest

from sharedip.core.election.resigned import ResignedEpochs, successor
from sharedip.core.model import KeyValue
from tests.stages.harness import VIP

QUEUE = [KeyValue(f"c/{epoch}", name, epoch, epoch, epoch) for epoch, name in ((5, b"n1"), (7, b"n2"), (9, b"n3"))]


def test_what_is_noted_is_given_up_and_not_yet_saved() -> None:
    resigned = ResignedEpochs()
    resigned.note(VIP, 5)
    assert resigned.has(VIP, 5)
    assert not resigned.is_saved(VIP, 5)
    resigned.saved({VIP.address: 5})
    assert resigned.is_saved(VIP, 5)


def test_a_later_epoch_is_another_one() -> None:
    """Of what an earlier file says nobody can tell whether it covers a later epoch."""
    resigned = ResignedEpochs()
    resigned.note(VIP, 5)
    resigned.saved(dict(resigned.epochs))
    resigned.note(VIP, 9)
    assert not resigned.has(VIP, 5)
    assert not resigned.is_saved(VIP, 9)


def test_what_a_former_run_gave_up_is_saved_already() -> None:
    resigned = ResignedEpochs()
    resigned.restore({VIP.address: 5})
    assert resigned.has(VIP, 5)
    assert resigned.is_saved(VIP, 5)


def test_with_the_lease_every_epoch_is_over() -> None:
    resigned = ResignedEpochs()
    resigned.restore({VIP.address: 5})
    resigned.clear()
    assert not resigned.has(VIP, 5)
    assert not resigned.is_saved(VIP, 5)


@pytest.mark.parametrize(
    ("epoch", "meant_for", "unasked", "wanted"),
    [
        (5, None, True, "c/7"),
        (7, None, True, "c/9"),
        (9, None, True, None),
        (5, "n2", True, "c/7"),
        (5, "n3", True, None),
        (5, None, False, None),
    ],
    ids=["the next one", "behind another epoch", "the last one", "as it is meant", "meant for another", "must ask"],
)
def test_our_word_alone_is_enough_for(epoch: int, meant_for: str | None, unasked: bool, wanted: str | None) -> None:
    """The next one in the queue, if it is meant for it, and if we can say that nobody else has the address."""
    found = successor(QUEUE, epoch, meant_for=meant_for, may_be_taken_unasked=unasked)
    assert (None if found is None else found.key) == wanted
