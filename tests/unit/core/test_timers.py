"""Timers: the earliest deadline of many, and everyone who is due, each once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sharedip.core.timers import DeadlineQueue

INFINITY = float("inf")


def test_who_is_most_overdue_comes_first_and_comes_once() -> None:
    """Whoever was popped is to be set again by the caller."""
    timers: DeadlineQueue[str] = DeadlineQueue()
    for who, at in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        timers.set(who, at)
    assert timers.pop_due(0.9) == []
    assert timers.pop_due(2.0) == ["a", "b"]
    assert timers.pop_due(2.0) == []
    assert timers.next_deadline() == 3.0


def test_only_the_deadline_that_was_set_last_counts() -> None:
    """Whether it was moved nearer or further, or taken away."""
    timers: DeadlineQueue[str] = DeadlineQueue()
    timers.set("a", 1.0)
    timers.set("a", 5.0)
    assert (timers.pop_due(4.0), timers.next_deadline()) == ([], 5.0)
    timers.set("a", 2.0)
    assert (timers.next_deadline(), timers.pop_due(2.0)) == (2.0, ["a"])
    timers.set("a", 3.0)
    timers.set("a", None)
    assert (timers.next_deadline(), timers.pop_due(9.0)) == (INFINITY, [])


@given(st.lists(st.tuples(st.integers(0, 4), st.one_of(st.none(), st.integers(0, 20)))), st.integers(0, 20))
def test_it_finds_what_a_look_at_everyone_finds(settings: list[tuple[int, int | None]], now: int) -> None:
    """Whatever is set, moved and taken away, in any order."""
    timers: DeadlineQueue[int] = DeadlineQueue()
    expected: dict[int, int] = {}
    for who, at in settings:
        timers.set(who, at)
        expected.pop(who, None)
        if at is not None:
            expected[who] = at
    assert timers.next_deadline() == min(expected.values(), default=INFINITY)
    assert sorted(timers.pop_due(now)) == sorted(who for who, at in expected.items() if at <= now)
    assert timers.next_deadline() == min((at for at in expected.values() if at > now), default=INFINITY)
