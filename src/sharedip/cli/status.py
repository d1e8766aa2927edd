"""`sharedip status`: what this node does and why, from the agent's own mouth.

Works without etcd and without the VIP. Counterparts: `agent_client.py`, `render.py`, `cluster.py` for `--cluster`.
"""

from __future__ import annotations

import argparse
import json
import sys

from sharedip.cli.agent_client import UnreachableError, add_agent_arguments, agent_of
from sharedip.cli.arguments import add_output_argument
from sharedip.cli.exits import OK, PROBLEM, UNREACHABLE
from sharedip.cli.render import status_lines
from sharedip.cli.terminal import terminal_width, use_color

DESCRIPTIONS = {
    "status": "Ask this node's agent what it owns, what it waits for and what is wrong.\n"
    "It answers over its socket, also while etcd is away."
}
EPILOGS = {
    "status": "examples:\n"
    "  sharedip status\n"
    "  sharedip status -o json | jq '.vips[] | {address, owner, reason}'\n"
    "  sharedip status --cluster -c /etc/sharedip     every node, as etcd knows it; works without an agent, too\n\n"
    "exit codes: 0 nothing is wrong, 1 something is (last lines), 3 no agent answers"
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which agent, and how to show it."""
    add_agent_arguments(parser)
    add_output_argument(parser)
    parser.add_argument("--cluster", action="store_true", help="add what etcd says of every node")


def run(args: argparse.Namespace) -> int:
    """Print it."""
    status, unreachable = None, ""
    try:
        status = agent_of(args).status()
    except UnreachableError as error:
        unreachable = str(error)
        if not args.cluster:
            sys.stderr.write(f"sharedip: {unreachable}\n")
            return UNREACHABLE
    if args.cluster:
        from sharedip.cli.cluster import run_with_cluster  # noqa: PLC0415  # needs the etcd client

        return run_with_cluster(args, status, unreachable)
    assert status is not None
    if args.output == "json":
        sys.stdout.write(json.dumps(status, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("\n".join(status_lines(status, color=use_color(), width=terminal_width())) + "\n")
    return PROBLEM if status.get("problems") else OK
