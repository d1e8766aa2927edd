"""Which part of a segment that has come apart should have an address. Pure: one picture in, a verdict out.

Law 12: the address is where it is heard. *Sides* are the sets of agents that hear one another where the VIP is, as
their records in etcd say; who says nothing of it (an older agent) is on none. Two sides are compared in this order:
1. the gateway answers one of them and not the other: clients come from there;
2. machines that are no nodes of the cluster answer an agent: it serves somebody (a veto, where 1 does not tell);
3. more than half of the agents are on one of them.
Where none of these tells, neither is better, and the owner stays: two nodes without a gateway can't know.

Must never: take "cannot tell" for silence (law 4): a side is another's rival only where somebody says that he has heard
the other and does so no more. Counterparts: `hearing.py` (what is said), `fitness.py` (what follows).
"""

from __future__ import annotations

from collections.abc import Mapping

from sharedip.core.etcd.agent_records import PeerPlace

Side = frozenset[int]
"""Leases of agents."""


def sides_of(places: Mapping[int, PeerPlace]) -> list[Side]:
    """The sets that hear one another, the lowest lease first."""
    left, found = set(places), list[Side]()
    while left:
        side, edge = set[int](), {min(left)}
        while edge:
            side |= edge
            edge = {other for each in edge for other in left - side if _hear(places, each, other)}
        found.append(frozenset(side))
        left -= side
    return found


def better_side(places: Mapping[int, PeerPlace], lease: int, *, has_outsiders: bool) -> Side | None:
    """A side that should rather have the address than the one on which this agent stands; None: there is none.

    `has_outsiders`: machines that are no nodes of the cluster answer this agent.
    """
    if lease not in places:
        return None
    sides = sides_of(places)
    own = next(side for side in sides if lease in side)
    rivals = [side for side in sides if side is not own and _are_apart(places, own, side)]
    return next((side for side in rivals if _is_better(places, side, own, has_outsiders=has_outsiders)), None)


def _is_better(places: Mapping[int, PeerPlace], side: Side, than: Side, *, has_outsiders: bool) -> bool:
    gateways = _gateway(places, side), _gateway(places, than)
    if gateways in ((True, False), (False, True)):
        return gateways[0] is True
    if has_outsiders:
        return False
    return 2 * len(side) > len(places)


def _hear(places: Mapping[int, PeerPlace], one: int, other: int) -> bool:
    """Whether the two hear one another: one of them says so, and neither says the contrary."""
    ways = (places[one], other), (places[other], one)
    return any(lease in place.heard | place.mute for place, lease in ways) and not any(
        lease in place.silent for place, lease in ways
    )


def _are_apart(places: Mapping[int, PeerPlace], one: Side, other: Side) -> bool:
    """Whether somebody on one of them has heard somebody on the other, and does so no more."""
    return any(places[lease].silent & other for lease in one) or any(places[lease].silent & one for lease in other)


def _gateway(places: Mapping[int, PeerPlace], side: Side) -> bool | None:
    answers = {places[lease].gateway for lease in side}
    return True if True in answers else False if False in answers else None
