"""A former owner that is heard after the next one: what counts as two owners, and what was only under way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedip_lab.observe.overlaps import UNDER_WAY_S, merged, overlaps
from sharedip_lab.observe.points import Points
from sharedip_lab.observe.recording import Recording

STEP_S = 0.02


def _signs(*spans: tuple[str, float, float], step_s: float = STEP_S) -> Points:
    """A sign at the beginning and the end of each span, and every step in between."""
    points = []
    for party, begin, end in spans:
        count = max(1, round((end - begin) / step_s))
        points += [(begin + (end - begin) * index / count, party) for index in range(count + 1)]
    found = Points(step_s)
    for at, party in sorted(points):
        found.add(at, party)
    return found


def test_owners_one_after_the_other_do_not_overlap() -> None:
    assert overlaps(_signs(("n1", 0.0, 1.0), ("n2", 1.0, 2.0), ("n1", 4.0, 5.0)), 0.0, 9.0) == []


def test_a_frame_that_was_under_way_is_reported_and_excused() -> None:
    (late,) = overlaps(_signs(("n1", 0.0, 1.003), ("n2", 1.0, 2.0)), 0.0, 9.0)
    assert (late.former, late.following, late.at) == ("n1", "n2", 1.0)
    assert late.late_s == pytest.approx(0.003)
    assert not late.is_two_owners


def test_a_frame_that_comes_later_than_frames_do_is_two_owners() -> None:
    (late,) = overlaps(_signs(("n1", 0.0, 1.0 + UNDER_WAY_S + 0.001), ("n2", 1.0, 2.0)), 0.0, 9.0)
    assert late.is_two_owners


def test_a_lone_frame_of_the_former_owner_counts_as_a_step() -> None:
    """A process that wakes in the past sends one announcement: that is enough to move a neighbour."""
    (late,) = overlaps(_signs(("n1", 0.0, 1.0), ("n2", 2.0, 4.0), ("n1", 3.0, 3.0)), 0.0, 9.0)
    assert (late.former, late.following) == ("n2", "n1")
    assert late.late_s == pytest.approx(STEP_S)
    assert late.is_two_owners


def test_a_lone_frame_right_after_the_next_ones_first_was_under_way() -> None:
    (late,) = overlaps(_signs(("n1", 0.0, 1.0), ("n2", 2.0, 4.0), ("n1", 2.002, 2.002)), 0.0, 9.0)
    assert (late.former, late.following) == ("n1", "n2")
    assert late.late_s == pytest.approx(0.002)
    assert not late.is_two_owners


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 400)), max_size=40),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 400)), max_size=40),
)
def test_merging_keeps_every_sign_in_order(one: list[tuple[str, int]], other: list[tuple[str, int]]) -> None:
    sources = []
    for signs in (one, other):
        points = Points(STEP_S)
        for party, at in sorted(signs, key=lambda sign: sign[1]):
            points.add(at / 100, party)
        sources.append(points)
    together = merged(sources, 0.0, 10.0)
    assert list(together.at) == sorted(at / 100 for _, at in [*one, *other])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 200), st.integers(101, 300)), max_size=8))
def test_stretches_that_follow_each_other_are_never_two_owners(stretches: list[tuple[str, int, int]]) -> None:
    """Whoever comes, and comes back, after as long as a change takes."""
    at, spans = 0.0, []
    for party, held, gap in stretches:
        spans.append((party, at, at + held / 100))
        at += (held + gap) / 100
    assert not overlaps(_signs(*spans), 0.0, at + 1.0)


def _recording(*, asked: list[tuple[float, str]], answers: list[tuple[float, str]]) -> Recording:
    recording = Recording(0.005, STEP_S)
    for at, party in asked:
        recording.asked.add(at, party)
    for at, party in answers:
        recording.answers.add(at, party)
    return recording


def test_a_mac_that_is_named_beside_the_other_nodes_answers_is_two_owners() -> None:
    """Neither look alone sees it: the client's answers come from n2 only, the MAC that is named is n1's only."""
    every = [STEP_S * step for step in range(50)]
    recording = _recording(asked=[(at, "n1") for at in every], answers=[(at + 0.5, "n2") for at in every])
    two = recording.two_owners(0.0, 2.0)
    assert two.client_s == 0.0
    assert two.asked_s == pytest.approx(0.48)
    assert two.late_s == two.asked_s == two.longest_s
    assert two.ever


def test_without_a_client_that_asks_there_is_nothing_to_overlap() -> None:
    recording = _recording(asked=[], answers=[(0.0, "n1"), (0.01, "n2"), (0.02, "n1")])
    assert recording.two_owners(0.0, 1.0).late_s == 0.0


def test_an_announcement_is_never_excused_by_the_removal_of_its_address() -> None:
    """An answer may have waited for a neighbour's MAC; an announcement waits for nobody."""
    found = []
    for announced in (False, True):
        recording = Recording(0.005, STEP_S)
        recording.presence.added(0.0, "n1", "2")
        recording.presence.removed(1.0, "n1", "2")
        recording.presence.added(1.0, "n2", "2")
        recording.claims.add(1.001, "n2")
        (recording.announced if announced else recording.claims.add)(1.02, "n1")
        recording.claims.add(1.04, "n2")
        found.append(recording.two_owners(0.0, 2.0).wire_s)
    assert found == [0.0, pytest.approx(STEP_S)]
