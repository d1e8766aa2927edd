"""Strikes: what counts as wrong in how an agent ends."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from sharedip.lab.cluster import Stage
from sharedip.lab.strikes import terminate


@dataclass
class _Agent:
    """An agent that ends with this status when it is told to."""

    status: int | None
    ready_at: float | None
    running: bool = True

    def terminate(self) -> None:
        """As `lab.agents.Agent` does."""

    def wait_gone(self) -> int | None:
        """As `lab.agents.Agent` does."""
        return self.status

    def start(self) -> None:
        """As `lab.agents.Agent` does."""


@dataclass
class _Stage:
    """A stage that keeps its notes."""

    agents: dict[str, Any]
    notes: list[tuple[str, str]] = field(default_factory=list)

    def note(self, kind: str, text: str) -> float:
        """As `lab.cluster.Stage` does."""
        self.notes.append((kind, text))
        return 0.0


@pytest.mark.parametrize(
    ("status", "ready_at", "is_wrong"),
    [
        (0, 1.0, False),
        (1, 1.0, True),
        (None, 1.0, True),
        (-signal.SIGTERM, 1.0, True),
        (-signal.SIGTERM, None, False),  # still loading: no handler, and nothing to hand over
        (-signal.SIGKILL, None, True),
    ],
)
def test_an_agent_that_is_told_to_end_ends_in_order_or_was_still_loading(
    status: int | None, ready_at: float | None, is_wrong: bool
) -> None:
    stage = _Stage({"n1": _Agent(status, ready_at)})
    terminate(cast("Stage", stage), "n1")()
    assert bool([text for kind, text in stage.notes if kind == "wrong"]) is is_wrong
