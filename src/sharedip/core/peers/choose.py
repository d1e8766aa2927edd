"""Which candidates become the witnesses of an address.

Role: a pure choice. The promise does not depend on it: a bad witness costs availability, never a second owner; what a
witness may do is bounded by its promise (safety (3)).
Must never: designate anybody. Counterpart: `owner.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from sharedip.core.etcd.agent_records import Peer, Peers
from sharedip.core.model import KeyValue


@dataclass(frozen=True, slots=True)
class Chosen:
    """The leases of some witnesses, sorted. `beside_leader`: on the node of etcd's leader, for no other is left; or it
    may be there, for nobody tells us which node that is.
    """

    leases: tuple[int, ...]
    beside_leader: bool = False


class Choices:
    """Choices by queue, cached: a thousand addresses have few different queues."""

    def __init__(self, peers: Peers, watchful: frozenset[int], leader: int | None, own: int) -> None:
        """`watchful`: the leases of the agents that answer, and could depose. Without a `leader` it may be anywhere."""
        self._peers = peers
        self._watchful = watchful
        self._leader = leader
        self._own = own
        self._chosen: dict[tuple[int, ...], Chosen] = {}

    def of(self, queue: list[KeyValue]) -> Chosen:
        """The witnesses for an address with this queue."""
        leases = tuple(key.lease for key in queue)
        known = self._chosen.get(leases)
        if known is None:
            known = self._chosen[leases] = choose_witnesses(queue, self._peers, self._watchful, self._leader, self._own)
        return known

    def without(self, lease: int) -> None:
        """That agent has fallen silent: choose again."""
        self._watchful -= {lease}
        self._chosen.clear()


def choose_witnesses(
    queue: list[KeyValue], peers: Peers, watchful: frozenset[int], leader: int | None, own: int
) -> Chosen:
    """The next candidates behind our own that answer, and don't run on the node of etcd's leader; where there is none,
    the next one that does. `leader` is the id of an etcd member; None: etcd tells this user nothing of it.
    """
    chosen: list[Peer] = []
    beside_leader: list[Peer] = []
    agents, is_behind_us = 0, False
    for key in queue:
        peer = peers.of(key)
        agents += peer is not None
        if key.lease == own:
            is_behind_us = True
            continue
        # Candidates before us have released to us and leave; they are probably cut off from etcd.
        if peer is None or not is_behind_us or peer.lease not in watchful:
            continue
        # The death of etcd's leader would silence the witness and stall its withdrawal at once.
        is_elsewhere = leader is not None and peer.member != leader
        (chosen if is_elsewhere else beside_leader).append(peer)
    if not chosen:
        return Chosen(tuple(peer.lease for peer in beside_leader[:1]), beside_leader=bool(beside_leader))
    # As many as the node failures that etcd survives, so that with quorum there is always one left.
    allowed = max(1, (agents - 1) // 2)
    if allowed > 1 and len(chosen) > allowed and chosen[0].lease == _next_lease(queue, own):
        chosen = chosen[1:]  # if owner and witness die together, the successor should be alive
    return Chosen(tuple(sorted(peer.lease for peer in chosen[:allowed])))


def _next_lease(queue: list[KeyValue], own: int) -> int | None:
    """The candidate right behind the owner: a deposition makes it the owner."""
    leases = [key.lease for key in queue]
    behind = leases[leases.index(own) + 1 :] if own in leases else leases
    return behind[0] if behind else None
