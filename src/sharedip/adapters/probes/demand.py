"""Probes of one check that the core has asked for: at once, beside the interval, and not too many.

Role: one `CheckProbed` for each probe that ends, with the instant before it began. Must never: answer an order with a
probe that had begun before it, or begin two within `STEP_S`. Counterpart: `runner.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sharedip.adapters.probes.probe import HealthProbe
from sharedip.core.messages import CheckProbed
from sharedip.core.model import NEVER, Instant

STEP_S = 0.2
AT_ONCE_MAX = 4
"""Under way at the same time: what hangs must not be heaped with connections, nor a machine with processes."""


class Demand:
    """Invariant: while something `is_wanted`, a timer or the end of a probe will begin the next one."""

    def __init__(
        self,
        name: str,
        probe: HealthProbe,
        emit: Callable[[CheckProbed], None],
        clock: Callable[[], Instant],
        done: Callable[[asyncio.Task[None]], None],
    ) -> None:
        """`done` looks at each task that has ended."""
        self._name = name
        self._probe = probe
        self._emit = emit
        self._clock = clock
        self._done = done
        self._is_wanted = False
        self._began_at: Instant = NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self) -> None:
        """Have a probe that begins from now on."""
        self._is_wanted = True
        self._begin_if_allowed()

    def cancel(self) -> list[asyncio.Task[None]]:
        """Begin nothing any more, and emit nothing. Returns what has still to end."""
        self._is_wanted = False
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        return list(self._tasks)

    def _begin_if_allowed(self) -> None:
        if not self._is_wanted or self._timer is not None or len(self._tasks) >= AT_ONCE_MAX:
            return
        wait_s = self._began_at + STEP_S - self._clock()
        if wait_s > 0:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._time_has_come)
            return
        self._is_wanted, self._began_at = False, self._clock()
        task = asyncio.create_task(self._look(self._began_at), name=f"probe {self._name} on demand")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _time_has_come(self) -> None:
        self._timer = None
        self._begin_if_allowed()

    async def _look(self, started_at: Instant) -> None:
        found = await self._probe.probe_apart()
        self._emit(CheckProbed(self._name, found.healthy, started_at))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._done(task)
        self._begin_if_allowed()
