"""Ownership: every hold meets every fact and every order; then the dialogues that cross several of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sharedip.core.address.gate import CLOSE_RETRY_S
from sharedip.core.address.ownership import (
    PROBE_STANDS_S,
    PROBE_STEP_S,
    PROBE_WAIT_S,
    Hold,
    Ownership,
    Presence,
    gated_renewal_s,
)
from sharedip.core.messages import (
    AddressHeld,
    AddressRefused,
    Announce,
    AnnounceOnceHeld,
    CloseGate,
    Command,
    GateOpened,
    GateRefused,
    HoldAddress,
    OpenGate,
    Probe,
    RemovalFailed,
    RemoveAddress,
    ReorderAddress,
    Report,
)
from sharedip.core.model import NEVER, UNKNOWN, FenceKind
from sharedip.core.schedule import BURST_STEP_S
from sharedip.core.settings import LIFETIME_LATE_S, REMOVAL_LEAD_S
from tests.stages.harness import VIP, tell

NOW = 1000.0
UNTIL = 1015.0


def begin(hold: Hold = Hold.NONE) -> tuple[Ownership, list[Any]]:
    """An ownership in this hold with fifteen seconds of right, and the list that its orders go to."""
    out: list[Command] = []
    ownership = Ownership(VIP, out.append)
    ownership.right.set("lease", UNTIL)
    if hold is Hold.PROBING:
        tell(ownership, NOW, Ownership.probe, NOW)
    if hold in (Hold.HOLDING, Hold.REMOVING):
        tell(ownership, NOW, Ownership.take, 7, NOW)
        tell(ownership, NOW, Ownership.address_held, AddressHeld(VIP, NOW, 13), NOW)
    if hold is Hold.REMOVING:
        tell(ownership, NOW, Ownership.give_up, NOW)
    assert ownership.hold is hold
    out.clear()
    return ownership, out


METHODS: dict[str, Callable[[Ownership, float], object]] = {
    "probe": lambda o, now: o.probe(now),
    "stop probing": lambda o, _: o.stop_probing(),
    "take": lambda o, now: o.take(8, now),
    "give up": lambda o, now: o.give_up(now),
    "right changed": lambda o, now: o.right_changed(now),
    "held": lambda o, now: o.address_held(AddressHeld(VIP, now, 13), now),
    "refused": lambda o, now: o.address_refused(AddressRefused(VIP, "no"), now),
    "removed": lambda o, _: o.address_removed(),
    "removal failed": lambda o, now: o.removal_failed(RemovalFailed(VIP, "busy"), now),
    "leftover": lambda o, _: o.leftover_seen(),
    "seen, ours": lambda o, now: o.address_seen(ours=True, on_own_link=True, now=now),
    "seen elsewhere": lambda o, now: o.address_seen(ours=True, on_own_link=False, now=now),
    "seen, foreign": lambda o, now: o.address_seen(ours=False, on_own_link=True, now=now),
    "gone": lambda o, now: o.address_gone(now),
    "reorder": lambda o, _: o.reorder(),
    "announce": lambda o, now: o.announce_again(now),
    "nothing": lambda o, now: o.advance(now),
    "the right's end": lambda o, _: o.advance(o.lapses_at),
}

# Hold and presence after it, and the orders. `take` and `probe` are the candidacy's to ask for, when all is clear.
TABLE: dict[Hold, dict[str, tuple[str, tuple[type, ...]]]] = {
    Hold.NONE: {
        "probe": ("probing absent", (Probe,)),
        "stop probing": ("none absent", ()),
        "take": ("holding unknown", (HoldAddress, AnnounceOnceHeld)),
        "give up": ("removing unknown", (RemoveAddress,)),
        "right changed": ("none absent", ()),
        "held": ("removing unknown", (RemoveAddress,)),
        "refused": ("none absent", ()),
        "removed": ("none absent", ()),
        "removal failed": ("removing unknown", (Report,)),
        "leftover": ("none present", ()),
        "seen, ours": ("removing unknown", (Report, RemoveAddress)),
        "seen elsewhere": ("removing unknown", (Report, RemoveAddress)),
        "seen, foreign": ("none absent", ()),
        "gone": ("none absent", ()),
        "reorder": ("none absent", ()),
        "announce": ("none absent", ()),
        "nothing": ("none absent", ()),
        "the right's end": ("none absent", ()),
    },
    Hold.PROBING: {
        "probe": ("probing absent", (Probe,)),
        "stop probing": ("none absent", ()),
        "take": ("holding unknown", (HoldAddress, AnnounceOnceHeld)),
        "give up": ("removing unknown", (RemoveAddress,)),
        "right changed": ("probing absent", ()),
        "held": ("removing unknown", (RemoveAddress,)),
        "refused": ("removing unknown", (RemoveAddress,)),
        "removed": ("probing absent", ()),
        "removal failed": ("probing unknown", (Report,)),
        "leftover": ("probing absent", ()),
        "seen, ours": ("removing unknown", (Report, RemoveAddress)),
        "seen elsewhere": ("removing unknown", (Report, RemoveAddress)),
        "seen, foreign": ("probing absent", ()),
        "gone": ("probing absent", ()),
        "reorder": ("probing absent", ()),
        "announce": ("probing absent", ()),
        "nothing": ("probing absent", ()),
        "the right's end": ("probing absent", (Probe,)),
    },
    Hold.HOLDING: {
        "probe": ("probing present", (Probe,)),
        "stop probing": ("holding present", ()),
        "take": ("holding present", (HoldAddress, AnnounceOnceHeld)),
        "give up": ("removing unknown", (RemoveAddress,)),
        "right changed": ("holding present", (HoldAddress,)),
        "held": ("holding present", ()),
        "refused": ("holding unknown", (Report,)),
        "removed": ("holding absent", ()),
        "removal failed": ("holding unknown", (Report,)),
        "leftover": ("holding present", ()),
        "seen, ours": ("holding present", ()),
        "seen elsewhere": ("holding present", ()),
        "seen, foreign": ("holding present", ()),
        "gone": ("holding unknown", (Report, HoldAddress, AnnounceOnceHeld)),
        "reorder": ("holding present", (ReorderAddress,)),
        "announce": ("holding present", (Announce,)),
        "nothing": ("holding present", ()),
        "the right's end": ("holding present", ()),
    },
    Hold.REMOVING: {
        "probe": ("probing unknown", (Probe,)),
        "stop probing": ("removing unknown", ()),
        "take": ("holding unknown", (HoldAddress, AnnounceOnceHeld)),
        "give up": ("removing unknown", ()),
        "right changed": ("removing unknown", ()),
        "held": ("removing present", ()),
        "refused": ("removing unknown", ()),
        "removed": ("none absent", ()),
        "removal failed": ("removing unknown", (Report,)),
        "leftover": ("removing unknown", ()),
        "seen, ours": ("removing unknown", ()),
        "seen elsewhere": ("removing unknown", ()),
        "seen, foreign": ("removing unknown", ()),
        "gone": ("removing unknown", ()),
        "reorder": ("removing unknown", ()),
        "announce": ("removing unknown", ()),
        "nothing": ("removing unknown", ()),
        "the right's end": ("removing unknown", ()),
    },
}


def test_the_table_is_complete() -> None:
    """Every hold, every method."""
    assert {hold: set(rows) for hold, rows in TABLE.items()} == {hold: set(METHODS) for hold in Hold}


@pytest.mark.parametrize(("hold", "method"), [(hold, method) for hold in Hold for method in METHODS])
def test_every_hold_meets_every_fact(hold: Hold, method: str) -> None:
    """The table says what follows."""
    ownership, out = begin(hold)
    tell(ownership, NOW + 0.005, METHODS[method], NOW + 0.005)
    after, orders = TABLE[hold][method]
    assert f"{ownership.hold.value} {ownership.presence.value}" == after
    assert tuple(type(order) for order in out) == orders


@pytest.mark.parametrize("hold", Hold)
@pytest.mark.parametrize("method", METHODS)
def test_only_no_hold_and_no_presence_is_clear(hold: Hold, method: str) -> None:
    """`is_clear` is what releases a key: it may hold only when the kernel has confirmed, and nothing is under way."""
    ownership, _ = begin(hold)
    tell(ownership, NOW + 0.01, METHODS[method], NOW + 0.01)
    if ownership.is_clear:
        assert (ownership.hold, ownership.presence) == (Hold.NONE, Presence.ABSENT)
        assert hold in (Hold.NONE, Hold.PROBING) or method == "removed"


# -- the lifetime -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("room_s", "lifetime_s"), [(15.0, 13), (3.0, 1), (2.06, 1), (2.051, 1), (2.04, 0), (1.0, 0), (0.5, 0)]
)
def test_the_lifetime_ends_before_the_right_even_when_the_kernel_is_late(room_s: float, lifetime_s: int) -> None:
    """renewed_at + valid_lft + 1 s <= right_until."""
    ownership, out = begin()
    ownership.right.set("lease", NOW + room_s)
    tell(ownership, NOW, Ownership.take, 7, NOW)
    holds = [order for order in out if isinstance(order, HoldAddress)]
    assert [hold.valid_lft_s for hold in holds] == ([lifetime_s] if lifetime_s else [])
    for hold in holds:
        assert NOW + hold.valid_lft_s + LIFETIME_LATE_S <= ownership.right.until
        assert hold.not_after == ownership.right.until


def test_a_right_too_short_for_a_lifetime_is_not_asked_for_again_until_it_grows() -> None:
    """Only a longer right helps; trying again would be noise."""
    ownership, out = begin()
    ownership.right.set("lease", NOW + 1.5)
    tell(ownership, NOW, Ownership.take, 7, NOW)
    ownership.advance(NOW + 1.0)
    assert not out
    ownership.right.set("lease", NOW + 9.0)
    tell(ownership, NOW + 1.0, Ownership.right_changed, NOW + 1.0)
    assert [type(order) for order in out] == [HoldAddress, AnnounceOnceHeld]


def test_only_one_hold_is_under_way() -> None:
    """A second order before the first one's answer could not be told from it."""
    ownership, out = begin()
    tell(ownership, NOW, Ownership.take, 7, NOW)
    ownership.right.set("lease", UNTIL + 5)
    tell(ownership, NOW + 0.1, Ownership.right_changed, NOW + 0.1)
    assert [type(order) for order in out] == [HoldAddress, AnnounceOnceHeld]
    tell(ownership, NOW + 0.2, Ownership.address_held, AddressHeld(VIP, NOW, 13), NOW + 0.2)
    assert ownership.next_deadline() == NOW + 0.2 + 1.1  # the burst; the renewal comes later


