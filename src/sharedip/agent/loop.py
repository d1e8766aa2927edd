"""The only loop: one queue of facts in, one consumer, the orders of each fact carried out before the next.

Role: hands each fact with the time to the core, has the executor carry out what the core orders, and lets nothing in
between. Must never: decide about keys or addresses. Counterparts: `core/node.py` (decides), `executor.py`, the adapters
(`queue.py`), `life.py` (begins and ends it).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from sharedip.adapters.clock import Clock
from sharedip.adapters.kernel.packet import Segment
from sharedip.agent.executor import Executor
from sharedip.agent.guard import VipGuard
from sharedip.agent.queue import Queue
from sharedip.agent.reach import Reach
from sharedip.agent.reports import Reports
from sharedip.agent.start import FormerFence
from sharedip.core.messages import (
    AddressGone,
    AddressRemoved,
    AddressSeen,
    Command,
    Event,
    Level,
    LinkChanged,
    LinkVanished,
    PeerAddressChanged,
    Report,
    TimePassed,
)
from sharedip.core.node import Node
from sharedip.core.state import FormerRun

SLEEP_S_MAX = 1.0
"""Timers of the loop run on CLOCK_MONOTONIC, which stops in suspend: read the right clock at least this often."""

TURN_S_MAX = 0.02
"""Then the loop may look at its sockets again: a peer's beat must not wait behind a thousand answers of etcd."""

STILL_LOOK_S = 0.02
"""Whoever has not turned for so long may have been stopped, and looks at the segment first."""

STILL_S_MIN = 0.3
STILL_TOLD_EVERY_S = 60.0
"""A timer that comes so late explains what follows; a process that is starved all the time says so once a minute."""


class Loop:
    """Invariant: facts reach the core one at a time, or as many as the queue hands out together, each turn with its
    time; what they order is carried out before the next fact is looked at. Facts keep the order in which they came, but
    that the segment goes first, and no network promises that it comes after what etcd or the kernel says: a right ends
    if an acknowledgement waits, and a machine that was paused must not announce what another one has claimed meanwhile.
    """

    def __init__(
        self,
        *,
        queue: Queue,
        clock: Clock,
        node: Node,
        executor: Executor,
        segment: Segment,
        former_fence: FormerFence,
        guard: VipGuard,
        reach: Reach,
        reports: Reports,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()
        """Done when everything was given up in order; with an exception, when a bug has shown itself."""
        self._queue = queue
        self._clock = clock
        self._node = node
        self._executor = executor
        self._segment = segment
        self._former_fence = former_fence
        self._guard = guard
        self._reach = reach
        self._reports = reports
        self._timer: asyncio.TimerHandle | None = None
        self._turned_at = clock.now()
        self._due_at = float("inf")
        self._told_still_at = float("-inf")

    def begin(self, former: FormerRun | None) -> None:
        """Let the core begin. What the adapters have seen by now comes behind what its first orders bring about."""
        seen = self._queue.take_all()
        self._execute(self._node.start(former, self._clock.now()))
        for fact in seen:
            self._queue.put(fact)
        self._queue.consumed_by(self._turn)
        self._queue.wake()

    def look_at_the_port(self) -> None:
        """It may have become ours since the last look: then peers reach us."""
        self._advertise(self._reach.look_at_the_port())

    def end(self) -> None:
        """In order: nothing is handled any more."""
        if not self.over.done():
            self.over.set_result(None)
            self._queue.close()

    def fail(self, error: BaseException) -> None:
        """By a bug: stop at once, and let the kernel and the supervisor do the rest."""
        if not self.over.done():
            self.over.set_exception(error)
            self._queue.close()

    def close(self) -> None:
        """Say what a bug has left unsaid, and let no timer come back."""
        self._reports.say()
        if self._timer is not None:
            self._timer.cancel()

    def is_turning(self) -> bool:
        """Whether the consumer has come round lately: what the watchdog really asks."""
        return self._clock.now() - self._turned_at < 5 * SLEEP_S_MAX

    def _turn(self) -> None:
        """Hand over what has come, then say what there is to say: clients wait for the one and not for the other."""
        self._reports.hold()
        self._take_in_what_has_come()
        self._reach.hear_for(self._node.inbox.lease)
        report = self._guard.settle(self._clock.now())
        if report is not None:
            self._reports.tell(report)
        self._reports.say()

    def _take_in_what_has_come(self) -> None:
        """Facts until there are no more or time is up, then the timer."""
        self._queue.turn_begins()
        if self.over.done():
            return
        self._tell_if_still()
        self.look_at_the_port()
        if self._clock.now() - self._turned_at >= STILL_LOOK_S:
            self._segment.look()
        turn_until = self._clock.now() + TURN_S_MAX
        for heard in self._queue.take_heard():
            self._take_in(*heard)
        while not self.over.done() and (facts := self._queue.take_next()):
            self._take_in(*facts)
            if self._clock.now() >= turn_until:
                break
        if self.over.done():
            return
        now = self._turned_at = self._clock.now()
        if self._queue:
            self._queue.wake()
            return
        deadline = self._node.next_deadline()
        if now >= deadline:
            self._execute(self._node.handle(TimePassed(), now))
            if self.over.done():
                return
            if self._queue:
                self._queue.wake()
                return
            deadline = self._node.next_deadline()
        self._sleep_until(deadline)

    def _sleep_until(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        now = self._clock.now()
        sleep_s = min(SLEEP_S_MAX, max(0.0, deadline - now))
        self._due_at = now + sleep_s
        self._timer = self._loop.call_later(sleep_s, self._turn)

    def _tell_if_still(self) -> None:
        """A process that was stopped or starved gives up what others have taken: say first that it was away."""
        now = self._clock.now()
        late_s, self._due_at = now - self._due_at, float("inf")
        if late_s >= STILL_S_MIN and now - self._told_still_at >= STILL_TOLD_EVERY_S:
            self._told_still_at = now
            text = f"this process stood still for {late_s:.1f} s"
            self._reports.tell(Report(Level.WARNING, text, reason="stopped, starved of CPU, or the machine slept"))

    def _take_in(self, *events: Event) -> None:
        if self.over.done():
            return
        for event in events:
            self._pass_on(event)
        for orders in self._node.handle_in_steps(events, self._clock.now()):
            self._execute(orders)

    def _pass_on(self, event: Event) -> None:
        """What one adapter has seen and another must know, before the core hears of it: on which links to listen, which
        address may be let out of a former run's fence, and where peers reach us. Adapters do not know each other.
        """
        if isinstance(event, LinkChanged):
            self._guard.listen_on(event.link)
        elif isinstance(event, LinkVanished):
            self._segment.forget_link(event.index)
        if isinstance(event, AddressRemoved | AddressGone):
            self._former_fence.address_gone()
        if isinstance(event, LinkChanged | AddressSeen | AddressGone):
            self._advertise(self._reach.look())

    def _advertise(self, news: PeerAddressChanged | None) -> None:
        if news is not None:
            self._queue.emit(news)

    def _execute(self, orders: Iterable[Command]) -> None:
        if self._executor.execute(orders):
            self.end()
