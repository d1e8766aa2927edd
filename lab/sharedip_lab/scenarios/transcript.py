"""One step told from all sides: what the lab did and saw, and what each agent said, in one order.

Role: the file that one reads to find out why a figure was missed. Must never: leave a line out.
Counterpart: `bench/sections.py`.
"""

from __future__ import annotations

import datetime
import json
import time

from sharedip_lab.scenarios.runner import Outcome
from sharedip_lab.stage import Stage

BEFORE_S = 1.5


def transcript(stage: Stage, outcome: Outcome) -> str:
    """Every line since shortly before the strike, with its milliseconds from the strike on."""
    zero = outcome.struck_at
    wall_offset = time.time() - time.monotonic()
    lines = [
        (note.at - zero, "lab", f"{note.kind}: {note.text}")
        for note in list(stage.feeds.notes)
        if zero - BEFORE_S <= note.at <= outcome.ended_at
    ]
    for name, agent in stage.agents.items():
        at = -BEFORE_S
        for line in agent.log_text().splitlines():
            document = _document(line)
            if "ts" in document:
                at = datetime.datetime.fromisoformat(document["ts"]).timestamp() - wall_offset - zero
            if -BEFORE_S <= at <= outcome.ended_at - zero + 0.1:
                words = {key: value for key, value in document.items() if key != "ts"}
                lines.append((at, name, json.dumps(words, ensure_ascii=False) if words else line))
    near_s = 3 * stage.recording(outcome.vip).probe_step_s
    for began, ended, count in _missed(stage, outcome, near_s):
        lines.append((began - zero, "client", f"{count} probes missed until {1000 * (ended - zero):.1f} ms"))
    lines.sort(key=lambda line: line[0])
    head = (
        f"{outcome.title}, {outcome.case or 'as it happened'}; struck {outcome.struck}; owner {outcome.owner_before} "
        f"→ {outcome.owner_after}; witnesses {', '.join(stage.known_witnesses) or 'none'}\nnew owner after "
        f"{outcome.new_owner_s} s, longest gap {1000 * outcome.client_gap_s:.1f} ms, "
        f"{outcome.probes_missed} probes missed, {outcome.two}\n"
    )
    return head + "\n".join(f"{1000 * at:10.1f} ms  {who:<7} {text}" for at, who, text in lines) + "\n"


def _missed(stage: Stage, outcome: Outcome, near_s: float) -> list[tuple[float, float, int]]:
    """(first, last, how many) of missed probes that follow each other."""
    found: list[tuple[float, float, int]] = []
    for at in list(stage.recording(outcome.vip).missed):
        if outcome.struck_at <= at <= outcome.ended_at:
            if found and at - found[-1][1] <= near_s:
                found[-1] = (found[-1][0], at, found[-1][2] + 1)
            else:
                found.append((at, at, 1))
    return found


def _document(line: str) -> dict[str, str]:
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
