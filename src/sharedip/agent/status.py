"""The agent's status document: the core's view, with what only the agent knows.

Must never: change anything, or wait for anything; it works while etcd is away.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sharedip.agent.reload import Reload
from sharedip.agent.reports import Reports
from sharedip.agent.settings import describe_tags
from sharedip.agent.world import World
from sharedip.core.explanation import explained, window_explained
from sharedip.core.messages import Level
from sharedip.core.model import FenceKind
from sharedip.core.node import Node
from sharedip.core.steps import Steps, to_the_end
from sharedip.core.view import view_in_steps

if TYPE_CHECKING:
    from sharedip.core.status import ChangeStatus, FenceStatus, RequestsStatus, Status, VipStatus, VipView


class StatusPage:
    """Made once; the document is built at each call."""

    def __init__(self, node: Node, world: World, reports: Reports, reload: Reload) -> None:
        self._node = node
        self._world = world
        self._reports = reports
        self._reload = reload
        self._started_at = world.clock.now()
        self._started = datetime.now(UTC)

    def document(self) -> Status:
        """The status document (`docs/commands.md` lists its fields)."""
        return to_the_end(self.document_in_steps())

    def document_in_steps(self) -> Steps[Status]:
        """The same, a VIP a step."""
        known = yield from view_in_steps(self._node, self._world.clock.now)
        now, wall = self._world.clock.now(), datetime.now(UTC)
        vips: list[VipStatus] = []
        for vip in known["vips"]:
            vips.append(_dated(vip, wall, known["node"], known["lease"]["ttl_s"]))
            yield
        return {
            **known,
            "health": {**known["health"], "checks": self._world.probes.view()["checks"]},
            "window": {**known["window"], "explained": window_explained(known["window"])},
            "vips": vips,
            "problems": [{**each, "since": _at(each["for_s"], wall)} for each in known["problems"]],
            "pid": os.getpid(),
            "started_at": self._started.isoformat(timespec="milliseconds"),
            "uptime_s": now - self._started_at,
            "documents": self._reload.document(),
            "requests": self._requests(),
            "fence": self._fence_document(),
            "counters": self._counters(),
        }

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

    def _requests(self) -> RequestsStatus:
        counts = self._world.etcd.counts
        return {
            "within": {f"{bound_s:g}": count for bound_s, count in counts.within.items()},
            "count": counts.count,
            "sum_s": counts.sum_s,
            "failures": {failure.name.lower(): count for failure, count in counts.failures.items()},
        }

    def _counters(self) -> dict[str, float]:
        return {
            "datagrams_sent": self._world.peers.sent,
            "datagrams_unsent": self._world.peers.unsent,
            "datagrams_received": self._world.peers.received,
            "datagrams_dropped": self._world.peers.dropped,
            "datagrams_strange": self._node.inbox.strange_datagrams,
            "frames_sent": self._world.segment.sent,
            "frames_unsent": self._world.segment.unsent,
            "tickles_sent": self._world.clients.sent,
            "tickles_unsent": self._world.clients.unsent,
            "log_warnings": self._reports.counts[Level.WARNING],
            "log_errors": self._reports.counts[Level.ERROR],
            "log_suppressed": self._reports.suppressed(),
        }


def _at(age_s: float | None, wall: datetime) -> str | None:
    return None if age_s is None else (wall - timedelta(seconds=age_s)).isoformat(timespec="milliseconds")


def _dated(vip: VipView, wall: datetime, node: str, ttl_s: float) -> VipStatus:
    """With the wall-clock time of each change, by which people compare it with other logs; and in sentences."""
    changes: list[ChangeStatus] = [
        {
            "text": change["text"],
            "at": (wall - timedelta(seconds=change["age_s"])).isoformat(timespec="milliseconds"),
        }
        for change in vip["changes"]
    ]
    return {**vip, "changes": changes, "explained": list(explained(vip, changes, node, ttl_s))}
