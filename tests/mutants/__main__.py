"""Break the core, one law at a time, and see a test notice: `python -m tests.mutants [--only NAME] [--jobs 2]`.

Each mutant is applied to a copy of the source; the tests of the laws run on it, then the unit tests of the core, then,
if they all pass, the simulation with a limited number of seeds. Some the simulation must find by itself: the breaks
that the model of the protocol found, and their like. They meet the random histories alone, with more seeds, and no test
that was written for them. Exit 1 when a mutant lives that should not, or dies that can't.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
LIMIT_S = 600.0
SEEDS_OF_HISTORIES = 2000
"""Within so many a mutant that the histories must find has to be found."""

LAWS = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests/laws").glob("test_law_*.py"))]
"""First, because they are quick and find most."""

KEYS = [f"tests/unit/adapters/test_{name}.py" for name in ("agreement", "state", "peer", "logs", "kept")]
ORDERS = "tests/unit/agent/test_executor.py"
DOCUMENTS = "tests/unit/agent/test_reload.py"
REGRESSIONS = [f"tests/regressions/test_{name}.py" for name in ("attacks", "forged_words", "dark_without_need")]
PROBES = "tests/unit/adapters/probes/test_runner.py"
RIGHTS = "tests/unit/adapters/probes/test_rights.py"
MODES = "tests/unit/config/test_modes.py"
API = "tests/unit/adapters/api"
LIFE, START = "tests/unit/agent/test_life.py", "tests/unit/agent/test_start.py"
UNIT = [
    *(*KEYS, ORDERS, DOCUMENTS, PROBES, RIGHTS, MODES, API, LIFE, START, "tests/unit/core", *REGRESSIONS),
    *("-k", "not no_restart_in_between"),
]

HISTORIES = ["tests/simulation/test_histories.py"]
STAGED = [
    "tests/regressions/test_histories.py",
    *(
        f"tests/simulation/test_{name}.py"
        for name in (
            "staged_witness",
            "standing",
            "paused",
            "anew",
            "window",
            "answers",
            "late_writes",
            "forger",
            "full_etcd",
            "stolen_secret",
            "raft_snapshots",
            "own_former_self",
            "own_former_self_staged",
        )
    ),
]
SIMULATION = [*STAGED, *HISTORIES]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one mutant fared: `killer` is the test that noticed, None if none did."""

    mutant: Mutant
    killer: str | None
    storey: str
    took_s: float

    @property
    def is_as_expected(self) -> bool:
        """Killed; or immortal, and alive."""
        return (self.killer is None) == (self.mutant.immortal is not None)


def main() -> int:
    """Run them all and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", help="this mutant; may be given again")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=300, help="histories for a mutant that the unit tests let live")
    parser.add_argument("--histories-only", action="store_true", help="only those that the histories must find")
    options = parser.parse_args()
    unknown = set(options.only or ()) - {mutant.name for mutant in MUTANTS}
    if unknown:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    chosen = [mutant for mutant in MUTANTS if not options.only or mutant.name in options.only]
    if options.histories_only:
        chosen = [mutant for mutant in chosen if mutant.in_histories]
    began = time.monotonic()
    verdicts = []
    with ThreadPoolExecutor(options.jobs) as jobs:
        trials = [jobs.submit(try_out, mutant, options.seeds) for mutant in chosen]
        for number, trial in enumerate(as_completed(trials), start=1):
            verdict = trial.result()
            verdicts.append(verdict)
            print(f"[{number}/{len(chosen)}] {line(verdict)}", flush=True)
    verdicts.sort(key=lambda verdict: chosen.index(verdict.mutant))
    bad = [verdict for verdict in verdicts if not verdict.is_as_expected]
    print_table(verdicts)
    found = sum(verdict.storey == "histories" for verdict in verdicts)
    took_s = time.monotonic() - began
    print(f"\n{len(verdicts)} mutants in {took_s:.0f} s, {found} found by random histories, {len(bad)} not as expected")
    for verdict in bad:
        fate = "LIVES" if verdict.killer is None else "is called immortal, but DIES"
        fate += " in the histories" if verdict.mutant.in_histories else ""
        print(f"  {verdict.mutant.name} {fate}: {verdict.mutant.sentence} (law {verdict.mutant.law})")
    return 1 if bad else 0


def try_out(mutant: Mutant, seeds: int) -> Verdict:
    """Apply one mutant to a copy and run the storeys until a test notices."""
    began = time.monotonic()
    storeys = {"laws": LAWS, "unit": UNIT, "simulation": SIMULATION}
    if mutant.in_histories:
        storeys, seeds = {"histories": HISTORIES}, SEEDS_OF_HISTORIES
    with tempfile.TemporaryDirectory(prefix="sharedip-mutant-") as folder:
        copy = Path(folder) / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        file = copy / "sharedip" / mutant.file
        text = file.read_text()
        if text.count(mutant.old) != 1:
            raise SystemExit(f"{mutant.name}: its old text stands {text.count(mutant.old)} times in {mutant.file}")
        file.write_text(text.replace(mutant.old, mutant.new))
        for storey, tests in storeys.items():
            killer = run_tests(copy, tests, seeds)
            if killer is not None:
                return Verdict(mutant, killer, storey, time.monotonic() - began)
    return Verdict(mutant, None, "", time.monotonic() - began)


def run_tests(source: Path, tests: list[str], seeds: int) -> str | None:
    """The first test that fails, or None."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{source}{os.pathsep}{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SHAREDIP_HISTORIES": str(seeds),
        "SHAREDIP_WORKERS": "1",
        "SHAREDIP_WANDERINGS": "40",
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=line", "-p", "no:cacheprovider", *tests]
    # A session of its own, so that a worker of the simulation that spins ends with its parent.
    ran = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = ran.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(ran.pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
        ran.wait()
        return f"nothing: still running after {LIMIT_S:.0f} s"
    if ran.returncode == 0:
        return None
    found = re.search(r"^(?:FAILED|ERROR) (\S+)(?: - (.*))?", output, re.MULTILINE)
    if found is None:
        raise SystemExit(f"pytest ended with {ran.returncode}:\n{output[-2000:]}{errors[-2000:]}")
    seed = re.search(r"seed \d+: [^\n]*", output)
    return found[1].removeprefix("tests/") + (f" ({seed[0][:90]})" if seed is not None else "")


def line(verdict: Verdict) -> str:
    """One mutant's fate."""
    fate = f"killed by {verdict.killer}" if verdict.killer is not None else "LIVES"
    if verdict.killer is None and verdict.mutant.immortal is not None:
        fate = f"lives, as it must: {verdict.mutant.immortal}"
    return f"{verdict.mutant.name}: {fate} ({verdict.took_s:.1f} s)"


def print_table(verdicts: list[Verdict]) -> None:
    """Mutant, storey, killer."""
    width = max(len(verdict.mutant.name) for verdict in verdicts)
    print(f"\n{'mutant':{width}}  {'storey':10}  killed by")
    for verdict in verdicts:
        print(f"{verdict.mutant.name:{width}}  {verdict.storey or '-':10}  {verdict.killer or '-'}")


if __name__ == "__main__":
    sys.exit(main())
