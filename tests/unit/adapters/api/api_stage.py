"""A status document as the agent gives it, and an API on a stage: real sockets, a fake agent."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from sharedip.adapters.api import Api, render_metrics
from sharedip.core.messages import Report
from sharedip.core.status import PlaceStatus, Status, VipStatus

VIP: VipStatus = {
    "address": "192.168.0.15",
    "link": "enp0s2",
    "link_state": "up",
    "role": "owner",
    "owner": "n1",
    "epoch": 4711,
    "queue": ["n1", "n2", "n3"],
    "right_remaining_s": 13.2,
    "witnesses": ["n2"],
    "silent": [],
    "address_present": True,
    "conflict": None,
    "strays": [],
    "contested": None,
    "unseen": None,
    "removals": {"count": 0, "age_s": None, "by": ""},
    "reason": "n2 released it",
    "since_s": 754.2,
    "changes": [
        {"at": "2026-11-21T02:59:31.204Z", "text": "n2 took 192.168.0.15: n1 released it, epoch 4690 → 4702"},
        {"at": "2026-11-21T03:12:05.123Z", "text": "n1 took 192.168.0.15: n2 released it, epoch 4702 → 4711"},
    ],
}
PLACE: PlaceStatus = {
    "link": "enp0s2",
    "family": 4,
    "heard": ["n2", "n3"],
    "silent": [],
    "mute": [],
    "better": [],
    "gateway": None,
    "flaw": "",
}
STATUS: Status = {
    "version": "0.1.0",
    "node": "n1",
    "pid": 812,
    "started_at": "2026-11-21T02:40:00.000Z",
    "uptime_s": 2679.0,
    "state": "ready",
    "detail": "",
    "drained": False,
    "health": {
        "healthy": True,
        "detail": "2 of 2 checks pass",
        "checks": [
            {
                "name": "kube-apiserver",
                "healthy": True,
                "ailment": None,
                "detail": "answered 200",
                "since_s": 2670.1,
                "by_default": "/etc/kubernetes/pki, port 6443",
            },
            {
                "name": "script",
                "healthy": True,
                "ailment": None,
                "detail": "exit 0: disk fine",
                "since_s": 2669.0,
                "by_default": "",
            },
        ],
    },
    "etcd": {
        "connected": True,
        "endpoint": "https://127.0.0.1:2379",
        "endpoints": ["https://127.0.0.1:2379", "https://192.168.0.12:2379"],
        "raft_term": 4,
        "revision": 8123,
        "detail": "",
        "takes_writes": True,
        "full_s": None,
    },
    "lease": {"id": "694d8a1f2c3b4e05", "ttl_s": 15, "remaining_s": 13.2},
    "places": [PLACE],
    "fence": {"kind": "lifetime", "detail": "the kernel removes the address at the end of its lifetime"},
    "vips": [VIP],
    "counters": {"takeovers": 2, "etcd_requests": 1834},
}


def place(**changes: Any) -> PlaceStatus:
    """A sound place with some fields replaced."""
    return cast(PlaceStatus, {**PLACE, **changes})


def status(**changes: Any) -> Status:
    """A sound status with some fields replaced."""
    return cast(Status, {**copy.deepcopy(STATUS), **changes})


def vip(**changes: Any) -> VipStatus:
    """The VIP of the sound status with some fields replaced."""
    return cast(VipStatus, {**copy.deepcopy(VIP), **changes})


@dataclass
class FakeAgent:
    """What the API asks: a status that tests change, and a list of what it was told to do."""

    document: Status = field(default_factory=status)
    operations: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    verdict: tuple[bool, str] = (True, "done")
    reports: list[Report] = field(default_factory=list)

    async def operate(self, name: str, arguments: dict[str, object]) -> tuple[bool, str]:
        self.operations.append((name, arguments))
        return self.verdict

    def api(self, idle_s: float = 10.0) -> Api:
        return Api(
            lambda: self.document,
            self.operate,
            lambda: render_metrics(self.document),
            self.reports.append,
            idle_s=idle_s,
            retry_s=0.01,
        )


@asynccontextmanager
async def stage(directory: Path, agent: FakeAgent, idle_s: float = 10.0) -> AsyncIterator[Api]:
    """An API on `agent.sock` in the directory and on a TCP port of the kernel's choice."""
    api = agent.api(idle_s)
    await api.start_unix(directory / "agent.sock")
    await api.start_tcp("127.0.0.1", 0)
    try:
        yield api
    finally:
        await api.close()
