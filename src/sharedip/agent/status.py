"""The agent's status document and metrics: the core's view, with what only the agent knows.

Must never: change anything, or wait for anything; it works while etcd is away.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from sharedip.adapters.api.metrics import render_metrics
from sharedip.agent.reports import Reports
from sharedip.agent.settings import describe_tags
from sharedip.agent.world import World
from sharedip.core.messages import Level
from sharedip.core.model import FenceKind
from sharedip.core.node import Node
from sharedip.core.view import view


class StatusPage:
    """Made once; `document` and `metrics` are made anew at each call."""

    def __init__(self, node: Node, world: World, reports: Reports) -> None:
        self._node = node
        self._world = world
        self._reports = reports
        self._started_at = world.clock.now()
        self._started = datetime.now(UTC)

    def document(self) -> dict[str, Any]:
        """The status document (`docs/commands.md` lists its fields)."""
        now, wall = self._world.clock.now(), datetime.now(UTC)
        document = view(self._node, now)
        document["pid"] = os.getpid()
        document["started_at"] = self._started.isoformat(timespec="milliseconds")
        document["uptime_s"] = now - self._started_at
        health = self._world.probes.view()
        document["health"]["checks"] = health.get("checks", [])
        document["fence"] = self._fence_document()
        for vip in document["vips"]:
            for change in vip["changes"]:
                at = wall - timedelta(seconds=change.pop("age_s"))
                change["at"] = at.isoformat(timespec="milliseconds")
        document["counters"] = self._counters()
        return document

    def metrics(self) -> str:
        """The same in Prometheus's text format."""
        return render_metrics(self.document())

    def _fence_document(self) -> dict[str, str]:
        settings = self._node.settings
        if settings.fence is FenceKind.NFTABLES:
            again = self._world.fence.reinstalled
            detail = "closes within milliseconds, address lifetimes underneath"
            if again:
                detail += f"; somebody changed its rules, set up again {again} time" + ("s" if again > 1 else "")
            for words in self._world.fence.missing:
                detail += f"; this kernel lacks {words}"
        else:
            detail = "address lifetimes of whole seconds"
            if self._world.fence.why_not is not None:
                detail += f"; no nftables: {self._world.fence.why_not}"
        for report in describe_tags(are_kept=self._world.netlink.tags_stick):
            detail += f"; {report.text}"
        return {"kind": settings.fence.value, "detail": detail}

    def _counters(self) -> dict[str, float]:
        return {
            "datagrams_sent": self._world.peers.sent,
            "datagrams_unsent": self._world.peers.unsent,
            "datagrams_received": self._world.peers.received,
            "datagrams_strange": self._node.post.strange_datagrams,
            "frames_sent": self._world.segment.sent,
            "frames_unsent": self._world.segment.unsent,
            "log_warnings": self._reports.counts[Level.WARNING],
            "log_errors": self._reports.counts[Level.ERROR],
        }
