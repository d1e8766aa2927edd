"""What the person at the terminal sees while a scenario runs: a live table, or plain lines where there is no terminal.

Role: show. On a terminal a table that moves; otherwise one line per thing that happens.
Must never: slow down a measurement: the feeds are other processes. Counterpart: `scenarios/play.py`.
"""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table as Grid
from rich.text import Text

from sharedip_lab.report.tables import outcome_line
from sharedip_lab.scenarios.runner import Outcome
from sharedip_lab.stage import FRESH_S, Stage


class Lines:
    """Plain lines, each with the seconds since the start."""

    def __init__(self) -> None:
        self.began_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def say(self, text: str) -> None:
        """One line."""
        print(f"{time.monotonic() - self.began_at:6.1f} s  {text}", flush=True)

    def attach(self, stage: Stage | None, vip: str) -> None:
        """Nothing to look at between lines."""

    def began(self, number: int, total: int, title: str) -> None:
        """A step begins."""
        self.say(f"{number}/{total} {title}")

    def phase(self, text: str) -> None:
        """Where it waits."""
        self.say(f"    … {text}")

    def ended(self, outcome: Outcome) -> None:
        """A step is done."""
        self.say(f"    {outcome_line(outcome)}")


class Table(Lines):
    """The live table: nodes, what each has and does, and the steps so far."""

    REFRESHES_PER_S = 5
    STEPS_SHOWN = 12

    def __init__(self) -> None:
        super().__init__()
        self._stage: Stage | None = None
        self._vip = ""
        self._leader: str | None = None
        self._title, self._phase = "getting ready", ""
        self._done: list[str] = []
        self._over = threading.Event()
        self._live = Live(get_renderable=self._render, refresh_per_second=self.REFRESHES_PER_S)  # renders at once

    def __enter__(self) -> Self:
        self._live.__enter__()
        threading.Thread(target=self._ask_leader, name="leader", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._title, self._phase = "over", ""
        self._live.__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        """Show it as what is going on."""
        self._phase = text

    def attach(self, stage: Stage | None, vip: str) -> None:
        """Show this stage's nodes."""
        self._stage, self._vip = stage, vip

    def began(self, number: int, total: int, title: str) -> None:
        """A step begins."""
        self._title = f"{number}/{total} {title}"

    def phase(self, text: str) -> None:
        """Where it waits."""
        self._phase = text

    def ended(self, outcome: Outcome) -> None:
        """A step is done."""
        self._done.append(outcome_line(outcome))

    def _ask_leader(self) -> None:
        """Ask etcd once a second, away from the drawing: a frozen member takes half a second to not answer."""
        while not self._over.wait(1.0):
            stage = self._stage
            if stage is not None and hasattr(stage, "etcd"):
                try:
                    self._leader = stage.etcd.leader()
                except OSError:  # the stage is being taken down
                    self._leader = None

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = []
        stage = self._stage
        if stage is not None and stage.agents:
            grid = Grid("node", "agent", "etcd", self._vip, "client's answers in the last second", expand=False)
            for name in stage.agents:
                grid.add_row(*self._row(stage, name))
            parts.append(grid)
        parts += [
            Text(line, style="green" if line.startswith("✓") else "red") for line in self._done[-self.STEPS_SHOWN :]
        ]
        elapsed = time.monotonic() - self.began_at
        parts.append(Text.assemble((f"{elapsed:5.1f} s  ", "dim"), (self._title, "bold"), f"  {self._phase}"))
        return Group(*parts)

    def _row(self, stage: Stage, name: str) -> tuple[str, str, str, str, str]:
        agent, member, now = stage.agents[name], stage.etcd.members[name], time.monotonic()
        life = "[yellow]frozen[/]" if agent.frozen else "runs" if agent.running else "[red]down[/]"
        etcd = "[yellow]frozen[/]" if member.frozen else "follows" if member.running else "[red]down[/]"
        if name == self._leader and member.running:
            etcd = "leads"
        recording = stage.recording(self._vip)
        holds = "[bold green]● owner[/]" if name in recording.presence.holders() else "·"
        last = recording.answers.last()
        fresh = last is not None and last[1] == name and now - last[0] < FRESH_S
        since = recording.answers.stretches(now - 1.0, now).get(name)
        share = sum(end - begin for begin, end in since) if since else 0.0
        bar = "█" * round(20 * min(1.0, share))
        return name, life, etcd, holds, f"[green]{bar}[/]" if fresh else f"[dim]{bar}[/]"


def screen() -> Lines:
    """The table where there is a terminal, else lines."""
    return Table() if sys.stdout.isatty() else Lines()
