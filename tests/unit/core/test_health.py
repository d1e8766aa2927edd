"""The judge of probe results: thresholds, the sum, and flapping."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sharedip.core.health import FLAP_MEMORY_S, CheckPolicy, CheckResult, HealthPolicy, next_probe_at
from sharedip.core.messages import HealthChanged

API = CheckPolicy("api", failure_threshold=3, success_threshold=2)
DISK = CheckPolicy("disk", failure_threshold=1, success_threshold=1)


class Dialogue:
    """Feeds results in words: + is a success, - a failure, one every 2 s; keeps what was said."""

    def __init__(self, *policies: CheckPolicy) -> None:
        self.now = 1000.0
        self.policy = HealthPolicy(policies, self.now)
        self.said: list[HealthChanged] = []
        self._note(self.policy.start())

    def hear(self, name: str, results: str) -> list[bool]:
        """Give what was said of the sum while these came in."""
        before = len(self.said)
        for result in results:
            self.now += 2.0
            verdict = CheckResult(name, healthy=result == "+", detail="ok" if result == "+" else "answered 500")
            self._note(self.policy.handle(verdict, self.now))
        return [change.healthy for change in self.said[before:]]

    def _note(self, change: HealthChanged | None) -> None:
        if change is not None:
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
    assert dialogue.hear("api", "---") == []
    assert dialogue.hear("disk", "+") == []
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
    dialogue = Dialogue(CheckPolicy("api", 3, 1))
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


@given(
    st.lists(st.tuples(st.sampled_from(["api", "disk", "stranger"]), st.booleans(), st.floats(0, 400)), max_size=200),
)
def test_what_was_said_last_is_what_is_thought(steps: list[tuple[str, bool, float]]) -> None:
    """Whatever comes in: changes alternate, and the last one agrees with the sum unless that is unknown."""
    policy, now, said = HealthPolicy([API, DISK], 0.0), 0.0, []
    for name, healthy, pause_s in steps:
        now += pause_s
        change = policy.handle(CheckResult(name, healthy, "x"), now)
        if change is not None:
            said.append(change.healthy)
        assert policy.healthy is None or said[-1] == policy.healthy
    assert all(before != after for before, after in pairwise(said))


@given(st.floats(0, 1e6), st.floats(0, 400), st.floats(0.1, 300), st.floats(0, 1, exclude_max=True))
def test_a_probe_is_never_due_in_the_past_nor_far_off_its_interval(
    started_at: float, took_s: float, interval_s: float, random: float
) -> None:
    now = started_at + took_s
    due = next_probe_at(started_at, now, interval_s, random)
    assert due >= now
    assert due == now or 0.89 * interval_s <= due - started_at <= 1.11 * interval_s