def test_a_held_address_is_renewed_before_its_lifetime_ends() -> None:
    """Where nothing else renews it, half a second before."""
    ownership, out = begin(Hold.HOLDING)
    ownership.right.set("lease", NOW + 100)
    ownership.advance(NOW + 12.4)
    assert HoldAddress not in map(type, out)
    ownership.advance(NOW + 12.5)
    assert HoldAddress in map(type, out)


def gated(right_s: float, addresses: int = 1) -> tuple[Ownership, list[Any]]:
    """Under the nftables fence, with a promise of a witness for so long and a lease for longer."""
    out: list[Command] = []
    ownership = Ownership(VIP, out.append, FenceKind.NFTABLES)
    ownership.gated_renewal_s = gated_renewal_s(addresses)
    ownership.right.set("lease", UNTIL)
    ownership.right.set("witness", NOW + right_s)
    tell(ownership, NOW, Ownership.take, 7, NOW)
    return ownership, out


@pytest.mark.parametrize(
    ("right_s", "addresses", "lifetime_s", "renewed_s"),
    [
        (1.0, 1, 2, 1.0),
        (0.1, 1, 2, 1.0),
        (1.0, 10, 3, 2.0),
        (1.0, 40, 6, 5.0),
        (1.0, 1000, 11, 10.0),
        (1.6, 1, 3, 1.4),
        (4.0, 1, 3, 1.0),
        (99.0, 1, 3, 1.0),
        (99.0, 1000, 12, 10.0),
    ],
)
def test_under_the_gate_a_lifetime_is_as_short_as_the_number_of_addresses_allows(
    right_s: float, addresses: int, lifetime_s: int, renewed_s: float
) -> None:
    """Nobody on a dead agent's node reaches the next owner before it ends; and a pause that the right outlasts, two
    seconds at most, does not end it.
    """
    ownership, out = gated(right_s, addresses)
    (hold,) = (order for order in out if isinstance(order, HoldAddress))
    assert hold.valid_lft_s == lifetime_s
    tell(ownership, NOW, Ownership.address_held, AddressHeld(VIP, NOW, hold.valid_lft_s), NOW)
    holding = ownership._holding
    assert holding is not None
    assert holding.due_at == pytest.approx(NOW + renewed_s)
    assert lifetime_s - renewed_s >= min(right_s, 2.0)


