"""What chaos draws, and that every scenario names faults that exist."""

from __future__ import annotations

import random

from sharedip_lab.faults.catalogue import FAULTS
from sharedip_lab.scenarios import chaos
from sharedip_lab.scenarios.play import DEMO


def test_every_scenario_names_faults_that_exist() -> None:
    assert {name for name, _ in DEMO} <= FAULTS.keys()
    assert set(chaos.FAULT_NAMES) <= FAULTS.keys()


def test_a_seed_gives_the_same_chaos_again() -> None:
    def rolled() -> list[tuple[str, str, float, float]]:
        rolls = chaos._rolls(random.Random(7), ["n1", "n2", "n3"])
        return [(fault.name, *rest) for fault, *rest in (next(rolls) for _ in range(50))]  # type: ignore[misc]

    assert rolled() == rolled()


def test_chaos_spares_one_agent_from_what_ends_agents() -> None:
    rolls = chaos._rolls(random.Random(7), ["n1", "n2", "n3"])
    drawn = [(fault.name, node) for fault, node, _, _ in (next(rolls) for _ in range(500))]
    assert {name for name, _ in drawn} >= chaos.ENDS_AGENTS
    assert {node for name, node in drawn if name in chaos.ENDS_AGENTS} == {"n1", "n2"}
    assert {node for _, node in drawn} == {"n1", "n2", "n3"}
