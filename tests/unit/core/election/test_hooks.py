"""The operator's own programs: when each runs, what it is told, and until when it is waited for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.election.hooks import CHANGES_AT_ONCE, HOLDOFF_S, HOLDOFF_S_MAX, NOBODY_S, OVERDUE_S, Hooks
from sharedip.core.messages import (
    Ailment,
    AnnounceOnceHeld,
    Command,
    DrainRequested,
    HealthChanged,
    HoldAddress,
    HookEnded,
    LinkChanged,
    MoveRequested,
    RemoveAddress,
    RunHook,
    SettingsChanged,
    StopHook,
    StopRequested,
)
from sharedip.core.model import Hook, LinkState, Vip
from sharedip.core.segment.wire import Released
from sharedip.core.settings import Settings
from tests.stages.harness import LAYOUT, LINK, THEIRS, VIP, Talk, restarted, with_a_rival

T = 2.0
ALL = tuple((hook, T) for hook in Hook)
ACQUIRE, RELEASE, CHANGE = ((hook, T) for hook in Hook)


def story(order: RunHook) -> dict[str, Any]:
    """What the program reads."""
    told: dict[str, Any] = json.loads(order.content)
    return told


def passes(talk: Talk, hook: Hook = Hook.ACQUIRE) -> RunHook:
    """The hook that was ordered ends with 0."""
    order = talk.expect(RunHook)
    assert order.hook is hook
    talk.hear(HookEnded(order.number, succeeded=True, detail="exit 0"))
    return order


def asking(*hooks: tuple[Hook, float], **settings: Any) -> Talk:
    """A node that comes first, and whose `onAcquire` runs."""
    talk = Talk(hooks=hooks or (ACQUIRE,), **settings)
    talk.start()
    talk.run(0.2)
    return talk


def owning(*hooks: tuple[Hook, float]) -> Talk:
    """An owner that has passed its `onAcquire`, if it has one, with a sound candidate behind it."""
    talk = Talk(hooks=hooks)
    talk.start()
    talk.run(0.2)
    if ACQUIRE in hooks:
        passes(talk)
        talk.run(0.2)
    assert talk.is_in(Phase.OWNING)
    if CHANGE in hooks:
        passes(talk, Hook.CHANGE)
    talk.none(RunHook)
    return with_a_rival(talk)


# -- onAcquire --------------------------------------------------------------------------------------------------------


def test_nothing_goes_up_before_on_acquire_has_passed() -> None:
    talk = asking()
    order = talk.expect(RunHook)
    assert (order.hook, order.vip, order.timeout_s) == (Hook.ACQUIRE, VIP, T)
    assert story(order) == {
        "hook": "onAcquire",
        "node": "n1",
        "vip": "192.168.0.15",
        "link": "eth0",
        "epoch": talk.candidacy.epoch,
        "former": None,
        "reason": "it had no owner",
        "refusals": 0,
    }
    talk.run(1.0)
    assert talk.is_in(Phase.VERIFYING)
    talk.none(HoldAddress, AnnounceOnceHeld, RunHook)
    assert "its hook onAcquire has not passed yet" in talk.node.outlook.vip(talk.candidacy, talk.now).why
    talk.hear(HookEnded(order.number, succeeded=True, detail="exit 0"))
    talk.none(HoldAddress)
    talk.run(0.2)
    assert talk.is_in(Phase.OWNING)
    talk.none(RunHook)


def test_without_it_nothing_is_asked() -> None:
    talk = asking(RELEASE)
    assert talk.is_in(Phase.OWNING)
    talk.none(RunHook)


def test_what_was_proved_before_it_passed_counts_no_more() -> None:
    """The way in is the same as ever: a read that was sent after it shows this node first."""
    talk = asking()
    order = talk.expect(RunHook)
    talk.store.delete(talk.key)
    talk.hear(HookEnded(order.number, succeeded=True, detail="exit 0"))
    talk.run(0.1)
    assert not talk.is_in(Phase.OWNING)
    talk.none(HoldAddress)


def test_an_address_that_a_word_has_freed_waits_for_it_too() -> None:
    talk = Talk(hooks=(ACQUIRE,))
    talk.store.stand("n2")
    talk.start()
    talk.run(1.0)
    speaker = talk.candidacy.queue()[0]
    talk.node._released(THEIRS, Released(speaker.create_revision, VIP.address, "moved"), talk.now)
    talk.settle()
    assert talk.is_in(Phase.WAITING)
    order = passes(talk)
    assert story(order)["former"] == {"node": "n2", "epoch": speaker.create_revision}
    assert story(order)["reason"] == "n2 handed it over (moved)"
    assert talk.is_in(Phase.OWNING)


@pytest.mark.parametrize("answer", [True, False])
def test_a_refusal_resigns_in_order_and_the_next_one_is_not_delayed(answer: bool) -> None:
    """By its exit code, or by its silence: then it is stopped as well."""
    talk = asking()
    order = talk.expect(RunHook)
    talk.store.stand("n2")
    talk.tell_changes()
    if answer:
        talk.hear(HookEnded(order.number, succeeded=False, detail="exit 1: no such address"))
        why = "its hook onAcquire refused (exit 1: no such address)"
    else:
        talk.run(T)
        assert talk.expect(StopHook).number == order.number
        why = "its hook onAcquire refused (no answer within 2 s)"
    talk.run(0.1)
    assert talk.is_in(Phase.OUT)
    record = talk.store.keys[LAYOUT.owner(VIP.address)].value
    assert why in record.decode()
    assert talk.removed == []
    assert talk.candidacy.queue()[0].lease == THEIRS
    assert [each.text for each in talk.reports if "hook" in each.text] == ["the hook onAcquire failed"]
    (problem,) = (each for each in talk.node.outlook.own_of_vip(talk.candidacy, talk.now) if each.code == "hook-failed")
    assert "a hook of n1 failed for 192.168.0.15: onAcquire, " in problem.text


def test_each_further_refusal_doubles_how_long_others_come_first() -> None:
    talk, waits = asking(), []
    for _ in range(7):
        order = talk.expect(RunHook)
        talk.hear(HookEnded(order.number, succeeded=False, detail="exit 1"))
        since = talk.now
        while not any(isinstance(each, RunHook) for each in talk.open):
            talk.now = max(talk.now, talk.node.next_deadline())
            talk.pass_time(0.0)
            talk.serve()
        waits.append(talk.now - since)
    doubled = [min(HOLDOFF_S_MAX, HOLDOFF_S * 2**number) for number in range(7)]
    assert waits == pytest.approx(doubled, abs=0.5)
    assert story(talk.open[-1])["refusals"] == 7  # type: ignore[arg-type]


def test_a_reload_ends_the_holding_off() -> None:
    talk = asking()
    talk.hear(HookEnded(talk.expect(RunHook).number, succeeded=False, detail="exit 1"))
    talk.run(0.2)
    talk.none(RunHook)
    talk.hear(SettingsChanged(talk.settings))
    talk.run(0.2)
    passes(talk)


def test_who_loses_its_key_meanwhile_stops_it() -> None:
    """It must do nothing later than the next owner's."""
    talk = asking()
    order = talk.expect(RunHook)
    talk.store.delete(talk.key)
    talk.tell_changes()
    assert talk.expect(StopHook).number == order.number
    talk.hear(HookEnded(order.number, succeeded=True, detail="exit 0"))
    talk.none(HoldAddress)