def test_under_the_gate_a_right_that_is_never_leaves_no_room_and_no_error() -> None:
    """A witness that was found holds the right at *never*, and so does a lease that was never proved."""
    for name in ("witness", "lease"):
        ownership, out = gated(1.0)
        tell(ownership, NOW, Ownership.address_held, AddressHeld(VIP, NOW, 2), NOW)
        out.clear()
        ownership.right.set(name, NEVER)
        assert ownership.can_hold(NOW) is False
        tell(ownership, NOW + 1.5, Ownership.address_held, AddressHeld(VIP, NOW + 1.5, 2), NOW + 1.5)
        assert HoldAddress not in map(type, out)


def test_under_the_gate_the_last_lifetimes_follow_the_lease() -> None:
    """As short as the kernel keeps them, and never beyond it."""
    ownership, out = gated(99.0)
    tell(ownership, NOW, Ownership.address_held, AddressHeld(VIP, NOW, 3), NOW)
    out.clear()
    now = NOW
    while (at := ownership.next_deadline()) is not None and now < UNTIL - 2:
        now = max(at, now + 0.01)
        ownership.advance(now)
        for order in out:
            if isinstance(order, HoldAddress):
                assert now + order.valid_lft_s + LIFETIME_LATE_S <= UNTIL
                tell(ownership, now, Ownership.address_held, AddressHeld(VIP, now, order.valid_lft_s), now)
            if isinstance(order, OpenGate):
                tell(ownership, now, Ownership.gate_opened, GateOpened((VIP,), order.not_after), now)
        out.clear()
    assert now > UNTIL - 4, "it was kept until the lease left no room"


