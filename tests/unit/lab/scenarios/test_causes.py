"""Which changes of owner have a cause among the faults, and which have none."""

from __future__ import annotations

import pytest

from sharedip_lab.faults.catalogue import FAULTS
from sharedip_lab.observe.points import Points
from sharedip_lab.scenarios.causes import Change, Fall, cause_of, changes_of_owner, without_cause
from sharedip_lab.scenarios.runner import Outcome

CHANGE = Change("n1", 100.0, "n2", 101.0)


def _struck(fault: str, node: str = "n1", began: float = 99.9, healed: float = 104.0) -> Outcome:
    outcome = Outcome(fault, FAULTS[fault].title, "10.77.0.100", "", node, "n1")
    outcome.struck_at, outcome.healed_at = began, healed
    return outcome


def test_changes_are_read_off_the_answers() -> None:
    answers = Points(0.005)
    for at, who in ((1.0, "n1"), (1.1, "n1"), (2.5, "n2"), (2.6, "n2"), (3.0, "n1")):
        answers.add(at, who)
    assert changes_of_owner(answers, 0.0, 9.0) == [Change("n1", 1.1, "n2", 2.5), Change("n2", 2.6, "n1", 3.0)]
    assert changes_of_owner(answers, 2.55, 9.0) == [Change("n2", 2.6, "n1", 3.0)]


@pytest.mark.parametrize(
    ("struck", "is_cause"),
    [
        ([_struck("sigkill")], True),
        ([_struck("sigkill", "n2")], False),
        ([_struck("sigkill", began=101.1)], False),  # after the change
        ([_struck("sigkill", began=80.0, healed=96.0)], False),  # over long before
        ([_struck("sigkill", began=80.0, healed=98.0)], True),
        ([_struck("sigkill", healed=0.0)], True),  # not healed yet
        ([_struck("deaf")], True),
        ([_struck("udp-blocked", "n3")], False),
        ([_struck("some-pairs")], False),
        ([_struck("spoof-guard")], False),
        ([_struck("etcd-down-5s")], False),  # etcd alone moves nothing
        ([_struck("etcd-full", "n3")], False),
        ([_struck("next-dead-sigterm", "n3")], True),  # it strikes several
        ([_struck("etcd-down-5s"), _struck("sigkill", "n2")], True),
        ([_struck("sigterm", "n3"), _struck("sigkill", "n2")], False),
        ([_struck("etcd-down-5s"), _struck("address-deleted")], False),
        ([_struck("etcd-down-5s", began=87.0, healed=92.0), _struck("etcd-in", "n3")], True),  # one lease saw both
        ([_struck("etcd-down-5s", began=70.0, healed=75.0), _struck("etcd-in", "n3")], False),
        ([_struck("etcd-down-5s", began=87.0, healed=92.0), _struck("address-deleted")], False),
        ([_struck("etcd-down-5s", began=87.0, healed=92.0)], False),
        ([], False),
    ],
)
def test_a_cause_is_a_fault_on_the_node_that_was_left_or_two_of_which_one_troubles_etcd(
    struck: list[Outcome], *, is_cause: bool
) -> None:
    assert (cause_of(CHANGE, struck, FAULTS) is not None) is is_cause
    assert (without_cause([CHANGE], struck, FAULTS) == []) is is_cause


def test_an_agent_that_ended_by_itself_is_a_cause_for_a_while() -> None:
    assert cause_of(CHANGE, [], FAULTS, [Fall("n1", 99.0)]) == "n1's agent ended by itself"
    assert not cause_of(CHANGE, [], FAULTS, [Fall("n2", 99.0)])
    assert not cause_of(CHANGE, [], FAULTS, [Fall("n1", 90.0)])


def test_a_change_without_a_cause_is_told_with_what_was_broken_meanwhile() -> None:
    (told,) = without_cause([CHANGE], [_struck("udp-blocked", "n3")], FAULTS, zero=90.0)
    assert "n1 → n2 at 11.00 s has no cause" in told
    assert "udp-blocked at n3 since 9.9 s" in told
