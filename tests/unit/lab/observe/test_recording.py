"""The arithmetic behind every figure of the lab."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedip_lab.observe.points import Points, seconds_with_two, subtract
from sharedip_lab.observe.recording import Presence, Recording, TwoOwners

INTERVALS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: (float(min(pair)), float(max(pair)))), max_size=6
)


def _disjoint(intervals: list[tuple[float, float]]) -> list[tuple[float, float]]:
    kept: list[tuple[float, float]] = []
    for interval in sorted(intervals):
        if not kept or interval[0] > kept[-1][1]:
            kept.append(interval)
    return kept


@given(st.lists(INTERVALS.map(_disjoint), min_size=1, max_size=4), st.integers(0, 30), st.integers(31, 60))
def test_time_with_two_equals_counting_second_by_second(
    parties: list[list[tuple[float, float]]], since: int, until: int
) -> None:
    counted = sum(
        sum(any(begin <= second < end for begin, end in own) for own in parties) >= 2 for second in range(since, until)
    )
    assert seconds_with_two(parties, since, until) == counted


def test_a_handover_at_one_instant_is_no_time_with_two() -> None:
    assert seconds_with_two([[(0.0, 1.0)], [(1.0, 2.0)]], 0.0, 2.0) == 0.0


def test_holes_are_cut_out_of_stretches() -> None:
    assert subtract([(0.0, 10.0)], [(2.0, 3.0), (9.0, 12.0)]) == [(0.0, 2.0), (3.0, 9.0)]


def _points(text: str, step_s: float = 0.01) -> Points:
    """One character per step: the party that was seen, or a dot for nobody."""
    points = Points(step_s)
    for index, who in enumerate(text):
        if who != ".":
            points.add(index * step_s, who)
    return points


@pytest.mark.parametrize("text", ["aaaabbbb", "aaaa....bbbb", "a" * 5 + "." * 20 + "b" * 5 + "." * 20 + "a" * 5])
def test_owners_one_after_the_other_are_never_two(text: str) -> None:
    assert _points(text).seconds_with_two(0.0, 10.0) == 0.0


def test_interleaved_answers_are_two_owners() -> None:
    assert _points("aaababab").seconds_with_two(0.0, 10.0) == pytest.approx(0.03)


def test_a_single_foreign_answer_inside_a_stretch_counts_as_one_step() -> None:
    assert _points("aaabaaa").seconds_with_two(0.0, 10.0) == pytest.approx(0.01)


def test_the_longest_gap_begins_before_the_window_and_silence_to_its_end_counts() -> None:
    points = _points("aaaa......aaaa" + "." * 50)
    assert points.longest_gap(0.05, 0.13) == pytest.approx(0.07)
    assert points.longest_gap(0.05, 0.5) == pytest.approx(0.5 - 0.13)


def test_a_client_that_never_heard_anybody_has_one_gap() -> None:
    assert Points(0.01).longest_gap(1.0, 3.0) == pytest.approx(2.0)


def test_gaps_are_listed_with_the_silence_at_both_ends() -> None:
    points = _points("....aa....aa....")
    assert [(round(b, 3), round(e, 3)) for b, e in points.gaps(0.0, 0.16, longer_than_s=0.03)] == [
        (0.0, 0.04),
        (0.05, 0.1),
        (0.11, 0.16),
    ]


def test_the_first_answer_of_another_node_is_found() -> None:
    found = _points("aaaabb").first_of_other(0.0, "a")
    assert found is not None
    assert found[1] == "b"
    assert found[0] == pytest.approx(0.04)
    assert _points("aaaa").first_of_other(0.0, "a") is None


def test_changes_of_owner_are_counted_in_their_window() -> None:
    assert _points("aabbaacc").changes(0.0, 1.0) == 3
    assert _points("aabbaacc").changes(0.0, 0.035) == 1
    assert _points("aaaa").changes(0.0, 1.0) == 0


def test_an_address_that_is_renewed_or_on_two_links_is_one_stretch() -> None:
    presence = Presence()
    presence.added(1.0, "n1", "2")
    presence.added(1.5, "n1", "2")
    presence.added(2.0, "n1", "3")
    presence.removed(3.0, "n1", "2")
    assert presence.holders() == ["n1"]
    presence.removed(4.0, "n1", "3")
    assert presence.holders() == []
    assert presence.stretches(0.0, 10.0) == {"n1": [(1.0, 4.0)]}


def test_a_node_that_was_cut_off_the_segment_is_on_an_interface_and_not_usable() -> None:
    recording = Recording(0.005, 0.02)
    recording.presence.added(0.0, "n1", "2")
    recording.presence.added(5.0, "n2", "2")
    recording.presence.removed(6.0, "n1", "2")
    recording.cut_off["n1"] = [(4.0, 9.0)]
    two = recording.two_owners(0.0, 10.0)
    assert (two.interfaces_s, two.usable_s) == (1.0, 0.0)
    assert two.ever


def _beside(*, spoke: list[float], knocked: list[float]) -> TwoOwners:
    """n1 has the address from 0 to 6, n2 from 5 on; judged for a fence that mutes."""
    recording = Recording(0.005, 0.02)
    recording.presence.added(0.0, "n1", "2")
    recording.presence.added(5.0, "n2", "2")
    recording.presence.removed(6.0, "n1", "2")
    recording.knocked.extend(knocked)
    recording.spoke["n1"] = array("d", spoke)
    recording.spoke["n2"] = array("d", [at for at in knocked if at >= 5.0])
    return recording.two_owners(0.0, 10.0, fence_mutes=True)


EVERY_20_MS = [0.02 * step for step in range(500)]


def test_an_address_that_is_silent_though_asked_is_muted_and_hurts_nobody() -> None:
    two = _beside(spoke=[at for at in EVERY_20_MS if at < 4.5], knocked=EVERY_20_MS)
    assert (two.interfaces_s, two.unmuted_s, two.muted_s) == (1.0, 0.0, 1.0)
    assert not two.ever


def test_an_address_that_nobody_asked_for_is_not_proved_mute() -> None:
    assert _beside(spoke=[], knocked=[]).unmuted_s == 1.0


def test_one_late_answer_ends_what_was_proved_and_the_rest_is_proved_anew() -> None:
    two = _beside(spoke=[*(at for at in EVERY_20_MS if at < 4.5), 5.5], knocked=EVERY_20_MS)
    assert two.unmuted_s == 0.0  # the wire has the lone answer inside another's stretch, and judges it
    two = _beside(spoke=[at for at in EVERY_20_MS if at < 5.5], knocked=EVERY_20_MS)
    assert two.unmuted_s == pytest.approx(0.5, abs=0.03)
    assert two.ever


def test_one_unanswered_question_is_a_proof_only_where_the_address_goes_with_it() -> None:
    asked = [4.0, 4.9, 5.001]
    assert _beside(spoke=[4.0, 4.9], knocked=asked).unmuted_s == 0.0
    assert _beside(spoke=[4.0, 4.9, 5.999], knocked=asked).unmuted_s == pytest.approx(1.0)


def test_a_question_of_the_last_moment_proves_nothing() -> None:
    assert _beside(spoke=[4.9], knocked=[4.9, 5.995]).unmuted_s == pytest.approx(1.0)


def test_without_a_fence_that_mutes_silence_is_no_excuse() -> None:
    recording = Recording(0.005, 0.02)
    recording.presence.added(0.0, "n1", "2")
    recording.presence.added(5.0, "n2", "2")
    recording.knocked.extend(EVERY_20_MS)
    assert recording.two_owners(0.0, 10.0).unmuted_s == 5.0


def test_wire_and_client_break_the_law_whatever_the_fence() -> None:
    assert TwoOwners(wire_s=0.01).ever
    assert TwoOwners(client_s=0.01).ever
    assert not TwoOwners(interfaces_s=1.0, usable_s=1.0).ever


def test_the_gap_of_a_change_is_between_the_two_owners_answers() -> None:
    recording = Recording(0.01, 0.02)
    recording.answers = _points("aaaa......aa...bb")
    assert recording.change_gap(0.0, "a", 1.0) == pytest.approx(0.04)
    assert recording.change_gap(0.0, "a", 0.1) is None


def test_probes_that_nobody_answered_are_counted_in_their_window() -> None:
    recording = Recording(0.01, 0.02)
    recording.missed.extend([1.0, 2.0, 3.0])
    assert recording.probes_missed(1.5, 3.0) == 2


def _handed_over(late_at: float) -> TwoOwners:
    """n1 lets go at 5.0, n2 has the address from 5.001 on; one more frame of n1's is seen at `late_at`."""
    recording = Recording(0.005, 0.02)
    recording.presence.added(0.0, "n1", "2")
    recording.presence.removed(5.0, "n1", "2")
    recording.presence.added(5.001, "n2", "2")
    for number in range(250):
        recording.claims.add(number * 0.02, "n1")
    seen = sorted([(5.002 + number * 0.02, "n2") for number in range(100)] + [(late_at, "n1")])
    for at, node in seen:
        recording.claims.add(at, node)
    return recording.two_owners(0.0, 10.0)


