"""What `lab run haproxy` found: a line for each fault and way.

Role: say it in words and numbers. Must never: judge. Counterpart: `scenarios/ways.py`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from sharedip_lab.report.tables import columns
from sharedip_lab.scenarios.results import Result
from sharedip_lab.scenarios.ways import LASTS_S

HEADINGS = ("fault", "way", "runs", "no answer at all for", "requests failed", "slow", "silent sessions hear of it")


def proxies_told(result: Result) -> str:
    """The table; each figure is the median of the runs."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for act in result.acts:
        for one in act.figures.get("haproxy", ()):
            rows.setdefault((one["trouble"], one["way"]), []).append(one)
    order = sorted(rows, key=lambda key: [each["trouble"] for each in _all(result)].index(key[0]))
    return columns(HEADINGS, [_row(trouble, way, rows[trouble, way]) for trouble, way in order])


def proxies_summary(result: Result) -> str:
    """Whether anything went wrong."""
    return "\n".join(result.wrong) or "one owner at all times; every way through HAProxy was mended"


def _all(result: Result) -> list[dict[str, Any]]:
    return [one for act in result.acts for one in act.figures.get("haproxy", ())]


def _row(trouble: str, way: str, runs: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    gap_s = statistics.median(one["gap_s"] for one in runs)
    failed = statistics.median(100 * one["failed"] / max(1, one["requests"]) for one in runs)
    slow = statistics.median(100 * one["slow"] / max(1, one["requests"]) for one in runs)
    return trouble, way, str(len(runs)), f"{gap_s:.2f} s", f"{failed:.1f} %", f"{slow:.1f} %", closed(runs)


def closed(runs: Sequence[dict[str, Any]]) -> str:
    """When the sessions of the struck server heard of it: the latest; or how many never did while it lasted."""
    all_ends = [end for one in runs for end in one["closed_s"]]
    stood = sum(one["sessions"] for one in runs)
    if not stood:
        return "none stood there"
    deaf = stood - len(all_ends)
    latest = f"within {max(all_ends):.1f} s" if all_ends else ""
    return (
        latest if not deaf else f"{deaf} of {stood} not in {LASTS_S:.0f} s" + (f", others {latest}" if latest else "")
    )
