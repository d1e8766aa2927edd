"""What the operator sees of the machine: one plain value, made on demand.

Must never: change anything. Counterparts: `status.py` (the fields), `agent/status.py` adds what only it knows;
`cli/status`, the page and the metrics show it. Instants become ages and remainders here, so that no reader needs this
node's clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sharedip.core.election.candidacy import Candidacy, Phase
from sharedip.core.history import name_of
from sharedip.core.model import Instant, Vip
from sharedip.core.node import Node
from sharedip.core.segment.hearing import by_place

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sharedip.core.status import NodeView, PlaceStatus, UnseenStatus, VipView

CONFLICT_SHOWN_S = 300.0
"""A stranger that has not been seen for this long is left to the log."""

_ROLES = {
    Phase.OUT: "out",
    Phase.CAMPAIGNING: "out",
    Phase.WAITING: "candidate",
    Phase.VERIFYING: "taking",
    Phase.PROBING: "taking",
    Phase.OWNING: "owner",
    Phase.LAPSED: "leaving",
    Phase.LEAVING: "leaving",
    Phase.RELEASING: "leaving",
}


def view(node: Node, now: Instant) -> NodeView:
    """The status document without what the agent adds (process, checks, fence, wall-clock times)."""
    session = node.session
    state, detail = _state(node)
    return {
        "version": node.settings.version,
        "node": node.settings.node_name,
        "state": state,
        "detail": detail,
        "drained": node.fitness.drained,
        "health": {"healthy": node.fitness.health.healthy, "detail": node.fitness.health.detail, "checks": []},
        "etcd": {
            "connected": session.endpoints.connected,
            "endpoint": node.settings.endpoints[session.endpoint],
            "endpoints": list(node.settings.endpoints),
            "raft_term": session.raft_term,
            "revision": session.registry.revision,
            "detail": session.endpoints.trouble,
            "takes_writes": not session.space.is_full,
            "full_s": None if session.space.full_since is None else now - session.space.full_since,
        },
        "lease": {
            "id": None if session.lease is None else f"{session.lease:x}",
            "ttl_s": session.ttl_s,
            "remaining_s": max(0.0, session.lease_until - now) if session.lease is not None else 0.0,
        },
        "places": [_place(node, name, vips) for name, vips in by_place(node.settings).items()],
        "vips": [_vip(node, candidacy, now) for candidacy in node.candidacies.values()],
    }


def _place(node: Node, name: tuple[str, int], vips: tuple[Vip, ...]) -> PlaceStatus:
    link, family = name
    own = node.hearing.own_place(vips[0])
    flaw = next((each for vip in vips if (each := node.own_side.flaw(vip)) is not None), None)
    side = node.isolation.better_side(link, family) or frozenset()

    def names(leases: Iterable[int]) -> list[str]:
        return sorted(node.peers.name_of(lease) for lease in leases)

    return {
        "link": link,
        "family": family,
        "heard": [] if own is None else names(own.heard),
        "silent": [] if own is None else names(own.silent),
        "mute": [] if own is None else names(own.mute),
        "better": names(side),
        "gateway": None if own is None else own.gateway,
        "flaw": "" if flaw is None else flaw.text,
    }


def _unseen(node: Node, candidacy: Candidacy) -> UnseenStatus | None:
    """What any agent says of the VIP on the wire, this one included."""
    vip, said = candidacy.vip, dict[str, str]()
    own = node.visibility.unseen.get(vip)
    if own is not None:
        said[node.settings.node_name] = own
    for peer in node.peers.all():
        code = peer.unseen.get(str(vip))
        if code is not None and peer.lease != node.session.lease:
            said[peer.name] = code
    if not said:
        return None
    return {"what": min(said.values()), "by": sorted(said)}


def _state(node: Node) -> tuple[str, str]:
    if node.stopping:
        return "stopping", "handing everything over"
    if node.session.name_taken_by is not None:
        return "name taken", f"{node.settings.node_name} is also the name of {node.session.name_taken_by}"
    if not node.session.endpoints.connected or not node.session.is_registered:
        full = "it takes no writes: its database is full" if node.session.space.is_full else ""
        return "waiting for etcd", node.session.endpoints.trouble or full
    return "ready", ""


def _vip(node: Node, candidacy: Candidacy, now: Instant) -> VipView:
    ownership = candidacy.ownership
    remaining_s = ownership.right.until - now
    owner = candidacy.owner
    conflict = candidacy.history.conflict
    if conflict is not None and now - conflict.last_at > CONFLICT_SHOWN_S:
        conflict = None
    return {
        "address": str(candidacy.vip.address),
        "link": candidacy.vip.link,
        "link_state": node.links.state(candidacy.vip.link),
        "role": _ROLES[candidacy.phase],
        "owner": None if owner is None else name_of(owner),
        "epoch": None if owner is None else owner.create_revision,
        "queue": [name_of(key) for key in candidacy.queue()],
        "right_remaining_s": max(0.0, remaining_s) if candidacy.phase is Phase.OWNING else None,
        "witnesses": node.designations.witnesses_of(candidacy.vip.address),
        "silent": _silent(node, candidacy, now),
        "address_present": ownership.presence.value == "present",
        "conflict": None
        if conflict is None
        else {"mac": conflict.mac.hex(":"), "age_s": now - conflict.last_at, "count": conflict.count},
        "strays": sorted({node.links.name_of(index) for index, _ in candidacy.history.strays}),
        "contested": candidacy.history.contested,
        "unseen": _unseen(node, candidacy),
        "removals": {
            "count": ownership.losses.count,
            "age_s": now - ownership.losses.last_at if ownership.losses.count else None,
            "by": ownership.losses.by,
        },
        "reason": candidacy.history.reason,
        "since_s": now - candidacy.history.since,
        "changes": [{"age_s": now - change.at, "text": change.text} for change in candidacy.history.changes],
    }


def _silent(node: Node, candidacy: Candidacy, now: Instant) -> list[str]:
    """The agents behind an owner that do not answer its pings, and so cannot be its witnesses."""
    if candidacy.phase is not Phase.OWNING or node.settings.window_s is None:
        return []
    behind = [key for key in candidacy.others() if node.peers.of(key) is not None]
    return [name_of(key) for key in behind if not node.designations.answers(key.lease, now)]
