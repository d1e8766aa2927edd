"""`sharedip run`: the documents, then the agent.

Must never: import what the agent does not need; all of it stays in memory for as long as the agent runs.
Counterpart: `agent/run.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from sharedip.adapters.kept import KeptDocuments, KeptHistory, kept_folder
from sharedip.cli.capabilities import missing_capabilities
from sharedip.cli.documents import add_config_argument, config_paths, load_documents, parse_documents
from sharedip.cli.exits import OK, PROBLEM, USAGE
from sharedip.config.files import signature_of
from sharedip.config.load import Start
from sharedip.config.paths import KEPT_DIR_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sharedip.config.load import Loaded
    from sharedip.config.model import Config

DESCRIPTIONS = {
    "run": "Run the agent in the foreground until SIGTERM or SIGINT, which hand every VIP over first.\n"
    "SIGHUP reads the documents again. A second agent on the same state directory is refused."
}
REFUSED_PAUSE_S = 1.0
"""What may pass by itself is looked at once a second: the unit restarts a crashed agent within a tenth of one."""
EPILOGS = {
    "run": "examples:\n"
    "  sharedip run -c /etc/sharedip\n"
    "  sharedip run -c vip.yaml -c agent.yaml --log-level debug\n\n"
    "With documents that are refused it starts on the last good ones, kept in /var/lib/sharedip, and says so.\n\n"
    "exit codes: 0 after an orderly end; 1 if the agent cannot run here, or no subnet of the link has a VIP yet;\n"
    "2 if a document has a mistake and none are kept, or a VIP is the node's own, a network or a broadcast address"
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
    loaded = load_documents(paths)
    for problem in (*loaded.problems, *loaded.notices):
        sys.stderr.write(f"{problem}\n")
    folder = kept_folder(os.environ, KEPT_DIR_DEFAULT)
    kept, history = KeptDocuments(folder, paths), KeptHistory(folder, paths)
    config, start = loaded.config, Start(loaded.texts)
    if config is None:
        config, start = _last_good(kept, paths, loaded, str(loaded.problems[0]))
    if config is None:
        return USAGE
    if missing := missing_capabilities():
        sys.stderr.write(
            f"sharedip: the agent needs the capabilities NET_ADMIN and NET_RAW, and has no {' and no '.join(missing)}; "
            "run it as root, or through the unit of `sharedip manifest systemd`\n"
        )
        return PROBLEM
    # A mistake in a document is told without loading the agent.
    from sharedip.agent.run import ANEW, Ended, run_agent  # noqa: PLC0415

    how = {"log_format": args.log_format, "log_level": args.log_level}
    ended = run_agent(config, paths, start=start, kept=kept, history=history, **how)
    if ended is Ended.MISTAKE and not start.refused:
        config, start = _last_good(kept, paths, loaded, "they do not fit this node, as the log says")
        if config is not None:
            ended = run_agent(config, paths, start=start, kept=kept, history=history, **how)
    if ended is Ended.ANEW:
        return _execute_anew({**os.environ, ANEW: str(os.getpid())})
    if ended is Ended.REFUSED and "NOTIFY_SOCKET" in os.environ:
        time.sleep(REFUSED_PAUSE_S)  # a supervisor starts us again at once, for as long as it takes
    codes = {Ended.IN_ORDER: OK, Ended.MISTAKE: USAGE, Ended.REFUSED: PROBLEM, Ended.BUG: PROBLEM}
    return codes[ended]


def _last_good(kept: KeptDocuments, paths: Sequence[Path], loaded: Loaded, why: str) -> tuple[Config | None, Start]:
    """What was kept of a former run, if that may stand in for these: not where somebody has taken the documents, or
    every VIP in them, away.
    """
    start = Start({}, why)
    if loaded.wants_no_vip or not any(number for _, number, _, _ in signature_of(paths)):
        return None, start
    found = kept.read()
    if isinstance(found, str):
        if found:
            sys.stderr.write(f"sharedip: no former documents to start on: {found}\n")
        return None, start
    if found.texts == loaded.texts:
        return None, start
    former = parse_documents(found.texts)
    if former.config is None:
        sys.stderr.write(f"sharedip: the documents that were kept at {found.kept_at} are refused, too\n")
        return None, start
    sys.stderr.write(f"sharedip: going on with the last good documents, kept at {found.kept_at} in {kept.path}\n")
    return former.config, Start(found.texts, why)


def _execute_anew(environment: dict[str, str]) -> int:
    """The program as it is installed now, in this process: a supervisor notices nothing. Timers, sockets and the lock
    on the state directory end with the old one (execve(2)); returns only if that fails.

    systemd's watchdog goes on as well: told right before, it leaves the new process all of its time to be ready in.
    """
    from sharedip.adapters.notify import Notifier  # noqa: PLC0415 - the agent has loaded it; a mistake needs none of it

    Notifier(environment).watchdog()
    try:
        os.execve(sys.executable, sys.orig_argv, environment)  # noqa: S606 - the very command that started us
    except OSError as error:
        sys.stderr.write(f"sharedip: cannot be executed anew: {error}\n")
    return PROBLEM
