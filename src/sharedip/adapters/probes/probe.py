"""What a probe is told and what it answers.

Role: the shapes of the configured checks that this package needs (the documents' own classes fit them), and the
outcome. Must never: know the documents' classes: adapters import the core only. Counterparts: `config/model.py`,
`runner.py`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

DETAIL_CHARACTERS_MAX = 240


class CheckSettings(Protocol):
    """What every check has. A duration is in seconds; the timeout covers all of one probe."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def interval_s(self) -> float: ...  # noqa: D102
    @property
    def timeout_s(self) -> float: ...  # noqa: D102
    @property
    def failure_threshold(self) -> int: ...  # noqa: D102
    @property
    def success_threshold(self) -> int: ...  # noqa: D102


class Url(Protocol):
    """A URL taken apart; `target` is path and query."""

    @property
    def tls(self) -> bool: ...  # noqa: D102
    @property
    def host(self) -> str: ...  # noqa: D102
    @property
    def port(self) -> int: ...  # noqa: D102
    @property
    def target(self) -> str: ...  # noqa: D102


class ApiServerAccess(Protocol):
    """The CA of this node's API server, and a client certificate that may read /readyz, if there is one; `is_open`:
    anybody may, as far as is known.
    """

    @property
    def ca_file(self) -> Path: ...  # noqa: D102
    @property
    def cert_file(self) -> Path | None: ...  # noqa: D102
    @property
    def key_file(self) -> Path | None: ...  # noqa: D102
    @property
    def port(self) -> int: ...  # noqa: D102
    @property
    def is_open(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one probe found, and why in a few words.

    `refused`: every address of the place refused the connection. `broken`: a connection ended in the middle. `denied`:
    who asks is not known there, or may not ask.
    """

    healthy: bool
    detail: str
    refused: bool = False
    broken: bool = False
    denied: bool = False


class Closings:
    """Tells that the other side has closed a kept connection while nothing was asked on it.

    Invariant: `answers` is about the closing that `seen` was set for: how many answers had come on that connection.
    """

    def __init__(self) -> None:
        self.seen = asyncio.Event()
        self.answers = 0

    def tell(self, answers: int) -> None:
        """It has closed."""
        self.answers = answers
        self.seen.set()


class HealthProbe(Protocol):
    """One way to find out. It ends within the check's timeout, whatever the other side does."""

    async def probe(self) -> ProbeResult:
        """Look once, over a kept connection where there is one; never twice at a time. Cancelling it at any moment
        leaves nothing behind.
        """

    async def probe_apart(self) -> ProbeResult:
        """Look once on a connection of its own, whatever else is under way; the same care."""

    def close(self) -> None:
        """Keep no connection any more."""


def short(text: str) -> str:
    """Cut what a stranger wrote down to one printable line for people."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= DETAIL_CHARACTERS_MAX else line[: DETAIL_CHARACTERS_MAX - 1] + "…"


def seconds(duration_s: float) -> str:
    """`1 s`, `0.25 s`."""
    return f"{duration_s:g} s"
