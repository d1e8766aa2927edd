"""Who becomes a witness: a table of queues, agents, and where etcd's leader is."""

from __future__ import annotations

import pytest

from sharedip.core.etcd.agent_records import Peers
from sharedip.core.etcd.keys import Layout, Registry, write_record
from sharedip.core.identity import Identity
from sharedip.core.model import KeyValue
from sharedip.core.peers.choose import Choices, Chosen, choose_witnesses

LAYOUT = Layout("sharedip:v1")
LEADER = 0xE1
OWN = 1


def cluster(*leases: int, silent: tuple[int, ...] = (), members: dict[int, int] | None = None) -> Peers:
    """Agents with these leases; all but the silent ones have answered us."""
    keys = []
    for lease in leases:
        member = (members or {}).get(lease)
        record = write_record({"peer": f"n{lease}:9470", "member": None if member is None else f"{member:x}"})
        keys.append(KeyValue(LAYOUT.agent(f"n{lease}"), record, lease, lease, lease))
    registry = Registry(LAYOUT)
    registry.apply_snapshot(tuple(keys), 100)
    peers = Peers(Identity())
    peers.refresh(registry)
    for lease in leases:
        if lease not in silent:
            peers.answered(lease, 0.0)
    return peers


def queue(*leases: int) -> list[KeyValue]:
    return [KeyValue(f"c/{lease}", b"", lease, lease, lease) for lease in leases]


def answering(peers: Peers) -> frozenset[int]:
    """Those that have answered."""
    return frozenset(peer.lease for peer in peers.all() if peers.is_reachable(peer.lease))


@pytest.mark.parametrize(
    ("peers", "leases", "chosen"),
    [
        (cluster(1, 2, 3), (1, 2, 3), (2,)),
        (cluster(1, 2, 3, silent=(2,)), (1, 2, 3), (3,)),
        (cluster(1, 2, 3, members={2: LEADER, 3: 0xE2}), (1, 2, 3), (3,)),
        (cluster(1, 2, 3), (2, 1, 3), (3,)),
        (cluster(1, 3), (1, 2, 3), (3,)),
        (cluster(1, 2), (1, 2), (2,)),
        (cluster(1), (1,), ()),
        (cluster(1, 2, 3, 4, 5), (1, 2, 3, 4, 5), (3, 4)),
        (cluster(1, 2, 3, 4, 5, silent=(4, 5)), (1, 2, 3, 4, 5), (2, 3)),
    ],
    ids=[
        "the next one",
        "that answers",
        "not on the leader's node",
        "not who stands before us",
        "no plain candidate",
        "one of two",
        "nobody",
        "of five as many as may die, and not the next one",
        "the next one if there are no others",
    ],
)
def test_the_witnesses_are(peers: Peers, leases: tuple[int, ...], chosen: tuple[int, ...]) -> None:
    assert choose_witnesses(queue(*leases), peers, answering(peers), LEADER, OWN) == Chosen(chosen)


@pytest.mark.parametrize(
    ("peers", "leases", "chosen"),
    [
        (cluster(1, 2, members={2: LEADER}), (1, 2), 2),
        (cluster(1, 2, 3, silent=(3,), members={2: LEADER}), (1, 2, 3), 2),
        (cluster(1, 2, 3, members={2: LEADER, 3: LEADER}), (1, 2, 3), 2),
    ],
    ids=["of two agents", "the others are silent", "the next one"],
)
def test_where_no_other_is_left_it_is_the_one_beside_etcds_leader(
    peers: Peers, leases: tuple[int, ...], chosen: int
) -> None:
    """A slow witness beats none; that it is one is said."""
    assert choose_witnesses(queue(*leases), peers, answering(peers), LEADER, OWN) == Chosen(
        (chosen,), beside_leader=True
    )


def test_the_same_queue_is_looked_at_once_until_an_agent_falls_silent() -> None:
    """A thousand addresses have few different queues."""
    peers = cluster(1, 2, 3)
    choices = Choices(peers, answering(peers), LEADER, OWN)
    assert choices.of(queue(1, 2, 3)) == Chosen((2,))
    choices.without(2)
    assert choices.of(queue(1, 2, 3)) == Chosen((3,))


def test_without_a_leader_whoever_watches_may_be_beside_it() -> None:
    """etcd tells this user nothing of it."""
    peers = cluster(1, 2, 3, members={2: 0xE2})
    assert choose_witnesses(queue(1, 2, 3), peers, answering(peers), None, OWN) == Chosen((2,), beside_leader=True)
