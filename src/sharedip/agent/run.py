"""The process around one agent: what it is given before its loop runs, and how it ended.

Role: deadman, log, state directory and priority; a bug's last words. Must never: let an exception pass in silence.
Counterparts: `cli/run.py` (the exit codes), `wiring.py`, `life.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path

from sharedip import __version__
from sharedip.adapters import logs
from sharedip.adapters.kept import KeptDocuments, KeptHistory
from sharedip.adapters.kernel.deadman import Deadman, DeadmanRefusedError
from sharedip.adapters.notify import Notifier
from sharedip.adapters.probes.leavings import adopt
from sharedip.adapters.state import StateDirectory, StateRefusedError
from sharedip.agent.queue import Queue
from sharedip.agent.reports import Reports
from sharedip.agent.settings import locate_api_server, with_default_checks
from sharedip.agent.start import StartRefusal
from sharedip.agent.wiring import make_world, put_together
from sharedip.config.load import Start
from sharedip.config.model import Config
from sharedip.core.messages import Level, Report

HUNG_S = 30.0
"""Then a process that does not turn ends, whoever supervises it. Its addresses have left by then: by the fence, and by
their lifetime."""
NICENESS = -15
"""Where the agent may set it: a starved owner loses the address for nothing."""


ANEW = "SHAREDIP_ANEW"
"""In the environment of a program that replaces itself: the process that both are."""


class Ended(Enum):
    """How an agent's process came to its end."""

    IN_ORDER = "told to stop, and everything given up"
    ANEW = "told to start anew, and ready for it: the program is to be executed again, in this process"
    REFUSED = "it may not or cannot run here, or not yet"
    MISTAKE = "the documents cannot work on this node"
    BUG = "an exception that no weather explains"


_REFUSED = {StartRefusal.MISTAKE: Ended.MISTAKE, StartRefusal.NOT_YET: Ended.REFUSED}


async def end_if_hung(is_turning: Callable[[], bool]) -> None:
    """Have the kernel end this process if it does not turn for `HUNG_S`: by SIGALRM, from a timer that stands still
    while the machine does (setitimer(2), on CLOCK_MONOTONIC). Nobody outside is asked, so nobody outside can lie (law
    11). Cancelling it is safe: then nothing ends it.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        while True:
            if is_turning():
                signal.setitimer(signal.ITIMER_REAL, HUNG_S)
            await asyncio.sleep(HUNG_S / 6)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def run_agent(
    config: Config,
    paths: Sequence[Path],
    *,
    start: Start,
    kept: KeptDocuments,
    history: KeptHistory,
    log_format: str = "text",
    log_level: str = "info",
) -> Ended:
    """Run until told to stop. `start`: the documents of which `config` is made."""
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
    adopt()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, min(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))

    def write(report: Report) -> None:
        logs.write_report(report, config.node_name)

    config = with_default_checks(config, locate_api_server)
    is_anew = os.environ.pop(ANEW, "") == str(os.getpid())

    async def main() -> Ended:
        queue, notifier = Queue(), Notifier()
        reports = Reports(write, notifier.status, lambda: handler.suppressed)
        world = make_world(config, state, deadman, notifier, queue, reports)
        agent = put_together(
            config, paths, world, queue, reports, start=start, kept=kept, history=history, is_anew=is_anew
        )
        write(Report(Level.INFO, f"sharedip {__version__} starts on {config.node_name}"))
        lost = history.load()
        if lost:
            write(Report(Level.WARNING, "the history begins anew", reason=lost))
        if start.refused:
            text = "the documents on disk are refused; starting on the last good ones, which were kept"
            write(Report(Level.ERROR, text, reason=start.refused))
        refusal = agent.refuse()
        if refusal is not None:
            await agent.close()
            return _REFUSED[refusal]
        lifeline = asyncio.create_task(end_if_hung(agent.is_turning))
        try:
            is_to_start_anew = await agent.run()
        finally:
            lifeline.cancel()
        return Ended.ANEW if is_to_start_anew else Ended.IN_ORDER

    try:
        return asyncio.run(main())
    except Exception as error:
        write(Report(Level.ERROR, "ended by a bug", reason=f"{type(error).__name__}: {error}"))
        logging.getLogger(logs.LOGGER_NAME).exception("traceback", exc_info=error)
        return Ended.BUG
    finally:
        state.close()
        handler.close()