def test_a_refusal_is_tried_again_and_counted_but_told_once() -> None:
    """After so many refusals in a row the candidacy lets another node try."""
    ownership, out = begin()
    tell(ownership, NOW, Ownership.take, 7, NOW)
    for number in range(3):
        tell(ownership, NOW + number, Ownership.address_refused, AddressRefused(VIP, "EPERM"), NOW + number)
        ownership.advance(NOW + number + 0.1)
    assert ownership.refusals == 3
    assert [type(order) for order in out].count(Report) == 1
    assert [type(order) for order in out].count(HoldAddress) == 4
    tell(ownership, NOW + 4, Ownership.address_held, AddressHeld(VIP, NOW + 4, 10), NOW + 4)
    assert ownership.refusals == 0


@pytest.mark.parametrize(
    ("promise_until", "later_s", "opened_until"),
    [
        (NOW + 1.2, 0.4, None),  # the witness's next answer renews the gate, which has 0.6 s left
        (NOW + 1.2, 0.9, NOW + 1.2),  # 0.1 s left: that answer may come too late
        (NOW + 0.9, 0.4, NOW + 0.9),  # less far than the gate: never later
        (NOW + 60.0, 0.4, UNTIL + 2.0),  # the lease is what binds
    ],
)
def test_a_longer_lease_renews_the_gate_where_no_witness_does(
    promise_until: float, later_s: float, opened_until: float | None
) -> None:
    """A hundred addresses with one witness need no hundred orders at every renewal of the lease."""
    out: list[Any] = []
    ownership = Ownership(VIP, out.append, FenceKind.NFTABLES)
    ownership.right.set("lease", UNTIL)
    ownership.right.set("witness", NOW + 1.0)
    tell(ownership, NOW, Ownership.take, 7, NOW)
    tell(ownership, NOW, Ownership.address_held, AddressHeld(VIP, NOW, 4), NOW)
    tell(ownership, NOW, Ownership.gate_opened, GateOpened((VIP,), NOW + 1.0), NOW)
    out.clear()
    ownership.right.set("witness", promise_until)
    ownership.right.set("lease", UNTIL + 2.0)
    assert tell(ownership, NOW + later_s, Ownership.lease_extended, NOW + later_s) is (opened_until is not None)
    assert [order.not_after for order in out if isinstance(order, OpenGate)] == (
        [] if opened_until is None else [opened_until]
    )


