"""The core of a base commit beside the core of the working tree: `python -m tests.differential [--seeds 10000]`.

The base's simulation plays seeded histories with the base's core, and the working tree's core hears the same facts at
the same instants (`shadow.py`). What it orders must be the same, turn by turn, but for what `normalisations.py` lists.
Where the two part is shown; exit 1 if they do for any seed.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib
import io
import pkgutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from tests.differential.neutral import Neutral
from tests.differential.normalisations import BEHAVIOURS
from tests.differential.shadow import Tally, Translator, stand_beside, under_other_names

ROOT = Path(__file__).parents[2]
BASE = "1aeb2db"
"""The last commit before the inside of the core was rebuilt."""
BATCH = 25
SHOWN = 3
PROGRESS_S = 10.0
REST_WITHIN_S = 120.0
"""A history takes some hundredths of a second; one that takes this long goes round and round at one instant."""


@dataclass(slots=True)
class Batch:
    """What came of some seeds."""

    played: int = 0
    tally: Tally = field(default_factory=Tally)
    differences: dict[int, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)


def main(arguments: list[str] | None = None) -> int:
    """Play them all, show the first that differ, and sum up."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--base", metavar="REV", default=BASE, help=f"a commit ({BASE})")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many (10000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--strict", action="store_true", help="the order of orders counts, whichever VIPs they concern")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sharedip-differential-") as folder:
        lay_out(options.base, Path(folder))
        seeds = range(options.first, options.first + options.seeds)
        return run(folder, seeds, options.jobs, strict=options.strict)


def lay_out(revision: str, folder: Path) -> None:
    """The base's core and simulation, importable as `base_sharedip` and `base_tests`."""
    archive = subprocess.run(
        ["git", "archive", revision, "src/sharedip", "tests"], cwd=ROOT, check=True, capture_output=True
    )
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        for member in files:
            path = (
                member.name.replace("src/sharedip", "base_sharedip", 1)
                if member.name.startswith("src/")
                else f"base_{member.name}"
            )
            source = files.extractfile(member)
            if source is None or not path.endswith(".py"):
                continue
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(under_other_names(as_today(path, source.read().decode())))


def as_today(path: str, source: str) -> str:
    """A file of the base with the behaviours that were changed on purpose."""
    for each in BEHAVIOURS:
        if path == f"base_sharedip/{each.file}":
            assert source.count(each.base) == 1, f"{each.base!r} does not stand once in the base's {each.file}"
            source = source.replace(each.base, each.today)
    return source


def run(folder: str, seeds: range, jobs: int, *, strict: bool) -> int:
    """Compare every seed; the exit code."""
    began = shown_at = time.monotonic()
    total = Batch()
    parts = [seeds[at : at + BATCH] for at in range(0, len(seeds), BATCH)]
    with ProcessPoolExecutor(jobs, initializer=prepare, initargs=(folder, strict)) as pool:
        for done in as_completed([pool.submit(play, part) for part in parts]):
            batch = done.result()
            for seed, text in batch.differences.items():
                if len(total.differences) < SHOWN:
                    print(f"\nseed {seed}:\n{text}")
                total.differences[seed] = text
            total.played += batch.played
            total.used |= batch.used
            for name in ("turns", "orders", "permuted", "earlier"):
                setattr(total.tally, name, getattr(total.tally, name) + getattr(batch.tally, name))
            if time.monotonic() >= shown_at + PROGRESS_S:
                shown_at = time.monotonic()
                rate = total.played / (shown_at - began)
                print(
                    f"{total.played} of {len(seeds)} seeds, {rate:.0f} a second, {len(total.differences)} differ",
                    flush=True,
                )
    tally = total.tally
    took_s = time.monotonic() - began
    print(f"\n{total.played} seeds, {tally.turns} turns, {tally.orders} orders compared in {took_s:.0f} s")
    print(f"turns in which etcd's orders or lines of the log came in another sequence: {tally.permuted}")
    print(f"turns after which the working tree asked to be woken earlier: {tally.earlier}")
    print("normalisations met:" if total.used else "no normalisation met")
    for sentence in sorted(total.used):
        print(f"  {sentence}")
    print(
        f"seeds that differ: {len(total.differences)}"
        + (f" ({', '.join(map(str, sorted(total.differences)))})" if total.differences else "")
    )
    return 1 if total.differences else 0


# -- in a process of its own ------------------------------------------------------------------------------------------

_NEUTRAL, _TALLY = Neutral(), Tally()


def prepare(folder: str, strict: bool) -> None:
    """Both cores in one process, each machine of the base's with its shadow."""
    global _NEUTRAL  # noqa: PLW0603 - once for each process
    sys.path.insert(0, folder)
    _NEUTRAL = Neutral(strict=strict)
    classes: dict[str, type] = {}
    core = importlib.import_module("sharedip.core")
    for module in pkgutil.walk_packages(core.__path__, "sharedip.core."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, type) and value.__module__.startswith("sharedip.core."):
                classes.setdefault(_NEUTRAL.base_name(name), value)
    base, today = importlib.import_module("base_sharedip.core.node"), importlib.import_module("sharedip.core.node")
    stand_beside(base.Node, today.Node, Translator(classes, _NEUTRAL), _NEUTRAL, _TALLY)
    gc.disable()  # a world is all cycles, and nothing of it can go before it ends


def play(seeds: range) -> Batch:
    """Some histories."""
    histories = importlib.import_module("base_tests.simulation.histories")
    batch = Batch()
    before = dataclasses.astuple(_TALLY)
    for seed in seeds:
        signal.signal(signal.SIGALRM, _give_up)
        signal.setitimer(signal.ITIMER_REAL, REST_WITHIN_S)
        try:
            outcome = histories.play(seed)
            if outcome.failure:
                batch.differences[seed] = outcome.failure
        except Exception as difference:  # noqa: BLE001 - also a core that raises
            batch.differences[seed] = f"{type(difference).__name__}: {difference}"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        batch.played += 1
    gc.collect()
    batch.used = _NEUTRAL.used
    batch.tally = Tally(*(now - then for now, then in zip(dataclasses.astuple(_TALLY), before, strict=True)))
    return batch


def _give_up(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"the history does not come to rest within {REST_WITHIN_S:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
