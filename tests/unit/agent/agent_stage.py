"""The agent's own loop with every outside world replaced: facts are put in, orders are read off."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import sharedip.agent.loop as agent_module
from sharedip.adapters.state import StateDirectory
from sharedip.agent.loop import Agent
from sharedip.config.load import parse
from sharedip.config.model import Config
from sharedip.core.messages import Command, Report
from sharedip.core.model import LinkState, Vip

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


class FakeNetlink:
    """A kernel with one link, which remembers what it was told."""

    def __init__(self, emit: Callable[[Any], None], *_: object) -> None:
        self.emit = emit
        self.orders: list[object] = []
        self.removed: list[object] = []
        self.standing: set[Vip] = set()
        self.view = SimpleNamespace(addresses={}, links={LINK.index: LINK})
        self.kept: tuple[object, ...] = ()
        self.held: tuple[object, ...] = ()
        self.tags_stick: bool | None = True
        self.there: frozenset[object] = frozenset()
        self._reader, self._writer = os.pipe()

    def snapshot(self) -> None:
        pass

    def prove_tags(self) -> bool | None:
        return self.tags_stick

    def still_standing(self, addresses: Any) -> frozenset[Any]:
        return self.there & frozenset(addresses)

    def has_ours(self, _: object) -> bool:
        return True

    def remove_leftovers(self, _: object, held: Any = (), keep: Any = ()) -> Any:
        self.held, self.kept = tuple(held), tuple(keep)
        return SimpleNamespace(removed=[], failed=[], foreign=[])

    def perform_many(self, orders: list[object]) -> None:
        self.orders += orders

    def find_link(self, name: str) -> LinkState | None:
        return LINK if name in LINK.names else None

    def addresses_on(self, _: int) -> tuple[()]:
        return ()

    def stands(self, vip: Vip) -> bool:
        return vip in self.standing

    def is_own_mac(self, _: bytes) -> bool:
        return False

    def fileno(self) -> int:
        return self._reader

    def receive(self) -> None:
        pass

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


class Stage:
    """One agent at work. `said` is every line for the operator, `orders` everything for etcd."""

    def __init__(self, agent: Agent, said: list[Report], orders: list[Command]) -> None:
        self.agent = agent
        self.said = said
        self.orders = orders

    @property
    def kernel(self) -> Any:
        """The fake kernel of this agent."""
        return self.agent._netlink

    def having(self, *words: str) -> list[Report]:
        return [each for each in self.said if all(word in f"{each.text}: {each.reason}" for word in words)]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110  # the condition belongs to the code under test
                await asyncio.sleep(0.002)


class FakeEtcd:
    """Takes orders and never answers."""

    orders: list[Command]

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def perform(self, order: Command) -> None:
        self.orders.append(order)

    async def close(self) -> None:
        pass


@asynccontextmanager
async def running(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: Config | None = None,
    *,
    with_etcd: bool = False,
) -> AsyncIterator[tuple[Stage, asyncio.Task[None]]]:
    """The agent in a task; without `with_etcd` nobody answers for etcd."""
    config = config or config_at(directory)
    state = StateDirectory(config.state_dir)
    state.open()
    said: list[Report] = []
    orders: list[Command] = []
    monkeypatch.setattr(agent_module, "Netlink", FakeNetlink)
    monkeypatch.setattr("sharedip.agent.loop.logs.write_report", lambda report, _: said.append(report))
    if not with_etcd:
        made = type("Etcd", (FakeEtcd,), {"orders": orders})
        monkeypatch.setattr(agent_module, "EtcdClient", made)
    agent = Agent(config, [directory / "vip.yaml"], state)
    task = asyncio.create_task(agent.run())
    stage = Stage(agent, said, orders)
    try:
        yield stage, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        state.close()
