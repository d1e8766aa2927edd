"""The agent's status document and metrics: the core's view, with what only the agent knows.

Must never: change anything, or wait for anything; it works while etcd is away.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sharedip.adapters.api.metrics import render_metrics
from sharedip.agent.reports import Reports
from sharedip.agent.settings import describe_tags
from sharedip.agent.world import World
from sharedip.core.messages import Level
from sharedip.core.model import FenceKind
from sharedip.core.node import Node
from sharedip.core.view import view

if TYPE_CHECKING:
    from sharedip.core.status import ChangeStatus, FenceStatus, Status, VipStatus, VipView


class StatusPage:
    """Made once; `document` and `metrics` are built at each call."""

    def __init__(self, node: Node, world: World, reports: Reports) -> None:
        self._node = node
        self._world = world
        self._reports = reports
        self._started_at = world.clock.now()
        self._started = datetime.now(UTC)

    def document(self) -> Status:
        """The status document (`docs/commands.md` lists its fields)."""
        now, wall = self._world.clock.now(), datetime.now(UTC)
        known = view(self._node, now)
        return {
            **known,
            "health": {**known["health"], "checks": self._world.probes.view()["checks"]},
            "vips": [_dated(vip, wall) for vip in known["vips"]],
            "pid": os.getpid(),
            "started_at": self._started.isoformat(timespec="milliseconds"),
            "uptime_s": now - self._started_at,
            "fence": self._fence_document(),
            "counters": self._counters(),
        }

    def metrics(self) -> str:
        """The same in Prometheus's text format."""
        return render_metrics(self.document())

    def _fence_document(self) -> FenceStatus:
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
            "datagrams_strange": self._node.inbox.strange_datagrams,
            "frames_sent": self._world.segment.sent,
            "frames_unsent": self._world.segment.unsent,
            "log_warnings": self._reports.counts[Level.WARNING],
            "log_errors": self._reports.counts[Level.ERROR],
        }


def _dated(vip: VipView, wall: datetime) -> VipStatus:
    """With the wall-clock time of each change, by which people compare it with other logs."""
    changes: list[ChangeStatus] = [
        {
            "text": change["text"],
            "at": (wall - timedelta(seconds=change["age_s"])).isoformat(timespec="milliseconds"),
        }
        for change in vip["changes"]
    ]
    return {**vip, "changes": changes}
