"""What is on disk: one order for each change, the last answer counts, and a disk that fails is tried again."""

from __future__ import annotations

from dataclasses import replace

from sharedip.core.messages import Command, Report, StateNotSaved, StateSaved
from sharedip.core.saved_state import LOST_RETRY_S, SAVE_RETRY_S, UNSAVED_S_MAX, SavedState
from sharedip.core.state import FormerRun, read_state

RUN = FormerRun(0x1, "sharedip:v1", "n1", (), drained=False)
DRAINED = replace(RUN, drained=True)


def test_a_run_is_ordered_once_and_durable_when_the_disk_has_said_so() -> None:
    saved = SavedState(list[Command]().append)
    order = saved.order(RUN, 0.0)
    assert order is not None
    assert read_state(order.content) == RUN
    assert saved.order(RUN, 0.0) is None
    assert [saved.durable, saved.saved(StateSaved(order.number)), saved.durable] == [None, RUN, RUN]
    assert saved.order(RUN, 1.0) is None
    assert saved.order(DRAINED, 1.0) is not None
    assert saved.durable == RUN, "until the disk has the newer one"


def test_an_answer_that_nobody_waits_for_makes_nothing_durable() -> None:
    saved = SavedState(list[Command]().append)
    order = saved.order(RUN, 0.0)
    assert order is not None
    assert saved.saved(StateSaved(order.number + 1)) is None
    assert saved.durable is None
    saved.saved(StateSaved(order.number))
    assert saved.saved(StateSaved(order.number)) is None


def test_what_could_not_be_saved_is_ordered_again_after_a_pause_and_told_once() -> None:
    said: list[Command] = []
    saved = SavedState(said.append)
    now = 0.0
    for _ in range(3):
        order = saved.order(RUN, now)
        assert order is not None
        saved.not_saved(StateNotSaved(order.number, "no space"), now)
        assert saved.next_deadline() == now + SAVE_RETRY_S
        assert saved.order(RUN, now) is None
        now = saved.next_deadline()
    assert [type(each) for each in said] == [Report]


def test_a_node_is_unfit_only_when_nothing_was_saved_for_long_and_fit_again_at_once() -> None:
    saved = SavedState(list[Command]().append)
    now = 0.0
    while not saved.is_unfit:
        order = saved.order(RUN, now)
        assert order is not None
        saved.not_saved(StateNotSaved(order.number, "no space"), now)
        assert saved.is_unfit == (now >= UNSAVED_S_MAX)
        now = saved.next_deadline()
    order = saved.order(RUN, now)
    assert order is not None
    saved.saved(StateSaved(order.number))
    assert (saved.is_unfit, saved.next_deadline()) == (False, float("inf"))


def test_a_refusal_that_comes_late_says_nothing_of_what_was_ordered_since() -> None:
    """Else what changes in the pause that follows would not be saved, and still count as if it were (law 7)."""
    saved = SavedState(list[Command]().append)
    first = saved.order(RUN, 0.0)
    second = saved.order(DRAINED, 0.0)
    assert first is not None
    assert second is not None
    saved.not_saved(StateNotSaved(first.number, "no space"), 0.1)
    saved.saved(StateSaved(second.number))
    assert saved.durable == DRAINED
    assert saved.order(RUN, 0.1) is not None, "at once, with no pause"


def test_a_file_that_was_lost_is_written_again_after_a_while_and_what_changed_at_once() -> None:
    """No file is safe, and a problem until there is one; but a resignation must not wait for that."""
    saved = SavedState(list[Command]().append)
    order = saved.order(RUN, 0.0)
    assert order is not None
    assert saved.saved(StateSaved(order.number, "No space left on device")) == RUN
    assert saved.trouble == "No space left on device"
    saved.try_again(0.0)
    assert saved.order(RUN, LOST_RETRY_S - 0.1) is None
    assert saved.next_deadline() == LOST_RETRY_S
    assert saved.order(DRAINED, 1.0) is not None
    saved.try_again(1.0)
    again = saved.order(DRAINED, 1.0 + LOST_RETRY_S)
    assert again is not None
    saved.saved(StateSaved(again.number))
    assert saved.trouble == ""
    assert saved.next_deadline() == float("inf")
