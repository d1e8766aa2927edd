"""Requests of people that the core has not answered yet.

Role: a number for each, and the future that its answer completes. Must never: keep one that nobody waits for.
Counterparts: `operator.py` (who waits), `executor.py` (`AnswerOperator`).
"""

from __future__ import annotations

import asyncio
from itertools import count

from sharedip.core.messages import AnswerOperator

Answer = tuple[bool, str]
"""Whether it was accepted, and the words for it."""


class Tickets:
    """Invariant: a ticket is there from `draw` until its answer, or until the caller has given up."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}

    def draw(self) -> int:
        """The number that a request carries to the core."""
        ticket = next(self._numbers)
        self._waiting[ticket] = asyncio.get_running_loop().create_future()
        return ticket

    async def answer_to(self, ticket: int, within_s: float) -> Answer | None:
        """What the core says; None if it does not come round to it."""
        try:
            return await asyncio.wait_for(self._waiting[ticket], within_s)
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(ticket, None)

    def answer(self, answer: AnswerOperator) -> None:
        """The core has spoken."""
        waiting = self._waiting.get(answer.ticket)
        if waiting is not None and not waiting.done():
            waiting.set_result((answer.accepted, answer.text))
