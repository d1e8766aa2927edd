"""`sharedip status --cluster`: every node, as etcd knows it.

Role: the view's rendering. Works without an agent on this machine.
Must never: show the secrets that older agents' records carry. Counterpart: `cluster_view.py` (reads etcd).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sharedip.cli.cluster_view import cluster_view
from sharedip.cli.documents import config_for_etcd
from sharedip.cli.exits import OK, PROBLEM, USAGE
from sharedip.cli.render import clean, fitting, status_lines, table, wrong_lines
from sharedip.cli.terminal import terminal_width, use_color

if TYPE_CHECKING:
    from sharedip.core.status import Status

View = Mapping[str, Any]


def run_with_cluster(args: argparse.Namespace, status: Status | None, unreachable: str) -> int:
    """Print this node's status, if there is one, and the cluster's."""
    config = config_for_etcd(args)
    if config is None:
        return USAGE
    view = cluster_view(config)
    problems = [*view["problems"], *(status["problems"] if status else ())]
    if args.output == "json":
        document = {"agent": status, "agent_error": unreachable or None, "cluster": view}
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    else:
        own = (
            status_lines(status, color=use_color(), width=terminal_width())
            if status
            else [f"no agent here: {unreachable}"]
        )
        sys.stdout.write("\n".join([*own, "", *cluster_lines(view, terminal_width(), color=use_color())]) + "\n")
    return PROBLEM if problems else OK


def cluster_lines(view: View, width: int | None = None, *, color: bool = False) -> list[str]:
    """Members of etcd, nodes, and the queue of each VIP."""
    if view["error"]:
        return wrong_lines(view["problems"], "", color=color, width=width)
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
        *_note_lines(view),
        *wrong_lines(view["problems"], "nothing is wrong in the cluster", color=color, width=width),
    ]


def _note_lines(view: View) -> list[str]:
    """What was done on purpose."""
    drained = [clean(node["node"]) for node in view["nodes"] if node["drained"]]
    if not drained:
        return []
    are = "is" if len(drained) == 1 else "are"
    return [f"NOTE: {', '.join(drained)} {are} drained, and take{'s' if len(drained) == 1 else ''} no VIP"]


def _member_role(member: Mapping[str, Any]) -> str:
    if not member["reachable"]:
        return "no answer"
    if member["error"]:
        return "not told"
    return "learner" if member["learner"] else "leader" if member["leader"] else "follower"
