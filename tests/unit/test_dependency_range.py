"""`make test-dependencies` tries both ends of every library that the agent runs on, and nothing else decides which."""

from __future__ import annotations

import re

from scripts.artifacts.places import project
from scripts.dependency_range import TOOLS, bounds, constraints


def test_every_dependency_of_the_agent_has_a_lower_bound_that_is_tried() -> None:
    named = {re.split(r"[<>=]", each)[0] for each in project()["dependencies"]}

    assert set(bounds()) == named
    assert all(least[0].isdigit() for least in bounds().values())


def test_no_library_of_the_agent_is_held_to_the_lock_but_the_tools_are() -> None:
    held = {line.partition("==")[0] for line in constraints().splitlines()}

    assert not held & {name.lower() for name in bounds()}
    assert {"pytest", "hypothesis", "trustme"} < held
    assert held >= set(TOOLS)
