"""Thousands of random histories, each a seed: laws 1 and 3 at every step, answers when they are due, in the end rest.

SHAREDIP_HISTORIES says how many (5,000), SHAREDIP_HISTORIES_FROM the first seed (0), SHAREDIP_WORKERS how many
processes (2).
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from collections import Counter
from types import FrameType

import pytest

from tests.simulation.answers import Rule
from tests.simulation.catalogue import NAMES
from tests.simulation.histories import ANEW, PAUSED, TRAITS, play

HISTORIES = int(os.environ.get("SHAREDIP_HISTORIES", "5000"))
FIRST_SEED = int(os.environ.get("SHAREDIP_HISTORIES_FROM", "0"))
WORKERS = int(os.environ.get("SHAREDIP_WORKERS", "2"))
BATCH = 50
EACH_KIND_IS_PLAYED_WITHIN = 1000
REST_WITHIN_S = 30.0
"""A history takes some hundredths of a second; one that takes this long goes round and round at one instant."""


def _give_up(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"the history does not come to rest within {REST_WITHIN_S:.0f} s")


Kinds = Counter[str]


def play_batch(first: int) -> tuple[int, int, tuple[Kinds, Kinds], int | None, str]:
    """Histories played, steps taken, faults by kind and answers that were due by rule, and the first seed that failed
    with what went wrong.
    """
    gc.disable()  # a world is all cycles, and nothing of it can go before it ends: a tenth of the time
    steps, kinds, due = 0, Kinds(), Kinds()
    last = min(first + BATCH, FIRST_SEED + HISTORIES)
    signal.signal(signal.SIGALRM, _give_up)
    for seed in range(first, last):
        signal.setitimer(signal.ITIMER_REAL, REST_WITHIN_S)
        try:
            outcome = play(seed)
        except Exception as bug:  # noqa: BLE001 - a core that raises is a finding as good as a broken law
            return seed - first, steps, (kinds, due), seed, f"the core raised {bug!r}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        steps += outcome.steps
        kinds += outcome.played
        due += outcome.due
        if outcome.failure is not None:
            return seed - first, steps, (kinds, due), seed, outcome.failure
    gc.collect()
    return last - first, steps, (kinds, due), None, ""


@pytest.mark.timeout(1800)
def test_no_history_breaks_a_law(capsys: pytest.CaptureFixture[str]) -> None:
    """Never two owners, no release before the confirmation, an answer whenever one is due, and in the end one owner."""
    began, played, steps, told, kinds, due = time.monotonic(), 0, 0, 0, Kinds(), Kinds()
    batches = range(FIRST_SEED, FIRST_SEED + HISTORIES, BATCH)
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        for count, took, (of_kinds, of_due), seed, failure in pool.imap_unordered(play_batch, batches):
            played, steps = played + count, steps + took
            kinds += of_kinds
            due += of_due
            if seed is not None:
                pool.terminate()
                pytest.fail(f"seed {seed}: {failure}\nreplay: python -m tests.simulation.replay {seed}", pytrace=False)
            if played * 10 // HISTORIES > told:
                told = played * 10 // HISTORIES
                rate = played / (time.monotonic() - began)
                with capsys.disabled():
                    print(
                        f"\n  {played} of {HISTORIES} histories, {steps} steps, {rate:.0f} a second", end="", flush=True
                    )
    wanted = [*NAMES, *TRAITS, PAUSED, ANEW]
    with capsys.disabled():
        print("\n  " + ", ".join(f"{name} {kinds[name]}" for name in wanted))
        print("  answers that were due: " + ", ".join(f"{rule.name} {due[rule.name]}" for rule in Rule))
    assert played == HISTORIES
    # Who goes in order, or past a dead one, is mostly replaced between two looks of the judge.
    lasting = set(Rule) - {Rule.IN_ORDER, Rule.BEHIND_A_SILENT_ONE}
    never = [name for name in wanted if not kinds[name]] + [rule.name for rule in lasting if not due[rule.name]]
    assert not never or played < EACH_KIND_IS_PLAYED_WITHIN, f"never played: {never}"
