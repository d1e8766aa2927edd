"""The list can't rot: every mutant still applies to the source as it is, and makes it different."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.mutants import MUTANTS, Mutant

SOURCE = Path(__file__).parents[2] / "src" / "sharedip"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_old_text_stands_exactly_once(mutant: Mutant) -> None:
    """Else the mutant breaks nothing, or more than it says."""
    text = (SOURCE / mutant.file).read_text()
    assert text.count(mutant.old) == 1
    assert mutant.old != mutant.new
    ast.parse(text.replace(mutant.old, mutant.new))


def test_every_mutant_has_a_name_of_its_own() -> None:
    """`--only NAME` means one."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 25


def test_a_reason_to_live_is_a_sentence() -> None:
    """And what is broken is one, too: fields that slipped by one would let a mutant live unseen."""
    for mutant in MUTANTS:
        assert mutant.sentence.endswith("."), mutant.name
        assert mutant.immortal is None or mutant.immortal != mutant.sentence, mutant.name
