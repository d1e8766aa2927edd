"""A stage for the etcd client: it performs orders, collects facts, and holds the client to its promises.

`play` runs a scene in an event loop and fails when anything was left behind: a task, an exception that nobody
retrieved, a second answer to one order.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Self, TypeVar

from sharedip.adapters.clock import Clock
from sharedip.adapters.etcd import Credentials, EtcdClient, TlsFiles
from sharedip.adapters.etcd.client import EtcdFact
from sharedip.adapters.etcd.options import HasNow
from sharedip.core.messages import EtcdCommand, OpenWatch, WatchLost
from sharedip.core.model import Failure

Fact = TypeVar("Fact")
Result = TypeVar("Result")
PATIENCE_S = 15.0
"""How long a condition may take on a busy machine before a test gives up."""


def play(scene: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run the scene; afterwards no task may be left and the event loop must have had nothing to complain about."""
    complaints: list[dict[str, Any]] = []

    async def run() -> Result:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with asyncio.timeout(100):
            result = await scene()
        # Transports close in callbacks of their own; servers of the scene end their handlers.
        await wait_until(lambda: asyncio.all_tasks() == {asyncio.current_task()}, "tasks were left behind")
        return result

    result = asyncio.run(run())
    gc.collect()  # an exception that nobody retrieved is reported when its task is collected
    assert complaints == [], complaints
    return result


async def wait_until(holds: Callable[[], bool], otherwise: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait for a condition that nothing announces."""
    end = asyncio.get_running_loop().time() + timeout_s
    while not holds():
        assert asyncio.get_running_loop().time() < end, otherwise
        await asyncio.sleep(0.005)


class Stage:
    """A client and all facts that it told, in order."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        tls: TlsFiles | None = None,
        credentials: Credentials | None = None,
        clock: HasNow | None = None,
    ) -> None:
        self.facts: list[EtcdFact] = []
        self._told = asyncio.Event()
        self.clock = clock or Clock()
        self.client = EtcdClient(endpoints, tls=tls, credentials=credentials, clock=self.clock, emit=self._tell)
        self.number = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        answered = [fact.request for fact in self.facts if hasattr(fact, "request")]
        assert len(answered) == len(set(answered)), "an order was answered twice"
        lost = [fact.watch for fact in self.facts if isinstance(fact, WatchLost)]
        assert len(lost) == len(set(lost)), "a watch was lost twice"

    def next(self) -> int:
        """A fresh request or watch number."""
        self.number += 1
        return self.number

    def perform(self, order: EtcdCommand) -> None:
        self.client.perform(order)

    async def ask(self, order: EtcdCommand) -> EtcdFact:
        """Perform an order and wait for its fact."""
        assert not isinstance(order, OpenWatch)
        self.perform(order)
        return await self.answer(order.request)  # type: ignore[union-attr]

    async def answer(self, request: int) -> EtcdFact:
        return await self.wait_fact(lambda fact: getattr(fact, "request", None) == request)

    async def expect(self, kind: type[Fact], order: EtcdCommand) -> Fact:
        """Perform an order whose fact must be of this kind."""
        fact = await self.ask(order)
        assert isinstance(fact, kind), fact
        return fact

    async def watch_fact(self, kind: type[Fact], watch: int, nth: int = 0) -> Fact:
        """The n-th fact of this kind of a watch."""
        await self.wait_fact(lambda _: len(self._of_watch(kind, watch)) > nth)
        return self._of_watch(kind, watch)[nth]

    def _of_watch(self, kind: type[Fact], watch: int) -> list[Fact]:
        return [fact for fact in self.facts if isinstance(fact, kind) and getattr(fact, "watch", None) == watch]

    async def wait_fact(self, wanted: Callable[[EtcdFact], bool], timeout_s: float = PATIENCE_S) -> EtcdFact:
        async with asyncio.timeout(timeout_s):
            while True:
                for fact in self.facts:
                    if wanted(fact):
                        return fact
                self._told.clear()
                await self._told.wait()

    def _tell(self, fact: EtcdFact) -> None:
        self.facts.append(fact)
        self._told.set()


def failure_of(fact: EtcdFact) -> Failure:
    """The failure of a fact that must be one."""
    failure = getattr(fact, "failure", None)
    assert isinstance(failure, Failure), fact
    return failure


async def eventually(attempt: Callable[[], Awaitable[Result | None]], otherwise: str) -> Result:
    """Repeat until it brings something."""
    end = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        result = await attempt()
        if result is not None:
            return result
        assert asyncio.get_running_loop().time() < end, otherwise
        await asyncio.sleep(0.02)
