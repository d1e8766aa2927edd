"""`sharedip run`: the documents, then the agent.

Must never: import what the agent does not need; all of it stays in memory for as long as the agent runs.
Counterpart: `agent/run.py`.
"""

from __future__ import annotations

import argparse
import sys

from sharedip.cli.capabilities import missing_capabilities
from sharedip.cli.documents import add_config_argument, config_paths, sound_config
from sharedip.cli.exits import OK, PROBLEM, USAGE

DESCRIPTIONS = {
    "run": "Run the agent in the foreground until SIGTERM or SIGINT, which hand every VIP over first.\n"
    "SIGHUP reads the documents again. A second agent on the same state directory is refused."
}
EPILOGS = {
    "run": "examples:\n"
    "  sharedip run -c /etc/sharedip\n"
    "  sharedip run -c vip.yaml -c agent.yaml --log-level debug\n\n"
    "exit codes: 0 after an orderly end; 1 if the agent cannot run here, or no subnet of the link has a VIP yet;\n"
    "2 if a document has a mistake, or a VIP is the node's own, a network or a broadcast address"
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Documents and log."""
    add_config_argument(parser)
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="text for people and the journal, or one JSON object a line (default: text)",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="how much to log (default: info)",
    )


def run(args: argparse.Namespace) -> int:
    """Run until the end."""
    paths = config_paths(args)
    config = sound_config(paths)
    if config is None:
        return USAGE
    if missing := missing_capabilities():
        sys.stderr.write(
            f"sharedip: the agent needs the capabilities NET_ADMIN and NET_RAW, and has no {' and no '.join(missing)}; "
            "run it as root, or through the unit of `sharedip manifest systemd`\n"
        )
        return PROBLEM
    # A mistake in a document is told without loading the agent.
    from sharedip.agent.run import Ended, run_agent  # noqa: PLC0415

    ended = run_agent(config, paths, log_format=args.log_format, log_level=args.log_level)
    codes = {Ended.IN_ORDER: OK, Ended.MISTAKE: USAGE, Ended.REFUSED: PROBLEM, Ended.BUG: PROBLEM}
    return codes[ended]
