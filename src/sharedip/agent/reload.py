"""The documents, read again while the agent runs.

Role: a set that is sound, fits this node and can be taken over goes to the core, to what guards it and to the adapters;
any other is refused as a whole, and the old one runs on.
Must never: tell the core of an address that is not guarded yet.
Counterparts: `config/model.py` (each field says whether it may change), `config/load.py`, `guard.py`, `reach.py`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any

from sharedip.adapters.kept import KeptDocuments
from sharedip.adapters.kernel.netlink import Netlink
from sharedip.adapters.notify import Notifier
from sharedip.adapters.probes.hooks import HookRunner
from sharedip.adapters.probes.runner import ProbeRunner
from sharedip.agent.documents import judge, warnings
from sharedip.agent.guard import VipGuard
from sharedip.agent.reach import Reach
from sharedip.agent.reports import Reports
from sharedip.agent.settings import (
    BEGINNING_S,
    choose_settings,
    describe_default_checks,
    hook_commands,
    with_default_checks,
)
from sharedip.agent.tickets import Answer
from sharedip.config.certificates import ApiServerFiles
from sharedip.config.files import Signature, signature_of
from sharedip.config.load import Loaded, Start
from sharedip.config.model import Config
from sharedip.config.problems import Problem
from sharedip.core.messages import DocumentsJudged, Event, SettingsChanged
from sharedip.core.node import Node
from sharedip.core.status import DocumentsStatus

CHANGES_SHOWN_MAX = 10
REFUSED_LOOKS = 12
"""Documents that are refused are judged again at every twelfth look (a minute): links and addresses change, too."""


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
        hooks: HookRunner,
        notifier: Notifier,
        guard: VipGuard,
        reach: Reach,
        reports: Reports,
        emit: Callable[[Event], None],
        locate_api_server: Callable[[], ApiServerFiles | None],
        start: Start,
        kept: KeptDocuments | None,
        history_at: str | None,
    ) -> None:
        """Without `kept` no copy of the documents is kept anywhere."""
        self.config = config
        self._paths = paths
        self._load = load
        self._node = node
        self._netlink = netlink
        self._probes = probes
        self._hooks = hooks
        self._notifier = notifier
        self._guard = guard
        self._reach = reach
        self._reports = reports
        self._emit = emit
        self._locate = locate_api_server
        self._lock = asyncio.Lock()
        self._start = start
        self._kept = kept
        self._history_at = history_at
        self._judged = DocumentsJudged(start.refused)
        self._seen: Signature | None = None
        self._seen_judged: Signature | None = None
        self._looks = 0

    @property
    def refused(self) -> str:
        """Why the documents on disk can't be taken over; empty: they can, as far as they have been read."""
        return self._judged.refused

    def document(self) -> DocumentsStatus:
        """For the status document."""
        paths = [os.path.abspath(path) for path in self._paths]
        return {"refused": self.refused or None, "paths": paths, "history": self._history_at}

    async def begin(self) -> None:
        """The run has begun, by these documents: keep them, if they are those on disk."""
        async with self._lock:
            self._seen_judged = self._seen = await asyncio.to_thread(signature_of, self._paths)
            if self._start.refused:
                self._say(self._judged)
            else:
                await self._keep(self._start.texts)

    async def look(self) -> None:
        """Judge the documents on disk if they have changed and stand still: a restart would meet them."""
        async with self._lock:
            seen = await asyncio.to_thread(signature_of, self._paths)
            stands_still, self._seen = seen == self._seen, seen
            self._looks += 1
            is_due = seen != self._seen_judged or (self.refused and self._looks % REFUSED_LOOKS == 0)
            if not stands_still or not is_due:
                return
            self._seen_judged = seen
            reasons = (await self._read())[1]
            self._say(replace(self._judged, refused=str(reasons[0]) if reasons else ""))

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
        self._seen_judged = self._seen = await asyncio.to_thread(signature_of, self._paths)
        loaded, reasons = await self._read(tells=True)
        if loaded.config is None or reasons:
            return self._refuse(reasons)
        config = with_default_checks(loaded.config, self._locate)
        changes = what_changed(self.config, config)
        if config != self.config:
            unguarded = await self._take_over(config)
            if unguarded is not None:
                return self._refuse([f"the nftables fence: {unguarded}"])
        await self._keep(loaded.texts)
        if not changes:
            return True, "reloaded: nothing changed"
        shown = changes[:CHANGES_SHOWN_MAX]
        more = f" and {len(changes) - len(shown)} more" if len(changes) > len(shown) else ""
        return True, f"reloaded: {', '.join(shown)}{more}"

    async def _read(self, *, tells: bool = False) -> tuple[Loaded, Sequence[Problem | str]]:
        """What is on disk, and why it can't be taken over."""
        loaded = await asyncio.to_thread(self._load, self._paths, socket.gethostname())
        if loaded.config is None:
            return loaded, loaded.problems
        config = with_default_checks(loaded.config, self._locate)
        stuck = what_needs_a_restart(self.config, config)
        if stuck:
            return loaded, [f"{', '.join(stuck)} can only change with a restart"]
        # With or without a tag, which older kernels do not keep: what this agent holds is not the node's own.
        verdict = judge(config, self._netlink, self._node.may_stand())
        for report in warnings(verdict) if tells and not verdict.errors else ():
            self._reports.tell(report)
        return loaded, verdict.errors

    def _refuse(self, reasons: Sequence[Problem | str]) -> Answer:
        self._say(replace(self._judged, refused=str(reasons[0])))
        return _refused(reasons)

    async def _keep(self, texts: Mapping[str, str]) -> None:
        """These are in use, and good."""
        unkept = "" if self._kept is None else await asyncio.to_thread(self._kept.keep, texts)
        self._say(DocumentsJudged("", unkept))

    def _say(self, judged: DocumentsJudged) -> None:
        self._judged = judged
        self._emit(judged)

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
        self._hooks.reconfigure(hook_commands(config))
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
