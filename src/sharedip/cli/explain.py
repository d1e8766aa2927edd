"""`sharedip explain`: who has an address, since when and why, and what follows if something dies now.

Role: prints the agent's own sentences, for whoever has been woken by it. Counterparts: `core/explanation.py`
(the words), `status.py`.
"""

from __future__ import annotations

import argparse
import json
import sys

from sharedip.cli.agent_client import UnreachableError, add_agent_arguments, agent_of
from sharedip.cli.arguments import add_output_argument, address_argument
from sharedip.cli.exits import OK, PROBLEM, UNREACHABLE
from sharedip.cli.render import clean, explained_lines, problem_lines
from sharedip.cli.terminal import terminal_width, use_color

DESCRIPTIONS = {
    "explain": "Say who has a VIP, since when and why, and what happens if its node dies now,\n"
    "if the next one dies with it, and if etcd goes; and which window this cluster\n"
    "could keep. Without a VIP: of every one."
}
EPILOGS = {
    "explain": "examples:\n  sharedip explain\n  sharedip explain 192.168.0.15\n\n"
    "exit codes: 0 nothing is wrong, 1 something is (last lines), or this agent has no such VIP, 2 usage, "
    "3 no agent answers"
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which agent, and which VIP."""
    add_agent_arguments(parser)
    parser.add_argument("vip", metavar="VIP", nargs="?", type=address_argument, help="the address (default: all)")
    add_output_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print it."""
    try:
        status = agent_of(args).status()
    except UnreachableError as error:
        sys.stderr.write(f"sharedip: {error}\n")
        return UNREACHABLE
    vips = [vip for vip in status["vips"] if args.vip in (None, vip["address"])]
    if not vips:
        known = ", ".join(vip["address"] for vip in status["vips"][:10])
        sys.stderr.write(f"sharedip: {args.vip} is not configured here (this agent has {clean(known)})\n")
        return PROBLEM
    if args.output == "json":
        sentences = [{"address": vip["address"], "sentences": vip["explained"]} for vip in vips]
        document = {"vips": sentences, "window": status.get("window"), "problems": status["problems"]}
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return PROBLEM if status["problems"] else OK
    width = terminal_width()
    told = explained_lines({**status, "vips": vips}, width=width)
    sys.stdout.write("\n".join([*told, *problem_lines(status, color=use_color(), width=width)]) + "\n")
    return PROBLEM if status["problems"] else OK
