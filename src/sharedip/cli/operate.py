"""`sharedip move`, `drain`, `undrain`, `reload`: one order over the socket, and the agent's answer.

Must never: claim success on its own: `move` waits until it sees who has the address. That is not who comes first in the
election: the new owner says in its record how it got the address once its kernel has it, and only then.
Counterparts: `agent_client.py`, `adapters/api/routes.py`.
"""

from __future__ import annotations

import argparse
import sys
import time
from ipaddress import ip_address
from typing import TYPE_CHECKING

from sharedip.cli.agent_client import AgentClient, UnreachableError, add_state_dir_argument
from sharedip.cli.exits import OK, PROBLEM, UNREACHABLE
from sharedip.cli.render import clean

if TYPE_CHECKING:
    from sharedip.core.status import VipStatus

DESCRIPTIONS = {
    "move": "Hand a VIP over now: to the next healthy candidate, or to the one that is named.\n"
    "Ask the agent of the node that owns it.",
    "drain": "Give every VIP of this node to others, and take none until `sharedip undrain`.\n"
    "The drain survives a restart of the agent.",
    "undrain": "Let this node take VIPs again. It takes none by force: it stands in line.",
    "reload": "Read the documents again. VIPs that did not change are not touched;\n"
    "if anything is wrong with them, the agent says so and goes on with the old ones.",
}
MOVED_WITHIN_S = 5.0
"""A hand-over takes milliseconds; so long, and something is wrong."""
POLL_S = 0.02

_CODES = "exit codes: 0 done, 1 refused (the agent says why), 2 usage, 3 no agent answers"
EPILOGS = {
    "move": f"examples:\n  sharedip move 192.168.0.15\n  sharedip move 192.168.0.15 --to cp2\n\n{_CODES}",
    "drain": f"example:\n  sharedip drain && systemctl reboot\n\n{_CODES}",
    "undrain": _CODES,
    "reload": f"example:\n  sharedip check --offline && sharedip reload\n\n{_CODES}",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which agent, and for `move` what and whereto."""
    add_state_dir_argument(parser)
    if parser.get_default("command") == "move":
        parser.add_argument("vip", metavar="VIP", type=_address, help="the address to hand over")
        parser.add_argument("--to", metavar="NODE", help="the node that should get it (default: the next sound one)")


def run(args: argparse.Namespace) -> int:
    """Give the order."""
    arguments = {"vip": args.vip, "to": args.to} if args.command == "move" else {}
    try:
        accepted, text = AgentClient(args.state_dir).operate(args.command, arguments)
    except UnreachableError as error:
        sys.stderr.write(f"sharedip: {error}\n")
        return UNREACHABLE
    if accepted and args.command == "move":
        return _follow_move(args, text)
    # The answer may have several lines: the problems of documents that were refused.
    lines = [clean(line) for line in text.splitlines()] or ["done" if accepted else "refused"]
    (sys.stdout if accepted else sys.stderr).write("\n".join(lines) + "\n")
    return OK if accepted else PROBLEM


def _follow_move(args: argparse.Namespace, text: str) -> int:
    """The agent has begun: see who has the address in the end."""
    sys.stdout.write(clean(text) + "\n")
    sys.stdout.flush()
    agent, until = AgentClient(args.state_dir), time.monotonic() + MOVED_WITHIN_S
    vip = None
    while time.monotonic() < until:
        try:
            status = agent.status()
        except UnreachableError as error:
            sys.stderr.write(f"sharedip: {error}\n")
            return UNREACHABLE
        vip = next((each for each in status["vips"] if each["address"] == args.vip), None)
        owner = _taken_by(vip) if vip is not None else None
        if owner is not None and (owner == args.to or (args.to is None and owner != status["node"])):
            sys.stdout.write(f"{clean(owner)} has {args.vip}\n")
            return OK
        time.sleep(POLL_S)
    sys.stderr.write(f"after {MOVED_WITHIN_S:g} s {_found(vip, args)}\n")
    return PROBLEM


def _found(vip: VipStatus | None, args: argparse.Namespace) -> str:
    """What stands in the way, as far as the agent knows."""
    owner, taken_by = (vip["owner"], _taken_by(vip)) if vip is not None else (None, None)
    if taken_by is not None:
        return f"{clean(taken_by)} has it; see sharedip status --cluster"
    if owner is not None:
        return (
            f"{clean(str(owner))} comes first in the election, but has not said that {args.vip} stands there; "
            "see the problems in its own sharedip status, and its log"
        )
    return "nobody is known to have it yet; see sharedip status --cluster"


def _taken_by(vip: VipStatus) -> str | None:
    """Who says that it has taken the address, which the first of the queue may not have done yet."""
    owner = vip["owner"]
    last = vip["changes"][-1]["text"] if vip["changes"] else ""
    return str(owner) if owner and last.startswith(f"{owner} took ") else None


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from None
