"""One agent from its first look at the machine to its end in order, or by a bug.

Role: begins what the wiring has put together, in the order that safety asks for, and gives back at the end what is not
the kernel's to end. Must never: end by weather; a bug (an exception that no weather explains) ends it at once: the
kernel removes the address by its lifetime, a supervisor restarts the agent, and it proves its right again.
Counterparts: `wiring.py` (makes it), `run.py` (the process around it), `loop.py` (what happens in between).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from sharedip.adapters.api.server import Api
from sharedip.adapters.etcd import first_to_end
from sharedip.adapters.kept import KeptHistory
from sharedip.adapters.memory import give_memory_back
from sharedip.adapters.notify import feed_watchdog
from sharedip.agent.loop import Loop
from sharedip.agent.queue import Queue
from sharedip.agent.reload import Reload
from sharedip.agent.reports import Reports
from sharedip.agent.settings import find_tls_files
from sharedip.agent.start import LOOK_EVERY_S, FormerFence, StartRefusal, former_run, may_begin
from sharedip.agent.world import World
from sharedip.config.model import Config
from sharedip.core.messages import CertificateRead, Level, Report, StopRequested, WallClockRead
from sharedip.core.node import Node
from sharedip.core.segment.wall_clocks import is_step

GARBAGE_THRESHOLD = 20_000
"""Objects made and not freed before the collector looks for cycles. Ours have next to none; at Python's 700 a thousand
addresses that change hands cost a tenth of the time in collections that find nothing."""

SHORTAGE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Descriptors, of this process or of all; buffers; memory."""

CERTIFICATES_EVERY_S = 1.0
CERTIFICATES_READ_EVERY_S = 60.0
"""A renewed one ends the problem that the old one was; some hundred microseconds each time."""
WALL_CLOCK_READ_EVERY_S = 4.0
DOCUMENTS_EVERY_S = 4.0
HISTORY_EVERY_S = 2.0
ANSWERED_AFTER_TURNS = 5
"""Of the event loop: from a ticket's answer to the bytes in the socket."""
CONTROL_PLANE_EVERY_S = 2.0
"""Three calls of stat(2); an API server takes longer than that to its first answer."""


def until_step_s(step_s: float, now: float) -> float:
    """The seconds until the clock shows a multiple of `step_s`: whatever has the same step costs one waking together,
    and at rest a waking costs more than what is done in it.
    """
    return step_s - now % step_s


async def in_step(step_s: float) -> None:
    """Sleep until the loop's clock shows the next multiple of `step_s`. Cancelling it is safe."""
    await asyncio.sleep(until_step_s(step_s, asyncio.get_running_loop().time()))


