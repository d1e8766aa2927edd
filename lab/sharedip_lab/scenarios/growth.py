"""Whether agents stay as large as they are: memory and open descriptors over their lives and over a run.

Role: take samples through /proc, judge them, and show them at a few moments. An agent that faults end again and again
is always young, and its youth would hide a slow leak: so every life is judged by itself, the young ones are compared
with each other, and a scenario spares one agent, whose curve is the long one.
Must never: ask an agent. Counterparts: `chaos.py`, `bench/footprint.py`.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sharedip_lab.stage import Stage

RSS_BREATH_KB, RSS_MOST_KB = 3_000, 48_000
"""Measured in minutes of chaos: 36.5 to 36.8 MB resident and 15 to 18 descriptors; with 100 VIPs 38.6 MB."""
LONG_LIFE_S = 480.0
"""A life this long is held against the narrow bounds below."""
RSS_DRIFT_KB, FDS_DRIFT = 1_500, 2
"""Between the medians of the second and of the last quarter of a long life, and between young agents of the first and
of the last half of a run."""
FDS_STARTED = 10
"""With fewer it is still being loaded, which a machine with other things to do may draw out."""
BORN_S = 5.0
"""Before that an agent still starts."""
YOUNG_S = (15.0, 120.0)
MOMENTS = ("start", "1/4", "1/2", "3/4", "end")
_MEASURES = (
    ("rss_kb", "kB resident", RSS_BREATH_KB, RSS_MOST_KB, RSS_DRIFT_KB),
    ("fds", "open descriptors", 8, 64, FDS_DRIFT),
)

Sample = dict[str, Any]
"""node, pid, age_s, rss_kb, fds, and `at` where there are several."""


def resources(stage: Stage) -> list[Sample]:
    """Memory and open descriptors of every agent that runs."""
    found = []
    for name, agent in stage.agents.items():
        if agent.running and agent.process is not None:
            pid, age_s = agent.process.pid, time.monotonic() - agent.started_at
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
            rss_kb = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)
            fds = len(os.listdir(f"/proc/{pid}/fd"))
            found.append({"node": name, "pid": pid, "age_s": round(age_s, 1), "rss_kb": rss_kb, "fds": fds})
    return found


def _lives(samples: Sequence[Sample]) -> dict[tuple[str, int], list[Sample]]:
    lives: dict[tuple[str, int], list[Sample]] = {}
    for sample in samples:
        if sample["fds"] >= FDS_STARTED:
            lives.setdefault((sample["node"], sample["pid"]), []).append(sample)
    return lives


def grown(samples: Sequence[Sample]) -> list[str]:
    """Which processes did not stay flat, from samples of `resources` in their order.

    None may ever be larger than the bound. A process grows if the smallest value of the last third of its life is above
    the largest of the first third by more than a working set breathes; one that has lived long, also if the median of
    its last quarter is above that of its second. The first quarter may warm up.
    """
    wrong = []
    for (node, pid), life in _lives(samples).items():
        for key, unit, breath, most, drift in _MEASURES:
            values = [sample[key] for sample in life]
            third, quarter = len(values) // 3, len(values) // 4
            long = life[-1].get("age_s", 0.0) - life[0].get("age_s", 0.0) >= LONG_LIFE_S
            if max(values) > most:
                wrong.append(f"{node}: the agent (process {pid}) had {max(values)} {unit}, at most {most} are right")
            elif third and min(values[-third:]) - max(values[:third]) > breath:
                wrong.append(f"{node}: the agent (process {pid}) grew from {values[0]} to {values[-1]} {unit}")
            elif long and quarter and _drift(values[quarter : 2 * quarter], values[-quarter:]) > drift:
                before, after = statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])
                wrong.append(f"{node}: the agent (process {pid}) drifted from {before:.0f} to {after:.0f} {unit}")
    return wrong + _later_born(samples)


def _later_born(samples: Sequence[Sample]) -> list[str]:
    """Agents of one age must not be the larger the later they were born: what they read would have grown."""
    young = [sample for sample in samples if YOUNG_S[0] <= sample.get("age_s", 0.0) <= YOUNG_S[1] and "at" in sample]
    if not young or samples[-1]["at"] - samples[0]["at"] < LONG_LIFE_S:
        return []
    middle = (samples[0]["at"] + samples[-1]["at"]) / 2
    wrong = []
    for key, unit, _, _, drift in _MEASURES:
        early, late = ([one[key] for one in young if (one["at"] < middle) == first] for first in (True, False))
        if early and late and _drift(early, late) > drift:
            before, after = statistics.median(early), statistics.median(late)
            wrong.append(f"agents born later are larger: {before:.0f}, then {after:.0f} {unit} at the same age")
    return wrong


def _drift(before: Sequence[float], after: Sequence[float]) -> float:
    return statistics.median(after) - statistics.median(before)


def curve(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """Per node the samples nearest to the start, the quarters and the end of the run."""
    if not samples:
        return {}
    began, ended = samples[0]["at"], samples[-1]["at"]
    found: dict[str, list[Sample]] = {}
    for node in sorted({sample["node"] for sample in samples}):
        of_node = [sample for sample in samples if sample["node"] == node]
        own = [sample for sample in of_node if sample["age_s"] >= BORN_S] or of_node
        found[node] = [
            {"moment": word, **min(own, key=lambda one, at=at: abs(one["at"] - at))}  # type: ignore[misc]
            for word, at in ((w, began + share * (ended - began) / 4) for share, w in enumerate(MOMENTS))
        ]
    return found
