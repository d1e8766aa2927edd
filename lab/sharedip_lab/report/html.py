"""The report as one HTML file without anything from elsewhere: verdict, table, timelines per act and fault, history.

Role: lay out what `tables.py` says and `timeline.py` draws. Light and dark as the reader's system has it.
Must never: load a script, a font or a picture from anywhere. Counterpart: `scenarios/results.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from sharedip_lab.report.figures import HEADINGS as FIGURE_HEADINGS
from sharedip_lab.report.figures import Findings
from sharedip_lab.report.machine_table import HEADINGS as MACHINE_HEADINGS
from sharedip_lab.report.machine_table import machine_rows
from sharedip_lab.report.plots import drawings
from sharedip_lab.report.tables import HEADINGS, KIND_HEADINGS, kind_rows, row, seconds, spread_rows
from sharedip_lab.report.timeline import Mark, timeline
from sharedip_lab.scenarios.results import Act, Result
from sharedip_lab.scenarios.runner import Outcome

BEFORE_S, AFTER_S = 0.7, 0.5
NUMERIC_COLUMNS = range(2, 9)
HISTORY_MAX = 2000

_STYLE = """
:root { color-scheme: light dark; --paper: #fcfcfa; --ink: #1d2126; --soft: #5d6670; --line: #dfe2e4; --panel: #ffffff;
  --good: #1a7f4b; --bad: #c2261c; --fault: #f4b8401f; --strike: #b97a00; --silence: #c2261c;
  --c0: #2a6fdb; --c1: #c05621; --c2: #2f855a; --c3: #7b4bc4; --c4: #0e7c86; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --ink: #e4e7ea; --soft: #98a2ac; --line: #2c3238;
  --panel: #1b1f23; --good: #4cc38a; --bad: #ff7a6e; --fault: #f4b84026; --strike: #e0a63a; --silence: #e5574b;
  --c0: #6ea3f5; --c1: #e8935a; --c2: #68c493; --c3: #b493ea; --c4: #4fc0ca; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 1160px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.8rem 0 .2rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); }
.verdict { display: inline-block; padding: .35rem .8rem; border-radius: 6px; font-weight: 600; margin: .6rem 0;
  border: 1px solid currentColor; } .good { color: var(--good); } .bad { color: var(--bad); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; font-size: .85rem; } td.n, th.n { text-align: right; white-space: nowrap; }
td:nth-child(2) { min-width: 13rem; } td:nth-child(3) { white-space: nowrap; } td:last-child { min-width: 4rem; }
tr.note td { padding-top: 0; color: var(--soft); font-size: .85rem; white-space: normal; }
tr:has(+ tr.note) td { border-bottom: 0; }
figure { margin: .6rem 0; padding: .8rem; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; }
tfoot td { color: var(--soft); border-bottom: 0; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, "DejaVu Sans", sans-serif; }
svg text { fill: var(--ink); } svg .tick, svg .mark { fill: var(--soft); } svg .inside { fill: #fff; font-weight: 600; }
svg .grid { stroke: var(--line); } svg .lane { stroke: var(--line); } svg .strike { stroke: var(--strike); }
svg .lead { stroke: var(--soft); }
svg .fault { fill: var(--fault); } svg .silence { fill: var(--silence); } svg .answer { opacity: .55; }
svg .mark { fill: var(--strike); font-weight: 600; } svg .name { font-weight: 600; }
.c0 { fill: var(--c0); } .c1 { fill: var(--c1); } .c2 { fill: var(--c2); } .c3 { fill: var(--c3); }
.c4 { fill: var(--c4); }
svg .muted { fill: var(--panel); opacity: .75; } .key.muted { opacity: .3; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; color: var(--soft); font-size: .85rem; margin: .4rem 0 0; }
.key { display: inline-block; width: 1.6rem; height: .7rem; border-radius: 2px; margin-right: .4rem;
  vertical-align: -1px; background: var(--c0); }
.key.thin { height: .35rem; opacity: .55; vertical-align: 2px; } .key.s { background: var(--silence); }
.key.f { background: var(--fault); border-left: 2px solid var(--strike); }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--soft); }
pre { overflow-x: auto; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: .8rem;
  font: 12px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
"""

_LEGEND = """<p class="legend"><span><i class="key"></i>address on the node's interface</span>
<span><i class="key muted"></i>there, and muted</span>
<span><i class="key thin"></i>node answers the client</span><span><i class="key s"></i>client hears nobody</span>
<span><i class="key f"></i>from the strike to the healing</span></p>"""

_HOW = """<details><summary>How it was measured</summary>
<p><b>New owner after</b>: from the strike until another node first answered the client. <b>Longest gap</b>: the
longest time between two answers, whoever gave them, from the strike until all was well again; at rest it is one probe
interval. <b>Two owners</b>, three looks at the time in which two nodes owned the address at once. <i>Interfaces</i>:
the kernel's own notifications from every node, in the kernel's order, without the time in which an address was proved
mute. <b>Muted</b>: for how long an address stood beside the owner's whose node, asked every 20 ms at its own port,
neither answered nor claimed: its fence drops everything for it until the kernel removes it. <i>Wire</i>: ARP and
neighbour advertisements on the segment, announced or asked for every 20 ms, and answers to datagrams for the VIP that
are sent straight to the MAC of each node just as often; those of two nodes must not interleave. <i>Client</i>: the
answers of two nodes must not interleave. <i>MAC</i>, where a client asks for it: a former owner answered, announced or
was named by ARP or neighbour advertisement after the next one.</p></details>"""


def write_html(result: Result, path: Path) -> None:
    """The whole page; its folder is made, as a fresh checkout has none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(result), encoding="utf-8")


