"""The final table, and JSON.

Role: say in words and numbers what a result holds. Must never: compute a figure: `observe/recording.py` has done that.
Counterpart: `html.py`, which draws the same.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sharedip_lab.observe.overlaps import UNDER_WAY_S
from sharedip_lab.scenarios.results import Result, spread
from sharedip_lab.scenarios.runner import Outcome

HEADINGS = (
    "fault",
    "case",
    "new owner after",
    "longest gap",
    "two: interfaces",
    "two: wire",
    "two: client",
    "two: MAC",
    "muted",
    "verdict",
)


def kept(scenario: str, ending: str = "") -> Path:
    """Where a run keeps what nobody has given a place: under `out/`, which no checkout commits."""
    return Path("out", "lab", f"{scenario}-{time.strftime('%Y%m%d-%H%M%S')}{ending}")


def seconds(value: float | None) -> str:
    """`3.21 s`, or what there is to say when it did not happen."""
    return "stayed" if value is None else f"{value:.2f} s"


def milliseconds(value_s: float) -> str:
    """Whole milliseconds, but never 0 for something that was there."""
    value = 1000 * value_s
    return "0 ms" if value == 0 else f"{value:.0f} ms" if value >= 1 else f"{value:.3f} ms"


def row(outcome: Outcome) -> tuple[str, ...]:
    """One line of the table."""
    verdict = "wrong" if outcome.wrong else "good"
    return (
        outcome.title,
        ", ".join(filter(None, ["IPv6" if ":" in outcome.vip else "IPv4", outcome.case, outcome.etcd])),
        seconds(outcome.new_owner_s),
        milliseconds(outcome.client_gap_s),
        milliseconds(outcome.two.unmuted_s),
        milliseconds(outcome.two.wire_s),
        milliseconds(outcome.two.client_s),
        milliseconds(outcome.two.asked_s) if outcome.two.asked_s else "",
        milliseconds(outcome.two.muted_s) if outcome.two.muted_s else "",
        verdict,
    )


def outcome_line(outcome: Outcome) -> str:
    """One sentence for the live view."""
    moved = (
        "the owner stayed"
        if outcome.new_owner_s is None
        else f"{outcome.owner_after} after {outcome.new_owner_s:.2f} s"
    )
    two = outcome.two.longest_s
    mark = "✓" if outcome.good else "✗"
    bad = f"; {'; '.join(outcome.wrong)}" if outcome.wrong else ""
    gap = milliseconds(outcome.client_gap_s)
    return f"{mark} {outcome.struck}: {outcome.title}: {moved}, longest gap {gap}, two owners {milliseconds(two)}{bad}"


def table(outcomes: Sequence[Outcome]) -> str:
    """The table as text; the case column is left out when it is empty everywhere."""
    return columns(HEADINGS, [*(row(outcome) for outcome in outcomes), *spread_rows(outcomes)])


def spread_rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """The last lines of the table: median and maximum of each column, where there is more than one line."""
    if len(outcomes) < 2:
        return []
    found = spread(outcomes)
    rows = []
    for which in ("median", "maximum"):
        value = {name: one[which] for name, one in found.items()}
        cells = [milliseconds(value.get(f"two_{look}_s", 0.0)) for look in ("interfaces", "wire", "client")]
        sometimes = [milliseconds(value[name]) if value.get(name) else "" for name in ("two_asked_s", "muted_s")]
        new_owner = seconds(value["new_owner_s"]) if "new_owner_s" in value else ""
        rows.append((which, "", new_owner, milliseconds(value["client_gap_s"]), *cells, *sometimes, ""))
    return rows


KIND_HEADINGS = (
    "kind",
    "runs",
    "two owners, at most",
    "heard late, at most",
    "gap: median",
    "gap: maximum",
    "new owner: median",
    "new owner: maximum",
    "errors",
)


def kind_rows(result: Result) -> list[tuple[str, ...]]:
    """Drawn runs by kind, and by settings."""
    rows: list[tuple[str, ...]] = []
    for kind in result.kinds:
        gap, new_owner = kind.gap_s, kind.new_owner_s
        rows.append(
            (
                kind.name,
                str(kind.runs),
                milliseconds(kind.two_owners_s),
                milliseconds(kind.late_s),
                *((milliseconds(gap.median), milliseconds(gap.maximum)) if gap else ("", "")),
                *((seconds(new_owner.median), seconds(new_owner.maximum)) if new_owner else ("", "")),
                str(kind.errors),
            )
        )
    return rows


def told(result: Result) -> str:
    """What stands above the summary: of hundreds of drawn runs those that went wrong, and how all of them add up."""
    if not result.kinds:
        return table(result.outcomes)
    wrong = [outcome for outcome in result.outcomes if outcome.wrong]
    return "\n\n".join([*([table(wrong)] if wrong else []), columns(KIND_HEADINGS, kind_rows(result))])


def columns(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Any table as text, without columns that are empty everywhere."""
    kept = [i for i in range(len(headings)) if any(cells[i] for cells in rows)]
    lines = [[headings[i] for i in kept], *([cells[i] for i in kept] for cells in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(kept))]
    drawn = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([drawn[0], "  ".join("─" * width for width in widths), *drawn[1:]])