# -- the way out ------------------------------------------------------------------------------------------------------


def test_a_failed_removal_is_tried_again_and_told_once_for_each_reason() -> None:
    """It may still be there."""
    ownership, out = begin(Hold.REMOVING)
    now = NOW
    for reason in ("busy", "busy", "denied"):
        tell(ownership, now, Ownership.removal_failed, RemovalFailed(VIP, reason), now)
        assert not ownership.is_clear
        assert ownership.next_deadline() is not None
        now = ownership.next_deadline() or 0.0
        ownership.advance(now)
    assert [type(o) for o in out] == [Report, RemoveAddress, RemoveAddress, Report, RemoveAddress]
    tell(ownership, now, Ownership.address_removed)
    assert ownership.is_clear
    assert "at last" in out[-1].text


def test_the_gate_closes_right_behind_the_removal_and_both_are_to_be_confirmed() -> None:
    """The resets get out before; an address that may still be there is mute; an open gate lets translated traffic
    pass.
    """
    for answer in ("removed", "removal failed"):
        out: list[Any] = []
        ownership = Ownership(VIP, out.append, FenceKind.NFTABLES)
        ownership.right.set("lease", UNTIL)
        tell(ownership, NOW, Ownership.take, 7, NOW)
        tell(ownership, NOW, Ownership.address_held, AddressHeld(VIP, NOW, 13), NOW)
        tell(ownership, NOW, Ownership.gate_opened, GateOpened((VIP,), UNTIL), NOW)
        out.clear()
        tell(ownership, NOW, Ownership.give_up, NOW)
        assert out == [RemoveAddress(VIP), CloseGate((VIP,))]
        tell(ownership, NOW, METHODS[answer], NOW)
        assert not ownership.is_clear
        tell(ownership, NOW, Ownership.gate_closed)
        assert ownership.is_clear == (answer == "removed")


def test_a_gate_that_the_kernel_does_not_close_is_closed_again_until_it_has_ended_by_itself() -> None:
    """Until then nothing is clear, for nobody knows what passes."""
    out: list[Any] = []
    ownership = Ownership(VIP, out.append, FenceKind.NFTABLES)
    tell(ownership, NOW, Ownership.gate_closed)
    ownership.right.set("lease", NOW + 1.0)
    tell(ownership, NOW, Ownership.take, 7, NOW)
    tell(ownership, NOW, Ownership.gate_opened, GateOpened((VIP,), NOW + 0.9), NOW)
    tell(ownership, NOW, Ownership.give_up, NOW)
    tell(ownership, NOW, Ownership.address_removed)
    tell(ownership, NOW, Ownership.gate_refused, GateRefused((VIP,), "EBUSY"), NOW)
    assert not ownership.is_clear
    ownership.advance(NOW + CLOSE_RETRY_S)
    assert out.count(CloseGate((VIP,))) == 2
    tell(ownership, NOW + CLOSE_RETRY_S, Ownership.gate_refused, GateRefused((VIP,), "EBUSY"), NOW + CLOSE_RETRY_S)
    ownership.advance(NOW + 0.95)
    assert ownership.is_clear