def page(result: Result) -> str:
    """The page as text."""
    good = not result.wrong
    verdict = "never two owners" if good else f"{len(result.wrong)} thing{'s' * (len(result.wrong) != 1)} wrong"
    wrong = "".join(f'<p class="bad">{escape(text)}</p>' for text in result.wrong)
    probe_ms = f"{1000 * result.probe_s:g} ms"
    seed = f", seed {result.seed}" if result.seed is not None else ""
    settings = ", ".join(_flat(result.settings)) or "defaults"
    body = f"""<h1>sharedip lab: {escape(result.scenario)}{seed}</h1>
<p class="soft">{escape(result.began)} · etcd {escape(result.etcd)} · Linux {escape(result.kernel)} · Python
{escape(result.python)} · a probe every {probe_ms} · settings: {escape(settings)}</p>
<p class="verdict {"good" if good else "bad"}">{verdict}</p>{wrong}
{_kinds(result)}{_table(result)}{_HOW}
{"".join(_act(act) for act in result.acts)}"""
    return _document(f"sharedip lab: {result.scenario}", body)


def _flat(settings: dict[str, Any], above: str = "") -> list[str]:
    """`lease.ttl = 3s`, one for each leaf."""
    found = []
    for key, value in settings.items():
        name = f"{above}{key}"
        found += _flat(value, f"{name}.") if isinstance(value, dict) else [f"{name} = {value}"]
    return found


def _table(result: Result) -> str:
    if result.scenario == "vm":  # nobody can look at the interfaces of a machine
        return _plain(MACHINE_HEADINGS, machine_rows(result))
    outcomes = result.outcomes
    cells = [row(outcome) for outcome in outcomes]
    kept = [i for i in range(len(HEADINGS)) if any(line[i] for line in cells)]
    kind = {i: ' class="n"' if i in NUMERIC_COLUMNS else "" for i in kept}
    head = "".join(f"<th{kind[i]}>{escape(HEADINGS[i])}</th>" for i in kept)
    body = "".join(
        f"<tr><td>{number}</td>{''.join(f'<td{_class(i, outcome)}>{escape(line[i])}</td>' for i in kept)}</tr>"
        + "".join(
            f'<tr class="note"><td></td><td colspan="{len(kept)}">{escape(text)}</td></tr>'
            for text in (*outcome.wrong, *outcome.remarks)
        )
        for number, (outcome, line) in enumerate(zip(outcomes, cells, strict=True), 1)
    )
    foot = "".join(
        f"<tr><td></td>{''.join(f'<td{kind[i]}>{escape(line[i])}</td>' for i in kept)}</tr>"
        for line in spread_rows(outcomes)
    )
    parts = f"<thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody><tfoot>{foot}</tfoot>"
    return f'<div class="scroll"><table>{parts}</table></div>'


def _kinds(result: Result) -> str:
    """Drawn runs, added up."""
    return _plain(KIND_HEADINGS, kind_rows(result)) if result.kinds else ""


