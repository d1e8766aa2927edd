"""How what `explain` has said is held against what came of it."""

from __future__ import annotations

from typing import Any

import pytest

from sharedip_lab.scenarios.explained import EXPLAINED, judge_kept, judge_median, judge_pair, judge_seconds
from sharedip_lab.scenarios.runner import Outcome


def _outcome(taken_s: float | None) -> Outcome:
    outcome = Outcome(EXPLAINED, "killed", "10.77.0.100", "", "n1", "n1", struck_at=100.0)
    outcome.new_owner_s = taken_s
    return outcome


def test_seconds_are_never_more_than_was_said() -> None:
    for taken_s, named, words in (
        (1.0, (0.8, 1.1), None),
        (1.2, (0.8, 1.1), "explain said at most 1.10 s"),
        (None, (0.8, 1.1), "nobody took it"),
        (1.0, None, "names no seconds"),
    ):
        judge_seconds(outcome := _outcome(taken_s), named)
        assert outcome.good is (words is None)
        assert words is None or words in outcome.wrong[0]


def test_the_median_lies_in_the_range_that_was_said() -> None:
    assert judge_median([_outcome(each) for each in (0.7, 0.9, 1.0)], [(0.8, 1.1)]) == []
    assert "the median is 0.60 s" in judge_median([_outcome(each) for each in (0.5, 0.6, 1.0)], [(0.8, 1.1)])[0]


SAID: dict[str, Any] = {"next": [{"node": "n2"}, {"node": "n3"}], "lease_s": 15.6}


@pytest.mark.parametrize(
    ("taken_s", "answered", "said", "words"),
    [
        (14.0, {"n1", "n3"}, SAID, None),
        (16.0, {"n1", "n3"}, SAID, "explain said at most 15.60 s"),
        (14.0, {"n1", "n4"}, SAID, "explain said that n3 would have it"),
        (14.0, {"n1", "n3"}, {**SAID, "next": [{"node": "n2"}]}, "explain names nobody behind the next one"),
    ],
)
def test_where_the_next_one_dies_as_well_the_one_behind_it_has_it_in_time(
    taken_s: float, answered: set[str], said: dict[str, Any], words: str | None
) -> None:
    judge_pair(outcome := _outcome(taken_s), said, answered)
    assert outcome.good is (words is None)
    assert words is None or words in outcome.wrong[0]


@pytest.mark.parametrize(
    ("last_at", "by", "words"),
    [
        (112.0, "n1", None),
        (114.9, "n1", None),  # renewed after the word
        (110.0, "n1", "the owner kept it for 10.0 s, and explain said 13.0 s"),
        (115.1, "n1", "the owner kept it for 15.1 s"),
        (112.0, "n2", "n2 answered without etcd"),
    ],
)
def test_without_etcd_its_owner_keeps_it_for_as_long_as_was_said_and_then_nobody_has_it(
    last_at: float, by: str, words: str | None
) -> None:
    """It was asked a second before etcd went."""
    outcome = _outcome(None)
    judge_kept(outcome, {"without_etcd_s": 13.0, "asked_at": 99.0}, [(101.0, "n1"), (last_at, by)], 15.0)
    assert outcome.good is (words is None)
    assert words is None or words in outcome.wrong[0]