def test_what_a_former_run_may_have_left_is_neither_clear_nor_tight() -> None:
    """Nothing of a former run counts: address, gate and lifetime are unknown until the kernel has confirmed them."""
    for fence in FenceKind:
        out: list[Any] = []
        ownership = Ownership(VIP, out.append, fence, may_stand=True)
        ownership.right.set("lease", UNTIL)
        assert ownership.is_leftover
        assert not ownership.is_clear
        assert not ownership.fence_is_tight
        assert ownership.stands_until > UNTIL


def test_a_hold_that_is_answered_after_giving_up_is_removed_again() -> None:
    """AddressHeld after give_up: the address is back on the link, so it goes again, and until then nothing is clear."""
    ownership, out = begin()
    tell(ownership, NOW, Ownership.take, 7, NOW)
    tell(ownership, NOW, Ownership.give_up, NOW)
    tell(ownership, NOW, Ownership.address_removed)
    assert not ownership.is_clear, "a hold is still under way"
    out.clear()
    tell(ownership, NOW, Ownership.address_held, AddressHeld(VIP, NOW, 13), NOW)
    assert [type(order) for order in out] == [RemoveAddress]
    assert not ownership.is_clear
    tell(ownership, NOW, Ownership.address_removed)
    assert ownership.is_clear


def test_the_agent_removes_before_the_right_ends() -> None:
    """Its own removal leads the end; the kernel's lifetime lies underneath."""
    ownership, _ = begin(Hold.HOLDING)
    assert ownership.lapses_at == UNTIL - REMOVAL_LEAD_S
    assert not ownership.has_lapsed(UNTIL - REMOVAL_LEAD_S - 0.001)
    assert ownership.has_lapsed(UNTIL - REMOVAL_LEAD_S)
    assert not begin(Hold.REMOVING)[0].has_lapsed(UNTIL + 1)


# -- probing and announcing -------------------------------------------------------------------------------------------


def test_two_probes_and_the_silence_after_them() -> None:
    """The silence counts when the last probe's answer had time to come."""
    ownership, out = begin()
    now = NOW
    tell(ownership, now, Ownership.probe, now)
    while not ownership.probe_is_over:
        now = ownership.next_deadline() or 0.0
        ownership.advance(now)
    assert [type(order) for order in out] == [Probe, Probe]
    assert now == pytest.approx(NOW + PROBE_STEP_S + PROBE_WAIT_S)


def asked_ahead() -> tuple[Ownership, list[Any], float]:
    """Asked twice, before it was proved that the address may be taken; and when the second question left."""
    ownership, out = begin()
    tell(ownership, NOW, Ownership.probe_ahead, NOW, NOW)
    ownership.advance(NOW + PROBE_STEP_S)
    assert [type(order) for order in out] == [Probe, Probe]
    assert ownership.hold is Hold.NONE
    assert ownership.is_clear
    return ownership, out, NOW + PROBE_STEP_S


def test_what_was_asked_ahead_is_asked_no_more_and_its_answers_are_waited_for() -> None:
    """As long as for those of a probe that begins with the claim."""
    ownership, out, asked_at = asked_ahead()
    tell(ownership, asked_at, Ownership.go_on_probing, asked_at)
    over = []
    for later_s in (0.0, PROBE_WAIT_S - 0.001, PROBE_WAIT_S):
        ownership.advance(asked_at + later_s)
        over.append(ownership.probe_is_over)
    assert over == [False, False, True]
    assert len(out) == 2


def test_a_silence_of_long_ago_counts_no_more() -> None:
    """Whoever came since has not been asked."""
    for later_s, counts in ((PROBE_STANDS_S - 0.001, True), (PROBE_STANDS_S, False)):
        ownership, _, asked_at = asked_ahead()
        ownership.advance(asked_at + PROBE_WAIT_S)
        assert ownership.go_on_probing(asked_at + later_s) is counts
        assert (ownership.hold is Hold.PROBING) is counts


def asked_while_it_ran_out(lead_s: float) -> tuple[Ownership, list[Any]]:
    """The first question left so long before the former owner's right was over, at `NOW`."""
    ownership, out = begin()
    tell(ownership, NOW - lead_s, Ownership.probe_ahead, NOW - lead_s, UNKNOWN)
    return ownership, out