def summary(result: Result) -> str:
    """What stands under the table."""
    lines = (
        [_versions(result)]
        if result.scenario == "matrix"
        else [_promised(result)]
        if result.scenario == "promise"
        else [
            f"{act.title}: first owner answered {act.first_owner_s:.2f} s after the agents were started"
            for act in result.acts
            if act.first_owner_s is not None
        ]
    )
    lines += [_resources(act.samples) for act in result.acts if act.samples]
    lines += [chaos_figures(act.figures) for act in result.acts if act.figures]
    lines += [f"note   {one.title}, {one.case}: {text}" for one in result.outcomes for text in one.remarks]
    lines += [f"WRONG  {text}" for text in result.wrong]
    if not result.wrong:
        by_hand = any(outcome.by_hand for outcome in result.outcomes)
        lines.append("never two owners" + (" (but where a human put the address on a second node)" if by_hand else ""))
    return "\n".join(lines)


def _promised(result: Result) -> str:
    """What the columns of the drawn runs say."""
    return (
        f"seed {result.seed}. Heard late: how long after the next owner's first answer, announcement or named MAC the "
        f"former one was still heard;\nup to {1000 * UNDER_WAY_S:g} ms were under way, more are two owners."
    )


def _versions(result: Result) -> str:
    """The matrix by versions of etcd: how many cells, the worst of each look, how long a new owner took."""
    rows = []
    for version in sorted({outcome.etcd for outcome in result.outcomes}):
        own = [outcome for outcome in result.outcomes if outcome.etcd == version]
        unforced = [outcome.two for outcome in own if not outcome.by_hand]
        moved = sorted(outcome.new_owner_s for outcome in own if outcome.new_owner_s is not None)
        rows.append(
            [
                version,
                str(len(own)),
                str(sum(outcome.good for outcome in own)),
                *(
                    milliseconds(max(values, default=0.0))
                    for values in (
                        [two.unmuted_s for two in unforced],
                        [two.wire_s for two in unforced],
                        [two.client_s for two in unforced],
                    )
                ),
                f"{statistics.median(moved):.2f} s, at most {moved[-1]:.2f} s" if moved else "",
            ]
        )
    headings = ["etcd", "cells", "good", "two: interfaces", "two: wire", "two: client", "new owner after"]
    return columns(headings, rows)


def write_logs(result: Result, directory: Path) -> Path:
    """What was said in every act in which something went wrong."""
    for number, act in enumerate(result.acts, 1):
        for name, text in act.logs.items():
            directory.mkdir(parents=True, exist_ok=True)
            (directory / f"{number:02d}-{name}.log").write_text(text, encoding="utf-8")
    return directory


def _resources(samples: Sequence[dict[str, Any]]) -> str:
    rss = [sample["rss_kb"] / 1000 for sample in samples]
    fds = [sample["fds"] for sample in samples]
    lives = len({(sample["node"], sample["pid"]) for sample in samples})
    return (
        f"agents: {lives} lives, {min(rss):.1f} to {max(rss):.1f} MB resident, "
        f"{min(fds)} to {max(fds)} descriptors in {len(samples)} samples"
    )


def chaos_figures(said: dict[str, Any]) -> str:
    """What a run of chaos comes to, with the agents' sizes over its course."""
    two = ", ".join(f"{look} {milliseconds(value / 1000)}" for look, value in said["two_owners_ms"].items())
    gap = said["spread"].get("client_gap_s", {"median": 0.0})
    lines = [
        f"{said['minutes']:g} minutes, {said['faults']} faults, {said['changes_of_owner']} changes of owner, "
        f"{said['ended_by_themselves']} agents that ended by themselves",
        f"two owners: {two}; muted beside the owner {milliseconds(said['muted_ms'] / 1000)}",
        f"longest gap {said['longest_gap_s']:.2f} s (of a fault: median {gap['median']:.2f} s), "
        f"{said['probes_answered']} of {said['probes_sent']} probes answered",
    ]
    rows = [
        [
            f"{node}{' (spared)' if node == said['spared'] else ''}",
            *(f"{one['rss_kb'] / 1000:.1f} MB, {one['fds']} fds, age {one['age_s']:.0f} s" for one in curve),
        ]
        for node, curve in said["agents"].items()
    ]
    if rows:
        moments = [one["moment"] for one in next(iter(said["agents"].values()))]
        lines.append(columns(["agent", *moments], rows))
    return "\n".join(lines)


def write_json(result: Result, path: Path) -> None:
    """Everything, for machines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result.as_json(), indent=1), encoding="utf-8")
    part.replace(path)


def write_text(path: Path, text: str) -> None:
    """A file whose folder is made, as a fresh checkout has none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
