"""The sequence of the orders of one turn, as a table of orders in and orders out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharedip.core.messages import (
    AnnounceOnceHeld,
    CloseGate,
    Command,
    Exit,
    HoldAddress,
    Level,
    OpenGate,
    RemoveAddress,
    ReorderAddress,
    Report,
    SaveState,
    SendDatagram,
)
from sharedip.core.orders import in_order
from tests.stages.harness import VIP

OTHER = replace(VIP, address=VIP.address + 1)


HOLD, HOLD_OTHER = HoldAddress(VIP, 5, 10.0), HoldAddress(OTHER, 5, 10.0)


REMOVE, REMOVE_OTHER = RemoveAddress(VIP), RemoveAddress(OTHER)


SAY, SAVE, BYE = Report(Level.INFO, "x"), SaveState(b""), Exit()


SHOW = AnnounceOnceHeld(VIP, 10.0)


OPEN, CLOSE, TELL = OpenGate((VIP,), 0.9, 10.0), CloseGate((VIP,)), SendDatagram("192.168.0.2", 9470, b"x")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        ([SAVE, SAY, REMOVE, BYE], [REMOVE, SAVE, SAY, BYE]),
        ([SAY, REMOVE_OTHER, REMOVE], [REMOVE_OTHER, REMOVE, SAY]),
        ([HOLD, REMOVE], [HOLD, REMOVE]),
        ([HOLD, SAY, REMOVE, REMOVE_OTHER], [REMOVE_OTHER, HOLD, SAY, REMOVE]),
        ([REMOVE, HOLD], [REMOVE, HOLD]),
        ([HOLD_OTHER, REMOVE, HOLD, REMOVE], [REMOVE, HOLD_OTHER, HOLD, REMOVE]),
        ([ReorderAddress(VIP, 5, 10.0), REMOVE], [ReorderAddress(VIP, 5, 10.0), REMOVE]),
    ],
)
def test_removals_come_first_unless_the_same_address_is_put_up_before(
    given: list[Command], expected: list[Command]
) -> None:
    """Removals come first, unless an earlier order in the same list puts the same address up."""
    assert in_order(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([SAY, REMOVE, SAVE], [SAVE, REMOVE, SAY]),
        ([SAVE, HOLD, REMOVE], [SAVE, HOLD, REMOVE]),
        ([SAVE, REMOVE_OTHER, REMOVE], [SAVE, REMOVE_OTHER, REMOVE]),
    ],
)
def test_what_is_saved_may_go_before_the_removals(given: list[Command], expected: list[Command]) -> None:
    """Clients wait from a removal on: who leaves in order writes its resignation down before it."""
    assert in_order(given, saves_first=True) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([SAVE, TELL, SAY, CLOSE], [CLOSE, TELL, SAVE, SAY]),
        ([SAVE, TELL, HOLD], [SAVE, HOLD, TELL]),
        ([CLOSE, HOLD, OPEN, SAY], [HOLD, CLOSE, OPEN, SAY]),
        ([SAY, CLOSE, OPEN], [CLOSE, OPEN, SAY]),
    ],
)
def test_a_gate_closes_before_anybody_is_told_but_behind_an_opening(
    given: list[Command], expected: list[Command]
) -> None:
    """An open gate lets translated traffic pass though the address has left; what is opened anew must stay open."""
    assert in_order(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([HOLD, SHOW, HOLD_OTHER], [HOLD, HOLD_OTHER, SHOW]),
        ([HOLD, OPEN, SHOW, SAY], [HOLD, OPEN, SHOW, SAY]),
        ([HOLD, SHOW, REMOVE], [HOLD, REMOVE]),
        ([REMOVE, SHOW], [REMOVE]),
    ],
)
def test_frames_follow_what_they_speak_of_and_never_stand_beside_a_removal(
    given: list[Command], expected: list[Command]
) -> None:
    """Holds travel together; a frame of an address that goes would draw the neighbours to the wrong node."""
    assert in_order(given) == expected
