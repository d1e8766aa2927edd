"""Scenes of asyncio: played to their end, and not for ever.

Role: gives every scene one deadline, so that a test which waits for something may wait without one.
Must never: know what is played.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

LIMIT_S = 20.0

Result = TypeVar("Result")


def run(scene: Coroutine[Any, Any, Result]) -> Result:
    """Play a scene; a scene that hangs fails."""

    async def bounded() -> Result:
        async with asyncio.timeout(LIMIT_S):
            return await scene

    return asyncio.run(bounded())


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that another task does; the scene has a deadline."""
    while not condition():  # noqa: ASYNC110  # the condition belongs to the code under test, which has no event
        await asyncio.sleep(0.002)
