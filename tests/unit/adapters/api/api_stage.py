"""A status document as the agent gives it, and an API on a stage: real sockets, a fake agent."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from sharedip.adapters.api import Api
from sharedip.core.messages import Report
from sharedip.core.status import AgentStatus, PlaceStatus, ProblemStatus, Status, VipStatus, WindowStatus
from sharedip.core.steps import Steps

VIP: VipStatus = {
    "address": "192.168.0.15",
    "link": "enp0s2",
    "link_state": "up",
    "role": "owner",
    "standing": "up",
    "down_s": None,
    "crash_s": 1.101,
    "crash_least_s": 0.8,
    "takeovers": {"handed_over": 2, "deposed": 1},
    "explained": ["192.168.0.15 is on n1 (n2 released it)."],
    "leads_etcd": False,
    "lease_s": 15.6,
    "without_etcd_s": 13.2,
    "etcd_members": 3,
    "etcd_ends_after": 2,
    "next": [{"node": "n2", "unsound": ""}, {"node": "n3", "unsound": ""}],
    "owner": "n1",
    "epoch": 4711,
    "queue": ["n1", "n2", "n3"],
    "right_remaining_s": 13.2,
    "witnesses": ["n2"],
    "silent": [],
    "address_present": True,
    "conflict": None,
    "strays": [],
    "clients": {"count": 0, "told_to": [], "tickled": 0},
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


def node(name: str, **changes: Any) -> AgentStatus:
    """A sound agent of the cluster with some fields replaced."""
    sound = {"node": name, "healthy": True, "drained": False, "leads_etcd": False, "is_silent": False, "is_lost": False}
    return cast(AgentStatus, {**sound, **changes})


WINDOW: WindowStatus = {
    "configured_s": 1.0,
    "now_s": 1.0,
    "could_keep_s": 0.3,
    "late_s": 0.012,
    "late_node": "n3",
    "answer_s": 0.041,
    "answer_node": "n1",
    "explained": "This cluster could keep a window of 300 ms: in the last day n3 was late by up to 12 ms and a witness "
    "took up to 41 ms to answer n1.",
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
    "paused": None,
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
        "certificate": None,
    },
    "lease": {"id": "694d8a1f2c3b4e05", "ttl_s": 15, "remaining_s": 13.2},
    "places": [PLACE],
    "clients_left_out": 0,
    "nodes": [node("n1", leads_etcd=True), node("n2"), node("n3")],
    "requests": {"within": {"0.001": 3, "1": 5}, "count": 6, "sum_s": 2.125, "failures": {"timeout": 1}},
    "documents": {"refused": None, "paths": ["/etc/sharedip"], "history": None},
    "fence": {"kind": "lifetime", "detail": "the kernel removes the address at the end of its lifetime"},
    "window": WINDOW,
    "vips": [VIP],
    "problems": [],
    "counters": {"takeovers": 2, "etcd_requests": 1834},
}


def place(**changes: Any) -> PlaceStatus:
    """A sound place with some fields replaced."""
    return cast(PlaceStatus, {**PLACE, **changes})


def problem(text: str = "n2 is unhealthy", **changes: Any) -> ProblemStatus:
    """One that has lasted for a while."""
    sound = {"code": "unhealthy", "node": "n2", "vips": [], "link": "", "text": text, "remedy": "mend it"}
    return cast(ProblemStatus, {**sound, "for_s": 12.0, "since": "2026-11-21T03:12:05.123Z", **changes})


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
    rendered: int = 0

    async def operate(self, name: str, arguments: dict[str, object]) -> tuple[bool, str]:
        self.operations.append((name, arguments))
        return self.verdict

    def _document(self) -> Steps[Status]:
        self.rendered += 1
        yield
        return cast(Status, {**self.document})

    def api(self, idle_s: float = 10.0) -> Api:
        return Api(
            self._document,
            self.operate,
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
