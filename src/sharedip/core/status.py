"""The status document: every field that people, scripts and metrics may rely on (`docs/commands.md`).

Role: the vocabulary between the core's view, the agent, its API and the commands, so that a field that is misspelt or
gone is a type error. Must never: carry behaviour, or be imported at run time: types cost the agent a hundred kilobytes.
Counterparts: `view.py` fills in what the core knows, `agent/status.py` the rest; `adapters/api` and `cli` show it.
"""

from __future__ import annotations

from typing import TypedDict


class CheckStatus(TypedDict):
    """One health check.

    `ailment`: how it fails, `dead` or `slow`; None unless it does. `by_default`: where the control plane was found for
    which it is on though no document names it; else empty.
    """

    name: str
    healthy: bool | None
    ailment: str | None
    detail: str
    since_s: float
    by_default: str


class HealthStatus(TypedDict):
    """All health checks together; `healthy` is None while it is not known."""

    healthy: bool | None
    detail: str
    checks: list[CheckStatus]


class EtcdStatus(TypedDict):
    """`detail` says what is wrong while it is not connected. `takes_writes`: false while its database is full, since
    `full_s` ago.
    """

    connected: bool
    endpoint: str
    endpoints: list[str]
    raft_term: int
    revision: int
    detail: str
    takes_writes: bool
    full_s: float | None


class LeaseStatus(TypedDict):
    """`id` in hex, None without a lease."""

    id: str | None
    ttl_s: int
    remaining_s: float


class FenceStatus(TypedDict):
    """The kind of fence, and a detail for people."""

    kind: str
    detail: str


class ConflictStatus(TypedDict):
    """A stranger that claims the address."""

    mac: str
    age_s: float
    count: int


class PlaceStatus(TypedDict):
    """One link that carries VIPs, in one family. `silent`: who was heard there and is no more; `mute`: whose node
    answers there while datagrams are lost; `better`: who should rather have the addresses there; `gateway`: whether
    the next hop answers, None while that is not asked; `flaw`: why this node can't serve there, empty if it can.
    """

    link: str
    family: int
    heard: list[str]
    silent: list[str]
    mute: list[str]
    better: list[str]
    gateway: bool | None
    flaw: str


class UnseenStatus(TypedDict):
    """A VIP whose owner answers for itself and not for it. `by`: the nodes that have seen it so."""

    what: str
    by: list[str]


class Removals(TypedDict):
    """How often something else took the address off its owner's link."""

    count: int
    age_s: float | None
    by: str


class RecentChange(TypedDict):
    """A change, timed by its age, as the core knows it."""

    age_s: float
    text: str


class ChangeStatus(TypedDict):
    """A change, timed by the wall clock, for people."""

    text: str
    at: str


class _Vip(TypedDict):
    address: str
    link: str
    link_state: str
    role: str
    owner: str | None
    epoch: int | None
    queue: list[str]
    right_remaining_s: float | None
    witnesses: list[str]
    silent: list[str]
    address_present: bool
    conflict: ConflictStatus | None
    strays: list[str]
    contested: str | None
    unseen: UnseenStatus | None
    removals: Removals
    reason: str
    since_s: float


class VipView(_Vip):
    """One VIP, without wall-clock times."""

    changes: list[RecentChange]


class VipStatus(_Vip):
    """One VIP."""

    changes: list[ChangeStatus]


class _Node(TypedDict):
    version: str
    node: str
    state: str
    detail: str
    drained: bool
    health: HealthStatus
    etcd: EtcdStatus
    lease: LeaseStatus
    places: list[PlaceStatus]


class NodeView(_Node):
    """The document without what the agent adds."""

    vips: list[VipView]


class Status(_Node):
    """What the agent knows."""

    vips: list[VipStatus]
    pid: int
    started_at: str
    uptime_s: float
    fence: FenceStatus
    counters: dict[str, float]


class DiagnosedStatus(Status):
    """The whole document, as the API gives it."""

    problems: list[str]
