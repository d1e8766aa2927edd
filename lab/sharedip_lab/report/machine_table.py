"""What `lab vm` found: a line for each fault.

Role: say it in words and numbers. Must never: judge. Counterpart: `scenarios/machines.py`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sharedip_lab.report.tables import columns, milliseconds
from sharedip_lab.scenarios.results import Result
from sharedip_lab.scenarios.runner import Outcome

HEADINGS = (
    "fault",
    "runs",
    "new owner after",
    "longest gap",
    "probes missed",
    "two: wire",
    "two: client",
    "announced after",
    "late answers",
    "answers that waited",
    "silent after",
    "good",
)


def machine_rows(result: Result) -> list[tuple[str, ...]]:
    """Medians, and the largest where there are several runs; what the former owner said after it went on, in all."""
    groups: dict[str, list[Outcome]] = {}
    for one in result.outcomes:
        groups.setdefault(one.title, []).append(one)
    return [_row(title, own) for title, own in groups.items()]


def _row(title: str, own: Sequence[Outcome]) -> tuple[str, ...]:
    moved = [one.new_owner_s for one in own if one.new_owner_s is not None]
    resumed = [one.resumed for one in own if one.resumed is not None]
    stayed = f"stayed {len(own) - len(moved)} times" if moved and len(moved) < len(own) else "" if moved else "stayed"
    return (
        title,
        str(len(own)),
        ", ".join(filter(None, [_spread(moved), stayed])),
        _spread([one.client_gap_s for one in own]),
        str(max(one.probes_missed for one in own)),
        milliseconds(max(one.two.wire_s for one in own)),
        milliseconds(max(one.two.client_s for one in own)),
        str(sum(one.announced for one in resumed)) if resumed else "",
        str(sum(one.late for one in resumed)) if resumed else "",
        str(sum(one.waiting for one in resumed)) if resumed else "",
        milliseconds(max(one.spoke_s for one in resumed)) if resumed else "",
        f"{sum(one.good for one in own)} of {len(own)}",
    )


def machine_figures(result: Result, former: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """What is worth keeping: for each kernel, etcd and agent what came of each fault, and what was not played.

    `former` is what runs before this one have left; what was played on the same is put together.
    """
    on = dict(result.acts[0].figures)
    known = on.pop("faults")
    nothing: dict[str, Any] = {"on": on, "faults": [], "wrong": []}
    same = next((block for block in former if block["on"] == on), nothing)
    played = {fault["fault"]: {**fault, "runs": [*fault["runs"]]} for fault in same["faults"]}
    for one in result.outcomes:
        fault = played.setdefault(one.fault, {"fault": one.fault, "title": one.title, "runs": []})
        fault["runs"].append(
            {
                "began": result.began,
                "new_owner_s": _rounded(one.new_owner_s),
                "longest_gap_s": _rounded(one.client_gap_s),
                "probes_missed": one.probes_missed,
                "two_wire_s": _rounded(one.two.wire_s),
                "two_client_s": _rounded(one.two.client_s),
                "after_it_stood_still": None if one.resumed is None else asdict(one.resumed),
                "remarks": one.remarks,
                "wrong": one.wrong,
            }
        )
    block = {
        "on": on,
        "faults": sorted(played.values(), key=lambda fault: known.index(fault["fault"])),
        "wrong": [*same["wrong"], *(text for act in result.acts for text in act.wrong)],
        "not played": [name for name in known if name not in played],
    }
    return [*(block for block in former if block is not same), block]


def _rounded(value_s: float | None) -> float | None:
    return None if value_s is None else round(value_s, 3)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    median = f"{statistics.median(values):.2f} s"
    return median if len(values) == 1 else f"{median} ({min(values):.2f} to {max(values):.2f})"


def machines_told(result: Result) -> str:
    """The table."""
    return columns(HEADINGS, machine_rows(result))


def machines_summary(result: Result) -> str:
    """What stands under it: on what it was played, what was not, and what went wrong."""
    lines = []
    for act in result.acts[:1]:
        versions = ("linux", "etcd", "qemu", "agent", "emulation", "processors")
        lines.append(", ".join(f"{name} {act.figures[name]}" for name in versions))
        played = {one.fault for one in result.outcomes}
        left_out = [name for name in act.figures["faults"] if name not in played]
        lines += [f"not played: {', '.join(left_out)}"] if left_out else []
    lines += [f"note   {one.title}: {text}" for one in result.outcomes for text in one.remarks]
    lines += [f"WRONG  {text}" for text in result.wrong]
    return "\n".join([*lines, *(["never two owners"] if not result.wrong else [])])