def test_who_stops_meanwhile_stops_it_and_leaves_in_order() -> None:
    talk = asking()
    order = talk.expect(RunHook)
    talk.hear(StopRequested())
    assert talk.expect(StopHook).number == order.number
    talk.none(RunHook, HoldAddress)


def test_coming_first_and_waiting_for_it_is_not_being_idle() -> None:
    talk = asking((Hook.ACQUIRE, 30.0))
    talk.store.stand("n2")
    talk.tell_changes()
    talk.run(20.0)
    assert talk.is_in(Phase.VERIFYING)
    passes(talk)
    talk.run(0.2)
    assert talk.is_in(Phase.OWNING)


def test_a_right_that_lapsed_is_taken_up_again_without_it() -> None:
    """The key is the same: nobody else has been let in since."""
    talk = owning(ACQUIRE)
    talk.candidacy._lapse(talk.now)
    talk.settle()
    talk.run(1.0)
    assert talk.is_in(Phase.OWNING)
    talk.none(RunHook)


def test_a_restarted_agent_comes_back_to_what_stands_here_without_it() -> None:
    talk = owning(ACQUIRE)
    again = restarted(talk, hooks=(ACQUIRE,))
    again.run(0.2)
    assert again.is_in(Phase.OWNING)
    again.none(RunHook)


def test_a_run_that_was_killed_while_it_asked_has_let_nobody_in() -> None:
    """Its key stands and comes first, but no address."""
    again = restarted(asking(), hooks=(ACQUIRE,))
    again.run(0.2)
    again.none(HoldAddress)
    assert again.expect(RunHook).hook is Hook.ACQUIRE


# -- onRelease --------------------------------------------------------------------------------------------------------