def test_of_two_probes_one_may_leave_before_the_former_right_is_over() -> None:
    ownership, out = asked_while_it_ran_out(PROBE_STEP_S * 0.9)
    ownership.right_was_over(NOW, NOW)
    second_at = NOW + PROBE_STEP_S * 0.1
    tell(ownership, second_at, Ownership.go_on_probing, second_at)
    ownership.advance(second_at + PROBE_WAIT_S)
    assert ownership.probe_is_over
    assert len(out) == 2


def test_one_probe_leaves_after_the_former_right_is_over_and_is_waited_for() -> None:
    """Whatever was asked before: its answer was the former owner's, who had the right to give it."""
    for known_at in (NOW, NOW + PROBE_WAIT_S):  # while the answers are waited for, and later
        ownership, out = asked_while_it_ran_out(PROBE_STEP_S + 0.005)
        ownership.advance(NOW - 0.005)
        ownership.advance(known_at)
        assert len(out) == 2
        ownership.right_was_over(NOW, known_at)
        assert ownership.go_on_probing(known_at)
        now = known_at
        while not ownership.probe_is_over:
            now = ownership.next_deadline() or 0.0
            ownership.advance(now)
        assert len(out) == 3
        assert now >= NOW + PROBE_WAIT_S


def test_a_later_end_of_a_right_asks_for_a_later_probe() -> None:
    """The first deposition came too late, and the owner was silent again a moment later."""
    ownership, out = asked_while_it_ran_out(PROBE_STEP_S * 0.9)
    ownership.right_was_over(NOW, NOW)
    for later_s in (PROBE_STEP_S, PROBE_STEP_S + PROBE_WAIT_S):
        ownership.advance(NOW + later_s)
    assert len(out) == 2
    ownership.right_was_over(NOW + 0.1, NOW + 0.1)
    ownership.advance(NOW + 0.1)
    assert len(out) == 3


def test_what_was_asked_while_the_right_may_stand_counts_for_nothing() -> None:
    """Another beat was heard in the last moment, and then the owner left: it is asked anew."""
    ownership, _ = asked_while_it_ran_out(PROBE_STEP_S * 0.9)
    ownership.advance(NOW + PROBE_STEP_S)
    assert not ownership.has_asked_ahead(NOW + PROBE_STEP_S)
    assert not ownership.go_on_probing(NOW + PROBE_STEP_S)


def test_a_stranger_is_not_told_of_for_ever_after() -> None:
    """Nothing became of it: this is a candidate like others again."""
    ownership, _ = asked_while_it_ran_out(PROBE_STEP_S * 0.9)
    assert ownership.asks_ahead(NOW)
    for later_s in (PROBE_STEP_S, PROBE_STEP_S + PROBE_WAIT_S):
        ownership.advance(NOW + later_s)
    assert not ownership.asks_ahead(NOW + PROBE_STANDS_S + PROBE_STEP_S)
    assert ownership.next_deadline() is None


def test_nothing_that_was_asked_ahead_outlives_the_claim() -> None:
    ownership, _, asked_at = asked_ahead()
    ownership.stop_probing()
    assert not ownership.asks_ahead(asked_at)
    assert not ownership.go_on_probing(asked_at)
    assert ownership.next_deadline() is None


def test_nothing_is_announced_before_the_kernel_has_the_address() -> None:
    """Own the key, hold a right, then add, then announce."""
    ownership, out = begin()
    tell(ownership, NOW, Ownership.take, 7, NOW)
    tell(ownership, NOW, Ownership.announce_again, NOW)
    ownership.advance(NOW + 1)
    assert [type(order) for order in out] == [HoldAddress, AnnounceOnceHeld]
    assert out[-1] == AnnounceOnceHeld(VIP, UNTIL), "it goes with the hold, and only if the kernel does it"
    tell(ownership, NOW + 1, Ownership.address_held, AddressHeld(VIP, NOW + 1, 12), NOW + 1)
    assert len(out) == 2, "that was the first of the burst"
    ownership.advance(NOW + 1 + BURST_STEP_S)
    assert out[2:] == [Announce(VIP, UNTIL)], "a stranger may have come without a word"


