"""The judge of probe results: thresholds, the sum, and flapping."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedip.core.health import FLAP_MEMORY_S, CheckPolicy, CheckResult, HealthPolicy, next_probe_at
from sharedip.core.messages import Ailment, HealthChanged

API = CheckPolicy("api", failure_threshold=3, success_threshold=2, interval_s=2.0)
DISK = CheckPolicy("disk", failure_threshold=1, success_threshold=1, interval_s=2.0)
WORDS = {"+": "ok", "-": "answered 500", "r": "refused", "b": "ended in the middle"}


class Dialogue:
    """Feeds results in words: + is a success, - a failure, r a refusal, b an answer that breaks off, one every 2 s;
    keeps what was said. `live` lets the judge say when it wants to probe.
    """

    def __init__(self, *policies: CheckPolicy) -> None:
        self.now = 1000.0
        self.policy = HealthPolicy(policies, self.now)
        self.told: list[HealthChanged] = []
        self.said: list[HealthChanged] = []
        """Of these, those that change the sum, or what fails."""
        self._note(self.policy.start())

    def hear(self, name: str, results: str) -> list[bool]:
        """Give what was said of the sum while these came in."""
        before = len(self.said)
        for result in results:
            self.now += 2.0
            self._result(name, result, self.now)
        return [change.healthy for change in self.said[before:]]

    def live(self, name: str, results: str, *, takes_s: float = 0.0) -> float:
        """Probe when the judge says so; give the time that passed until the last result was in."""
        before = self.now
        for result in results:
            self.now = self.policy.next_probe_at(name, self.now, 0.5)
            started_at, self.now = self.now, self.now + takes_s
            self._result(name, result, started_at)
        return round(self.now - before, 6)

    def _result(self, name: str, result: str, started_at: float) -> None:
        verdict = CheckResult(name, result == "+", WORDS[result], refused=result == "r", broken=result == "b")
        self._note(self.policy.handle(verdict, started_at, self.now))

    def _note(self, change: HealthChanged | None) -> None:
        if change is None:
            return
        self.told.append(change)
        if not self.said or (self.said[-1].healthy, self.said[-1].failing) != (change.healthy, change.failing):
            self.said.append(change)


def test_a_node_without_checks_is_healthy_at_once() -> None:
    assert Dialogue().said == [HealthChanged(healthy=True, detail="no health checks")]


def test_nothing_is_said_before_anything_is_known() -> None:
    dialogue = Dialogue(API)
    assert dialogue.hear("api", "--") == []
    assert dialogue.policy.healthy is None
    assert dialogue.policy.detail == "waiting for api"
    assert dialogue.hear("api", "-") == [False]


def test_thresholds_count_results_in_a_row() -> None:
    dialogue = Dialogue(API)
    assert dialogue.hear("api", "+-+-+-+") == []
    assert dialogue.hear("api", "+") == [True]
    assert dialogue.hear("api", "--+--+--") == []
    assert dialogue.hear("api", "-") == [False]


def test_the_sum_is_healthy_only_when_all_are() -> None:
    dialogue = Dialogue(API, DISK)
    assert dialogue.hear("api", "++") == []
    assert dialogue.hear("disk", "+") == [True]
    assert dialogue.hear("disk", "-") == [False]
    assert dialogue.said[-1].detail == "disk: answered 500"
    assert dialogue.hear("api", "---") == [False], "another one fails: the same sum, and news all the same"
    assert dialogue.hear("disk", "+") == [False]
    assert dialogue.hear("api", "++") == [True]


def test_one_failing_check_is_enough_even_while_another_is_unknown() -> None:
    assert Dialogue(API, DISK).hear("disk", "-") == [False]


def test_a_check_that_flaps_has_to_earn_twice_as_much_each_time() -> None:
    dialogue = Dialogue(DISK)
    assert dialogue.hear("disk", "+") == [True]
    needed = []
    for _ in range(7):
        assert dialogue.hear("disk", "-") == [False]
        count = 0
        while not dialogue.policy.healthy:
            dialogue.hear("disk", "+")
            count += 1
        needed.append(count)
    assert needed == [1, 2, 4, 8, 16, 32, 32]


def test_a_long_calm_is_a_new_start() -> None:
    dialogue = Dialogue(DISK)
    dialogue.hear("disk", "+-+-++-")
    assert dialogue.hear("disk", "+++") == []
    dialogue.now += FLAP_MEMORY_S
    assert dialogue.hear("disk", "+") == [True]
    assert dialogue.hear("disk", "-+") == [False, True]


def test_an_api_server_that_answers_every_fourth_time_moves_the_vip_seldom() -> None:
    dialogue = Dialogue(CheckPolicy("api", 3, 1, 2.0))
    said = dialogue.hear("api", "+" + "---+" * 100)
    assert len(said) == 4


def test_a_reload_keeps_what_is_known_of_checks_that_stay() -> None:
    dialogue = Dialogue(API, DISK)
    dialogue.hear("api", "++")
    dialogue.hear("disk", "-")
    change = dialogue.policy.reconfigure([API], dialogue.now)
    assert change == HealthChanged(healthy=True, detail="1 of 1 checks pass")
    assert dialogue.hear("disk", "-----") == []
    assert dialogue.policy.reconfigure([API], dialogue.now, unknown={"api"}) is None
    assert dialogue.policy.healthy is None
    assert dialogue.hear("api", "---") == [False]


def test_the_view_tells_how_far_a_change_of_mind_is() -> None:
    dialogue = Dialogue(API)
    dialogue.hear("api", "++-")
    (view,) = dialogue.policy.view(dialogue.now + 1)
    assert (view.healthy, view.detail, view.since_s) == (True, "answered 500 (1 of 3 in a row)", 3.0)


def test_a_service_that_has_passed_and_refuses_three_times_is_dead_whatever_the_thresholds() -> None:
    dialogue = Dialogue(CheckPolicy("api", 100, 2, 2.0))
    assert dialogue.hear("api", "++") == [True]
    dialogue.live("api", "r")
    assert dialogue.live("api", "r") == 0.1
    assert dialogue.policy.healthy
    assert dialogue.live("api", "r") == 0.1
    assert dialogue.said[-1] == HealthChanged(False, "api: refused", (("api", Ailment.DEAD),))
    assert dialogue.live("api", "r") == 2.0, "who is known to be dead is asked at the interval"


def test_a_service_that_has_not_begun_yet_has_not_died() -> None:
    dialogue = Dialogue(API)
    assert dialogue.live("api", "rr") == 1.0
    assert dialogue.policy.healthy is None
    assert dialogue.live("api", "r") == 1.0
    assert dialogue.said[-1].failing == (("api", Ailment.DEAD),)


def test_a_service_that_has_not_begun_is_asked_patiently_as_often_as_its_threshold_says() -> None:
    dialogue = Dialogue(CheckPolicy("api", 6, 2, 2.0))
    assert dialogue.live("api", "rrrrr") == 4.0
    assert dialogue.policy.healthy is None
    dialogue.live("api", "r")
    assert dialogue.policy.healthy is False


def test_what_is_unknown_is_asked_soon_again_and_what_was_ill_at_the_interval() -> None:
    dialogue = Dialogue(API)
    dialogue._result("api", "+", dialogue.now)
    assert dialogue.live("api", "+") == 1.0
    dialogue.live("api", "---")
    assert dialogue.live("api", "++") == 4.0


def test_of_what_is_only_being_made_nothing_is_said_until_it_has_passed_or_had_its_time() -> None:
    default = CheckPolicy("api", 3, 2, 2.0, beginning_s=300.0)
    dialogue = Dialogue(default)
    dialogue.live("api", "r" * 100 + "-" * 100)
    assert dialogue.said == []
    assert dialogue.policy.view(dialogue.now)[0].detail == "answered 500 (it has not passed yet)"
    dialogue.live("api", "+---")
    assert [change.healthy for change in dialogue.said] == [False], "who has passed once is judged like any other"
    late = Dialogue(default)
    late.live("api", "r" * 302)
    assert late.said[-1].failing == (("api", Ailment.DEAD),)


@pytest.mark.parametrize("results", ["r+r+r+rr+rr+", "r-r-", "rr-", "-r-"])
def test_refusals_that_are_not_in_a_row_prove_no_death(results: str) -> None:
    dialogue = Dialogue(CheckPolicy("api", 100, 1, 2.0))
    dialogue.hear("api", "+")
    dialogue.live("api", results)
    assert dialogue.policy.healthy


def test_what_is_slow_has_patience_however_often_it_is_asked() -> None:
    """5xx at the defaults: the interval, and then twice 1 s; probes in between count for nothing."""
    dialogue = Dialogue(API)
    dialogue.hear("api", "++")
    assert dialogue.live("api", "-") == 2.0
    for _ in range(20):
        dialogue.now += 0.01
        dialogue._result("api", "-", dialogue.now)
    assert dialogue.policy.healthy
    assert dialogue.live("api", "-") == 0.8
    assert dialogue.live("api", "-") == 1.0
    assert dialogue.said[-1] == HealthChanged(False, "api: answered 500", (("api", Ailment.SLOW),))
    assert dialogue.live("api", "-") == 2.0, "a server that is known to be ill is not asked more often"


def test_what_passes_again_is_told_as_recovering_until_it_is_trusted() -> None:
    dialogue = Dialogue(CheckPolicy("api", 1, 2, 2.0))
    dialogue.hear("api", "++-")
    slow = (("api", Ailment.SLOW),)
    assert dialogue.told[-1] == HealthChanged(False, "api: answered 500", slow)
    for result, recovering in (("+", {"api"}), ("-", set())):
        dialogue.hear("api", result)
        assert dialogue.told[-1].failing == slow
        assert dialogue.told[-1].recovering == frozenset(recovering)
    dialogue.hear("api", "++++")
    assert (dialogue.told[-1].healthy, dialogue.told[-1].failing) == (True, ())
    assert not dialogue.told[-1].recovering
    before = len(dialogue.told)
    dialogue.hear("api", "++")
    assert len(dialogue.told) == before


def test_a_frozen_service_is_found_out_within_the_stated_time_at_defaults() -> None:
    """Frozen right after an answer: an interval (10 % late at the most), and three probes that take 2 s each."""
    dialogue = Dialogue(API)
    dialogue.hear("api", "++")
    assert dialogue.live("api", "---", takes_s=2.0) + 0.2 <= 8.5
    assert dialogue.said[-1].failing == (("api", Ailment.SLOW),)


def test_an_answer_that_breaks_off_is_asked_after_at_once_and_only_once() -> None:
    dialogue = Dialogue(API)
    dialogue.hear("api", "++")
    assert dialogue.live("api", "b") == 2.0
    assert dialogue.live("api", "b") == 0.1
    assert dialogue.live("api", "b") == 0.9
    assert dialogue.policy.healthy, "a server that drops connections under load is not dead"
    dialogue.live("api", "b")
    assert dialogue.live("api", "bb") == 1.0
    assert dialogue.said[-1].failing == (("api", Ailment.SLOW),)


def test_one_that_dies_in_the_middle_of_an_answer_is_dead_and_was_not_slow_first() -> None:
    dialogue = Dialogue(DISK)
    dialogue.hear("disk", "+")
    dialogue.live("disk", "b")
    assert dialogue.live("disk", "rrr") == 0.3
    assert [change.failing for change in dialogue.said[1:]] == [(("disk", Ailment.DEAD),)]


def test_how_a_check_fails_may_change_and_each_change_is_told_once() -> None:
    dialogue = Dialogue(API, DISK)
    dialogue.hear("api", "++")
    dialogue.hear("disk", "+")
    dialogue.live("api", "---")
    dialogue.live("api", "rrrr")
    dialogue.live("disk", "-")
    dialogue.live("api", "--")
    assert dialogue.said[-1].failing[0] == ("api", Ailment.DEAD), "it listens again, which is not much yet"
    dialogue.live("api", "--")
    dialogue.live("api", "++")
    dialogue.live("disk", "+")
    slow, dead = ("api", Ailment.SLOW), ("api", Ailment.DEAD)
    disk = ("disk", Ailment.SLOW)
    assert [change.failing for change in dialogue.said] == [
        (),
        (slow,),
        (dead,),
        (dead, disk),
        (slow, disk),
        (disk,),
        (),
    ]
    assert [change.healthy for change in dialogue.said] == [True, False, False, False, False, False, True]


def test_a_connection_that_closes_is_asked_after_at_once() -> None:
    dialogue = Dialogue(API)
    assert dialogue.policy.kept_connection_closed("api", 2, 1000.0)
    assert dialogue.policy.kept_connection_closed("api", 2, 1000.1)
    assert not dialogue.policy.kept_connection_closed("stranger", 2, 1000.0)


def test_a_server_that_closes_after_each_answer_is_not_asked_more_than_once_in_between() -> None:
    dialogue = Dialogue(API)
    asked = [at for at in range(100) if dialogue.policy.kept_connection_closed("api", 1, 1000.0 + at / 10)]
    assert asked == [0, 20, 40, 60, 80]


@given(
    st.lists(
        st.tuples(st.sampled_from(["api", "disk", "stranger"]), st.sampled_from("+-rb"), st.floats(0, 400)),
        max_size=200,
    ),
)
def test_what_was_said_last_is_what_is_thought(steps: list[tuple[str, str, float]]) -> None:
    """Whatever comes in: no change is told twice, and the last one agrees with the sum unless that is unknown."""
    dialogue = Dialogue(API, DISK)
    for name, result, pause_s in steps:
        dialogue.now += pause_s
        dialogue._result(name, result, dialogue.now)
        policy, said = dialogue.policy, dialogue.said
        if policy.healthy is not None:
            assert (said[-1].healthy, said[-1].failing) == (policy.healthy, policy.failing)
            assert policy.healthy is not bool(policy.failing)
        for check in ("api", "disk"):
            assert policy.next_probe_at(check, dialogue.now, 0.5) <= dialogue.now + 2.0
    told = [(change.healthy, change.failing, change.recovering) for change in dialogue.told]
    assert all(before != after for before, after in pairwise(told))


@given(st.floats(0, 1e6), st.floats(0, 400), st.floats(0.1, 300), st.floats(0, 1, exclude_max=True))
def test_a_probe_is_never_due_in_the_past_nor_far_off_its_interval(
    started_at: float, took_s: float, interval_s: float, random: float
) -> None:
    now = started_at + took_s
    due = next_probe_at(started_at, now, interval_s, random)
    assert due >= now
    assert due == now or 0.89 * interval_s <= due - started_at <= 1.11 * interval_s