class Agent:
    """Steps: `refuse`; if that is None `run`, which closes, else `close`."""

    def __init__(
        self,
        config: Config,
        *,
        world: World,
        api: Api,
        node: Node,
        queue: Queue,
        loop: Loop,
        former_fence: FormerFence,
        reload: Reload,
        reports: Reports,
        history: KeptHistory | None,
        first_reports: Sequence[Report],
        awaits_certificates: bool,
        is_anew: bool = False,
    ) -> None:
        """`first_reports`: what was found out while it was put together. `is_anew`: it replaces a process that was
        asked to start anew.
        """
        self._config = config
        self._world = world
        self._api = api
        self._node = node
        self._queue = queue
        self._loop = loop
        self._former_fence = former_fence
        self._reload = reload
        self._reports = reports
        self._history = history
        self._history_fails = False
        self._first_reports = first_reports
        self._awaits_certificates = awaits_certificates
        self._is_anew = is_anew
        self._look_timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def refuse(self) -> StartRefusal | None:
        """Why this run has to end before it begins, if the documents do not fit this node."""
        world = self._world
        return may_begin(self._config, world.state, world.netlink, world.fence, self._reports)

    def is_turning(self) -> bool:
        """Whether facts are taken in."""
        return self._loop.is_turning()

    async def run(self) -> bool:
        """Until everything is given up in order, or a bug shows itself (raised here). True: the process is to be
        replaced by a new one, which keeps the addresses.
        """
        loop, world = asyncio.get_running_loop(), self._world
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._begin(self._reload_and_tell()))
        loop.set_exception_handler(self._bug)
        for report in self._first_reports:
            self._reports.tell(report)
        self._begin_the_core()
        loop.add_reader(world.netlink.fileno(), world.netlink.receive)
        world.peers.open()
        self._loop.look_at_the_port()
        await world.probes.start()
        await self._api.start_unix(self._config.state_dir / "agent.sock")
        if self._config.api is not None:
            await self._api.start_tcp(self._config.api.host, self._config.api.port)
        if self._awaits_certificates:
            self._begin(self._await_certificates())
        self._begin(self._await_control_plane())
        self._begin(self._watch_documents())
        self._begin(self._keep_history())
        self._begin(self._watch_certificates())
        self._begin(self._watch_the_wall_clock())
        self._begin(feed_watchdog(world.notifier, self._loop.is_turning))
        world.notifier.ready("waiting for etcd")
        # What was imported and built lives as long as the agent: a collection need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE_THRESHOLD)
        give_memory_back()
        try:
            await self._loop.over
            if self._node.starts_anew:
                for _ in range(ANSWERED_AFTER_TURNS):  # whoever asked for it hears that it is so
                    await asyncio.sleep(0)
        finally:
            await self.close()
        return self._node.starts_anew

    async def close(self) -> None:
        """Give back what is not the kernel's to end. Cancelling it is safe: every step stands alone."""
        world = self._world
        self._loop.close()
        if self._history is not None and (changes := self._history.take()):
            self._tell_kept(self._history.save(changes))
        if self._look_timer is not None:
            self._look_timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        with contextlib.suppress(OSError):
            asyncio.get_running_loop().remove_reader(world.netlink.fileno())
        await self._api.close()
        await world.probes.close()
        await world.hooks.close()
        await world.etcd.close()
        world.peers.close()
        world.segment.close()
        world.clients.close()
        if self._node.is_over:
            self._former_fence.end()
        world.fence.close()
        world.netlink.close()

    def _begin_the_core(self) -> None:
        """Take away what a former run left, unless its lease may still prove it right; then let the core begin."""
        settings = self._node.settings
        loaded = self._world.state.load()
        if loaded.reason is not None:
            self._reports.tell(Report(Level.WARNING, "starting afresh", reason=loaded.reason))
        former = self._former_fence.begin(settings.vips, former_run(loaded, settings))
        if former is not None and former.lease is not None:
            if self._is_anew:
                self._reports.tell(Report(Level.INFO, "started anew, on what the former process has kept"))
            else:
                text = "the former run did not end in order"
                self._reports.tell(Report(Level.WARNING, text, reason="killed, crashed, or ended by its own deadman"))
        # The first snapshot told of every link and address; leftovers that are gone were told of as well.
        self._loop.begin(former)
        self._look_at_the_fence()

    def _look_at_the_fence(self) -> None:
        """A candidate renews nothing, so nothing else would notice what others do to its tables."""
        if self._former_fence.needs_looks and not self._loop.over.done():
            self._former_fence.look()
            loop = asyncio.get_running_loop()
            self._look_timer = loop.call_later(until_step_s(LOOK_EVERY_S, loop.time()), self._look_at_the_fence)

    async def _await_certificates(self) -> None:
        """The agent may be there before `kubeadm init`: what has come by then is used from the next connection on."""
        while True:
            await in_step(CERTIFICATES_EVERY_S)
            files, reports = find_tls_files(self._config)
            if files is not None and files.cert_file is not None:
                self._world.etcd.use_tls(files)
                for report in reports:
                    self._reports.tell(report)
                return

    async def _watch_certificates(self) -> None:
        """Until when those for etcd last; another program renews them."""
        while True:
            files, _ = find_tls_files(self._config)
            ends = None if files is None else first_to_end(files)
            file, left_s = ("", 0.0) if ends is None else (str(ends[0]), ends[1])
            self._queue.emit(CertificateRead(file, left_s))
            await in_step(CERTIFICATES_READ_EVERY_S)

    async def _watch_the_wall_clock(self) -> None:
        """Others compare theirs with it; it costs them a turn only when it was stepped."""
        known_s: float | None = None
        while True:
            read_s = time.time() - self._world.clock.now()
            if is_step(known_s, read_s):
                known_s = read_s
                self._queue.emit(WallClockRead(read_s))
            await in_step(WALL_CLOCK_READ_EVERY_S)

    async def _watch_documents(self) -> None:
        """What a restart would meet."""
        await self._reload.begin()
        while True:
            await in_step(DOCUMENTS_EVERY_S)
            await self._reload.look()

    async def _keep_history(self) -> None:
        """Off the loop, and no more often than once in two seconds, whatever changes hands."""
        while self._history is not None:
            await in_step(HISTORY_EVERY_S)
            changes = self._history.take()
            if changes:
                self._tell_kept(await asyncio.to_thread(self._history.save, changes))

    def _tell_kept(self, why_not: str) -> None:
        if why_not and not self._history_fails:
            text = "the history of this node does not survive a restart"
            self._reports.tell(Report(Level.WARNING, text, reason=why_not))
        self._history_fails = bool(why_not)

    async def _await_control_plane(self) -> None:
        """While the documents leave open what to check: a reload may write it, or take it out again."""
        while True:
            await in_step(CONTROL_PLANE_EVERY_S)
            await self._reload.look_for_control_plane()

    # -- signals and tasks --------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        self._world.notifier.stopping("handing everything over")
        self._queue.emit(StopRequested())

    async def _reload_and_tell(self) -> None:
        accepted, text = await self._reload.reload()
        for line in text.splitlines():  # each problem is a line of its own
            self._reports.tell(Report(Level.INFO if accepted else Level.ERROR, line))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.fail(error)

    def _bug(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception that nobody expected. In a task, what the kernel has run out of is weather; in a callback, which
        may be a turn of the consumer, it may have kept an order from being carried out, and then nothing goes on.
        """
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in SHORTAGE and "handle" not in context:
            reason = f"{context.get('message')}: {error.strerror}"
            self._reports.tell(Report(Level.ERROR, "the kernel has run out of something", reason=reason))
            return
        self._loop.fail(error or RuntimeError(str(context.get("message"))))
