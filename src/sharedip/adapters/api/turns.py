"""How much of a round of the event loop outsiders get.

Role: whoever does work for an outsider asks before it; when this round's share is used up, it waits for another round.
Must never: be asked by work that is the agent's own. Counterpart: `connection.py` (which asks).

A round is one pass of the loop over its sockets. Between two of them the kernel's clock for our addresses goes on, so
no number of clients may make one long (law 11).
"""

from __future__ import annotations

import asyncio
import time

SHARE_S = 0.003
"""Of each round. One request costs 0.3 ms, so a round is over after 4 ms at most, where 20 are allowed."""


class Turns:
    """Invariant: work that was begun after `mine` has returned began within the share of its round."""

    def __init__(self, share_s: float = SHARE_S) -> None:
        self._share_s = share_s
        self._until: float | None = None

    async def mine(self) -> None:
        """Wait for a round that has time left."""
        while not self._are_left():  # noqa: ASYNC110 - an event would wake all at once
            await asyncio.sleep(0)

    def _are_left(self) -> bool:
        """The first who asks begins the share of a round."""
        if self._until is None:
            self._until = time.monotonic() + self._share_s
            asyncio.get_running_loop().call_soon(self._round_is_over)
            return True
        return time.monotonic() < self._until

    def _round_is_over(self) -> None:
        self._until = None
