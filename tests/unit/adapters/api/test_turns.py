"""A round of the loop has a share for outsiders, however many they are."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from sharedip.adapters.api.turns import Turns
from tests.stages.scenes import run


def test_sixty_four_that_ask_at_once_get_a_few_turns_of_each_round() -> None:
    async def scene() -> None:
        turns, done, number = Turns(share_s=0.003), Counter[int](), 0

        def count_round() -> None:
            nonlocal number
            number += 1
            asyncio.get_running_loop().call_soon(count_round)

        async def outsider() -> None:
            await turns.mine()
            until = time.monotonic() + 0.001
            while time.monotonic() < until:
                pass
            done[number] += 1

        count_round()
        await asyncio.gather(*(outsider() for _ in range(64)))
        assert done.total() == 64
        assert max(done.values()) <= 2 * 3 + 1, "what a round begins late counts for the next one, too"

    run(scene())


def test_one_alone_waits_for_nothing() -> None:
    async def scene() -> None:
        turns = Turns()
        for _ in range(3):
            mine = turns.mine()
            try:
                mine.send(None)
            except StopIteration:
                await asyncio.sleep(0)
                continue
            raise AssertionError("it waited")

    run(scene())
