"""The gate: every state meets every fact and every turn; then what the table can't say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sharedip.core.address.gate import CLOSE_RETRY_S, Gate
from sharedip.core.messages import CloseGate, Command, OpenGate
from sharedip.core.model import NEVER, UNKNOWN
from sharedip.core.settings import gate_timeout_s
from tests.stages.harness import VIP

NOW = 1000.0
UNTIL = 1001.0
LATER = 1002.0


def closed() -> Gate:
    """Of this run, and shut."""
    gate = Gate(VIP, lambda _: None)
    gate.closed()
    return gate


def opening() -> Gate:
    """Its first opening is under way."""
    gate = closed()
    gate.open_at(NOW)
    gate.keep_open(UNTIL, NOW)
    return gate


def opened() -> Gate:
    """Open, and nothing to do."""
    gate = opening()
    gate.opened(UNTIL, NOW)
    return gate


def opening_anew() -> Gate:
    """Open, and an opening for longer is under way."""
    gate = opened()
    gate.open_at(NOW)
    gate.keep_open(LATER, NOW)
    return gate


def moved_meanwhile() -> Gate:
    """An opening is under way that is not for the right as it is by now."""
    gate = opening()
    gate.open_at(NOW)
    return gate


def closing() -> Gate:
    """Open, and told to close."""
    gate = opened()
    gate.keep_closed(NOW)
    return gate


def closing_behind_an_opening() -> Gate:
    """Both are under way."""
    gate = opening_anew()
    gate.keep_closed(NOW)
    return gate


def keep_open_anew(gate: Gate) -> None:
    """The right has moved."""
    gate.open_at(NOW)
    gate.keep_open(LATER, NOW)


STATES: dict[str, Callable[[], Gate]] = {
    "of a former run": lambda: Gate(VIP, lambda _: None),
    "closed": closed,
    "opening": opening,
    "open": opened,
    "opening anew": opening_anew,
    "moved meanwhile": moved_meanwhile,
    "closing": closing,
    "closing behind an opening": closing_behind_an_opening,
}

FACTS: dict[str, Callable[[Gate], object]] = {
    "opened": lambda gate: gate.opened(LATER, NOW),
    "closed": lambda gate: gate.closed(),
    "refused": lambda gate: gate.refused(NOW),
    "begun with others": lambda gate: gate.begin(LATER),
    "to be open": lambda gate: gate.keep_open(LATER, NOW),
    "to be open anew": keep_open_anew,
    "to be closed": lambda gate: gate.keep_closed(NOW),
    "to be closed, in the end": lambda gate: gate.keep_closed(LATER + 1),
}

# Until when it is open, what is under way, and what was ordered.
TABLE: dict[str, dict[str, tuple[str, str, tuple[type, ...]]]] = {
    "of a former run": {
        "opened": ("later", "", ()),
        "closed": ("closed", "", ()),
        "refused": ("unknown", "", ()),
        "begun with others": ("unknown", "open", ()),
        "to be open": ("unknown", "", ()),
        "to be open anew": ("unknown", "open", (OpenGate,)),
        "to be closed": ("unknown", "close", (CloseGate,)),
        "to be closed, in the end": ("unknown", "close", (CloseGate,)),
    },
    "closed": {
        "opened": ("later", "", ()),
        "closed": ("closed", "", ()),
        "refused": ("closed", "", ()),
        "begun with others": ("closed", "open", ()),
        "to be open": ("closed", "", ()),
        "to be open anew": ("closed", "open", (OpenGate,)),
        "to be closed": ("closed", "", ()),
        "to be closed, in the end": ("closed", "", ()),
    },
    "opening": {
        "opened": ("later", "", ()),
        "closed": ("closed", "", ()),
        "refused": ("until", "", ()),
        "begun with others": ("closed", "open", ()),
        "to be open": ("closed", "open", ()),
        "to be open anew": ("closed", "open", ()),
        "to be closed": ("closed", "open close", (CloseGate,)),
        "to be closed, in the end": ("closed", "open close", (CloseGate,)),
    },
    "open": {
        "opened": ("later", "", ()),
        "closed": ("closed", "", ()),
        "refused": ("until", "", ()),
        "begun with others": ("until", "open", ()),
        "to be open": ("until", "", ()),
        "to be open anew": ("until", "open", (OpenGate,)),
        "to be closed": ("until", "close", (CloseGate,)),
        "to be closed, in the end": ("closed", "", ()),
    },
    "opening anew": {
        "opened": ("later", "", ()),
        "closed": ("closed", "", ()),
        "refused": ("later", "", ()),
        "begun with others": ("until", "open", ()),
        "to be open": ("until", "open", ()),
        "to be open anew": ("until", "open", ()),
        "to be closed": ("until", "open close", (CloseGate,)),
        "to be closed, in the end": ("until", "open close", (CloseGate,)),
    },
    "moved meanwhile": {
        "opened": ("later", "", ()),
        "closed": ("closed", "", ()),
        "refused": ("until", "", ()),
        "begun with others": ("closed", "open", ()),
        "to be open": ("closed", "open", ()),
        "to be open anew": ("closed", "open", ()),
        "to be closed": ("closed", "open close", (CloseGate,)),
        "to be closed, in the end": ("closed", "open close", (CloseGate,)),
    },
    "closing": {
        "opened": ("later", "", ()),
        "closed": ("closed", "", ()),
        "refused": ("until", "", ()),
        "begun with others": ("until", "close", ()),
        "to be open": ("until", "close", ()),
        "to be open anew": ("until", "close", ()),
        "to be closed": ("until", "close", ()),
        "to be closed, in the end": ("until", "close", ()),
    },
    "closing behind an opening": {
        "opened": ("later", "close", ()),
        "closed": ("until", "close", ()),
        "refused": ("later", "close", ()),
        "begun with others": ("until", "open close", ()),
        "to be open": ("until", "open close", ()),
        "to be open anew": ("until", "open close", ()),
        "to be closed": ("until", "open close", ()),
        "to be closed, in the end": ("until", "open close", ()),
    },
}

SAID = {None: "closed", UNTIL: "until", LATER: "later", UNKNOWN: "unknown"}


def watched(state: str) -> tuple[Gate, list[Command]]:
    """A gate in this state, and the list that its orders go to from now on."""
    gate, out = STATES[state](), list[Command]()
    gate._out = out.append
    return gate, out


def test_the_table_is_complete() -> None:
    """Every state, every fact."""
    assert {state: set(rows) for state, rows in TABLE.items()} == {state: set(FACTS) for state in STATES}


@pytest.mark.parametrize(("state", "fact"), [(state, fact) for state in STATES for fact in FACTS])
def test_every_state_meets_every_fact(state: str, fact: str) -> None:
    """The table says what follows."""
    gate, out = watched(state)
    FACTS[fact](gate)
    under_way = " ".join(asked.value for asked in gate._asked)
    assert (SAID[gate.until], under_way, tuple(type(order) for order in out)) == TABLE[state][fact]


@pytest.mark.parametrize(("state", "fact"), [(state, fact) for state in STATES for fact in FACTS])
def test_it_is_tight_only_when_nothing_is_under_way(state: str, fact: str) -> None:
    """A witness gets its power by this."""
    gate, _ = watched(state)
    FACTS[fact](gate)
    is_tight = gate.is_tight(UNTIL)
    assert is_tight == (not gate._asked and gate.until in (None, UNTIL))
    assert not gate.is_tight(NEVER) or gate.is_closed


def test_it_is_opened_for_as_long_as_the_right_lasts_and_once() -> None:
    """The kernel closes it before the right ends, and refuses to open it afterwards."""
    gate, out = watched("closed")
    gate.open_at(NOW)
    assert gate.opens_at == NOW
    gate.keep_open(UNTIL, NOW)
    gate.keep_open(UNTIL, NOW)
    assert out == [OpenGate((VIP,), gate_timeout_s(UNTIL - NOW), UNTIL)]
    assert gate.opens_at is None


def test_a_right_that_moved_meanwhile_is_sent_after_it() -> None:
    """One opening is under way at a time, and the newest right is never forgotten."""
    gate, out = watched("moved meanwhile")
    assert gate.opens_at is None
    assert gate.opened(UNTIL, NOW + 0.1), "there is more to do"
    gate.keep_open(LATER, NOW + 0.1)
    assert [type(order) for order in out] == [OpenGate]
    assert not gate.opened(LATER, NOW + 0.2)


def test_a_closing_that_was_refused_is_ordered_again_until_its_time_is_over() -> None:
    """The kernel ends it by itself in the end."""
    gate, out = watched("closing")
    assert gate.closes_at is None, "its answer is waited for"
    gate.refused(NOW)
    gate.keep_closed(NOW + CLOSE_RETRY_S / 2)
    assert not out
    gate.keep_closed(NOW + CLOSE_RETRY_S)
    assert out == [CloseGate((VIP,))]
    gate.refused(NOW + CLOSE_RETRY_S)
    gate.keep_closed(UNTIL)
    assert gate.is_closed


def test_what_a_former_run_left_open_never_ends_by_itself() -> None:
    """Nobody knows until when it lasts: only the kernel's word closes it."""
    gate, _ = watched("of a former run")
    gate.keep_closed(NOW)
    gate.refused(NOW)
    gate.keep_closed(NOW + 1e9)
    assert not gate.is_closed
    assert not gate.is_tight(NOW + 1e9)
    gate.closed()
    assert gate.is_closed