def asked_to_go(talk: Talk, how: str) -> None:
    """Somebody asks for it."""
    if how == "stop":
        talk.hear(StopRequested())
    elif how == "move":
        talk.hear(MoveRequested(1, VIP.address, None))
    elif how == "drain":
        talk.hear(DrainRequested(1, drained=True))
        talk.serve(RunHook)
    else:
        talk.hear(SettingsChanged(Settings("n1", talk.settings.key_prefix, talk.settings.endpoints, (), hooks=ALL)))


@pytest.mark.parametrize("how", ["stop", "move", "drain", "reload"])
def test_on_release_runs_before_the_address_goes_if_somebody_has_asked_for_that(how: str) -> None:
    talk = owning(RELEASE)
    asked_to_go(talk, how)
    order = talk.expect(RunHook)
    assert order.hook is Hook.RELEASE
    assert story(order)["to"] == "n2"
    talk.run(0.5)
    assert talk.removed == []
    talk.hear(HookEnded(order.number, succeeded=True, detail="exit 0"))
    talk.expect(RemoveAddress)


@pytest.mark.parametrize("succeeded", [False, None])
def test_whatever_it_says_the_address_goes_and_within_its_deadline(succeeded: bool | None) -> None:
    talk = owning(RELEASE)
    begin = talk.now
    asked_to_go(talk, "move")
    order = talk.expect(RunHook)
    if succeeded is None:
        talk.run(T - 0.1)
        assert talk.removed == []
        talk.run(0.1)
        assert talk.expect(StopHook).number == order.number
    else:
        talk.hear(HookEnded(order.number, succeeded=False, detail="exit 1"))
    assert len(talk.removed) == 1
    assert talk.now <= begin + T + 0.01


def test_the_owner_keeps_its_right_while_it_runs() -> None:
    talk = owning((Hook.RELEASE, 60.0))
    asked_to_go(talk, "move")
    talk.run(40.0)
    assert talk.is_in(Phase.OWNING)
    assert talk.right_until > talk.now
    assert talk.removed == []


def test_where_clients_wait_already_nothing_goes_before_the_removal() -> None:
    """A service that is dead, a carrier that is lost: the next one has it as soon as without a hook."""
    sick = owning(RELEASE)
    sick.hear(HealthChanged(healthy=False, detail="500", failing=(("api", Ailment.DEAD),)))
    sick.run(0.2)
    sick.assent()
    sick.serve()
    dark = owning(RELEASE)
    dark.hear(LinkChanged(LinkState(LINK.index, LINK.names, LINK.mac, running=False)))
    dark.run(0.5)
    for talk in (sick, dark):
        assert len(talk.removed) == 1
        talk.none(RunHook)


def test_a_carrier_that_is_lost_meanwhile_ends_the_waiting() -> None:
    talk = owning(RELEASE)
    asked_to_go(talk, "move")
    talk.expect(RunHook)
    talk.hear(LinkChanged(LinkState(LINK.index, LINK.names, LINK.mac, running=False)))
    talk.run(0.3)
    talk.expect(StopHook)
    assert len(talk.removed) == 1


def test_a_node_that_has_no_address_releases_nothing() -> None:
    talk = Talk(hooks=(RELEASE,))
    talk.store.stand("n2")
    talk.start()
    talk.run(1.0)
    talk.hear(StopRequested())
    talk.none(RunHook)


# -- onChange ---------------------------------------------------------------------------------------------------------


def test_on_change_runs_once_the_address_stands() -> None:
    talk = Talk(hooks=(CHANGE,))
    talk.start()
    talk.run(0.2, HoldAddress)
    assert talk.is_in(Phase.OWNING)
    talk.none(RunHook)
    talk.run(0.2)
    order = talk.expect(RunHook)
    assert story(order) == {
        "hook": "onChange",
        "node": "n1",
        "vip": "192.168.0.15",
        "link": "eth0",
        "owner": {"node": "n1", "epoch": talk.candidacy.epoch},
        "isOwner": True,
        "former": None,
        "reason": "it had no owner",
    }


def record_of(talk: Talk, name: str, lease: int) -> int:
    """That node has written that it has the address; returns its epoch."""
    epoch = next(key.create_revision for key in talk.candidacy.queue() if key.lease == lease)
    told = {"node": name, "epoch": epoch, "former": None, "reason": "n1 handed it over"}
    talk.store.put(LAYOUT.owner(VIP.address), json.dumps(told).encode(), lease)
    talk.tell_changes()
    return epoch


