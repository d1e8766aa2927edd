"""Law 9: who relies on a mechanism proves at start that it works here; where one does not, it is said what follows.

The trials themselves need a kernel: `tests/contract/kernel/test_gate_trial.py`, and `test_deadman.py` beside it.
"""

from __future__ import annotations

from typing import Any

import pytest

from sharedip.cli import checks
from sharedip.cli.facts import Severity
from tests.stages.checked_machine import machine, told


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({}, Severity.OK, "timer: one of the kernel ends this process"),
        ({"timer_error": "this process is number 1"}, Severity.ERROR, "timer: this process is number 1"),
        ({}, Severity.OK, "gate: seen to close for IPv4"),
        ({}, Severity.OK, "gate: seen to close for IPv6"),
        ({"gate_families": ("IPv6",)}, Severity.WARNING, "gate: IPv4 does not reach loopback"),
        ({"gate_lacks": ("nft_ct (translated traffic)",)}, Severity.WARNING, "gate: this kernel lacks nft_ct"),
        ({}, Severity.OK, "tags: this kernel keeps ours"),
        ({"tags_stick": False}, Severity.OK, "tags: this kernel keeps no tags"),
        ({"tags_stick": None}, Severity.WARNING, "tags: whether this kernel keeps tags"),
    ],
)
def test_each_mechanism_has_a_line_of_its_own(changes: dict[str, Any], level: Severity, words: str) -> None:
    found = told(checks.check_mechanisms, machine(**changes))
    assert [one for one, text in found if text.startswith(words)] == [level]


def test_a_gate_that_does_not_close_is_told_by_the_fence_and_shortens_nothing() -> None:
    bad = machine(nftables_error="the gate does not hold for IPv4: a packet went out", gate_families=())
    assert not [text for _, text in told(checks.check_mechanisms, bad) if text.startswith("gate")]
    assert any("the gate does not hold" in text for _, text in told(checks.check_fence, bad))


def test_without_the_family_of_no_vip_nothing_is_missed() -> None:
    found = told(checks.check_mechanisms, machine(gate_families=("IPv4",)))
    assert {level for level, _ in found} == {Severity.OK}
