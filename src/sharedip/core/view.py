"""What the operator sees of the machine: one plain value, made on demand.

Must never: change anything. Counterparts: `status.py` (the fields), `agent/status.py` adds what only it knows;
`cli/status`, the page and the metrics show it. Instants become ages and remainders here, so that no reader needs this
node's clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sharedip.core.election.candidacy import Candidacy, Phase
from sharedip.core.history import name_of
from sharedip.core.keeping import kept_by
from sharedip.core.model import NEVER, Instant, Vip
from sharedip.core.node import Node
from sharedip.core.outlook import CONFLICT_SHOWN_S
from sharedip.core.problems import Standing, VipSituation, problem_view
from sharedip.core.segment.hearing import by_place
from sharedip.core.steps import Steps, to_the_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sharedip.core.status import (
        AgentStatus,
        ClientsStatus,
        NodeView,
        PlaceStatus,
        UnseenStatus,
        VipView,
        WindowView,
    )

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
    return to_the_end(view_in_steps(node, lambda: now))


def view_in_steps(node: Node, clock: Callable[[], Instant]) -> Steps[NodeView]:
    """The same, a VIP a step. What happens in between shows in the VIPs that are looked at later."""
    candidacies = tuple(node.candidacies.values())
    situations: list[VipSituation] = []
    for candidacy in candidacies:
        situations.append(node.outlook.vip(candidacy, clock()))
        yield
    vips: list[VipView] = []
    for candidacy, situation in zip(candidacies, situations, strict=True):
        vips.append(_vip(node, candidacy, situation, clock()))
        yield
    problems = yield from node.alarms.problems_in_steps(candidacies, situations, clock())
    now = clock()
    session, certificate, pause = node.session, node.outlook.certificate, node.clocks.last
    state, detail = _state(node)
    return {
        "version": node.settings.version,
        "node": node.settings.node_name,
        "state": state,
        "detail": detail,
        "drained": node.fitness.drained,
        "paused": None if pause is None else {"seconds": pause.seconds, "by": pause.by, "age_s": now - pause.until},
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
            "certificate": None
            if certificate is None
            else {"file": certificate.file, "left_s": certificate.until - now},
        },
        "lease": {
            "id": None if session.lease is None else f"{session.lease:x}",
            "ttl_s": session.ttl_s,
            "remaining_s": max(0.0, session.lease_until - now) if session.lease is not None else 0.0,
        },
        "window": _window(node, now),
        "places": [_place(node, name, vips) for name, vips in by_place(node.settings).items()],
        "nodes": _nodes(node, now),
        "clients_left_out": node.clients.standing.left_out,
        "vips": vips,
        "problems": [problem_view(each, now) for each in problems],
    }


def _nodes(node: Node, now: Instant) -> list[AgentStatus]:
    """This one, the others that are registered, and who has died."""
    leader, own, me = node.session.raft_leader, node.fitness, node.settings.node_name

    def leads(member: int | None) -> bool:
        return member is not None and member == leader.leader_id

    def agent(name: str, *, healthy: bool | None, drained: bool, member: int | None, silent: bool) -> AgentStatus:
        return {
            "node": name,
            "healthy": healthy,
            "drained": drained,
            "leads_etcd": leads(member),
            "is_silent": silent,
            "is_lost": False,
        }

    found = [agent(me, healthy=own.health.healthy, drained=own.drained, member=leader.member_id, silent=False)]
    found += [
        agent(
            peer.name,
            healthy=peer.healthy,
            drained=peer.drained is True,
            member=peer.member,
            silent=node.voices.is_gone(peer.lease, now),
        )
        for peer in node.peers.all()
        if peer.lease != node.session.lease and peer.name != me
    ]
    lost = {*node.alarms.lost, *(name for peer in node.peers.all() for name in peer.lost)}
    gone = lost - {each["node"] for each in found}
    found += [{**agent(name, healthy=None, drained=False, member=None, silent=True), "is_lost": True} for name in gone]
    return sorted(found, key=lambda each: each["node"])


def _window(node: Node, now: Instant) -> WindowView:
    me, own = node.settings.node_name, node.keeping.measured(now)
    others = [(peer.name, peer.measured) for peer in node.peers.all() if peer.lease != node.session.lease]
    kept = kept_by([(me, own), *others], node.settings.fence)
    return {
        "configured_s": node.settings.window_s,
        "now_s": node.designations.window.now_s,
        "could_keep_s": kept.could_keep_s,
        "late_s": kept.late_s,
        "late_node": kept.late_node,
        "answer_s": kept.answer_s,
        "answer_node": kept.answer_node,
    }


def _role(candidacy: Candidacy) -> str:
    """One that lost its right and keeps its key has no address, and is neither owner nor candidate."""
    bid = candidacy.bid
    is_back_in_line = candidacy.phase in (Phase.WAITING, Phase.VERIFYING, Phase.LAPSED)
    if bid is not None and bid.lapsed_at > NEVER and is_back_in_line and candidacy.queue()[:1] != []:
        first = candidacy.queue()[0]
        return "lapsed" if first.key == bid.key else _ROLES[candidacy.phase]
    return _ROLES[candidacy.phase]


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
    seen = node.outlook.unseen(candidacy.vip)
    return None if seen is None else {"what": seen.what, "by": list(seen.by)}


def _state(node: Node) -> tuple[str, str]:
    if node.stopping:
        return "stopping", "handing everything over"
    if node.session.name_taken_by is not None:
        return "name taken", f"{node.settings.node_name} is also the name of {node.session.name_taken_by}"
    if not node.session.endpoints.connected or not node.session.is_registered:
        full = "it takes no writes: its database is full" if node.session.space.is_full else ""
        return "waiting for etcd", node.session.endpoints.trouble or full
    return "ready", ""


def _vip(node: Node, candidacy: Candidacy, situation: VipSituation, now: Instant) -> VipView:
    ownership = candidacy.ownership
    is_down = situation.standing is Standing.DOWN
    remaining_s = ownership.right.until - now
    owner = candidacy.owner
    conflict = candidacy.history.conflict
    if conflict is not None and now - conflict.last_at > CONFLICT_SHOWN_S:
        conflict = None
    return {
        "address": str(candidacy.vip.address),
        "link": candidacy.vip.link,
        "link_state": node.links.state(candidacy.vip.link),
        "role": _role(candidacy),
        "standing": situation.standing.value,
        "down_s": node.alarms.down_s(situation, now) if is_down else None,
        "crash_s": situation.crash_s if situation.behind else None,
        "leads_etcd": situation.leads_etcd,
        "crash_least_s": situation.crash_least_s if situation.behind else None,
        "lease_s": situation.lease_s if situation.behind else None,
        "without_etcd_s": situation.without_etcd_s,
        "etcd_members": situation.etcd_members,
        "etcd_ends_after": situation.etcd_ends_after,
        "next": [{"node": node, "unsound": why} for node, why in situation.behind],
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
        "clients": _clients(node, candidacy),
        "removals": {
            "count": ownership.losses.count,
            "age_s": now - ownership.losses.last_at if ownership.losses.count else None,
            "by": ownership.losses.by,
        },
        "takeovers": {kind.value: count for kind, count in candidacy.history.takeovers.items()},
        "reason": candidacy.history.reason,
        "since_s": now - candidacy.history.since,
        "changes": [{"age_s": now - change.at, "text": change.text} for change in candidacy.history.changes],
    }


def _clients(node: Node, candidacy: Candidacy) -> ClientsStatus:
    """Of an owner what stands here, of a candidate what it was told."""
    address, owns = candidacy.vip.address, candidacy.phase is Phase.OWNING
    count = len(node.clients.standing.of(address)) if owns else node.clients.tickling.known(address, candidacy.owner)
    told_to = node.clients.telling.told_to(candidacy) if owns and count else []
    return {
        "count": count,
        "told_to": sorted(node.peers.name_of(lease) for lease in told_to),
        "tickled": node.clients.tickling.told.get(address, 0),
    }


def _silent(node: Node, candidacy: Candidacy, now: Instant) -> list[str]:
    """The agents behind an owner that do not answer its pings, and so cannot be its witnesses."""
    if candidacy.phase is not Phase.OWNING or node.settings.window_s is None:
        return []
    behind = [key for key in candidacy.others() if node.peers.of(key) is not None]
    return [name_of(key) for key in behind if not node.designations.answers(key.lease, now)]
