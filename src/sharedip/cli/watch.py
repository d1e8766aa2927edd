"""`sharedip watch`: the status, live.

Role: a picture that is redrawn each time the agent says something; on a pipe, the events as lines.
Must never: give up because the agent restarts, or leave the terminal in disorder. Counterpart:
`adapters/api/watchers.py`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sharedip.cli.agent_client import AgentClient, UnreachableError, add_agent_arguments, agent_of
from sharedip.cli.exits import UNREACHABLE
from sharedip.cli.render import event_line, head_lines, problem_lines, vip_table, wrapped
from sharedip.cli.terminal import use_color

if TYPE_CHECKING:
    from sharedip.core.status import Status

DESCRIPTIONS = {
    "watch": "Show owners, candidates, margins and events as they happen, until Ctrl-C.\n"
    "On a pipe, every event is one line. When the agent restarts, it goes on; a pipe ends when the agent has been\n"
    "away for 30 s (exit code 3)."
}
EPILOGS = {"watch": "examples:\n  sharedip watch\n  sharedip watch | tee events.log"}

RETRY_S = 1.0
GONE_S = 30.0
"""A restart, or an upgrade, takes seconds."""
EVENTS_KEPT = 200
# Alternate screen and hidden cursor (ECMA-48 private modes of xterm): the scrollback stays as it was.
_ENTER, _LEAVE, _HOME, _CLEAR_LINE, _CLEAR_REST = (
    "\x1b[?1049h\x1b[?25l",
    "\x1b[?25h\x1b[?1049l",
    "\x1b[H",
    "\x1b[K",
    "\x1b[J",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which agent, and for a pipe in which form."""
    add_agent_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        choices=("text", "json"),
        default="text",
        help="json: one document a line, `status` at first and then `event` by `event` (default: text)",
    )


def run(args: argparse.Namespace) -> int:
    """Watch until Ctrl-C (130). Where nobody may be there to press it, also until the agent is gone for good."""
    try:
        agent = agent_of(args)
        agent.status()  # without one there is nothing to watch
    except UnreachableError as error:
        sys.stderr.write(f"sharedip: {error}\n")
        return UNREACHABLE
    if args.output == "json":
        return _follow(agent, _Documents(), GONE_S)
    if not sys.stdout.isatty():
        return _follow(agent, _Lines(), GONE_S)
    sys.stdout.write(_ENTER)
    try:
        return _follow(agent, _Picture(), float("inf"))
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


class _Documents:
    """For programs: what the agent says, as it says it."""

    def show(self, document: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def lost(self, reason: str) -> None:
        self.show({"lost": reason})


class _Lines:
    """For pipes: events, and when the agent comes and goes."""

    def __init__(self) -> None:
        self._said: str | None = None

    def show(self, document: dict[str, Any]) -> None:
        if "event" in document:
            self._say(event_line(document["event"]))
        elif self._said is not None:
            self._said = None
            self._say(f"{_now()}  INFO     the agent of {document['status']['node']} answers")

    def lost(self, reason: str) -> None:
        if self._said != reason:
            self._said = reason
            self._say(f"{_now()}  WARNING  {reason}")

    @staticmethod
    def _say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


class _Picture:
    """For terminals: the whole screen, drawn over the former one without flicker."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._lost = ""
        self._events: deque[str] = deque(maxlen=EVENTS_KEPT)

    def show(self, document: dict[str, Any]) -> None:
        self._lost = ""
        if "event" in document:
            self._events.append(event_line(document["event"]))
        else:
            self._status = document["status"]
        self._draw()

    def lost(self, reason: str) -> None:
        self._lost = reason
        self._draw()

    def _draw(self) -> None:
        size = shutil.get_terminal_size()
        lines = picture(self._status, list(self._events), self._lost, size.lines, color=use_color(), width=size.columns)
        # Wrap off: a line that is longer all the same is cut, and does not push the picture down.
        text = "".join(line + _CLEAR_LINE + "\r\n" for line in lines[:-1]) + lines[-1] + _CLEAR_LINE
        sys.stdout.write("\x1b[?7l" + _HOME + text + _CLEAR_REST + "\x1b[?7h")
        sys.stdout.flush()


def picture(
    status: Status | None, events: list[str], lost: str, height: int, *, color: bool, width: int = 200
) -> list[str]:
    """Exactly as many lines as fit: head, VIPs, problems, and as many events as there is room for."""
    top = [f"{_now()}  " + (f"NOT LIVE: {lost}" if lost else "live") + "   (Ctrl-C ends)", ""]
    if status is None:
        return top[:height]
    problems = problem_lines(status, color=color, width=width)
    head = [*top, *head_lines(status, color=color), ""]
    room = max(1, height - len(head) - len(problems) - 4)
    room = max(1, room - min(len(events), room // 2))
    shown = min(len(status["vips"]), room)
    vips = vip_table(status, color=color, rows_max=shown, width=width)
    if shown > 1 and len(vips) > room + 2:  # a header, and "... more"; the rows are folded: fewer fit
        vips = vip_table(status, color=color, rows_max=max(1, shown * room // len(vips)), width=width)
    body = [*head, *vips, "", *problems, ""]
    left = height - len(body)
    folded = [line for event in events[-height:] for line in wrapped(event, width).split("\n")]
    return [*body, *(folded[-left:] if left > 0 else [])][:height]


def _follow(agent: AgentClient, view: _Documents | _Lines | _Picture, gone_s: float) -> int:
    """Until the agent has been away for `gone_s`."""
    seen_at = time.monotonic()
    while True:
        try:
            for document in agent.events():
                seen_at = time.monotonic()
                view.show(document)
        except UnreachableError as error:
            view.lost(str(error))
            if time.monotonic() - seen_at >= gone_s:
                return UNREACHABLE
        time.sleep(RETRY_S)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
