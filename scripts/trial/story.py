"""What is tried, step by step, and what comes of it."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any

from scripts.trial.machine import TrialError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Story:
    """The steps of one artifact on one system. After a step that failed, the rest is not run, and says so."""

    artifact: str
    system: str
    steps: list[dict[str, Any]] = field(default_factory=list)
    failed: bool = False

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """One step; the body may put figures into what it is given."""
        entry: dict[str, Any] = {"step": name}
        self.steps.append(entry)
        began = time.monotonic()
        try:
            yield entry
        except (TrialError, TimeoutExpired) as error:
            entry |= {"passed": False, "error": str(error)}
            self.failed = True
            print(f"  FAILED  {name}: {error}", flush=True)
            raise
        entry |= {"passed": True, "seconds": round(time.monotonic() - began, 1)}
        figures = ", ".join(f"{key} {value}" for key, value in entry.items() if key not in {"step", "passed"})
        print(f"  passed  {name} ({figures})", flush=True)


def expect(condition: object, otherwise: str) -> None:
    """Raises: TrialError, with what is wrong, unless the condition holds."""
    if not condition:
        raise TrialError(otherwise)
