"""Law 2, of the operator's own programs: what answers late has not answered, and when a right ends nothing is asked."""

from __future__ import annotations

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import (
    HoldAddress,
    HookEnded,
    KeepLeaseAlive,
    MoveRequested,
    RemoveAddress,
    RunHook,
    StopHook,
)
from sharedip.core.model import Hook
from tests.stages.harness import VIP, Talk, with_a_rival

T = 2.0
EARLY_S = 0.01


def asking() -> Talk:
    """It comes first, and its `onAcquire` runs."""
    talk = Talk(hooks=((Hook.ACQUIRE, T),))
    talk.start()
    talk.run(0.2)
    return talk


def releasing(timeout_s: float) -> Talk:
    """An owner that was asked to go, and whose `onRelease` runs."""
    talk = Talk(hooks=((Hook.RELEASE, timeout_s),))
    talk.start()
    talk.run(1.0)
    with_a_rival(talk).hear(MoveRequested(1, VIP.address, None))
    assert talk.is_in(Phase.OWNING)
    return talk


def test_an_on_acquire_that_passes_at_its_deadline_has_refused() -> None:
    """Time passes first, so a late answer lets nobody in."""
    talk = asking()
    order = talk.expect(RunHook)
    talk.now = talk.candidacy.bid.acquire.until  # type: ignore[union-attr]
    talk.hear(HookEnded(order.number, succeeded=True, detail="exit 0"))
    talk.run(0.2)
    assert not talk.is_in(Phase.OWNING)
    talk.none(HoldAddress)


def test_its_deadline_counts_from_the_order_and_needs_no_answer() -> None:
    talk = asking()
    run = talk.candidacy.bid.acquire  # type: ignore[union-attr]
    assert run is not None
    talk.run(run.until - talk.now - EARLY_S)
    talk.none(StopHook)
    assert talk.is_in(Phase.VERIFYING)
    talk.run(2 * EARLY_S)
    talk.expect(StopHook)
    assert not talk.is_in(Phase.VERIFYING)


def test_when_a_right_ends_no_hook_is_asked_and_none_is_waited_for() -> None:
    """The removal is ordered at the instant at which it would be without any hook."""
    ends = Talk(hooks=((Hook.RELEASE, T),))
    ends.start()
    ends.run(1.0)
    with_a_rival(ends)
    ends.run(ends.right_until - ends.now + 0.1, KeepLeaseAlive)
    ends.none(RunHook)
    waits = releasing(60.0)
    order, until = waits.expect(RunHook), waits.candidacy.ownership.lapses_at
    while not waits.removed:
        until = max(until, waits.candidacy.ownership.lapses_at)
        waits.now = max(waits.now, waits.node.next_deadline())
        waits.pass_time(0.0)
        waits.serve(KeepLeaseAlive, RemoveAddress)
    assert waits.now <= until + EARLY_S
    assert waits.expect(StopHook).number == order.number


def test_an_on_release_that_never_answers_holds_the_address_for_its_deadline_and_no_longer() -> None:
    talk = releasing(T)
    begin = talk.now
    talk.run(T + EARLY_S)
    assert len(talk.removed) == 1
    talk.expect(StopHook)
    assert talk.now <= begin + T + 2 * EARLY_S
