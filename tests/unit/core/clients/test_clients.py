"""The clients of a whole node: looked at where it owns, told to candidates, and asked by who takes from the dead."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address

import pytest

from sharedip.core.clients.standing import LOOK_EVERY_S, OLD_AFTER_S
from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.keys import write_record
from sharedip.core.messages import (
    DatagramReceived,
    LinkChanged,
    MoveRequested,
    PeerAddressChanged,
    ReadClients,
    SendDatagram,
    TickleClients,
    Transact,
)
from sharedip.core.model import Put
from sharedip.core.segment.wire import Clients, DatagramKind, Noted, Released, open_entry, seal, unseal
from sharedip.core.view import view
from tests.stages.harness import LAYOUT, LINK, OURS, THEIRS, VIP, Talk, agent_record, owner
from tests.stages.witnessed import SECRET

CLIENT = (6443).to_bytes(2) + (40000).to_bytes(2) + ip_address("10.0.0.9").packed


def with_a_candidate(talk: Talk) -> Talk:
    """n2 stands behind, and can be reached."""
    talk.store.stand("n2")
    talk.store.put(LAYOUT.agent("n2"), agent_record("n2"), THEIRS)
    talk.tell_changes()
    talk.open.clear()
    return talk


def said_to_n2(talk: Talk) -> list[Clients]:
    found = []
    for order in talk.open:
        envelope = unseal(order.payload) if isinstance(order, SendDatagram) else None
        if envelope is not None and envelope.kind is DatagramKind.CLIENTS:
            found.append(open_entry(envelope, *envelope.entries[0], SECRET))
    return [each for each in found if isinstance(each, Clients)]


def hear(talk: Talk, kind: DatagramKind, entry: Clients | Noted | Released, sender: int = THEIRS) -> None:
    """The other agent says this."""
    payload = seal(kind, sender, OURS, [entry], SECRET)
    talk.hear(DatagramReceived("n2", 9470, payload, talk.now))


def test_an_owner_tells_the_next_candidate_of_connections_that_last() -> None:
    talk = with_a_candidate(owner())
    talk.clients[VIP.address] = {CLIENT}
    talk.run(LOOK_EVERY_S)
    assert said_to_n2(talk) == []
    talk.run(OLD_AFTER_S + LOOK_EVERY_S)
    said = said_to_n2(talk)
    assert {(each.epoch, each.address, each.joined) for each in said} == {(talk.bid.epoch, VIP.address, (CLIENT,))}
    assert view(talk.node, talk.now)["vips"][0]["clients"] == {"count": 1, "told_to": [], "tickled": 0}
    hear(talk, DatagramKind.NOTED, Noted(said[-1].sequence, said[-1].sequence))
    assert view(talk.node, talk.now)["vips"][0]["clients"]["told_to"] == ["n2"]


def test_who_owns_nothing_looks_at_nothing() -> None:
    talk = Talk(name="n2")
    talk.store.stand("n1")
    talk.start()
    talk.run(30.0, ReadClients)
    assert not [order for order in talk.open if isinstance(order, ReadClients)]


def candidate() -> tuple[Talk, str]:
    """n2, which n1 has told of a client; and n1's key."""
    talk = Talk(name="n2")
    key = talk.store.stand("n1")
    talk.start()
    talk.run(1.0)
    epoch = talk.store.keys[key].create_revision
    hear(talk, DatagramKind.CLIENTS, Clients(epoch, 5, 0, VIP.address, (CLIENT,), ()))
    assert view(talk.node, talk.now)["vips"][0]["clients"]["count"] == 1
    talk.open.clear()
    return talk, key


def test_who_takes_from_a_dead_owner_asks_its_clients() -> None:
    talk, key = candidate()
    talk.store.delete(key)
    talk.run(0.5, TickleClients)
    assert talk.is_in(Phase.OWNING)
    assert [order.clients for order in talk.open if isinstance(order, TickleClients)] == [(CLIENT,)]
    talk.serve()
    assert [report.text for report in talk.reports if "told" in report.text] == ["1 client told"]
    assert view(talk.node, talk.now)["vips"][0]["clients"]["tickled"] == 1


