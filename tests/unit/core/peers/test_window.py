"""A window that can't be kept grows, for an hour, and never shrinks below what is configured."""

from __future__ import annotations

import pytest

from sharedip.core.peers.window import GROWN_FOR_S, Window


def test_after_a_lapse_it_is_twice_as_long_up_to_four_seconds() -> None:
    window = Window(1.0)
    assert [(window.lapsed(float(now)), window.now_s) for now in range(3)] == [(True, 2.0), (True, 4.0), (False, 4.0)]


def test_an_hour_after_the_last_lapse_it_is_as_configured_again() -> None:
    window = Window(1.0)
    window.lapsed(0.0)
    window.lapsed(100.0)
    assert not window.expire(100.0 + GROWN_FOR_S - 1)
    assert window.is_grown
    assert window.expire(100.0 + GROWN_FOR_S)
    assert (window.now_s, window.is_grown) == (1.0, False)
    assert not window.expire(100.0 + 2 * GROWN_FOR_S), "told once"


@pytest.mark.parametrize("configured_s", [4.0, 10.0])
def test_one_that_is_long_as_configured_does_not_grow(configured_s: float) -> None:
    window = Window(configured_s)
    assert not window.lapsed(0.0)
    assert (window.now_s, window.is_grown) == (configured_s, False)


def test_without_a_witness_there_is_nothing_to_grow() -> None:
    window = Window(None)
    assert not window.lapsed(0.0)
    assert window.now_s is None


def test_a_reload_to_a_longer_one_counts_at_once_and_to_a_shorter_one_after_the_hour() -> None:
    window = Window(1.0)
    window.lapsed(0.0)
    window.configured_s = 3.0
    assert (window.now_s, window.is_grown) == (3.0, False)
    window.configured_s = 0.5
    assert (window.now_s, window.is_grown) == (2.0, True)
