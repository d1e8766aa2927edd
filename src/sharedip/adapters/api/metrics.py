"""The status document as Prometheus metrics (text format 0.0.4).

Role: a writer of a hundred lines instead of prometheus_client, whose registry costs 5.3 MB in an agent that has 40.
Must never: read anything but the status document and this process's own /proc entries.
Counterpart: `docs/metrics.md`, which a test compares with this table.

Format: prometheus.io/docs/instrumenting/exposition_formats: a HELP and a TYPE line, then all samples of that name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from sharedip.core.steps import Steps, to_the_end

if TYPE_CHECKING:
    from sharedip.core.status import RequestsStatus, Status, VipStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ROLES = ("owner", "candidate", "taking", "leaving", "lapsed", "out")
COUNTERS = {
    "datagrams_sent": "Datagrams sent to other agents.",
    "datagrams_unsent": "Datagrams to other agents that the kernel did not take.",
    "datagrams_received": "Datagrams received on the peer port.",
    "datagrams_dropped": "Datagrams that the kernel dropped: none of an agent's, for another one, or too many at once.",
    "datagrams_strange": "Datagrams received that are not authentic.",
    "frames_sent": "Announcements and probes sent, as frames.",
    "frames_unsent": "Announcements whose link was down or whose right had ended before their turn came.",
    "tickles_sent": "Packets sent to ask clients of an owner that died.",
    "tickles_unsent": "Such packets that the kernel did not take.",
    "log_warnings": "Warnings that were logged, repeated ones included.",
    "log_errors": "Errors that were logged, repeated ones included.",
    "log_suppressed": "Lines that were not written, because there were too many of their kind.",
}
LINES_PER_STEP = 100
STATES = ("ready", "waiting for etcd", "name taken", "stopping")

_Number = Literal["address_present", "epoch", "right_remaining_s", "crash_s"]
_UP = {"up": True, "down": False}
"""A VIP whose standing is unknown has no sample."""


class Sample(NamedTuple):
    """One value; labels in the order in which they are written."""

    labels: tuple[tuple[str, str], ...]
    value: float | None
    suffix: str = ""
    """Of a histogram's parts."""


class Family(NamedTuple):
    """All samples of one name. Samples without a value are left out: absent is how Prometheus says "cannot tell"."""

    name: str
    kind: str
    help: str
    samples: Iterable[Sample]
    """To be read once."""


def render_metrics(status: Status) -> str:
    """Write the whole exposition."""
    return to_the_end(metrics_in_steps(status)).decode()


