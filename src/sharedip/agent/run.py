"""The process around one agent: what it is given before its loop runs, and how it ended.

Role: deadman, log, state directory and priority; a bug's last words. Must never: let an exception pass in silence.
Counterparts: `cli/run.py` (the exit codes), `wiring.py`, `life.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from sharedip import __version__
from sharedip.adapters import logs
from sharedip.adapters.kernel.deadman import Deadman, DeadmanRefusedError
from sharedip.adapters.notify import Notifier
from sharedip.adapters.state import StateDirectory, StateRefusedError
from sharedip.agent.queue import Queue
from sharedip.agent.reports import Reports
from sharedip.agent.settings import locate_api_server, with_default_checks
from sharedip.agent.start import StartRefusal
from sharedip.agent.wiring import make_world, put_together
from sharedip.config.model import Config
from sharedip.core.messages import Level, Report

NICENESS = -15
"""Where the agent may set it: a starved owner loses the address for nothing."""


class Ended(Enum):
    """How an agent's process came to its end."""

    IN_ORDER = "told to stop, and everything given up"
    REFUSED = "it may not or cannot run here, or not yet"
    MISTAKE = "the documents cannot work on this node"
    BUG = "an exception that no weather explains"


_REFUSED = {StartRefusal.MISTAKE: Ended.MISTAKE, StartRefusal.NOT_YET: Ended.REFUSED}


def run_agent(config: Config, paths: Sequence[Path], *, log_format: str = "text", log_level: str = "info") -> Ended:
    """Run until told to stop."""
    try:
        deadman = Deadman()  # before the loop runs, so that it proves itself undisturbed
    except DeadmanRefusedError as refused:
        print(f"sharedip: {refused}", file=sys.stderr)
        return Ended.REFUSED
    handler = logs.configure(log_format, log_level)
    state = StateDirectory(config.state_dir)
    try:
        state.open()
    except StateRefusedError as refused:
        print(f"sharedip: {refused}", file=sys.stderr)
        return Ended.REFUSED
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, min(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))

    def write(report: Report) -> None:
        logs.write_report(report, config.node_name)

    config = with_default_checks(config, locate_api_server)

    async def main() -> Ended:
        queue, notifier = Queue(), Notifier()
        reports = Reports(write, notifier.status)
        world = make_world(config, state, deadman, notifier, queue, reports)
        agent = put_together(config, paths, world, queue, reports)
        write(Report(Level.INFO, f"sharedip {__version__} starts on {config.node_name}"))
        refusal = agent.refuse()
        if refusal is not None:
            await agent.close()
            return _REFUSED[refusal]
        await agent.run()
        return Ended.IN_ORDER

    try:
        return asyncio.run(main())
    except Exception as error:
        write(Report(Level.ERROR, "ended by a bug", reason=f"{type(error).__name__}: {error}"))
        logging.getLogger(logs.LOGGER_NAME).exception("traceback", exc_info=error)
        return Ended.BUG
    finally:
        state.close()
        handler.close()
