"""Words: whom they let take, for how long a bid that took by them may wait for etcd, and what is void for good."""

from __future__ import annotations

import pytest

from sharedip.core.election.words import EXECUTED_WITHIN_S, Words
from sharedip.core.model import KeyValue

FIRST, SECOND, OWN = (KeyValue(f"c/{epoch}", b"n", epoch, epoch, epoch) for epoch in (5, 7, 9))
QUEUE = [FIRST, SECOND, OWN]


@pytest.mark.parametrize(("heard", "may_take"), [((), False), ((5,), False), ((7,), False), ((5, 7), True)])
def test_every_key_before_ours_has_to_be_released(heard: tuple[int, ...], may_take: bool) -> None:
    words = Words()
    for epoch in heard:
        words.heard(epoch, "moved", 1.0)
    assert words.let_us_take(QUEUE, OWN) == may_take


def test_what_was_said_before_a_node_used_the_address_is_overtaken_and_said_again_no_younger() -> None:
    """A recorded datagram that comes again is as old as it was when it came first."""
    words = Words()
    words.heard(5, "moved", 1.0)
    assert words.let_us_take([FIRST, OWN], OWN)
    words.claimed(2.0)
    words.heard(5, "moved", 3.0)
    assert not words.let_us_take([FIRST, OWN], OWN)


@pytest.mark.parametrize(("later_s", "may_take"), [(0.0, False), (0.001, False), (0.099, False), (0.101, True)])
def test_a_word_that_is_read_right_behind_a_claim_may_be_older(later_s: float, may_take: bool) -> None:
    """Both have waited in the sockets of a machine that stood still; a later one is an answer to it."""
    words = Words()
    words.claimed(1.0)
    words.heard(5, "moved", 1.0 + later_s)
    assert words.let_us_take([FIRST, OWN], OWN) is may_take


def test_a_bid_that_took_by_a_word_lets_go_when_etcd_has_answered_for_long_without_executing_it() -> None:
    words = Words()
    words.heard(5, "moved", 1.0)
    words.take([FIRST], 1.0)
    assert not words.look(1.0, 100.0), "an etcd that is silent cannot have executed anything"
    assert not words.look(100.5, 101.0)
    assert not words.look(100.5, 100.5 + EXECUTED_WITHIN_S - 0.01)
    assert words.look(100.5, 100.5 + EXECUTED_WITHIN_S)


def test_it_does_not_end_once_the_speakers_key_is_gone() -> None:
    """By our transaction, or by the speaker's own."""
    for by_us in (True, False):
        words = Words()
        words.take([FIRST], 1.0)
        words.look(2.0, 2.0)
        if by_us:
            words.executed(5)
        else:
            words.standing([OWN])
        assert not words.look(2.0, 100.0)
        assert words.next_look() == float("inf")


def test_a_void_word_is_void_for_good_and_a_forgotten_one_may_be_said_again() -> None:
    for end, believed in ((Words.void, False), (Words.forget, True)):
        words = Words()
        words.heard(5, "moved", 1.0)
        end(words)
        assert not words.any()
        words.heard(5, "moved", 2.0)
        assert words.has(5) == believed
        assert words.reason(5) == ("moved" if believed else "")