def test_a_frame_that_was_under_way_when_the_address_went_is_no_second_owner() -> None:
    assert not _handed_over(5.03).ever


def test_a_frame_that_comes_long_after_the_address_went_is_one() -> None:
    assert _handed_over(5.5).wire_s > 0.0


def test_a_window_is_judged_by_its_own_frames_alone() -> None:
    """Two owners before it are another step's."""
    recording = Recording(0.005, 0.02)
    for number in range(100):
        recording.claims.add(number * 0.02, "n1" if number % 2 or number >= 50 else "n2")
    assert recording.two_owners(0.0, 2.0).wire_s > 0.0
    assert recording.two_owners(1.0, 2.0).wire_s == 0.0


def test_a_forger_s_frames_are_no_owner_where_the_nodes_alone_are_judged() -> None:
    """A flood of claims comes from MACs of nobody; a claim by another node counts as ever."""
    recording = Recording(0.005, 0.02)
    for number in range(100):
        recording.claims.add(number * 0.02, "n1" if number % 2 else "02:66:00:00:00:01")
    assert recording.two_owners(0.0, 2.0).wire_s > 0.0
    assert recording.two_owners(0.0, 2.0, among={"n1", "n2"}).wire_s == 0.0
    for number in range(100, 200):
        recording.claims.add(number * 0.02, "n1" if number % 2 else "n2")
    assert recording.two_owners(0.0, 4.0, among={"n1", "n2"}).wire_s > 0.0
