"""The law of the house inside the core: a part may read what is below it, and no part is handed its owner.

What counts is said in `bench/structure/owners.py`: a class that is constructed with the object that constructs it, or
with a way back into it.
"""

from __future__ import annotations

from pathlib import Path

from bench.structure.owners import holds
from bench.structure.source import Package

CORE = Path(__file__).parents[2] / "src" / "sharedip" / "core"


def test_no_class_of_the_core_holds_its_owner() -> None:
    """Nor a way back into it: whoever constructs a part reads it, and takes what it returns."""
    found = sorted(holds(Package(CORE, "sharedip.core")))
    assert not found, "\n".join(f"{each}: let it answer, and its owner ask" for each in found)
