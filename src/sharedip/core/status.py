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
    certificate: CertificateStatus | None


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


class NextStatus(TypedDict):
    """A candidate behind the owner; `unsound`: why it had better not be the next owner, empty if nothing is known."""

    node: str
    unsound: str


class ProblemView(TypedDict):
    """What is wrong and still holds (`core/problems.py`). `node`: whose it is; `vips`, `link`: what it is about; each
    empty if none. `remedy`: what to do, empty where nothing helps but its end. `for_s`: None where that is not known.
    """

    code: str
    node: str
    vips: list[str]
    link: str
    text: str
    remedy: str
    for_s: float | None


class ProblemStatus(ProblemView):
    """The same, dated by the wall clock for people."""

    since: str | None


class CertificateStatus(TypedDict):
    """The client certificate or CA for etcd that ends first; `left_s` is negative once it has."""

    file: str
    left_s: float


class RecentChange(TypedDict):
    """A change, timed by its age, as the core knows it."""

    age_s: float
    text: str


class ChangeStatus(TypedDict):
    """A change, timed by the wall clock, for people."""

    text: str
    at: str


class ClientsStatus(TypedDict):
    """TCP connections on the VIP that have stood for 10 s. `count`: how many this node knows of, as the owner that sees
    them, or as a candidate that was told; `told_to`: who knows all of an owner's. `tickled`: how many clients of former
    owners, whose resets did not reach them, this agent has told.
    """

    count: int
    told_to: list[str]
    tickled: int


class _Vip(TypedDict):
    """`standing`: `up`, `down` or `unknown`, wherever the address is; `down_s`: for how long it is down, else None.
    `crash_s`: at most so long a crash of its owner takes now, `crash_least_s`: seldom less; None: nobody takes it, or
    that is not known; `leads_etcd`: after an election of etcd. `lease_s`: the same by the lease alone.
    `without_etcd_s`: for how long the owner keeps it if etcd goes now; None elsewhere. `etcd_members`: how many
    are known; `etcd_ends_after` the deaths of so many machines, first the owner's, then the next one's, no majority of
    them is left; None: after neither.
    """

    address: str
    link: str
    link_state: str
    role: str
    standing: str
    down_s: float | None
    crash_s: float | None
    crash_least_s: float | None
    leads_etcd: bool
    lease_s: float | None
    without_etcd_s: float | None
    etcd_members: int
    etcd_ends_after: int | None
    next: list[NextStatus]
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
    clients: ClientsStatus
    removals: Removals
    takeovers: dict[str, int]
    reason: str
    since_s: float


class VipView(_Vip):
    """One VIP, without wall-clock times."""

    changes: list[RecentChange]


class VipStatus(_Vip):
    """One VIP. `explained`: who has it and what follows if something dies, in sentences."""

    changes: list[ChangeStatus]
    explained: list[str]


class AgentStatus(TypedDict):
    """One agent of the cluster. `is_silent`: it is registered, and not heard. `is_lost`: it died, and is not back."""

    node: str
    healthy: bool | None
    drained: bool
    leads_etcd: bool
    is_silent: bool
    is_lost: bool


class PauseStatus(TypedDict):
    """This machine stood still as a whole, by the clock of the node `by`."""

    seconds: float
    by: str
    age_s: float


class WindowView(TypedDict):
    """The witness's window. `configured_s`: None without witnesses; `now_s`: longer for an hour after it was not kept.
    `could_keep_s`: the shortest that would have held in the last day, None where none would or nothing was measured:
    `late_s` and `answer_s` are the longest of all agents, with whose they are.
    """

    configured_s: float | None
    now_s: float | None
    could_keep_s: float | None
    late_s: float | None
    late_node: str
    answer_s: float | None
    answer_node: str


class WindowStatus(WindowView):
    """The same. `explained`: in a sentence."""

    explained: str


class _Node(TypedDict):
    version: str
    node: str
    state: str
    detail: str
    drained: bool
    paused: PauseStatus | None
    health: HealthStatus
    etcd: EtcdStatus
    lease: LeaseStatus
    places: list[PlaceStatus]
    nodes: list[AgentStatus]


class NodeView(_Node):
    """The document without what the agent adds. `clients_left_out`: connections beyond those told to others."""

    clients_left_out: int
    window: WindowView
    vips: list[VipView]
    problems: list[ProblemView]


class RequestsStatus(TypedDict):
    """Requests to etcd since the start. `within`: those answered, by the seconds of each bound and below."""

    within: dict[str, int]
    count: int
    sum_s: float
    failures: dict[str, int]


class DocumentsStatus(TypedDict):
    """The documents on disk. `paths`: where they are; `history`: the file of the changes of owner, or None."""

    refused: str | None
    paths: list[str]
    history: str | None


class Status(_Node):
    """The whole document, as the API gives it."""

    clients_left_out: int
    window: WindowStatus
    vips: list[VipStatus]
    problems: list[ProblemStatus]
    pid: int
    started_at: str
    uptime_s: float
    documents: DocumentsStatus
    requests: RequestsStatus
    fence: FenceStatus
    counters: dict[str, float]
