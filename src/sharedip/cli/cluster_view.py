"""The cluster as etcd knows it, for `sharedip status --cluster`.

Role: keys → the view's document. Works without an agent on this machine. Must never: write to etcd, or pass on a field
that it does not know: records of older agents carry secrets. Counterparts: `cluster.py` (prints it), `etcd_survey.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from sharedip.adapters.etcd import MemberSurvey
from sharedip.cli.cluster_problems import problems_of, problems_of_members, unreachable
from sharedip.cli.etcd_survey import member_facts, node_name, read_all, survey_members
from sharedip.config.model import Config
from sharedip.core.etcd.keys import Layout, queues_in, read_record
from sharedip.core.model import KeyValue
from sharedip.core.problems import grouped, problem_view


def cluster_view(config: Config) -> dict[str, Any]:
    """What etcd says of every node and VIP. `error` says why there is nothing else."""
    return asyncio.run(_cluster_view(config))


async def _cluster_view(config: Config) -> dict[str, Any]:
    members = await survey_members(config)
    view: dict[str, Any] = {
        "key_prefix": config.etcd.key_prefix,
        "error": "no etcd endpoint answers: " + "; ".join(m.error for m in members),
        "revision": None,
        "members": [_member_view(member) for member in members],
        "nodes": [],
        "vips": [],
        "problems": [],
    }
    for member in members:
        if not member.reachable or member.learner:
            continue
        keys = await read_all(config, member.endpoint)
        if isinstance(keys, str):
            view["error"] = keys
            continue
        wrong = grouped([*problems_of_members(view["members"]), *problems_of(config, keys.keys, keys.revision)])
        known = {"error": "", "revision": keys.revision, "problems": [problem_view(each) for each in wrong]}
        return {**view, **known, **records_view(config.etcd.key_prefix, keys.keys)}
    wrong = grouped([unreachable(config, view["error"]), *problems_of_members(view["members"])])
    return {**view, "problems": [problem_view(each) for each in wrong]}


def _member_view(found: MemberSurvey) -> dict[str, Any]:
    member = member_facts(found)
    return {
        "endpoint": member.endpoint,
        "reachable": member.reachable,
        "version": member.version,
        "leader": member.leader,
        "learner": member.learner,
        "rtt_ms": round(member.rtt_s * 1000, 1) if member.reachable and not member.error else None,
        "alarms": list(member.alarms),
        "error": member.error,
    }


def records_view(key_prefix: str, keys: tuple[KeyValue, ...]) -> dict[str, Any]:
    """Nodes and VIPs as the keys show them. Field by field: those of older agents carry secrets."""
    layout = Layout(key_prefix)
    by_key = {key.key: key for key in keys}
    addresses = {address for key in by_key if (address := layout.election_of(key)) is not None}
    addresses |= {address for key in by_key if (address := layout.owner_of(key)) is not None}
    nodes = []
    for name, key in sorted(by_key.items()):
        if name.startswith(layout.agent("")):
            record = read_record(key) or {}
            healthy = record.get("healthy")
            nodes.append(
                {
                    "node": name.removeprefix(layout.agent("")),
                    "healthy": healthy if isinstance(healthy, bool) else None,
                    "drained": record.get("drained") is True,
                    "version": _text(record.get("version")),
                    "peer": _text(record.get("peer")),
                    "member": _text(record.get("member")),
                }
            )
    vips = []
    queues = queues_in(layout, keys)
    for address in sorted(addresses, key=lambda one: (one.version, int(one))):
        queue = queues.get(address, [])
        record = read_record(by_key.get(layout.owner(address))) or {}
        epoch = queue[0].create_revision if queue else None
        vips.append(
            {
                "address": str(address),
                "owner": node_name(queue[0]) if queue else None,
                "epoch": epoch,
                "queue": [node_name(key) for key in queue[1:]],
                "witnesses": _witnesses(by_key.get(layout.witness(address)), queue),
                # A record of a former owner says nothing of this one.
                "reason": str(record.get("reason", "")) if epoch is not None and record.get("epoch") == epoch else "",
            }
        )
    return {"nodes": nodes, "vips": vips}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _witnesses(key: KeyValue | None, queue: Sequence[KeyValue]) -> list[str]:
    """Candidates that the designation names by their leases; a former owner's designation means nothing."""
    record = read_record(key) or {}
    leases = record.get("witnesses")
    if not queue or record.get("epoch") != queue[0].create_revision or not isinstance(leases, list):
        return []
    return [node_name(candidate) for candidate in queue if f"{candidate.lease:x}" in leases]
