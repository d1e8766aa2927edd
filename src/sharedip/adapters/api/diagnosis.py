"""What is wrong, in sentences with a way out, read off the status document.

Role: the `problems` of `status`, `watch`, the status page and `/status.json`: the same words everywhere. Pure.
Must never: decide anything, or take "cannot tell" for a fault that is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sharedip.core.status import DiagnosedStatus, Status, VipStatus

PROBLEMS_MAX = 20
SILENT_AFTER_S = 10.0
"""Pings go out once a window; a node that has been dead for this long is out of the queue soon."""
REMOVALS_SHOWN_S = 60.0


def diagnose(status: Status) -> list[str]:
    """Every problem worth an operator's eye, the gravest first; empty when all is well."""
    problems = [*_node(status), *_places(status), *_vips(status["vips"])]
    if len(problems) > PROBLEMS_MAX:
        rest = len(problems) - PROBLEMS_MAX
        return [*problems[:PROBLEMS_MAX], f"… and {rest} more"]
    return problems


def with_problems(status: Status) -> DiagnosedStatus:
    """Add what is wrong to the document, for everybody who shows it."""
    return {**status, "problems": diagnose(status)}


def _node(status: Status) -> Iterator[str]:
    if status["state"] == "name taken":
        yield f"another agent runs under the name {status['node']}: {status['detail']}; give each node its own nodeName"
    etcd = status["etcd"]
    if not etcd["connected"]:
        tried = ", ".join(etcd["endpoints"]) or "no endpoint"
        detail = etcd["detail"] or "no answer"
        yield f"etcd is not reachable ({detail}); tried {tried}; no VIP can change hands until it answers"
    if not etcd["takes_writes"]:
        since = "" if etcd["full_s"] is None else f" since {etcd['full_s']:.0f} s"
        yield (
            f"etcd takes no writes{since}: its database is full (NOSPACE); owners stay and a dead one is replaced, but "
            "no node can queue anew or become a witness; compact, defragment, `etcdctl alarm disarm`"
        )
    health = status["health"]
    if health["healthy"] is False:
        yield f"this node is unhealthy ({health['detail']}); it gives its VIPs to a healthy node if there is one"
    if status["drained"]:
        yield "this node is drained and takes no VIP; `sharedip undrain` ends that"


def _places(status: Status) -> Iterator[str]:
    """What this node hears on the links of its VIPs, and what it lacks there."""
    for place in status["places"]:
        on, family = place["link"], f"IPv{place['family']}"
        if place["flaw"]:
            yield f"{place['flaw']}; while that is so, another node has the {family} VIPs of {on} if one can serve them"
        if place["better"]:
            names = _listed(place["better"])
            yield (
                f"this node is not heard on {on} ({family}), where {names} {_are(place['better'])} heard: look at its "
                f"port, cable and VLAN; the VIPs go to {names}, and come back by `sharedip move` alone"
            )
        elif place["silent"]:
            answers = {True: "; the gateway answers here", False: "; the gateway does not answer either", None: ""}
            lost = answers[place["gateway"]]
            yield (
                f"{_listed(place['silent'])} {_are(place['silent'])} not heard on {on} ({family}) any more, by no "
                f"means{lost}: look at the ports and the switch between"
            )
        if place["mute"]:
            yield (
                f"no datagram comes through from {_listed(place['mute'])} on {on} ({family}), though the node answers: "
                "is its agent running, and UDP port 9470 open both ways? Nothing moves for that"
            )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _vips(vips: Sequence[VipStatus]) -> Iterator[str]:
    for vip in vips:
        address = vip["address"]
        unseen = vip["unseen"]
        if unseen is not None:
            yield (
                f"{address} is {unseen['what']} on the wire, though its owner {vip['owner'] or ''} answers for itself "
                f"(seen by {_listed(unseen['by'])}): clients do not reach it; allow the address at that node's port "
                "(spoof guard, port security, allowed address pairs), and look for proxy ARP"
            )
        conflict = vip["conflict"]
        if conflict is not None:
            yield (
                f"{address} is also claimed by {conflict['mac']}, seen {conflict['age_s']:.0f} s ago; "
                "find that machine and take the address from it"
            )
        if vip["contested"]:
            yield (
                f"{vip['contested']} uses {address} as well, though this node comes first in etcd: taken by a word "
                "that this node never said; look who may read its state directory, and restart its agent"
            )
        for link in vip["strays"]:
            yield (
                f"{address} stands on {link} of this node, and sharedip did not put it there; "
                "take it off (`ip address del`), or clients may meet two owners"
            )
        if vip["role"] == "owner" and not vip["address_present"]:
            yield f"{address} is owned by this node but not on {vip['link']}: {vip['reason']}"
        removals = vip["removals"]
        if removals["count"] >= 3 and removals["age_s"] is not None and removals["age_s"] <= REMOVALS_SHOWN_S:
            who = removals["by"] or "another program"
            yield (
                f"{address} was taken off {vip['link']} by {who}, {removals['count']} times by now, and put back each "
                "time; tell it to keep addresses that are not its own"
            )
    yield from _witnesses(vips)
    for vip in vips:
        if vip["link_state"] == "missing":
            meant, at, _ = vip["link"].partition("@")
            copied = f"; if that is copied from `ip link`, write link: {meant}" if meant and at else ""
            yield f"{vip['address']}: there is no link {vip['link']} on this node; it waits until one appears{copied}"
        elif vip["link_state"] == "down":
            yield f"{vip['address']}: link {vip['link']} is down; this node is no candidate until it is up"
    nobody = [vip["address"] for vip in vips if vip["owner"] is None]
    if nobody:
        shown = ", ".join(nobody[:5]) + (f" and {len(nobody) - 5} more" if len(nobody) > 5 else "")
        yield f"nobody is known to own {shown}"


def _witnesses(vips: Sequence[VipStatus]) -> Iterator[str]:
    """No candidate answers the owner: a closed port in the firewall shows in nothing else until a node dies."""
    silent = {
        tuple(vip["silent"])
        for vip in vips
        if vip["silent"] and not vip["witnesses"] and vip["role"] == "owner" and vip["since_s"] > SILENT_AFTER_S
    }
    for names in sorted(silent):
        verb = "does" if len(names) == 1 else "do"
        yield (
            f"{', '.join(names)} {verb} not answer this node's datagrams, so no witness can stand; is the UDP port "
            "of peer.listen (9470) open? Until then a dead owner is replaced only when its lease ends"
        )
