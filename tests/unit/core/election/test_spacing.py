"""Moves for what is slow come ever further apart, all VIPs together, and forget a calm of ten minutes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sharedip.core.election.spacing import FORGOTTEN_S, LONGEST_S, TOGETHER_S, Spacing


def wait_after(spacing: Spacing, check: str, now: float) -> float:
    """Move now, and give the time until the next move, to a tenth of a second."""
    assert spacing.may_move(check, now)
    spacing.moved(check, now)
    tenths = next(n for n in range(int(TOGETHER_S * 10), 10_000) if spacing.may_move(check, now + n / 10))
    return tenths / 10


def test_the_first_move_is_free_and_each_further_one_waits_twice_as_long() -> None:
    spacing, now, waits = Spacing(), 1000.0, []
    for _ in range(8):
        waits.append(wait_after(spacing, "api", now))
        now += waits[-1]
    assert waits == [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]
    assert spacing.count("api") == 8


def test_all_vips_that_leave_for_one_verdict_are_one_move() -> None:
    spacing = Spacing()
    for step in range(5):
        assert spacing.may_move("api", 100.0 + step / 10)
        spacing.moved("api", 100.0 + step / 10)
    assert spacing.count("api") == 1
    assert not spacing.may_move("api", 100.0 + TOGETHER_S)
    assert spacing.may_move("api", 110.0)


def test_each_check_has_spacing_of_its_own() -> None:
    spacing = Spacing()
    spacing.moved("api", 100.0)
    assert spacing.may_move("disk", 105.0)
    assert not spacing.may_move("api", 105.0)
    assert spacing.count("disk") == 0


def test_the_count_comes_with_the_address_and_makes_the_next_node_wait() -> None:
    giver, taker = Spacing(), Spacing()
    giver.moved("api", 100.0)
    giver.moved("api", 110.0)
    taker.take_over("api", giver.count("api"), 5000.0)
    assert not taker.may_move("api", 5000.0), "what came here does not go back in the same breath"
    assert not taker.may_move("api", 5019.9)
    assert wait_after(taker, "api", 5020.0) == 40.0
    assert taker.count("api") == 3


def test_a_lower_count_that_comes_later_takes_nothing_back() -> None:
    spacing = Spacing()
    spacing.take_over("api", 4, 100.0)
    spacing.take_over("api", 1, 200.0)
    assert spacing.count("api") == 4
    assert not spacing.may_move("api", 279.9)
    spacing.take_over("api", 0, 250.0)
    assert spacing.may_move("api", 280.0), "an address that nobody gave up for this check tells nothing"


def test_ten_minutes_without_a_move_are_a_new_start() -> None:
    spacing = Spacing()
    spacing.take_over("api", 9, 0.0)
    assert not spacing.may_move("api", LONGEST_S - 0.1)
    assert wait_after(spacing, "api", FORGOTTEN_S) == 10.0
    spacing.take_over("api", 9, 1000.0)
    assert spacing.settle(1000.0 + FORGOTTEN_S) == {"api"}
    assert spacing.count("api") == 0
    assert spacing.next_deadline() == float("inf")


def test_nothing_leads_to_a_node_that_has_failed_within_the_time_of_the_wait() -> None:
    spacing = Spacing()
    assert spacing.may_move_to("api", "n2", 100.0)
    spacing.failed("api", "n2", 100.0)
    assert not spacing.may_move_to("api", "n2", 109.9)
    assert spacing.may_move_to("api", "n3", 109.9)
    assert spacing.may_move_to("api", "n2", 110.0)
    spacing.take_over("api", 3, 110.0)
    assert not spacing.may_move_to("api", "n2", 139.9)
    assert spacing.may_move_to("api", "n2", 140.0)
    assert spacing.may_move("disk", 100.0)
    assert spacing.may_move_to("disk", "n2", 100.0)


def test_the_deadlines_tell_when_a_check_may_move_again_and_then_when_it_is_forgotten() -> None:
    spacing = Spacing()
    assert spacing.next_deadline() == float("inf")
    spacing.moved("api", 100.0)
    assert spacing.next_deadline() == 110.0
    assert spacing.settle(109.0) == set()
    assert spacing.settle(110.0) == {"api"}
    assert spacing.settle(111.0) == set()
    assert spacing.next_deadline() == 100.0 + FORGOTTEN_S
    spacing.failed("api", "n2", 200.0)
    spacing.settle(100.0 + FORGOTTEN_S)
    assert spacing.count("api") == 0
    assert spacing.next_deadline() == 200.0 + FORGOTTEN_S
    spacing.settle(200.0 + FORGOTTEN_S)
    assert spacing.next_deadline() == float("inf")


STEPS = st.tuples(st.sampled_from(["moved", "taken", "failed", "settle"]), st.floats(0, 400), st.integers(0, 40))


@given(st.lists(STEPS, max_size=60))
def test_whatever_happens_a_deadline_that_was_settled_has_passed(steps: list[tuple[str, float, int]]) -> None:
    """No loop spins on a deadline, nobody waits for ever, and moves are never nearer to each other than 10 s."""
    spacing, now, last_move = Spacing(), 0.0, None
    for what, pause_s, count in steps:
        now += pause_s
        if what == "moved" and spacing.may_move("api", now):
            assert last_move is None or now - last_move < TOGETHER_S or now - last_move >= 10.0
            last_move = last_move if last_move is not None and now - last_move < TOGETHER_S else now
            spacing.moved("api", now)
        elif what == "taken":
            spacing.take_over("api", count, now)
        elif what == "failed":
            spacing.failed("api", f"n{count % 3}", now)
        spacing.settle(now)
        assert spacing.next_deadline() > now
    spacing.settle(now + FORGOTTEN_S)
    assert spacing.next_deadline() == float("inf")
    assert spacing.may_move("api", now + FORGOTTEN_S)
