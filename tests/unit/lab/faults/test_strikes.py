"""Strikes: what counts as wrong in how an agent ends."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from sharedip_lab.faults import fences
from sharedip_lab.faults.fences import FLUSHED_SET, LIFETIME, flush, refence
from sharedip_lab.faults.strikes import terminate
from sharedip_lab.stage import NotInTimeError, Stage
from sharedip_lab.world.namespaces import LabError


@dataclass
class _Agent:
    """An agent that ends with this status when it is told to."""

    status: int | None
    ready_at: float | None
    running: bool = True

    def terminate(self) -> None:
        """As `sharedip_lab.world.agents.Agent` does."""

    def wait_gone(self) -> int | None:
        """As `sharedip_lab.world.agents.Agent` does."""
        return self.status

    def start(self) -> None:
        """As `sharedip_lab.world.agents.Agent` does."""


@dataclass
class _Stage:
    """A stage that keeps its notes."""

    agents: dict[str, Any]
    notes: list[tuple[str, str]] = field(default_factory=list)

    def note(self, kind: str, text: str) -> float:
        """As `sharedip_lab.stage.Stage` does."""
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


@dataclass
class _Plan:
    window_s: float = 1.0


@dataclass
class _Node:
    namespace: str = "sil-n1"


@dataclass
class _Fenced(_Stage):
    """A stage on which nothing takes time, and somebody answers or nobody does."""

    plan: _Plan = field(default_factory=_Plan)
    breaks_at: float = 0.0
    is_dark: bool = False

    def node(self, name: str) -> _Node:
        """As `sharedip_lab.stage.Stage` does."""
        return _Node(f"sil-{name}")

    def wait_until(self, at: float) -> None:
        """As `sharedip_lab.stage.Stage` does."""

    def served(self) -> bool:
        """As `sharedip_lab.stage.Stage` does."""
        return not self.is_dark

    def wait(self, condition: object, what: str, timeout_s: float) -> float:
        """As `sharedip_lab.stage.Stage` does."""
        if self.is_dark:
            raise NotInTimeError(what)
        return 0.0


@dataclass
class _Told:
    """An agent that writes down what becomes of it."""

    said: list[str]

    def kill(self) -> None:
        """As `sharedip_lab.world.agents.Agent` does."""
        self.said.append("kill")

    def start(self) -> None:
        """As `sharedip_lab.world.agents.Agent` does."""
        self.said.append("start")


@pytest.mark.parametrize("is_dark", [False, True])
def test_another_fence_is_written_between_kill_and_start_and_taken_back_at_the_healing(
    monkeypatch: pytest.MonkeyPatch, *, is_dark: bool
) -> None:
    """A VIP that nobody answers for is wrong, though nothing has two owners."""
    said: list[str] = []
    monkeypatch.setattr(
        fences, "_write", lambda _stage, _node, laid: said.append("lifetime" if laid == LIFETIME else "former")
    )
    stage = _Fenced({"n1": _Told(said)}, is_dark=is_dark)
    undo = refence(0.0)(cast("Stage", stage), "n1")
    assert said == ["kill", "lifetime", "start"]
    undo()
    assert said[3:] == ["kill", "former", "start"]
    assert bool([text for kind, text in stage.notes if kind == "wrong"]) is is_dark


def test_a_flush_comes_before_the_kill_and_a_fence_that_is_not_there_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []

    def nothing_there(namespace: str, script: str) -> None:
        said.append(script)
        raise LabError(f"no table in {namespace}")

    monkeypatch.setattr(fences, "nft", nothing_there)
    stage = _Fenced({"n1": _Told(said)})
    flush(FLUSHED_SET)(cast("Stage", stage), "n1")()
    assert said == [FLUSHED_SET, "kill", "start"]
    assert [kind for kind, _ in stage.notes] == ["means", "means"]
