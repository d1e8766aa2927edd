"""The law of the house inside the core: a part may read what is below it, and no part is handed its owner.

What counts is said in `bench/structure/owners.py`: a class that is constructed with the object that constructs it, or
with a way back into it. The list can only become shorter.
"""

from __future__ import annotations

from pathlib import Path

from bench.structure.owners import Hold, holds
from bench.structure.source import Package

CORE = Path(__file__).parents[2] / "src" / "sharedip" / "core"

STILL = {
    Hold("Candidacy", "Node", "self"),
    Hold("Candidacy", "Node", "self._out"),
    Hold("Convoys", "Session", "self._send_convoy"),
    Hold("Designations", "Node", "self._out"),
    Hold("Designations", "Node", "self._touch"),
    Hold("Post", "Node", "self._out"),
    Hold("Post", "Node", "self._released"),
    Hold("Session", "Node", "self"),
    Hold("Session", "Node", "self._out"),
    Hold("Standing", "Node", "self._out"),
    Hold("Watchfulness", "Node", "self._is_blind"),
    Hold("Watchfulness", "Node", "self._out"),
}
"""Those that do; whoever mends one takes it off."""


def test_no_class_of_the_core_holds_its_owner() -> None:
    """None but those on the list."""
    new = set(holds(Package(CORE, "sharedip.core"))) - STILL
    assert not new, "\n".join(f"{each}: let it answer, and its owner ask" for each in sorted(new))


def test_the_list_names_nobody_who_does_not() -> None:
    """So that it becomes shorter with every one that is mended."""
    mended = STILL - set(holds(Package(CORE, "sharedip.core")))
    assert not mended, "\n".join(f"no longer so, take it off the list: {each}" for each in sorted(mended))
