"""The one function that yields what is wrong: each code's words, who publishes what, and what is read of others."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from sharedip.core import problems as words
from sharedip.core.model import ConflictPolicy
from sharedip.core.problems import (
    AgentSituation,
    Standing,
    Trouble,
    VipSituation,
    differing,
    grouped,
    of_agent,
    of_vip,
    problem_line,
    problem_view,
    problems,
    read_published,
    to_publish,
)
from sharedip.core.settings import SharedSettings

SOUND = VipSituation("10.0.0.1", "n1", Standing.UP, behind=(("n2", ""),), is_watched=True, crash_s=1.1, whole_s=1.1)
SHARED = SharedSettings(1000, 15, ConflictPolicy.DEFEND)
AGENT = AgentSituation("n2", settings=SHARED)


def vip(**changes: Any) -> VipSituation:
    return replace(SOUND, **changes)


def test_nothing_is_wrong_where_the_address_is_up_protected_and_could_move() -> None:
    assert list(problems([], [SOUND], [AGENT, replace(AGENT, node="n1")])) == []


@pytest.mark.parametrize(
    ("situation", "code", "said"),
    [
        (vip(standing=Standing.DOWN, why="n1 takes it back"), "down", "10.0.0.1 is DOWN: n1 takes it back"),
        (vip(standing=Standing.UNKNOWN, why="w"), "uncertain", "whether 10.0.0.1 is up can't be told: w"),
        (
            vip(silent=True, lease_s=15.6),
            "owner-silent",
            "n1, which has 10.0.0.1, is silent: if it is dead, n2 has it at most 15.6 s after its death",
        ),
        (vip(behind=()), "nobody-next", "nobody is next for 10.0.0.1: if n1 dies, nobody has it"),
        (
            vip(behind=(("n2", "is drained"), ("n3", "is unhealthy"))),
            "nobody-sound",
            "no sound node is next for 10.0.0.1, if n1 dies: n2 is drained, n3 is unhealthy",
        ),
        (
            vip(is_watched=False, crash_s=15.6, why_unwatched="n2 does not answer"),
            "no-witness",
            "10.0.0.1 has no witness: a crash of n1 takes up to 15.6 s instead of 1.1 s (n2 does not answer)",
        ),
        (
            vip(crash_s=4.1),
            "slow-witness",
            "10.0.0.1 has only a slow witness: a crash of n1 takes up to 4.1 s instead of 1.1 s",
        ),
    ],
)
def test_a_vip_that_is_not_up_protected_and_movable_says_which(situation: VipSituation, code: str, said: str) -> None:
    (found,) = of_vip(situation)
    assert (found.code, found.text) == (code, said)


def test_a_vip_that_is_down_or_unwanted_by_a_witness_has_no_seconds() -> None:
    """Without a witness by choice, nothing is wrong; and where it is down, that is what counts."""
    assert list(of_vip(vip(is_watched=False, crash_s=None, whole_s=None))) == []
    down = vip(standing=Standing.DOWN, is_watched=False, crash_s=15.6)
    assert [each.code for each in of_vip(down)] == ["down"]
    nobody = VipSituation("10.0.0.1", "", Standing.DOWN, "nobody stands")
    assert [each.code for each in of_vip(nobody)] == ["down"]


def test_what_another_agent_says_of_itself_is_said_of_it_in_the_same_words() -> None:
    ill = replace(
        AGENT,
        healthy=False,
        published=(("unsaved", ""), ("stray", "10.0.0.1"), ("down", "10.0.0.1")),
        flaws=(("isolated", "eth0"), ("anything", "eth0")),
    )
    said = [each.text for each in of_agent(ill)]
    assert said == [
        "n2 is unhealthy",
        "n2 can't save its state: its agent starts afresh when it is restarted",
        "10.0.0.1 is on n2 by another hand than sharedip's",
        "n2 can't serve VIPs on eth0: it is not heard there, and others are",
    ]
    own = Trouble("unsaved", "n2")
    assert own.text in said


def test_whom_others_have_seen_die_is_missed_until_it_is_registered() -> None:
    told = [each.text for each in problems([], [SOUND], [replace(AGENT, lost=("n3", "n2"))])]
    assert told == ["the agent of n3 died, and has not come back"]


def test_unknown_health_is_no_problem() -> None:
    """Law 4."""
    assert list(of_agent(replace(AGENT, healthy=None))) == []


def test_settings_that_differ_are_named_with_who_has_which() -> None:
    slow = replace(SHARED, window_ms=4000, policy=ConflictPolicy.YIELD)
    agents = [AGENT, replace(AGENT, node="n1"), AgentSituation("n3", settings=slow), AgentSituation("n4")]
    found = list(differing(agents))
    assert [each.text for each in found] == [
        "settings differ between nodes: conflict.policy is defend on n1 and n2, yield on n3",
        "settings differ between nodes: failover.window is 1000 ms on n1 and n2, 4000 ms on n3",
    ]


def test_vips_that_have_the_same_are_one_problem_and_the_gravest_comes_first() -> None:
    many = [Trouble("nobody-next", "n1", (f"10.0.0.{n}",), since=float(n)) for n in range(1, 8)]
    merged, rest = grouped([Trouble("unhealthy", "n2"), *many])
    assert merged.text.startswith("nobody is next for 10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5 and 2 more:")
    assert (merged.since, len(merged.vips), rest.code) == (1.0, 7, "unhealthy")


def test_only_codes_are_published_and_only_known_ones_are_read() -> None:
    own = [
        Trouble("stray", "n1", ("10.0.0.2", "fd00::1"), detail="on eth1"),
        Trouble("unsaved", "n1", detail="No space left on device"),
        Trouble("etcd-away", "n1"),
    ]
    said = to_publish(own)
    assert said == ["stray 10.0.0.2", "stray fd00::1", "unsaved"]
    assert read_published(said) == (("stray", "10.0.0.2"), ("stray", "fd00::1"), ("unsaved", ""))


@pytest.mark.parametrize(
    "value",
    [
        None,
        "unsaved",
        {"unsaved": 1},
        ["<b>down</b>", "etcd-away", "unhealthy", "stray", "stray nonsense", "unsaved 10.0.0.1", 7, ["unsaved"]],
    ],
)
def test_no_text_from_outside_becomes_a_problem(value: object) -> None:
    """Whoever can write to etcd could put words into an operator's mouth."""
    assert read_published(value) == ()


def test_every_code_has_words_that_can_be_filled_in() -> None:
    for code in words._WORDS:
        trouble = Trouble(code, "n1", ("10.0.0.1",), "eth0", "why", after="1.1 s")
        for text in (trouble.text, trouble.ended, trouble.way_out):
            assert not re.search(r"[{}]", text), code
        assert trouble.text.endswith(": why")


def test_one_line_says_what_for_how_long_and_what_to_do() -> None:
    view = problem_view(Trouble("unhealthy", "n2", since=100.0), 112.4)
    assert problem_line(view["text"], view["for_s"], view["remedy"]) == (
        "n2 is unhealthy (for 12 s); it gives its VIPs to a healthy node if there is one"
    )
    assert [problem_line("x", each, "") for each in (None, 300.0, 9000.0, 900000.0)] == [
        "x",
        "x (for 5 min)",
        "x (for 2 h)",
        "x (for 10 d)",
    ]
    assert problem_view(Trouble("unhealthy", "n2", since=100.0))["for_s"] is None
