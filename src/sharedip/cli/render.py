"""Words and tables for people.

Role: pure functions from documents to lines. Must never: print, or let a name that came from etcd steer the terminal.
Counterparts: `status.py`, `watch.py`, `check.py`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sharedip.core.problems import problem_line

if TYPE_CHECKING:
    from sharedip.core.status import CheckStatus, ProblemView, Status, VipStatus

_PAINT = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}


PAUSE_SHOWN_S = 3600.0
EXPLAINED_MAX = 3
"""Of more VIPs the first lines of `status` tell the worst; `explain` tells all."""


def clean(value: object) -> str:
    """One printable line."""
    return "".join(c if c.isprintable() else "?" for c in str(value))


def duration(seconds: float | None) -> str:
    """`3.2 s`, `45 s`, `12 min`, `5 h`, `3 d`; `-` for unknown."""
    if seconds is None:
        return "-"
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds:.1f} s" if seconds < 10 else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def paint(text: str, style: str, *, color: bool) -> str:
    """`text` in a style, where the terminal has colours."""
    return f"\x1b[{_PAINT[style]}m{text}\x1b[0m" if color and style else text


def table(header: Sequence[str], rows: Iterable[Sequence[object]], right: frozenset[int] = frozenset()) -> list[str]:
    """Align columns by two spaces; the columns in `right` to the right. The last column is never padded."""
    cells = [list(header), *([clean(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = []
    for row in cells:
        padded = [
            text.rjust(widths[column]) if column in right else text.ljust(widths[column])
            for column, text in enumerate(row)
        ]
        lines.append("  ".join(padded).rstrip())
    return lines


def fitting(
    header: Sequence[str], rows: Sequence[Sequence[object]], right: frozenset[int], width: int | None
) -> list[str]:
    """A table, one text for each row. Where it is wider than `width`, the last column goes below the others."""
    lines = table(header, rows, right)
    if width is None or max(map(len, lines)) <= width:
        return lines
    lines = table(header[:-1], [row[:-1] for row in rows], right)
    below = ["", *(wrapped(clean(row[-1]), width, "    ") for row in rows)]
    return [f"{line}\n{text}" if text else line for line, text in zip(lines, below, strict=True)]


def wrapped(text: str, width: int | None, indent: str = "") -> str:
    """`text` in lines that fit, those after the first one indented like it, and a little more."""
    if width is None or len(indent + text) <= width:
        return indent + text
    return textwrap.fill(
        text, max(width, 20), initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
    )


def status_lines(status: Status, *, color: bool, width: int | None = None) -> list[str]:
    """`sharedip status`. A width of None is a pipe: lines are as long as they are."""
    return [
        *explained_lines(status, EXPLAINED_MAX, width=width),
        *head_lines(status, color=color),
        "",
        *vip_table(status, color=color, width=width),
        *_check_lines(status, color=color, width=width),
        *_change_lines(status, width=width),
        "",
        *problem_lines(status, color=color, width=width),
    ]


def explained_lines(status: Status, vips_max: int | None = None, *, width: int | None = None) -> list[str]:
    """Who has each VIP and what happens next, what is not up first; then which window the cluster could keep."""
    vips = sorted(status["vips"], key=lambda vip: vip["standing"] == "up")
    lines = []
    for vip in vips[:vips_max]:
        lines += [*(wrapped(clean(sentence), width) for sentence in vip["explained"]), ""]
    if len(lines) and len(vips) > len(vips[:vips_max]):
        lines[-1:] = [f"and {len(vips) - len(vips[:vips_max])} more: sharedip explain", ""]
    window = status.get("window")  # an older agent does not say
    return lines if window is None else [*lines, wrapped(clean(window["explained"]), width), ""]


def head_lines(status: Status, *, color: bool) -> list[str]:
    """The node, and one line each for etcd, lease, fence and health."""
    etcd, lease, health = status["etcd"], status["lease"], status["health"]
    state = paint(clean(status["state"]), "green" if status["state"] == "ready" else "red", color=color)
    detail = f" ({clean(status['detail'])})" if status["detail"] else ""
    up = f"up {duration(status['uptime_s'])}, sharedip {clean(status['version'])}, pid {status['pid']}"
    if etcd["connected"]:
        etcd_text = f"{clean(etcd['endpoint'])}, term {etcd['raft_term']}, revision {etcd['revision']}"
    else:
        etcd_text = paint("not reachable", "red", color=color) + f": {clean(etcd['detail'])}"
    left = f"{duration(lease['remaining_s'])} of {lease['ttl_s']} s left"
    lease_text = f"{clean(lease['id'])}, {left}" if lease["id"] else "none"
    words = {True: ("healthy", "green"), False: ("unhealthy", "red"), None: ("not known yet", "yellow")}
    word, style = words[health["healthy"]]
    health_text = f"{paint(word, style, color=color)}: {clean(health['detail'])}"
    return [
        f"{paint(clean(status['node']), 'bold', color=color)}: {state}{detail}, {up}",
        f"  etcd    {etcd_text}",
        f"  lease   {lease_text}",
        f"  fence   {clean(status['fence']['kind'])}: {clean(status['fence']['detail'])}",
        f"  health  {health_text}" + (", " + paint("drained", "yellow", color=color) if status["drained"] else ""),
    ]


def vip_table(status: Status, *, color: bool, rows_max: int | None = None, width: int | None = None) -> list[str]:
    """One line for each VIP; two or more where the terminal is narrow."""
    header = ("VIP", "LINK", "ROLE", "OWNER", "EPOCH", "RIGHT", "SINCE", "NEXT", "WHY")
    vips = status["vips"][:rows_max]
    lines = fitting(header, [_vip_row(vip) for vip in vips], frozenset({4, 5, 6}), width)
    styled = [paint(lines[0], "dim", color=color)]
    for vip, line in zip(vips, lines[1:], strict=True):
        bad = vip["conflict"] or vip["link_state"] != "up" or vip["standing"] != "up"
        style = "red" if bad else "green" if vip["role"] == "owner" else ""
        styled += [paint(part, style, color=color) for part in line.split("\n")]
    if len(vips) < len(status["vips"]):
        styled.append(f"... and {len(status['vips']) - len(vips)} more")
    return styled


def _vip_row(vip: VipStatus) -> tuple[object, ...]:
    link = vip["link"] if vip["link_state"] == "up" else f"{vip['link']} ({vip['link_state']})"
    # The queue is the whole election: its first is the owner, who has a column of its own.
    behind = vip["queue"][1:] if vip["queue"][:1] == [vip["owner"]] else vip["queue"]
    queue = [f"{node} (witness)" if node in vip["witnesses"] else node for node in behind]
    return (
        vip["address"],
        link,
        vip["role"],
        _owner_of(vip),
        "-" if vip["epoch"] is None else vip["epoch"],
        duration(vip["right_remaining_s"]),
        duration(vip["since_s"]),
        ", ".join(queue) or "-",
        vip["reason"],
    )


def _owner_of(vip: VipStatus) -> str:
    """Who has it; while it is down nobody has, whoever comes first in the election."""
    first = vip["owner"] or "nobody"
    if vip["standing"] == "down":
        return "DOWN" if vip["owner"] is None else f"DOWN ({first} is first)"
    return first if vip["standing"] == "up" else f"{first}?"


def _check_lines(status: Status, *, color: bool, width: int | None) -> list[str]:
    checks = status["health"]["checks"]
    if not checks:
        return []
    rows = [(c["name"], _result_of(c), duration(c["since_s"]), _detail_of(c)) for c in checks]
    lines = fitting(("CHECK", "RESULT", "SINCE", "DETAIL"), rows, frozenset({2}), width)
    return ["", paint(lines[0], "dim", color=color), *lines[1:]]


def _result_of(check: CheckStatus) -> str:
    words = {True: "healthy", False: check["ailment"] or "unhealthy", None: "unknown"}
    return words[check["healthy"]]


def _detail_of(check: CheckStatus) -> str:
    return check["detail"] + (f" (by default: control plane at {check['by_default']})" if check["by_default"] else "")


def _change_lines(status: Status, *, width: int | None) -> list[str]:
    changes = sorted(
        ((change["at"], change["text"]) for vip in status["vips"] for change in vip["changes"]), reverse=True
    )
    if not changes:
        return []
    lines = (wrapped(f"{clean(at).replace('+00:00', 'Z')}  {clean(text)}", width, "  ") for at, text in changes[:20])
    return ["", "last changes:", *lines]


def problem_lines(status: Status, *, color: bool, width: int | None = None) -> list[str]:
    """What is wrong, or that nothing is; and what was done on purpose."""
    said = []
    pause = status.get("paused")  # an older agent does not say
    if pause is not None and pause["age_s"] < PAUSE_SHOWN_S:
        by = f"{clean(pause['by'])}'s clock, {pause['age_s']:.0f} s ago"
        said.append(f"NOTE: this machine stood still for {pause['seconds']:.1f} s by {by}: it was paused as a whole")
    if status["drained"]:
        said.append(f"NOTE: {clean(status['node'])} is drained and takes no VIP; `sharedip undrain` ends that")
    notes = [paint(each, "yellow", color=color) for text in said for each in wrapped(text, width).split("\n")]
    return [*notes, *wrong_lines(status["problems"], "nothing is wrong", color=color, width=width)]


def wrong_lines(problems: Sequence[ProblemView], else_text: str, *, color: bool, width: int | None = None) -> list[str]:
    """One line for each problem, or that there is none."""
    if not problems:
        return [paint(else_text, "green", color=color)]
    said = [f"WRONG: {clean(problem_line(each['text'], each['for_s'], each['remedy']))}" for each in problems]
    texts = [wrapped(text, width) for text in said]
    return [paint(part, "red", color=color) for text in texts for part in text.split("\n")]


def event_line(event: Mapping[str, Any]) -> str:
    """One event, in the words of the log."""
    about = " ".join(
        part for part in (event.get("vip") or "", f"epoch {event['epoch']}" if event.get("epoch") else "") if part
    )
    text = ": ".join(str(part) for part in (about, event.get("text"), event.get("reason")) if part)
    return clean(f"{event.get('at', '')}  {event.get('level', '').upper():<7}  {text}")
