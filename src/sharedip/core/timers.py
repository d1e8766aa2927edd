"""Deadlines of many, the earliest found without asking all of them.

Must never: decide what is due about anything. Counterpart: `vips.py`.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

from sharedip.core.model import Instant

Who = TypeVar("Who", bound=Hashable)


class DeadlineQueue(Generic[Who]):
    """Invariant: `next_deadline` is never later than the deadline that was set last for anyone."""

    def __init__(self) -> None:
        self._heap: list[tuple[Instant, int, Who]] = []
        self._due: dict[Who, Instant] = {}
        self._serial = 0

    def set(self, who: Who, at: Instant | None) -> None:
        """The next deadline; None: only a fact can change anything."""
        if at is None:
            self._due.pop(who, None)
        elif self._due.get(who) != at:
            self._due[who] = at
            self._serial += 1
            heapq.heappush(self._heap, (at, self._serial, who))

    def pop_due(self, now: Instant) -> list[Who]:
        """Everyone due by now, the most overdue first; the caller sets each of them again."""
        due: list[Who] = []
        while self._heap and self._heap[0][0] <= now:
            at, _, who = heapq.heappop(self._heap)
            if self._due.get(who) == at:
                del self._due[who]
                due.append(who)
        return due

    def next_deadline(self) -> Instant:
        """The earliest deadline of all; infinity if there is none."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else float("inf")
