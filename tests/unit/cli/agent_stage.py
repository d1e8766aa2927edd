"""The shipped commands against a fake agent behind the real socket, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sharedip.adapters.api import Api
from tests.unit.adapters.api.api_stage import WINDOW, FakeAgent, problem, stage, status, vip

__all__ = ["WINDOW", "FakeAgent", "RunningAgent", "agent_at", "problem", "status", "vip"]
Result = TypeVar("Result")
DEADLINE_S = 20.0


class RunningAgent:
    """The agent's thread, as a test may use it from its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, api: Api) -> None:
        self._loop = loop
        self.api = api

    def do(self, action: Callable[[], object]) -> None:
        """Do something in the agent's own thread."""
        self._loop.call_soon_threadsafe(action)


@contextmanager
def agent_at(state_dir: Path, fake: FakeAgent) -> Iterator[RunningAgent]:
    """Run a fake agent on `agent.sock` in the directory."""
    started: list[RunningAgent] = []
    ready, end = threading.Event(), asyncio.Event()

    async def live() -> None:
        async with stage(state_dir, fake) as api:
            started.append(RunningAgent(asyncio.get_running_loop(), api))
            ready.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    assert ready.wait(DEADLINE_S)
    try:
        yield started[0]
    finally:
        started[0].do(end.set)
        thread.join(DEADLINE_S)