def metrics_in_steps(status: Status) -> Steps[bytes]:
    """The same as bytes, a hundred samples a step."""
    lines: list[str] = []
    for family in (*families(status), *process_families()):
        is_begun = False
        for sample in family.samples:
            if sample.value is None:
                continue
            if not is_begun:
                lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
                is_begun = True
            lines.append(f"{family.name}{sample.suffix}{_labels(sample.labels)} {_number(sample.value)}")
            if len(lines) % LINES_PER_STEP == 0:
                yield
    yield
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def families(status: Status) -> Iterator[Family]:
    """Read the families off the status document, always the same, whether they have samples or not."""
    etcd, lease, health = status["etcd"], status["lease"], status["health"]
    one = _single
    yield Family(
        "sharedip_build_info",
        "gauge",
        "Always 1; the labels tell version, node and fence.",
        (Sample((("version", status["version"]), ("node", status["node"]), ("fence", status["fence"]["kind"])), 1),),
    )
    yield Family(
        "sharedip_state",
        "gauge",
        "1 for the state that the agent is in.",
        (Sample((("state", state.replace(" ", "_")),), status["state"] == state) for state in STATES),
    )
    yield one("process_start_time_seconds", "When the agent started, unix time.", _unix(status["started_at"]))
    yield one(
        "sharedip_config_last_reload_successful",
        "1 if the documents on disk are those in use, or could be; 0 if they are refused.",
        status["documents"]["refused"] is None,
    )
    yield one("sharedip_healthy", "1 if all health checks pass; absent while unknown.", health["healthy"])
    yield Family(
        "sharedip_health_check_healthy",
        "gauge",
        "1 if this health check passes; absent while unknown.",
        (Sample((("check", check["name"]),), check["healthy"]) for check in health["checks"]),
    )
    yield one("sharedip_drained", "1 if an operator has drained this node.", status["drained"])
    yield one("sharedip_etcd_connected", "1 if etcd answers.", etcd["connected"])
    yield one("sharedip_etcd_takes_writes", "0 if etcd's database is full.", etcd["takes_writes"])
    certificate = etcd["certificate"]
    now = _unix(status["started_at"])
    ends = None if certificate is None or now is None else now + status["uptime_s"] + certificate["left_s"]
    yield one("sharedip_etcd_certificate_expiry_timestamp_seconds", "When the first certificate for etcd ends.", ends)
    yield one(
        "sharedip_problems", "How many problems this agent knows of; 0 in a sound cluster.", len(status["problems"])
    )
    yield Family(
        "sharedip_problem",
        "gauge",
        "1 for each problem that holds, in the words of `sharedip status`.",
        (
            Sample((("code", each["code"]), ("about", each["node"]), ("link", each["link"]), ("text", each["text"])), 1)
            for each in status["problems"]
        ),
    )
    yield from _request_families(status["requests"])
    yield one("sharedip_etcd_raft_term", "The highest raft term seen.", etcd["raft_term"])
    yield one("sharedip_etcd_revision", "The last revision of etcd's store seen.", etcd["revision"])
    yield one("sharedip_lease_ttl_seconds", "The TTL that etcd granted.", lease["ttl_s"])
    yield one("sharedip_lease_remaining_seconds", "How long the lease surely lasts.", lease["remaining_s"])
    yield one(
        "sharedip_clients_left_out",
        "Connections of clients on this owner beyond those that are told to the next candidates.",
        status["clients_left_out"],
    )
    yield from _vip_families(status["vips"], None if now is None else now + status["uptime_s"])
    for name, value in sorted(status["counters"].items()):
        clean = re.sub(r"[^a-z0-9_]", "_", name.lower()).removesuffix("_total")
        text = COUNTERS.get(name, f"{name.replace('_', ' ').capitalize()}, since the start.")
        yield Family(f"sharedip_{clean}_total", "counter", text, (Sample((), value),))


def _request_families(requests: RequestsStatus) -> Iterator[Family]:
    name, bounds = "sharedip_etcd_request_duration_seconds", [*requests["within"].items(), ("+Inf", requests["count"])]
    samples = [Sample((("le", bound),), count, "_bucket") for bound, count in bounds]
    samples += [Sample((), requests["sum_s"], "_sum"), Sample((), requests["count"], "_count")]
    yield Family(name, "histogram", "How long etcd took to answer.", tuple(samples))
    yield Family(
        "sharedip_etcd_request_failures_total",
        "counter",
        "Requests to etcd that brought no answer that counts, by what came instead.",
        tuple(Sample((("failure", failure),), count) for failure, count in requests["failures"].items()),
    )


