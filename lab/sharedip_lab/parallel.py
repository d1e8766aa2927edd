"""Matrix or promise in several labs at once, each with a share of the stages, and one result of all.

A lab waits most of the time: three agents, three etcd members and the feeds take a third of a core. So two of them fit
on two cores; what they measure is judged by the same promises, and only the seconds may be a little longer.

Role: start `sharedip lab run SCENARIO` for each share, pass its lines on, put the results together.
Must never: measure. Counterparts: `scenarios/matrix.py`, `commands.py`.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from sharedip_lab.report.tables import write_json
from sharedip_lab.scenarios.matrix import Part
from sharedip_lab.scenarios.results import Result, result_from_json

STOP_S = 60.0
_PROGRESS = re.compile(r"\s*\d+\.\d s  ")


def in_parallel(
    words: Sequence[str], parts: Sequence[Part], kept: Result, path: Path, say: Callable[[str], None]
) -> Result:
    """Play each part in a lab of its own; returns what was there already and what all of them found."""
    files = [path.with_suffix(f".part{index}.json") for index, _ in enumerate(parts, 1)]
    children = []
    for part, file in zip(parts, files, strict=True):
        write_json(kept, file)
        children.append(
            _start([kept.scenario, *words, "--part", f"{part.number}/{part.count}", "--json", str(file), "--resume"])
        )
    threads = [
        threading.Thread(target=_pass_on, args=(child, index, say), daemon=True)
        for index, child in enumerate(children, 1)
    ]
    try:
        for thread in threads:
            thread.start()
        for child in children:
            child.wait()
        for thread in threads:
            thread.join()
    finally:
        _end(children)
        merged = _merged(kept, files)
        write_json(merged, path)
        for file in files:
            file.unlink(missing_ok=True)
    failed = [
        f"the lab of part {index} ended with {child.returncode}"
        for index, child in enumerate(children, 1)
        if child.returncode not in {0, 1}
    ]
    if failed and merged.acts:
        merged.acts[-1].wrong += failed
    return merged


def _start(words: Sequence[str]) -> subprocess.Popen[str]:
    guard = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
    return subprocess.Popen(
        [*guard, sys.executable, "-m", "sharedip.cli.main", "lab", "run", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C is for this process, which ends the others in order
    )


def _pass_on(child: subprocess.Popen[str], index: int, say: Callable[[str], None]) -> None:
    """Its progress and its complaints, without the phases of each step and the table at its end."""
    assert child.stdout is not None
    over = False
    for line in child.stdout:
        over = over or not line.strip()
        match = _PROGRESS.match(line)
        if match and "    … " not in line:
            say(f"[{index}] {line[match.end() :].rstrip()}")
        elif not match and not over:
            say(f"[{index}] {line.rstrip()}")


def _end(children: Sequence[subprocess.Popen[str]]) -> None:
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(STOP_S)
        if child.poll() is None:
            child.kill()


def _merged(kept: Result, files: Sequence[Path]) -> Result:
    acts = {(act.title, act.began_at): act for act in kept.acts}
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            for act in result_from_json(json.loads(file.read_text(encoding="utf-8"))).acts:
                acts.setdefault((act.title, act.began_at), act)
    kept.acts = sorted(acts.values(), key=lambda act: (act.title, act.began_at))
    return kept