def test_a_hold_that_was_refused_is_announced_with_the_next_try() -> None:
    """The frame of the first try was never sent."""
    ownership, out = begin()
    tell(ownership, NOW, Ownership.take, 7, NOW)
    tell(ownership, NOW, Ownership.address_refused, AddressRefused(VIP, "no"), NOW)
    out.clear()
    ownership.advance(ownership.next_deadline() or 0.0)
    assert [type(order) for order in out] == [HoldAddress, AnnounceOnceHeld]


def test_an_address_deleted_behind_our_back_is_held_again_at_once_and_announced_anew() -> None:
    """An address removed behind our back is back within milliseconds."""
    ownership, out = begin(Hold.HOLDING)
    tell(ownership, NOW + 3, Ownership.address_gone, NOW + 3)
    assert [type(order) for order in out] == [Report, HoldAddress, AnnounceOnceHeld]


def test_whoever_deletes_it_every_second_is_named_once_in_ten_minutes() -> None:
    """Named in the log once: with the number of times when it is said again, whatever the pid of each try."""
    ownership, out = begin(Hold.HOLDING)
    ownership.right.set("lease", NOW + 5000)
    for second in range(1, 1200):
        now = NOW + second
        tell(ownership, now, Ownership.address_gone, now, f"ip (pid {second})")
        tell(ownership, now, Ownership.address_held, AddressHeld(VIP, now, 10), now)
    said = [(order.text, order.reason) for order in out if isinstance(order, Report)]
    text = "the address was removed behind our back; putting it back"
    assert said == [
        (text, "removed by ip (pid 1)"),
        (f"{text} (and 599 times since this was last said)", "removed by ip (pid 601)"),
    ]
    assert ownership.losses.count == 1199


def test_no_announcement_follows_once_the_address_is_given_up() -> None:
    """A frame for an address that is not ours draws the neighbours to the wrong node."""
    ownership, out = begin(Hold.HOLDING)
    tell(ownership, NOW, Ownership.give_up, NOW)
    out.clear()
    for second in range(1, 200):
        ownership.advance(NOW + second)
    assert not out


# -- what a later run must know ----------------------------------------------------------------------------------------


def test_what_is_put_up_first_is_put_up_only_if_a_later_run_knows_of_it() -> None:
    """A renewal hangs on no disk: what stands is recorded."""
    out: list[Any] = []
    ownership = Ownership(VIP, out.append)
    ownership.right.set("lease", UNTIL)
    tell(ownership, NOW, Ownership.take, 7, NOW)
    (first,) = [order for order in out if isinstance(order, HoldAddress)]
    assert first.once_saved
    tell(ownership, NOW, Ownership.address_held, AddressHeld(VIP, NOW, first.valid_lft_s), NOW)
    out.clear()
    tell(ownership, NOW, Ownership.right_changed, NOW)
    assert [order.once_saved for order in out if isinstance(order, HoldAddress)] == [False]
    tell(ownership, NOW, Ownership.address_held, AddressHeld(VIP, NOW, first.valid_lft_s), NOW)
    tell(ownership, NOW, Ownership.give_up, NOW)
    tell(ownership, NOW, Ownership.address_removed)
    tell(ownership, NOW, Ownership.take, 8, NOW)
    assert out[-2].once_saved, "it went, and comes again"


def test_a_former_gate_that_cannot_be_closed_keeps_nobody_from_ending() -> None:
    """No address stands, and the gate ends by the former run's right, which is over before anybody else is entitled."""
    out: list[Any] = []
    ownership = Ownership(VIP, out.append, FenceKind.NFTABLES)
    assert not ownership.is_clear
    assert ownership.stands_until == NEVER


def test_an_address_travels_in_no_fence_order_that_lasts_longer_than_its_right() -> None:
    """The others of that order have another right: this one has its gate opened by itself."""
    ownership = Ownership(VIP, lambda _: None, FenceKind.NFTABLES)
    ownership.right.set("lease", UNTIL)
    ownership.take(7, NOW)
    assert not ownership.begin_gate(UNTIL + 1.0)
    assert ownership.begin_gate(UNTIL)
