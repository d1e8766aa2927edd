"""`sharedip history`: who had which VIP when, over restarts of the agent and of the machine.

Role: the changes of owner that this node's agent has seen, as it keeps them on disk. Works without an agent.
Must never: reckon with times of another node. Counterpart: `adapters/kept.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from sharedip.adapters.kept import KeptHistory, kept_folder
from sharedip.cli.agent_client import UnreachableError, add_agent_arguments, agent_of
from sharedip.cli.arguments import add_output_argument, address_argument
from sharedip.cli.exits import OK, PROBLEM
from sharedip.cli.render import clean, wrapped
from sharedip.cli.terminal import terminal_width
from sharedip.config.paths import DOCUMENTS_DEFAULT, KEPT_DIR_DEFAULT

DESCRIPTIONS = {
    "history": "Show the changes of owner that this node's agent has seen, the oldest first, over restarts of the\n"
    "agent and of the machine (the last 1000 are kept). The agent writes them within a second."
}
EPILOGS = {
    "history": "examples:\n  sharedip history\n  sharedip history 192.168.0.15 -n 5\n"
    "  sharedip history -o json | jq -r '.changes[].at'\n\n"
    "exit codes: 0 also where nothing has changed yet, 1 if what is kept can't be read"
}
SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which agent, which VIP, how many."""
    add_agent_arguments(parser)
    add_output_argument(parser)
    parser.add_argument("vip", metavar="VIP", nargs="?", type=address_argument, help="the address (default: all)")
    parser.add_argument(
        "-n", "--lines", type=_number, default=SHOWN, metavar="N", help="the last N (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Print it."""
    found = _file_of(args).read()
    if isinstance(found, str) and found:
        sys.stderr.write(f"sharedip: {found}\n")
        return PROBLEM
    changes = [each for each in found if args.vip in (None, each.vip)] if not isinstance(found, str) else []
    changes = changes[-args.lines :]
    if args.output == "json":
        document = {"changes": [each._asdict() for each in changes]}
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return OK
    width = terminal_width()
    lines = [wrapped(clean(f"{each.at.replace('+00:00', 'Z')}  {each.text}"), width) for each in changes]
    sys.stdout.write("\n".join(lines or ["no change of owner has been seen on this node"]) + "\n")
    return OK


def _file_of(args: argparse.Namespace) -> KeptHistory:
    """By what the running agent says, or without one where an agent with these documents keeps it."""
    paths: list[Path] = args.config or [DOCUMENTS_DEFAULT]
    kept = KeptHistory(kept_folder(os.environ, KEPT_DIR_DEFAULT), paths)
    try:
        named = agent_of(args).status()["documents"]["history"]
    except (UnreachableError, KeyError):
        named = None
    if named is not None:
        kept.look_at(Path(named))
    return kept


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)