def _vip_families(vips: list[VipStatus], now: float | None) -> Iterator[Family]:
    """`now`: unix time; None: not known, and with it no instant is."""

    def ago(age_s: float) -> float | None:
        return None if now is None else now - age_s

    def each(name: str, text: str, field: _Number) -> Family:
        return Family(name, "gauge", text, (Sample(_about(vip), vip[field]) for vip in vips))

    yield Family(
        "sharedip_vip_owner",
        "gauge",
        "1 if this node owns the VIP. The sum over all nodes is 1 in a sound cluster.",
        (Sample(_about(vip), vip["role"] == "owner") for vip in vips),
    )
    yield Family(
        "sharedip_vip_role",
        "gauge",
        "1 for the role that this node has for the VIP.",
        (Sample((*_about(vip), ("role", role)), vip["role"] == role) for vip in vips for role in ROLES),
    )
    yield Family(
        "sharedip_vip_up",
        "gauge",
        "1 if the address is up on some node, 0 if it is down; absent while that can't be told.",
        (Sample(_about(vip), _UP.get(vip["standing"])) for vip in vips),
    )
    yield Family(
        "sharedip_vip_witnesses",
        "gauge",
        "How many witnesses can depose this node as the owner; absent elsewhere.",
        (Sample(_about(vip), len(vip["witnesses"]) if vip["role"] == "owner" else None) for vip in vips),
    )
    yield each("sharedip_vip_takeover_seconds", "At most so long a crash of the owner takes now.", "crash_s")
    yield each("sharedip_vip_address_present", "1 if the address is on this node.", "address_present")
    yield each("sharedip_vip_epoch", "The create revision of the owner's key.", "epoch")
    yield each("sharedip_vip_right_remaining_seconds", "How long the owner may use the address.", "right_remaining_s")
    yield Family(
        "sharedip_vip_candidates",
        "gauge",
        "How many nodes stand in the election, the owner included.",
        (Sample(_about(vip), len(vip["queue"])) for vip in vips),
    )
    yield Family(
        "sharedip_vip_link_up",
        "gauge",
        "1 if the VIP's link is up on this node.",
        (Sample(_about(vip), vip["link_state"] == "up") for vip in vips),
    )
    yield Family(
        "sharedip_vip_conflict",
        "gauge",
        "1 if a stranger on the segment claims the VIP.",
        (Sample(_about(vip), vip["conflict"] is not None) for vip in vips),
    )
    strangers = [(vip, vip["conflict"]) for vip in vips if vip["conflict"] is not None]
    yield Family(
        "sharedip_vip_conflict_last_seen_timestamp_seconds",
        "gauge",
        "When the stranger with this MAC was seen last, unix time.",
        (Sample((*_about(vip), ("mac", seen["mac"])), ago(seen["age_s"])) for vip, seen in strangers),
    )
    yield Family(
        "sharedip_vip_clients",
        "gauge",
        "TCP connections of more than 10 s on the VIP, as this node sees them or was told of them.",
        (Sample(_about(vip), vip["clients"]["count"]) for vip in vips),
    )
    yield Family(
        "sharedip_vip_clients_told_total",
        "counter",
        "Clients of former owners whose resets did not reach them, whom this node has told.",
        (Sample(_about(vip), vip["clients"]["tickled"]) for vip in vips),
    )
    yield Family(
        "sharedip_vip_removals_total",
        "counter",
        "How often something else on this node took the address off the link of its owner.",
        (Sample(_about(vip), vip["removals"]["count"]) for vip in vips),
    )
    yield Family(
        "sharedip_vip_takeovers_total",
        "counter",
        "How often this node has taken the address, by how it came to it.",
        tuple(
            Sample((*_about(vip), ("reason", kind)), count) for vip in vips for kind, count in vip["takeovers"].items()
        ),
    )
    yield Family(
        "sharedip_vip_role_start_timestamp_seconds",
        "gauge",
        "Since when this node has its role for the VIP, unix time.",
        tuple(Sample(_about(vip), ago(vip["since_s"])) for vip in vips),
    )


def process_families() -> Iterator[Family]:
    """What this process uses, by the names that dashboards know."""
    times = os.times()
    yield _single("process_cpu_seconds_total", "CPU time used.", times.user + times.system, "counter")
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
        descriptors = len(os.listdir("/proc/self/fd"))
    except OSError:  # no /proc: absent
        return
    yield _single("process_resident_memory_bytes", "Resident memory.", pages * os.sysconf("SC_PAGE_SIZE"))
    yield _single("process_open_fds", "Open file descriptors.", descriptors)


def _single(name: str, text: str, value: float | None, kind: str = "gauge") -> Family:
    return Family(name, kind, text, (Sample((), value),))


def _about(vip: VipStatus) -> tuple[tuple[str, str], ...]:
    return (("vip", vip["address"]), ("link", vip["link"]))


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float | None) -> str:
    number = round(float(value or 0), 6)
    return str(int(number)) if number.is_integer() else repr(number)


def _unix(iso: str) -> float | None:
    try:
        return datetime.fromisoformat(iso).timestamp()
    except ValueError:
        return None
