"""Facts that wait for their turn.

Role: every adapter's way into the agent, and which facts the consumer is handed together.
Must never: change the order of facts, but that datagrams and claims go first.
Counterpart: `loop.py`, the one consumer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from sharedip.core.messages import (
    AddressHeld,
    AddressRemoved,
    DatagramReceived,
    Event,
    ForeignClaim,
    GateClosed,
    StateSaved,
)

TOGETHER_MAX = 250
"""Answers of the kernel that are handed over at once: one state file, some transactions for all of them."""


class Queue:
    """Facts that wait for their turn, in the order in which they came; what the segment says apart, for it goes first.

    Invariant: once there is a consumer, a turn of it is due whenever a fact was emitted and not taken.
    """

    def __init__(self) -> None:
        self._heard: deque[DatagramReceived | ForeignClaim] = deque()
        self._facts: deque[Event] = deque()
        self._turn: Callable[[], None] | None = None
        self._due: asyncio.Handle | None = None

    def __bool__(self) -> bool:
        return bool(self._heard or self._facts)

    def emit(self, event: Event) -> None:
        """Take a fact in; it is handled in its turn."""
        if isinstance(event, DatagramReceived | ForeignClaim):
            self._heard.append(event)
        else:
            self._facts.append(event)
        self.wake()

    def emit_at_once(self, events: Iterable[Event]) -> None:
        """Queue all that a reader of the loop had, and run the turn now, not at the loop's next round."""
        for event in events:
            self.emit(event)
        if self._due is not None and self._turn is not None:
            self._due.cancel()
            self._turn()

    def put(self, event: Event) -> None:
        """What a turn itself has brought about: it looks here again before it ends."""
        self._facts.append(event)

    def consumed_by(self, turn: Callable[[], None]) -> None:
        """Who takes the facts from now on."""
        self._turn = turn

    def close(self) -> None:
        """No turn is wanted any more."""
        self._turn = None

    def wake(self) -> None:
        """Have a turn soon."""
        if self._due is None and self._turn is not None:
            self._due = asyncio.get_running_loop().call_soon(self._turn)

    def turn_begins(self) -> None:
        """What comes from now on may need another one."""
        self._due = None

    def take_all(self) -> list[Event]:
        """Everything but what the segment has said."""
        facts = list(self._facts)
        self._facts.clear()
        return facts

    def take_heard(self) -> list[list[Event]]:
        """Claims of other machines that have come by now, together and first: what is ordered at one must not go
        against the next. Then the datagrams of peers, one by one.
        """
        claims: list[Event] = [each for each in self._heard if isinstance(each, ForeignClaim)]
        datagrams: list[list[Event]] = [[each] for each in self._heard if not isinstance(each, ForeignClaim)]
        self._heard.clear()
        return [claims, *datagrams] if claims else datagrams

    def take_next(self) -> list[Event]:
        """The next fact, and with a kernel's answer the ones behind it that are alike, each about another VIP.

        What was saved and which gates have closed comes along with the removals between them: the word waits for all.
        Empty if nothing waits.
        """
        if not self._facts:
            return []
        first = self._facts.popleft()
        facts = [first]
        while isinstance(first, StateSaved) and self._facts and isinstance(self._facts[0], StateSaved | AddressRemoved):
            first = self._facts.popleft()
            facts.append(first)
        if isinstance(first, AddressHeld | AddressRemoved):
            seen = {first.vip.address}
            while self._facts and len(facts) < TOGETHER_MAX:
                following = self._facts[0]
                if type(following) is not type(first) or following.vip.address in seen:
                    break
                seen.add(following.vip.address)
                facts.append(self._facts.popleft())
        if isinstance(first, AddressRemoved) and self._facts and isinstance(self._facts[0], GateClosed):
            facts.append(self._facts.popleft())
        return facts