@pytest.mark.parametrize("is_untold", [True, False])
@pytest.mark.parametrize("by", ["word", "record"])
def test_who_takes_from_an_owner_that_let_go_asks_its_clients_if_they_were_not_told(
    by: str, *, is_untold: bool
) -> None:
    """Its resets went nowhere, as far as it knows."""
    talk, key = candidate()
    epoch = talk.store.keys[key].create_revision
    if by == "word":
        released = Released(epoch, VIP.address, "link eth0 is down", is_untold)
        hear(talk, DatagramKind.RELEASE_UNTOLD if is_untold else DatagramKind.RELEASE, released)
    else:
        record = {"node": "n1", "epoch": epoch, "released": True, "reason": "link eth0 is down", "to": None}
        talk.store.put(
            LAYOUT.owner(VIP.address), write_record(record | ({"untold": True} if is_untold else {})), THEIRS
        )
        talk.store.delete(key)
    talk.run(0.02, TickleClients)
    assert talk.is_in(Phase.OWNING)
    asked = [order.clients for order in talk.open if isinstance(order, TickleClients)]
    assert asked == ([(CLIENT,)] if is_untold else [])


@pytest.mark.parametrize(
    ("fact", "is_untold"),
    [(LinkChanged(replace(LINK, running=False)), True), (MoveRequested(1, VIP.address, None), False)],
)
def test_an_owner_whose_resets_go_nowhere_says_so_to_the_next_one_and_in_its_record(
    fact: LinkChanged | MoveRequested, *, is_untold: bool
) -> None:
    talk = with_a_candidate(owner())
    talk.hear(PeerAddressChanged("n1:9470"))
    talk.hear(fact)
    talk.run(0.5, SendDatagram, Transact)
    kinds = {unseal(order.payload).kind for order in talk.open if isinstance(order, SendDatagram)}  # type: ignore[union-attr]
    words = kinds & {DatagramKind.RELEASE, DatagramKind.RELEASE_UNTOLD}
    assert words == {DatagramKind.RELEASE_UNTOLD if is_untold else DatagramKind.RELEASE}
    puts = [op for order in talk.open if isinstance(order, Transact) for op in order.then if isinstance(op, Put)]
    (record,) = (
        json.loads(put.value) for put in puts if put.key == LAYOUT.owner(VIP.address) and b"released" in put.value
    )
    assert record.get("untold", False) is is_untold


def test_law_11_a_list_that_is_said_again_is_no_sign_of_life() -> None:
    """Who has recorded it keeps no dead agent alive by it."""
    talk, _ = candidate()
    epoch = talk.candidacy.queue()[0].create_revision
    talk.now += 60.0
    hear(talk, DatagramKind.CLIENTS, Clients(epoch, 5, 0, VIP.address, (CLIENT,), ()))
    assert [order for order in talk.open if isinstance(order, SendDatagram)]
    assert not talk.node.voices.is_speaking(THEIRS, talk.now)


def test_an_authentic_list_is_answered_and_a_forged_one_is_not() -> None:
    talk, _ = candidate()
    epoch = talk.candidacy.queue()[0].create_revision
    for secret, answers in ((SECRET, 1), (b"forged", 0)):
        talk.open.clear()
        payload = seal(DatagramKind.CLIENTS, THEIRS, OURS, [Clients(epoch, 9, 0, VIP.address, (), ())], secret)
        talk.hear(DatagramReceived("n2", 9470, payload, talk.now))
        sent = [order for order in talk.open if isinstance(order, SendDatagram)]
        assert len(sent) == answers
        assert all(len(order.payload) <= len(payload) for order in sent)
