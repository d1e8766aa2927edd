"""The core of a base commit beside the core of the working tree: `python -m tests.differential [--seeds 10000]`.

The base's simulation plays seeded histories with the base's core, and the working tree's core hears the same facts at
the same instants (`shadow.py`). What it orders must be the same, turn by turn, but for what `normalisations.py` lists.
Where the two part is shown; exit 1 if they do for any seed.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from tests.differential.base import UnknownBaseError, compare, files_of, lay_out
from tests.differential.normalisations import BASE, BEHAVIOURS
from tests.differential.shadow import Comparison

BATCH = 25
SHOWN = 3
PROGRESS_S = 10.0
REST_WITHIN_S = 120.0
"""A history takes some tenths of a second; one that takes this long goes round and round at one instant."""


@dataclass(slots=True)
class Batch:
    """What came of some seeds."""

    played: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    differences: dict[int, str] = field(default_factory=dict)
    met: set[str] = field(default_factory=set)

    def add(self, other: Batch) -> None:
        """What came of some more."""
        self.played += other.played
        self.counts += other.counts
        self.differences |= other.differences
        self.met |= other.met


def main(arguments: list[str] | None = None) -> int:
    """Play them all, show the first that differ, and sum up."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--base", metavar="REV", default=BASE, help=f"a commit ({BASE})")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many (10000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side (2)")
    parser.add_argument("--strict", action="store_true", help="the sequence of orders counts altogether")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sharedip-differential-") as folder:
        try:
            lay_out(files_of(options.base), Path(folder))
        except (UnknownBaseError, ValueError) as error:
            parser.error(str(error))
        total = run(folder, range(options.first, options.first + options.seeds), options.jobs, strict=options.strict)
    print(summary(total))
    return 1 if total.differences else 0


def run(folder: str, seeds: range, jobs: int, *, strict: bool) -> Batch:
    """Compare every seed, and say how it goes on."""
    began = shown_at = time.monotonic()
    total = Batch()
    parts = [seeds[at : at + BATCH] for at in range(0, len(seeds), BATCH)]
    with ProcessPoolExecutor(jobs, initializer=_prepare, initargs=(folder, strict)) as pool:
        for done in as_completed([pool.submit(play, part) for part in parts]):
            batch = done.result()
            for seed, difference in list(batch.differences.items())[: max(0, SHOWN - len(total.differences))]:
                print(f"\nseed {seed}:\n{difference}", flush=True)
            total.add(batch)
            now = time.monotonic()
            if now >= shown_at + PROGRESS_S:
                shown_at, rate = now, total.played / (now - began)
                differ = len(total.differences)
                print(f"{total.played} of {len(seeds)} seeds, {rate:.1f} a second, {differ} differ", flush=True)
    return total


def summary(total: Batch) -> str:
    """What was compared, with which latitude, and what differs."""
    counts = total.counts
    differing = f" ({', '.join(map(str, sorted(total.differences)))})" if total.differences else ""
    return "\n".join(
        [
            f"\n{total.played} seeds: {counts['turns']} turns, {counts['orders']} orders compared",
            f"turns in which orders about different VIPs came in another sequence: {counts['by VIP']}",
            f"turns in which etcd's orders or lines of the log came in another sequence: {counts['permuted']}",
            f"turns after which the working tree asked to be woken earlier: {counts['earlier']}",
            *_listed("normalisations met", sorted(total.met)),
            *_listed("changed on purpose", dict.fromkeys(each.why for each in BEHAVIOURS)),
            f"seeds that differ: {len(total.differences)}{differing}",
        ]
    )


def _listed(heading: str, sentences: Iterable[str]) -> list[str]:
    lines = [f"  {each}" for each in sentences]
    return [f"{heading}:", *lines] if lines else [f"{heading}: none"]


# -- in a process of its own ------------------------------------------------------------------------------------------

_PROCESS: dict[str, Comparison] = {}


def _prepare(folder: str, strict: bool) -> None:
    _PROCESS["comparison"] = compare(folder, strict=strict)
    gc.disable()  # a world is all cycles, and nothing of it can go before it ends


def play(seeds: range) -> Batch:
    """Some histories."""
    histories, comparison = importlib.import_module("base_tests.simulation.histories"), _PROCESS["comparison"]
    comparison.counts.clear()
    batch = Batch(len(seeds), met=comparison.neutral.met)
    signal.signal(signal.SIGALRM, _give_up)
    for seed in seeds:
        signal.setitimer(signal.ITIMER_REAL, REST_WITHIN_S)
        try:
            outcome = histories.play(seed)
            if outcome.failure:
                batch.differences[seed] = outcome.failure
        except Exception as difference:  # noqa: BLE001 - also a core that raises
            batch.differences[seed] = f"{type(difference).__name__}: {difference}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
    gc.collect()
    batch.counts = Counter(comparison.counts)
    return batch


def _give_up(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"the history does not come to rest within {REST_WITHIN_S:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
