"""What the guided fuzzer feeds still fits what it feeds: each target takes its starters, and meaningless bytes."""

from __future__ import annotations

import pytest

from tests.fuzz.atheris_inputs import TARGETS, starters


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_what_it_is_sown_with(name: str) -> None:
    """A target that breaks at its first input finds nothing, and nobody runs it every day."""
    for data in [*starters(name), b"", bytes(64), b"\xff" * 64, bytes(range(256))]:
        TARGETS[name](data)
