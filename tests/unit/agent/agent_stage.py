"""An agent with its outside worlds played: facts are put in, orders are read off."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sharedip.adapters.clock import Clock
from sharedip.adapters.etcd import EtcdClient
from sharedip.adapters.etcd.client import RequestCounts
from sharedip.adapters.kept import KeptDocuments
from sharedip.adapters.kernel.rtwire import AddressRecord, LinkRecord
from sharedip.adapters.kernel.view import View
from sharedip.adapters.notify import Notifier
from sharedip.adapters.peer import PeerSocket
from sharedip.adapters.probes.hooks import HookRunner
from sharedip.adapters.probes.runner import ProbeRunner
from sharedip.adapters.state import StateDirectory
from sharedip.agent.life import Agent
from sharedip.agent.queue import Queue
from sharedip.agent.reports import Reports
from sharedip.agent.settings import hook_commands, locate_api_server
from sharedip.agent.status import StatusPage
from sharedip.agent.wiring import put_together
from sharedip.agent.world import World
from sharedip.config.load import Start, load, parse
from sharedip.config.model import Config
from sharedip.core.messages import Command, Event, Report, SurroundingsRead
from sharedip.core.model import IPAddress, IPNetwork, LinkState, Vip
from sharedip.core.node import Node
from sharedip.core.status import Status

LINK = LinkState(2, ("eth0",), b"\x02\0\0\0\0\1", running=True)
DOCUMENTS = """\
apiVersion: v1alpha1
kind: Layer2VIPConfig
name: 192.168.0.15
link: eth0
---
apiVersion: v1alpha1
kind: AgentConfig
nodeName: cp1
stateDir: {state}
etcd: {{endpoints: [http://127.0.0.1:1]}}
failover: {{fence: lifetime, window: 3s}}
peer: {{listen: 127.0.0.1:{port}}}
api: "off"
"""


def config_at(directory: Path, port: int = 39470, change: Callable[[str], str] = lambda text: text) -> Config:
    """A configuration whose state is kept in the directory; the file is written there, too."""
    text = change(DOCUMENTS.format(state=directory / "state", port=port))
    (directory / "vip.yaml").write_text(text)
    loaded = parse({"vip.yaml": text}, "cp1")
    assert loaded.config is not None, [str(problem) for problem in loaded.problems]
    return loaded.config


def view_of(*records: AddressRecord) -> View:
    """What a kernel with one link beside the loopback shows."""
    made = View()
    made.replace([LinkRecord(LINK), LinkRecord(LinkState(3, ("lo",), b"", running=True))], records)
    return made


class FakeNetlink:
    """A kernel with one link, which remembers what it was told."""

    def __init__(self, view: View | None = None) -> None:
        self.orders: list[object] = []
        self.standing: set[Vip] = set()
        self.view = view or view_of()
        self.kept: tuple[object, ...] = ()
        self.held: tuple[object, ...] = ()
        self.tags_stick: bool | None = True
        self.on_link: tuple[IPNetwork, ...] = ()
        self._reader, self._writer = os.pipe()

    def snapshot(self) -> None:
        pass

    def prove_tags(self) -> bool | None:
        return self.tags_stick

    def surroundings_of(self, index: int) -> SurroundingsRead:
        return SurroundingsRead(index, self.on_link, (), ())

    def still_standing(self, _: object) -> frozenset[Any]:
        return frozenset()

    def has_ours(self, _: object) -> bool:
        return True

    def remove_leftovers(self, _: object, held: Any = (), keep: Any = ()) -> Any:
        self.held, self.kept = tuple(held), tuple(keep)
        return SimpleNamespace(removed=[], failed=[], foreign=[])

    def perform_many(self, orders: list[object]) -> None:
        self.orders += orders

    def find_link(self, name: str) -> LinkState | None:
        return self.view.find_link(name)

    def stands(self, vip: Vip) -> bool:
        return vip in self.standing

    def fileno(self) -> int:
        return self._reader

    def receive(self) -> None:
        pass

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


class FakeFence:
    """Remembers what it guards; refuses while `reason` is set."""

    reinstalled = 0
    missing: tuple[str, ...] = ()
    why_not: str | None = None

    def __init__(self) -> None:
        self.guards: list[tuple[Vip, ...]] = []
        self.reason: str | None = None
        self.installs = 0
        self.cards: frozenset[bytes] | None = None

    def prove(self) -> str | None:
        return None

    def look(self) -> str | None:
        return None

    def guarded(self) -> frozenset[IPAddress] | None:
        return None

    def cover(self, _: object) -> None:
        pass

    def install(self, vips: Iterable[Vip]) -> str | None:
        self.installs += 1
        return self.guard(vips)

    def guard(self, vips: Iterable[Vip]) -> str | None:
        if self.reason is None:
            self.guards.append(tuple(vips))
        return self.reason

    def know(self, macs: frozenset[bytes]) -> str | None:
        if self.reason is None:
            self.cards = macs
        return self.reason

    def perform(self, _: object) -> str | None:
        return None

    def uninstall(self) -> None:
        pass

    def close(self) -> None:
        pass


class FakeClients:
    """Nobody is connected, and nobody is asked."""

    sent = unsent = 0

    def perform(self, order: object) -> None:
        pass

    def withhold(self, vip: Vip) -> None:
        pass

    def close(self) -> None:
        pass


class FakeSegment:
    """Remembers on which links it listens, and for whom."""

    sent = 0
    unsent = 0

    def __init__(self) -> None:
        self.watched: dict[int, tuple[Vip, ...]] = {}

    def watch_link(self, link: LinkState, vips: Iterable[Vip]) -> None:
        self.watched[link.index] = tuple(vips)

    def look(self) -> None:
        """Nothing has come."""

    def forget_link(self, index: int) -> None:
        self.watched.pop(index, None)

    def perform(self, _: object) -> None:
        pass

    def withhold(self, _: object) -> None:
        pass

    def close(self) -> None:
        self.watched.clear()


class FakeEtcd:
    """Takes orders and never answers."""

    def __init__(self) -> None:
        self.orders: list[Command] = []
        self.counts = RequestCounts()

    def perform(self, order: Command) -> None:
        self.orders.append(order)

    def use_tls(self, _: object) -> None:
        pass

    async def close(self) -> None:
        pass


class Stage:
    """An agent that may begin. `said` is every line for the operator, `orders` everything for etcd.

    `etcd` is made out of the queue's `emit` if it is not the fake that never answers.
    """

    def __init__(
        self,
        directory: Path,
        config: Config | None = None,
        *,
        state: StateDirectory | None = None,
        view: View | None = None,
        etcd: Callable[[Callable[[Event], None]], EtcdClient] | None = None,
        read: Callable[..., Any] = load,
        start: Start | None = None,
    ) -> None:
        config = config or config_at(directory)
        file = directory / "vip.yaml"
        self.kept = KeptDocuments(directory / "kept", [file])
        start = start or Start({str(file): file.read_text() if file.exists() else ""})
        self.state = state or StateDirectory(config.state_dir)
        self.state.open()
        self.said: list[Report] = []
        self.queue = Queue()
        self.reports = Reports(self.said.append, lambda _: None)
        self.kernel = FakeNetlink(view)
        self.fence = FakeFence()
        played: Any = FakeEtcd() if etcd is None else etcd(self.queue.emit)
        self.orders: list[Command] = getattr(played, "orders", [])
        clock = Clock()
        self.world = World(
            clock=clock,
            notifier=Notifier({}),
            state=self.state,
            netlink=self.kernel,  # type: ignore[arg-type]
            fence=self.fence,  # type: ignore[arg-type]
            segment=FakeSegment(),  # type: ignore[arg-type]
            clients=FakeClients(),  # type: ignore[arg-type]
            etcd=played,
            peers=PeerSocket(
                config.peer.listen_host,
                config.peer.listen_port,
                self.queue.emit_at_once,
                clock.now,
                self.reports.tell,
                self.queue.wake,
                retry_s=0.05,
            ),
            probes=ProbeRunner(config.health_checks, self.queue.emit, clock.now, locate_api_server),
            hooks=HookRunner(hook_commands(config), self.queue.emit),
        )
        self.agent: Agent = put_together(
            config, [directory / "vip.yaml"], self.world, self.queue, self.reports, read, start=start, kept=self.kept
        )

    @property
    def node(self) -> Node:
        """The core of this agent."""
        return self.agent._node

    @property
    def config(self) -> Config:
        """The documents that it runs by."""
        return self.agent._reload.config

    def status(self) -> Status:
        """The status document."""
        return StatusPage(self.node, self.world, self.reports, self.agent._reload).document()

    def order(self, *orders: Command) -> None:
        """What the core might order."""
        self.agent._loop._execute(orders)

    async def reload(self) -> tuple[bool, str]:
        """Have the documents read again."""
        return await self.agent._reload.reload()

    def having(self, *words: str) -> list[Report]:
        return [each for each in self.said if all(word in f"{each.text}: {each.reason}" for word in words)]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110  # the condition belongs to the code under test
                await asyncio.sleep(0.002)


@asynccontextmanager
async def running(
    directory: Path, config: Config | None = None, **played: Any
) -> AsyncIterator[tuple[Stage, asyncio.Task[bool]]]:
    """The agent in a task, with the worlds that `Stage` plays."""
    stage = Stage(directory, config, **played)
    task = asyncio.create_task(stage.agent.run())
    try:
        yield stage, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        stage.state.close()