def _plain(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column has names and whose others have figures."""
    kind = ["", *[' class="n"'] * (len(headings) - 1)]
    head = "".join(f"<th{one}>{escape(text)}</th>" for one, text in zip(kind, headings, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{one}>{escape(text)}</td>' for one, text in zip(kind, line, strict=True))}</tr>"
        for line in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def write_figures(machine: str, all_found: Sequence[Findings], path: Path) -> None:
    """What a bench found, as a page."""
    missed = [one for one in all_found if not one.good]
    wrong = "".join(f'<p class="bad">[{escape(one.name)}] {escape(text)}</p>' for one in missed for text in one.wrong)
    verdict = "every target reached" if not missed else f"missed in {', '.join(one.name for one in missed)}"
    sections = "".join(
        f"<h2>{escape(one.name)}</h2><p class='soft'>{escape(one.title)}</p>"
        + _plain(FIGURE_HEADINGS, [figure.row() for figure in one.figures])
        for one in all_found
    )
    pictures = "".join(
        f"<h2>{escape(title)}</h2><figure>{picture}</figure>" for title, picture in drawings(all_found).values()
    )
    body = f"""<h1>sharedip lab: bench</h1><p class="soft">{escape(machine)}</p>
<p class="verdict {"bad" if missed else "good"}">{escape(verdict)}</p>{wrong}{pictures}{sections}"""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_document("sharedip lab: bench", body), encoding="utf-8")


def _document(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{_STYLE}</style></head><body>
{body}
</body></html>
"""


def _class(column: int, outcome: Outcome) -> str:
    if column == len(HEADINGS) - 1:
        return f' class="{"good" if outcome.good else "bad"}"'
    return ' class="n"' if column in NUMERIC_COLUMNS else ""


def _act(act: Act) -> str:
    marks = [
        Mark(number, outcome.title, outcome.struck_at, outcome.healed_at)
        for number, outcome in enumerate(act.outcomes, 1)
    ]
    parts = [f"<h2>{escape(act.title)}</h2>"]
    if act.first_owner_s is not None:
        parts.append(f'<p class="soft">first owner answered after {seconds(act.first_owner_s)}</p>')
    for seen in act.seen:
        picture = timeline(act, seen, (act.began_at, act.ended_at), marks, act.began_at)
        probes = f"{seen.probes_answered} of {seen.probes_sent} probes answered"
        parts.append(f'<h3>{escape(seen.vip)}</h3><p class="soft">{probes}</p><figure>{picture}{_LEGEND}</figure>')
    parts += [_outcome(act, outcome, mark) for outcome, mark in zip(act.outcomes, marks, strict=True)]
    return "".join([*parts, _history(act)])


def _outcome(act: Act, outcome: Outcome, mark: Mark) -> str:
    seen = next((seen for seen in act.seen if seen.vip == outcome.vip), None)
    if seen is None:  # the stage came to nothing before what was seen could be taken down
        return f"<h3>{mark.number}. {escape(outcome.title)}</h3><p class='soft'>{escape(outcome.struck)} struck</p>"
    moved = "the owner stayed"
    if outcome.new_owner_s is not None:
        moved = f"a new owner answered after {seconds(outcome.new_owner_s)}"
    # The last moments before the strike, and until things stood still again: the rest is in the overview.
    quiet_at = max([outcome.healed_at, *(end for begin, end in seen.gaps if begin < outcome.ended_at)])
    window = (outcome.struck_at - BEFORE_S, min(outcome.ended_at, quiet_at + AFTER_S) + AFTER_S)
    about = f"{outcome.struck} struck{f', {outcome.case}' if outcome.case else ''}: {moved}"
    return (
        f"<h3>{mark.number}. {escape(outcome.title)}</h3><p class='soft'>{escape(about)}</p>"
        f"<figure>{timeline(act, seen, window, [mark], outcome.struck_at)}</figure>"
    )


def _history(act: Act) -> str:
    lines = [f"{note.at - act.began_at:9.3f}  {note.kind:<10}  {note.text}" for note in act.notes[:HISTORY_MAX]]
    return (
        f"<details><summary>History, {len(act.notes)} lines</summary><pre>{escape(chr(10).join(lines))}</pre></details>"
    )
