"""The documents, read again while the agent runs.

Role: a set that is sound, fits this node and can be taken over goes to the core, to what guards it and to the adapters;
any other is refused as a whole, and the old one runs on.
Must never: tell the core of an address that is not guarded yet.
Counterparts: `config/model.py` (each field says whether it may change), `config/load.py`, `guard.py`, `reach.py`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from sharedip.adapters.kernel.netlink import Netlink
from sharedip.adapters.notify import Notifier
from sharedip.adapters.probes.runner import ProbeRunner
from sharedip.agent.documents import judge, warnings
from sharedip.agent.guard import VipGuard
from sharedip.agent.reach import Reach
from sharedip.agent.reports import Reports
from sharedip.agent.settings import BEGINNING_S, choose_settings, describe_default_checks, with_default_checks
from sharedip.agent.tickets import Answer
from sharedip.config.certificates import ApiServerFiles
from sharedip.config.load import Loaded
from sharedip.config.model import Config
from sharedip.config.problems import Problem
from sharedip.core.messages import Event, SettingsChanged
from sharedip.core.node import Node

CHANGES_SHOWN_MAX = 10


class Reload:
    """Invariant: `config` is what the agent runs by. `emit` takes the fact that it has changed."""

    def __init__(
        self,
        config: Config,
        paths: Sequence[Path],
        load: Callable[[Sequence[Path], str], Loaded],
        *,
        node: Node,
        netlink: Netlink,
        probes: ProbeRunner,
        notifier: Notifier,
        guard: VipGuard,
        reach: Reach,
        reports: Reports,
        emit: Callable[[Event], None],
        locate_api_server: Callable[[], ApiServerFiles | None],
    ) -> None:
        self.config = config
        self._paths = paths
        self._load = load
        self._node = node
        self._netlink = netlink
        self._probes = probes
        self._notifier = notifier
        self._guard = guard
        self._reach = reach
        self._reports = reports
        self._emit = emit
        self._locate = locate_api_server
        self._lock = asyncio.Lock()

    async def reload(self) -> Answer:
        """Whether it was taken over, and in words what changed, or why nothing did.

        One after the other: of two at once the one that read the older documents might come last.
        """
        async with self._lock:
            self._notifier.reloading()
            try:
                return await self._reload_alone()
            finally:
                self._notifier.ready()

    async def _reload_alone(self) -> Answer:
        loaded = await asyncio.to_thread(self._load, self._paths, socket.gethostname())
        if loaded.config is None:
            return _refused(loaded.problems)
        config = with_default_checks(loaded.config, self._locate)
        stuck = what_needs_a_restart(self.config, config)
        if stuck:
            return False, f"reload refused: {', '.join(stuck)} can only change with a restart (which keeps the address)"
        # With or without a tag, which older kernels do not keep: what this agent holds is not the node's own.
        verdict = judge(config, self._netlink, self._node.may_stand())
        if verdict.errors:
            return _refused(verdict.errors)
        for report in warnings(verdict):
            self._reports.tell(report)
        if config == self.config:
            return True, "reloaded: nothing changed"
        changes = what_changed(self.config, config)
        unguarded = await self._take_over(config)
        if unguarded is not None:
            return _refused([f"the nftables fence: {unguarded}"])
        shown = changes[:CHANGES_SHOWN_MAX]
        more = f" and {len(changes) - len(shown)} more" if len(changes) > len(shown) else ""
        return True, f"reloaded: {', '.join(shown)}{more}"

    async def look_for_control_plane(self) -> None:
        """It may have come after the agent (kubeadm init), and the documents leave open what to check."""
        async with self._lock:
            config = with_default_checks(self.config, self._locate, beginning_s=BEGINNING_S)
            if config is not self.config and await self._take_over(config) is None:
                for report in describe_default_checks(config):
                    self._reports.tell(report)

    async def _take_over(self, config: Config) -> str | None:
        """Let the core have it; None, or why nothing was taken over."""
        own_addresses = {record.address for record in self._netlink.view.addresses.values()}
        settings = choose_settings(config, self._node.settings.fence, own_addresses)
        reason = self._guard.widen(settings)
        if reason is not None:
            return reason
        self._reach.use(config.peer, settings.vips)
        self.config = config
        self._emit(SettingsChanged(settings))
        news = self._reach.look()
        if news is not None:
            self._emit(news)
        await self._probes.reconfigure(config.health_checks)
        return None


def _refused(reasons: Collection[Problem | str]) -> Answer:
    return False, "\n".join(["reload refused, the former configuration runs on:", *map(str, reasons)])


def what_changed(before: Config, after: Config) -> list[str]:
    """What a reload changes, in the words of the documents; each VIP by itself."""
    old, new = ({vip.address: vip.link for vip in config.vips} for config in (before, after))
    words = [f"{address} added" for address in new if address not in old]
    words += [f"{address} removed" for address in old if address not in new]
    words += [f"{address} to {new[address]}" for address in new if old.get(address, new[address]) != new[address]]
    return [*words, *(name for name in _differing(before, after, reloadable=True) if name != "vips")]


def what_needs_a_restart(before: Config, after: Config) -> list[str]:
    """The fields that differ and cannot change in a running agent."""
    return _differing(before, after, reloadable=False)


def _differing(before: Config, after: Config, *, reloadable: bool) -> list[str]:
    pairs = ((about, getattr(a, about.name) != getattr(b, about.name)) for about, a, b in _fields(before, after))
    differ = (about.metadata for about, differs in pairs if differs)
    return list(dict.fromkeys(str(said["name"]) for said in differ if said["reloadable"] is reloadable))


def _fields(before: Any, after: Any) -> Iterator[tuple[Field[Any], Any, Any]]:
    """Every field that says whether it is reloadable, with whose it is; those of sections in the section's place."""
    for about in fields(before):
        if about.metadata:
            yield about, before, after
        elif about.compare:
            yield from _fields(getattr(before, about.name), getattr(after, about.name))
