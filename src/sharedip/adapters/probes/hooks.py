"""Runs the operator's hooks, each once, with its story on standard input, and tells how it ended.

Role: one task an order; the program itself runs as those of exec checks do (`exec.py`): in a process group of its own
that is killed when its time is up. Must never: wait on the loop, or answer an order that was stopped.
Counterparts: `core/election/hooks.py` (orders, and does not wait for longer than the deadline), `exec.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from sharedip.adapters.probes.exec import ExecProbe
from sharedip.adapters.probes.probe import seconds
from sharedip.core.messages import HookEnded, RunHook, StopHook
from sharedip.core.model import Hook

AT_ONCE_MAX = 32
"""Programs; further ones wait, within their own deadline. One that can't be killed counts while it is there."""
LEAD_S = 0.05
"""A program is killed that long before its deadline, so that its last words are here when the core waits no longer."""


class HookRunner:
    """Invariant: a task for each order that has been neither answered nor stopped."""

    def __init__(self, commands: Mapping[Hook, Sequence[str]], emit: Callable[[HookEnded], None]) -> None:
        self._commands = dict(commands)
        self._emit = emit
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(AT_ONCE_MAX)
        self._others: set[asyncio.Task[None]] = set()
        """Orders that were stopped, and programs that are not reaped yet."""

    def reconfigure(self, commands: Mapping[Hook, Sequence[str]]) -> None:
        """Other programs from the next order on."""
        self._commands = dict(commands)

    def perform(self, order: RunHook | StopHook) -> None:
        """Begin it, or end it."""
        if isinstance(order, StopHook):
            self._stop(order.number)
            return
        command = self._commands.get(order.hook)
        if command is None:  # a reload has just taken it out
            asyncio.get_running_loop().call_soon(self._emit, HookEnded(order.number, succeeded=True, detail="none"))
            return
        task = asyncio.create_task(self._run(order, command), name=f"hook {order.hook.value}")
        self._tasks[order.number] = task
        task.add_done_callback(_raise_bug)

    async def close(self) -> None:
        """Kill what runs. Cancelling it is safe: every run is killed by its own task."""
        stopped = [task for number in list(self._tasks) if (task := self._stop(number)) is not None]
        await asyncio.gather(*stopped, return_exceptions=True)
        for task in self._others:
            task.cancel()
        await asyncio.gather(*self._others, return_exceptions=True)

    def _stop(self, number: int) -> asyncio.Task[None] | None:
        task = self._tasks.pop(number, None)
        if task is not None:
            self._keep(task)
            task.cancel()
        return task

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    async def _run(self, order: RunHook, command: Sequence[str]) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + order.timeout_s
        try:
            async with asyncio.timeout_at(until):
                await self._room.acquire()
        except TimeoutError:
            self._end(order, succeeded=False, detail=f"not started in {seconds(order.timeout_s)}: too many others run")
            return
        left_s = round(max(0.0, until - loop.time() - LEAD_S), 2)
        probe = ExecProbe(order.hook.value, command, left_s, hook=True, content=order.content)
        try:
            found = await probe.probe()
        finally:
            self._keep(asyncio.create_task(self._free(probe)))
        self._end(order, succeeded=found.healthy, detail=found.detail)

    async def _free(self, probe: ExecProbe) -> None:
        await probe.wait_over()
        self._room.release()

    def _end(self, order: RunHook, *, succeeded: bool, detail: str) -> None:
        if self._tasks.pop(order.number, None) is not None:
            self._emit(HookEnded(order.number, succeeded=succeeded, detail=detail))


def _raise_bug(task: asyncio.Task[None]) -> None:
    """What the world does is an answer. What is raised is a bug, and must not pass unseen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"{task.get_name()} failed", "exception": error, "task": task}
        )
