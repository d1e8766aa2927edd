"""When to announce, and how long to wait."""

from __future__ import annotations

import pytest

from sharedip.core.schedule import BURST_STEP_S, PACE_STEP_S, Announcements, Backoff, Pace


def instants(announcements: Announcements, until: float) -> list[float]:
    """When announcements go out, if each is taken when it is due."""
    taken = []
    while announcements.next_at is not None and announcements.next_at <= until:
        now = announcements.next_at
        assert announcements.take(now)
        taken.append(now)
    return taken


def test_an_announcement_goes_out_at_once_ever_more_seldom_and_then_every_minute() -> None:
    """Announce at once when the address is up; four times at 1.1 s steps, in growing ones, then refresh every 60 s."""
    announcements = Announcements()
    announcements.begin(100.0)
    burst = [100.0, 101.1, 102.2, 103.3, 104.4]
    assert instants(announcements, 300.0) == pytest.approx([*burst, 109.4, 119.4, 139.4, 179.4, 239.4, 299.4])


def test_a_neighbour_that_heard_nothing_of_the_burst_hears_of_the_address_soon() -> None:
    """Whenever a cut ends in the first half minute, the next announcement comes before as much time again is over."""
    announcements = Announcements()
    announcements.begin(0.0)
    told = instants(announcements, 60.0)
    for heard_from in range(5, 30):
        assert min(at for at in told if at >= heard_from) <= 2 * heard_from + 1


def test_nothing_is_due_before_the_beginning_and_between_the_steps() -> None:
    """None says so."""
    announcements = Announcements()
    assert announcements.next_at is None
    assert not announcements.take(1e9)
    announcements.begin(1.0)
    assert announcements.take(1.0)
    assert not announcements.take(1.0 + BURST_STEP_S - 0.01)


def test_a_new_burst_begins_at_once_in_the_middle_of_an_old_one() -> None:
    """Carrier up, MAC change, a foreign claim."""
    announcements = Announcements()
    announcements.begin(0.0)
    instants(announcements, 2.0)
    announcements.begin(2.5)
    assert len(instants(announcements, 7.0)) == 5


def test_after_a_pause_only_one_announcement_goes_out() -> None:
    """What was missed is not made up for: the segment needs the present."""
    announcements = Announcements()
    announcements.begin(0.0)
    assert announcements.take(500.0)
    assert not announcements.take(500.0)


def test_delays_double_up_to_the_longest_with_jitter_of_half() -> None:
    """Each between half and the whole of it."""
    low, high = Backoff(0.1, 2.0), Backoff(0.1, 2.0)
    for whole_s in (0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0):
        assert low.fail(0.0) == pytest.approx(whole_s / 2)
        assert whole_s * 0.9 < high.fail(0.999) <= whole_s
    high.succeed()
    assert high.fail(0.0) == pytest.approx(0.05)


def test_a_thousand_failures_don_t_overflow() -> None:
    """The exponent is bounded."""
    backoff = Backoff(0.1, 2.0)
    assert {backoff.fail(0.0) for _ in range(5000)} == {0.05, 0.1, 0.2, 0.4, 0.8, 1.0}


def test_a_few_slots_are_free_at_once_and_the_others_come_at_their_pace() -> None:
    """A thousand at 2000 a second have theirs within half a second, in steps; nobody's lies in the past."""
    pace = Pace(64, 2000.0)
    slots = [pace.take(50.0) for _ in range(1000)]
    assert slots[:64] == [50.0] * 64
    assert slots == sorted(slots)
    assert slots[-1] == pytest.approx(50.0 + (1000 - 64) / 2000, abs=PACE_STEP_S)
    assert len(set(slots)) < 100
    assert max(slots.count(at) for at in set(slots[64:])) <= 2000 * PACE_STEP_S + 1


def test_a_pause_gives_back_no_more_slots_than_may_be_taken_at_once() -> None:
    """An hour of silence is no right to a flood."""
    pace = Pace(4, 100.0)
    for _ in range(10):
        pace.take(1.0)
    assert [pace.take(3600.0) for _ in range(5)] == pytest.approx([3600.0] * 4 + [3600.01], abs=1e-4)
