"""What `lab run clients` found: a line for each fault and kind of client, told of and not.

Role: say it in words and numbers. Must never: judge. Counterpart: `scenarios/waiting.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sharedip_lab.report.tables import columns
from sharedip_lab.scenarios.results import Result
from sharedip_lab.scenarios.waiting import TOLD_S, UNTOLD_S, median

HEADINGS = ("fault", "clients", "known to others", "runs", "moved after", "noticed after", "served after")


def clients_told(result: Result) -> str:
    """The table: medians, and in brackets the last client of all runs; below it what the programs are."""
    table = columns(HEADINGS, [_row(*key, runs) for key, runs in _grouped(result).items()])
    programs = {text: None for act in result.acts for text in act.figures.get("programs", {}).values()}
    return "\n".join([table, *programs])


def clients_summary(result: Result) -> str:
    """Whether anything went wrong."""
    return "\n".join(result.wrong) or "one owner at all times"


def clients_figures(result: Result) -> dict[str, Any]:
    """What came of each fault, without every single client: seconds, rounded to the millisecond."""
    clients = [
        {
            "fault": fault,
            "clients": kind,
            "known_to_others": are_known,
            "of": sum(one["clients"] for one in runs),
            "moved_s": [one["moved_s"] and round(one["moved_s"], 3) for one in runs],
            "noticed": _spread([at for one in runs for at in one["ended_s"]]),
            "served": _spread([at for one in runs for at in one["served_s"]]),
        }
        for (fault, are_known, kind), runs in _grouped(result).items()
    ]
    programs = {name: text for act in result.acts for name, text in act.figures.get("programs", {}).items()}
    about = {"began": result.began, "etcd": result.etcd, "kernel": result.kernel, "wrong": result.wrong}
    return {**about, "programs": programs, "told_for_s": TOLD_S, "untold_for_s": UNTOLD_S, "clients": clients}


def _grouped(result: Result) -> dict[tuple[str, bool, str], list[dict[str, Any]]]:
    rows: dict[tuple[str, bool, str], list[dict[str, Any]]] = {}
    for one in (one for act in result.acts for one in act.figures.get("clients", ())):
        rows.setdefault((one["fault"], one["are_known"], one["kind"]), []).append(one)
    return rows


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {"count": 0}
    middle = median(values)
    assert middle is not None
    return {"count": len(values), "median_s": round(middle, 3), "last_s": round(max(values), 3)}


def _row(fault: str, are_known: bool, kind: str, runs: Sequence[dict[str, Any]]) -> tuple[str, ...]:  # noqa: FBT001 - a key
    clients = sum(one["clients"] for one in runs)
    lasted_s = TOLD_S if are_known else UNTOLD_S
    moved = median([one["moved_s"] for one in runs if one["moved_s"] is not None])
    return (
        fault,
        kind,
        "yes" if are_known else "no",
        str(len(runs)),
        "-" if moved is None else f"{moved:.2f} s",
        _times([at for one in runs for at in one["ended_s"]], clients, lasted_s),
        _times([at for one in runs for at in one["served_s"]], clients, lasted_s),
    )


def _times(values: Sequence[float], clients: int, lasted_s: float) -> str:
    if not clients:
        return "not installed"
    middle = median(values)
    if middle is None:
        return f"not in {lasted_s:.0f} s"
    rest = "" if len(values) >= clients else f", {clients - len(values)} of {clients} not"
    return f"{middle:.2f} s ({max(values):.2f} s){rest}"