def test_it_is_told_of_other_owners_and_of_a_hand_over_once() -> None:
    talk = owning(CHANGE)
    mine = talk.candidacy.epoch
    asked_to_go(talk, "move")
    talk.serve(RunHook)
    theirs = record_of(talk, "n2", THEIRS)
    talk.run(NOBODY_S + 1.0)
    order = talk.expect(RunHook)
    assert story(order)["owner"] == {"node": "n2", "epoch": theirs}
    assert story(order)["former"] == {"node": "n1", "epoch": mine}
    assert story(order)["isOwner"] is False
    talk.none(RunHook)


def test_that_nobody_has_it_is_told_if_it_lasts() -> None:
    talk = owning(CHANGE)
    asked_to_go(talk, "move")
    talk.run(NOBODY_S - 0.1)
    talk.none(RunHook)
    talk.run(0.3)
    assert story(talk.expect(RunHook))["owner"] is None


def test_an_agent_that_is_stopping_begins_none() -> None:
    talk = owning(CHANGE)
    talk.hear(StopRequested())
    talk.run(3.0)
    talk.none(RunHook)


# -- the parts --------------------------------------------------------------------------------------------------------


class Stage:
    """The hooks of a node alone."""

    def __init__(self, *hooks: tuple[Hook, float]) -> None:
        self.orders: list[Command] = []
        self.settings = Settings("n1", "p", ("http://a",), (VIP,), hooks=hooks)
        self.hooks = Hooks(self.settings, self.orders.append)

    def taken(self, kind: type) -> list[Any]:
        found = [order for order in self.orders if isinstance(order, kind)]
        self.orders.clear()
        return found


def vip(number: int) -> Vip:
    return Vip(type(VIP.address)(int(VIP.address) + number), "eth0")


def test_few_changes_run_at_once_one_for_each_vip_and_the_last_state_counts() -> None:
    stage = Stage(CHANGE)
    for number in range(CHANGES_AT_ONCE + 2):
        stage.hooks.changed(vip(number), {"reason": "first"})
    stage.hooks.advance(0.0, stopping=False)
    first = stage.taken(RunHook)
    assert [order.vip for order in first] == [vip(number) for number in range(CHANGES_AT_ONCE)]
    stage.hooks.changed(vip(0), {"reason": "second"})
    stage.hooks.changed(vip(0), {"reason": "third"})
    stage.hooks.advance(0.1, stopping=False)
    assert stage.taken(RunHook) == []
    for order in first:
        stage.hooks.ended(HookEnded(order.number, succeeded=True, detail=""), 0.2)
    stage.hooks.advance(0.2, stopping=False)
    again = stage.taken(RunHook)
    assert [order.vip for order in again] == [vip(CHANGES_AT_ONCE), vip(CHANGES_AT_ONCE + 1), vip(0)]
    assert story(again[-1])["reason"] == "third"


def test_a_change_that_does_not_end_keeps_no_other_waiting() -> None:
    stage = Stage(CHANGE)
    stage.hooks.changed(VIP, {})
    stage.hooks.advance(0.0, stopping=False)
    stage.hooks.changed(VIP, {})
    assert stage.hooks.next_deadline() == T + OVERDUE_S
    stage.hooks.advance(T + OVERDUE_S, stopping=False)
    assert len(stage.taken(StopHook)) == 1


def test_an_answer_to_what_nobody_waits_for_is_none() -> None:
    stage = Stage(ACQUIRE)
    run = stage.hooks.run(Hook.ACQUIRE, VIP, {}, 0.0)
    stage.hooks.stop(run)
    stage.hooks.stop(run)
    assert len(stage.taken(StopHook)) == 1
    assert stage.hooks.ended(HookEnded(run.number, succeeded=True, detail=""), 0.1) is None
    assert stage.hooks.troubles(VIP, 0.1) == []


def test_a_failure_is_a_problem_until_the_hook_passes_or_long_ago() -> None:
    stage = Stage(ACQUIRE)
    run = stage.hooks.run(Hook.ACQUIRE, VIP, {}, 0.0)
    assert stage.hooks.ended(HookEnded(run.number, succeeded=False, detail="exit 1"), 0.1) == VIP
    assert stage.hooks.troubles(VIP, 0.2) == [(Hook.ACQUIRE, "exit 1")]
    assert stage.hooks.troubles(vip(1), 0.2) == []
    assert stage.hooks.troubles(VIP, 601.0) == []
    run = stage.hooks.run(Hook.ACQUIRE, VIP, {}, 1.0)
    stage.hooks.ended(HookEnded(run.number, succeeded=True, detail=""), 1.1)
    assert stage.hooks.troubles(VIP, 1.2) == []
