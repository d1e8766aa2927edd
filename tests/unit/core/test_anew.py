"""What must hold before a new process may take this one's place; `tests/simulation/test_anew.py` plays it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sharedip.core.anew import BUSY, LASTS_S_MIN, Anew
from sharedip.core.election.candidacy import Phase
from tests.stages.harness import VIP


def missing(phase: Phase, *, may_depose: bool = False, stands_s: float = 60.0) -> str:
    """Of one VIP in that phase."""
    ownership: Any = SimpleNamespace(stands_alone_s=lambda _: stands_s)
    candidacy: Any = SimpleNamespace(phase=phase, vip=VIP, ownership=ownership)
    designations: Any = SimpleNamespace(may_depose=lambda _: may_depose)
    return Anew(1, 10.0).what_is_missing([candidacy], designations, 5.0)


@pytest.mark.parametrize("phase", [each for each in Phase if each in BUSY])
def test_what_is_being_taken_or_given_up_is_waited_for(phase: Phase) -> None:
    assert "being taken or given up" in missing(phase)


def test_an_owner_is_ready_without_a_witness_and_with_time_to_spare() -> None:
    assert missing(Phase.OWNING) == ""
    assert "can't be withdrawn" in missing(Phase.OWNING, may_depose=True)
    assert "nearly over" in missing(Phase.OWNING, stands_s=LASTS_S_MIN / 2)


@pytest.mark.parametrize("phase", [Phase.OUT, Phase.CAMPAIGNING, Phase.WAITING, Phase.LAPSED])
def test_who_has_no_address_has_nothing_to_lose(phase: Phase) -> None:
    assert missing(phase, may_depose=True, stands_s=0.0) == ""
