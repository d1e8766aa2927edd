"""The agent's status document and metrics: the core's view, with what only the agent knows.

Must never: change anything, or wait for anything; it works while etcd is away.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from sharedip.adapters.api.metrics import render_metrics
from sharedip.adapters.clock import Clock
from sharedip.adapters.kernel.netlink import Netlink
from sharedip.adapters.kernel.nftables import Fence
from sharedip.adapters.kernel.packet import Segment
from sharedip.adapters.peer import PeerSocket
from sharedip.adapters.probes.runner import ProbeRunner
from sharedip.agent.settings import describe_tags
from sharedip.core.messages import Report
from sharedip.core.model import FenceKind
from sharedip.core.node import Node
from sharedip.core.view import view


class StatusPage:
    """Made once; `document` and `metrics` are made anew at each call."""

    def __init__(
        self,
        node: Node,
        clock: Clock,
        probes: ProbeRunner,
        peers: PeerSocket,
        segment: Segment,
        fence: Fence,
        netlink: Netlink,
    ) -> None:
        self._node = node
        self._clock = clock
        self._probes = probes
        self._peers = peers
        self._segment = segment
        self._fence = fence
        self._netlink = netlink
        self._started_at = clock.now()
        self._started = datetime.now(UTC)
        self._reports: Counter[str] = Counter()

    def count(self, report: Report) -> None:
        """One more line for the operator."""
        self._reports[report.level.value] += 1

    def document(self) -> dict[str, Any]:
        """The status document (`docs/commands.md` lists its fields)."""
        now, wall = self._clock.now(), datetime.now(UTC)
        document = view(self._node, now)
        document["pid"] = os.getpid()
        document["started_at"] = self._started.isoformat(timespec="milliseconds")
        document["uptime_s"] = now - self._started_at
        health = self._probes.view()
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
            again = self._fence.reinstalled
            detail = "closes within milliseconds, address lifetimes underneath"
            if again:
                detail += f"; somebody changed its rules, set up again {again} time" + ("s" if again > 1 else "")
            for words in self._fence.missing:
                detail += f"; this kernel lacks {words}"
        else:
            detail = "address lifetimes of whole seconds"
            if self._fence.why_not is not None:
                detail += f"; no nftables: {self._fence.why_not}"
        for report in describe_tags(are_kept=self._netlink.tags_stick):
            detail += f"; {report.text}"
        return {"kind": settings.fence.value, "detail": detail}

    def _counters(self) -> dict[str, float]:
        return {
            "datagrams_sent": self._peers.sent,
            "datagrams_unsent": self._peers.unsent,
            "datagrams_received": self._peers.received,
            "datagrams_strange": self._node.post.strange_datagrams,
            "frames_sent": self._segment.sent,
            "frames_unsent": self._segment.unsent,
            "log_warnings": self._reports["warning"],
            "log_errors": self._reports["error"],
        }
