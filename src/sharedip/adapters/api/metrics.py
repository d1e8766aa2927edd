"""The status document as Prometheus metrics (text format 0.0.4).

Role: a writer of a hundred lines instead of prometheus_client, whose registry costs 5.3 MB in an agent that has 40.
Must never: read anything but the status document and this process's own /proc entries.
Counterpart: `docs/metrics.md`, which a test compares with this table.

Format: prometheus.io/docs/instrumenting/exposition_formats: a HELP and a TYPE line, then all samples of that name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from sharedip.core.status import Status, VipStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
ROLES = ("owner", "candidate", "taking", "leaving", "out")
COUNTERS = {
    "datagrams_sent": "Datagrams sent to other agents.",
    "datagrams_unsent": "Datagrams to other agents that the kernel did not take.",
    "datagrams_received": "Datagrams received on the peer port.",
    "datagrams_strange": "Datagrams received that are not authentic, or not for this agent.",
    "frames_sent": "Announcements and probes sent, as frames.",
    "frames_unsent": "Announcements whose link was down or whose right had ended before their turn came.",
    "log_warnings": "Warnings that were logged, repeated ones included.",
    "log_errors": "Errors that were logged, repeated ones included.",
}
STATES = ("ready", "waiting for etcd", "name taken", "stopping")

_Number = Literal["address_present", "epoch", "right_remaining_s", "since_s"]


class Sample(NamedTuple):
    """One value; labels in the order in which they are written."""

    labels: tuple[tuple[str, str], ...]
    value: float | None


class Family(NamedTuple):
    """All samples of one name. Samples without a value are left out: absent is how Prometheus says "cannot tell"."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]


def render_metrics(status: Status) -> str:
    """Write the whole exposition."""
    lines: list[str] = []
    for family in (*families(status), *process_families()):
        samples = [sample for sample in family.samples if sample.value is not None]
        if not samples:
            continue
        lines.append(f"# HELP {family.name} {family.help}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines.extend(f"{family.name}{_labels(sample.labels)} {_number(sample.value)}" for sample in samples)
    return "\n".join(lines) + "\n"


def families(status: Status) -> Iterator[Family]:
    """Read the families off the status document, always the same, whether they have samples or not."""
    etcd, lease, health = status["etcd"], status["lease"], status["health"]
    one = _single
    yield Family(
        "sharedip_info",
        "gauge",
        "Always 1; the labels tell version, node and fence.",
        (Sample((("version", status["version"]), ("node", status["node"]), ("fence", status["fence"]["kind"])), 1),),
    )
    yield Family(
        "sharedip_state",
        "gauge",
        "1 for the state that the agent is in.",
        tuple(Sample((("state", state),), status["state"] == state) for state in STATES),
    )
    yield one("sharedip_start_time_seconds", "When the agent started, unix time.", _unix(status["started_at"]))
    yield one("sharedip_healthy", "1 if all health checks pass; absent while unknown.", health["healthy"])
    yield Family(
        "sharedip_health_check_healthy",
        "gauge",
        "1 if this health check passes; absent while unknown.",
        tuple(Sample((("check", check["name"]),), check["healthy"]) for check in health["checks"]),
    )
    yield one("sharedip_drained", "1 if an operator has drained this node.", status["drained"])
    yield one("sharedip_etcd_connected", "1 if etcd answers.", etcd["connected"])
    yield one("sharedip_etcd_takes_writes", "0 if etcd's database is full.", etcd["takes_writes"])
    yield one("sharedip_etcd_raft_term", "The highest raft term seen.", etcd["raft_term"])
    yield one("sharedip_etcd_revision", "The last revision of etcd's store seen.", etcd["revision"])
    yield one("sharedip_lease_ttl_seconds", "The TTL that etcd granted.", lease["ttl_s"])
    yield one("sharedip_lease_remaining_seconds", "How long the lease surely lasts.", lease["remaining_s"])
    yield from _vip_families(status["vips"])
    for name, value in sorted(status["counters"].items()):
        clean = re.sub(r"[^a-z0-9_]", "_", name.lower()).removesuffix("_total")
        text = COUNTERS.get(name, f"{name.replace('_', ' ').capitalize()}, since the start.")
        yield Family(f"sharedip_{clean}_total", "counter", text, (Sample((), value),))


def _vip_families(vips: list[VipStatus]) -> Iterator[Family]:
    def each(name: str, text: str, field: _Number) -> Family:
        return Family(name, "gauge", text, tuple(Sample(_about(vip), vip[field]) for vip in vips))

    yield Family(
        "sharedip_vip_owner",
        "gauge",
        "1 if this node owns the VIP. The sum over all nodes is 1 in a sound cluster.",
        tuple(Sample(_about(vip), vip["role"] == "owner") for vip in vips),
    )
    yield Family(
        "sharedip_vip_role",
        "gauge",
        "1 for the role that this node has for the VIP.",
        tuple(Sample((*_about(vip), ("role", role)), vip["role"] == role) for vip in vips for role in ROLES),
    )
    yield each("sharedip_vip_address_present", "1 if the address is on this node.", "address_present")
    yield each("sharedip_vip_epoch", "The create revision of the owner's key.", "epoch")
    yield each("sharedip_vip_right_remaining_seconds", "How long the owner may use the address.", "right_remaining_s")
    yield Family(
        "sharedip_vip_candidates",
        "gauge",
        "How many nodes stand in the election, the owner included.",
        tuple(Sample(_about(vip), len(vip["queue"])) for vip in vips),
    )
    yield Family(
        "sharedip_vip_link_up",
        "gauge",
        "1 if the VIP's link is up on this node.",
        tuple(Sample(_about(vip), vip["link_state"] == "up") for vip in vips),
    )
    yield Family(
        "sharedip_vip_conflict",
        "gauge",
        "1 if a stranger on the segment claims the VIP.",
        tuple(Sample(_about(vip), vip["conflict"] is not None) for vip in vips),
    )
    strangers = [(vip, vip["conflict"]) for vip in vips if vip["conflict"] is not None]
    yield Family(
        "sharedip_vip_conflict_age_seconds",
        "gauge",
        "How long ago the stranger with this MAC was seen last.",
        tuple(Sample((*_about(vip), ("mac", seen["mac"])), seen["age_s"]) for vip, seen in strangers),
    )
    yield Family(
        "sharedip_vip_removals_total",
        "counter",
        "How often something else on this node took the address off the link of its owner.",
        tuple(Sample(_about(vip), vip["removals"]["count"]) for vip in vips),
    )
    yield each("sharedip_vip_since_seconds", "How long this node has had its role for the VIP.", "since_s")


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
    number = float(value or 0)
    return str(int(number)) if number.is_integer() else repr(number)


def _unix(iso: str) -> float | None:
    try:
        return datetime.fromisoformat(iso).timestamp()
    except ValueError:
        return None
