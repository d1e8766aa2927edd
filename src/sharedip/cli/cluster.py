"""`sharedip status --cluster`: every node, as etcd knows it.

Role: the view's rendering. Works without an agent on this machine.
Must never: show the secrets that older agents' records carry. Counterpart: `cluster_view.py` (reads etcd).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharedip.cli.cluster_view import cluster_view
from sharedip.cli.documents import config_paths, sound_config
from sharedip.cli.exits import OK, PROBLEM, USAGE
from sharedip.cli.render import clean, fitting, status_lines, table, wrapped
from sharedip.cli.terminal import terminal_width, use_color

if TYPE_CHECKING:
    from sharedip.core.status import DiagnosedStatus

View = Mapping[str, Any]


def run_with_cluster(args: argparse.Namespace, status: DiagnosedStatus | None, unreachable: str) -> int:
    """Print this node's status, if there is one, and the cluster's."""
    args.config = [Path(path) for path in args.config or ()]
    config = sound_config(config_paths(args))
    if config is None:
        return USAGE
    view = cluster_view(config)
    problems = [*cluster_problems(view), *(status.get("problems", ()) if status else ())]
    if args.output == "json":
        document = {"agent": status, "agent_error": unreachable or None, "cluster": view}
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    else:
        own = (
            status_lines(status, color=use_color(), width=terminal_width())
            if status
            else [f"no agent here: {unreachable}"]
        )
        sys.stdout.write("\n".join([*own, "", *cluster_lines(view, terminal_width())]) + "\n")
    return PROBLEM if problems else OK


def cluster_lines(view: View, width: int | None = None) -> list[str]:
    """Members of etcd, nodes, and the queue of each VIP."""
    if view["error"]:
        return [f"etcd does not tell about the cluster: {clean(view['error'])}"]
    members = [
        (m["endpoint"], m["version"] or "-", _member_role(m), "-" if m["rtt_ms"] is None else f"{m['rtt_ms']:.1f} ms")
        for m in view["members"]
    ]
    words = {True: "healthy", False: "unhealthy", None: "unknown"}
    nodes = [
        (
            n["node"],
            words[n["healthy"]],
            "drained" if n["drained"] else "-",
            n["version"] or "-",
            n["peer"] or "-",
            n["member"] or "-",
        )
        for n in view["nodes"]
    ]
    vips = [
        (
            vip["address"],
            vip["owner"] or "nobody",
            "-" if vip["epoch"] is None else vip["epoch"],
            ", ".join(vip["queue"]) or "-",
            ", ".join(vip["witnesses"]) or "-",
            vip["reason"] or "-",
        )
        for vip in view["vips"]
    ]
    return [
        f"cluster (key prefix {clean(view['key_prefix'])}, revision {view['revision']}):",
        "",
        *table(("ETCD", "VERSION", "ROLE", "ANSWERS IN"), members, right=frozenset({3})),
        "",
        *table(("NODE", "HEALTH", "DRAINED", "VERSION", "PEERS AT", "ETCD MEMBER"), nodes),
        "",
        *fitting(("VIP", "OWNER", "EPOCH", "NEXT", "WITNESS", "WHY"), vips, frozenset({2}), width),
        "",
        *(
            [wrapped(f"WRONG: {problem}", width) for problem in cluster_problems(view)]
            or ["nothing is wrong in the cluster"]
        ),
    ]


def cluster_problems(view: View) -> list[str]:
    """What etcd's view shows to be wrong."""
    return list(_problems(view))


def _problems(view: View) -> Iterator[str]:
    if view["error"]:
        yield clean(view["error"])
        return
    for member in view["members"]:
        if not member["reachable"]:
            yield f"etcd at {clean(member['endpoint'])} does not answer: {clean(member['error'])}"
        for alarm in member["alarms"]:
            yield f"etcd at {clean(member['endpoint'])} raises an alarm: {clean(alarm)}"
    for vip in view["vips"]:
        if vip["owner"] is None:
            yield f"nobody stands in the election of {vip['address']}; is an agent running anywhere?"
        elif not vip["queue"]:
            yield f"{vip['address']} has no second candidate: if {clean(vip['owner'])} fails, nobody takes it"


def _member_role(member: Mapping[str, Any]) -> str:
    if not member["reachable"]:
        return "no answer"
    return "learner" if member["learner"] else "leader" if member["leader"] else "follower"
