"""What is saved, who is woken and who is told when an address is given up; and what the operator hears of it."""

from __future__ import annotations

from ipaddress import ip_address

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import (
    AddressRemoved,
    AnswerOperator,
    Command,
    DrainRequested,
    HoldAddress,
    MoveRequested,
    RemoveAddress,
    SaveState,
    SendDatagram,
    Transact,
)
from sharedip.core.model import Vip
from sharedip.core.segment.wire import RELEASES_MAX, DatagramKind, Released, open_entry, unseal
from tests.stages.harness import LAYOUT, THEIRS, VIP, Talk, agent_record, owner, secret_of, waiting_behind

THIRD = 0xA00
MOVE = MoveRequested(1, VIP.address, None)


def followed(talk: Talk, **leases: int) -> Talk:
    """Agents that can be reached stand behind this owner, in that order, for every VIP."""
    for name, lease in leases.items():
        for vip in talk.settings.vips:
            talk.store.stand(name, lease, vip)
        talk.store.put(LAYOUT.agent(name), agent_record(name), lease)
    talk.tell_changes()
    talk.serve()
    talk.open.clear()
    return talk


def said(orders: list[Command]) -> list[tuple[str, DatagramKind]]:
    """To whom a datagram goes, and of which kind."""
    envelopes = [(order.host, unseal(order.payload)) for order in orders if isinstance(order, SendDatagram)]
    return [(host, envelope.kind) for host, envelope in envelopes if envelope is not None]


def test_the_next_one_is_woken_and_the_epoch_saved_before_the_removal() -> None:
    """Afterwards clients would wait for the file, and our word would find a sleeper."""
    talk = followed(owner(), n2=THEIRS, n3=THIRD)
    orders = talk.hear(MOVE)
    assert said(orders) == [("n2", DatagramKind.PING)]
    kinds = [type(order) for order in orders]
    assert kinds.index(SaveState) < kinds.index(SendDatagram) < kinds.index(RemoveAddress)


def test_every_candidate_is_told_when_the_kernel_has_answered() -> None:
    """The next one may have died in the same second."""
    talk = followed(owner(), n2=THEIRS, n3=THIRD)
    talk.hear(MOVE)
    talk.drop(SendDatagram)
    assert said(talk.answer(talk.expect(RemoveAddress))) == [("n2", DatagramKind.RELEASE), ("n3", DatagramKind.RELEASE)]


def test_nobody_is_told_when_it_is_meant_for_somebody_further_back() -> None:
    """The one in between would take it: the record in etcd names who is meant."""
    talk = followed(owner(), n2=THEIRS, n3=THIRD)
    assert said(talk.hear(MoveRequested(1, VIP.address, "n3"))) == []
    assert said(talk.answer(talk.expect(RemoveAddress))) == []


def test_what_leaves_at_once_is_told_together_in_frames_that_fit() -> None:
    """A thousand addresses are not a thousand datagrams."""
    count = RELEASES_MAX + 1
    vips = tuple(Vip(ip_address(f"192.168.0.{number}"), "eth0") for number in range(1, count + 1))
    talk = followed(Talk(vips=vips).own(), n2=THEIRS)
    talk.hear(DrainRequested(1, drained=True))
    talk.drop(SendDatagram)
    facts = [talk.outcome(order) for order in talk.open if isinstance(order, RemoveAddress)]
    sent = [order for order in talk.node.handle_all(facts, talk.now) if isinstance(order, SendDatagram)]
    envelopes = [envelope for order in sent if (envelope := unseal(order.payload)) is not None]
    assert [len(envelope.entries) for envelope in envelopes] == [RELEASES_MAX, 1]
    secret = secret_of("n1", "n2")
    words = [open_entry(envelope, *entry, secret) for envelope in envelopes for entry in envelope.entries]
    assert {word.address for word in words if isinstance(word, Released)} == {vip.address for vip in vips}


def test_a_lost_lease_puts_nothing_before_the_removal() -> None:
    """Others may own the address already."""
    talk = followed(owner(), n2=THEIRS)
    talk.lose_lease("a test")
    assert not talk.node.handover.goes_before_removals
    assert not talk.node.resigned.epochs


def leaving_owner() -> Talk:
    """An owner with a sound candidate behind it."""
    talk = owner()
    talk.store.put(LAYOUT.agent("n2"), agent_record("n2"), THEIRS)
    talk.store.put(LAYOUT.candidate(VIP.address, THEIRS), b"n2", THEIRS)
    talk.tell_changes()
    talk.open.clear()
    return talk


def test_the_next_candidate_is_woken_before_the_address_leaves() -> None:
    """The word will find its process awake; a ping that comes behind the removal would cost what it saves."""
    orders = leaving_owner().hear(DrainRequested(1, drained=True))
    kinds = [type(order) for order in orders if isinstance(order, SaveState | SendDatagram | RemoveAddress)]
    assert kinds == [SaveState, SendDatagram, RemoveAddress]


def test_what_clients_wait_for_is_ordered_before_the_rest_is_thought_of() -> None:
    """The word leaves in a step of its own; etcd is asked in the next one."""
    talk = leaving_owner()
    talk.hear(DrainRequested(1, drained=True))
    first, rest = list(talk.node.handle_in_steps([AddressRemoved(VIP)], talk.now))
    assert any(isinstance(order, SendDatagram) for order in first)
    assert not any(isinstance(order, Transact) for order in first)
    assert any(isinstance(order, Transact) for order in rest)


def test_a_move_names_its_target_in_the_release() -> None:
    """Whoever comes first in the queue passes on to it."""
    talk = owner()
    talk.store.stand("n2")
    talk.store.stand("n3", THEIRS + 1)
    talk.tell_changes()
    talk.hear(MoveRequested(1, VIP.address, "n3"))
    assert talk.expect(AnswerOperator).accepted
    talk.answer(talk.expect(RemoveAddress))
    assert b'"to":"n3"' in talk.expect(Transact).then[0].value  # type: ignore[union-attr]


def test_the_first_in_the_queue_passes_an_address_on_that_is_meant_for_another() -> None:
    """Before the address is added."""
    talk = waiting_behind()
    talk.store.stand("n3", THEIRS + 1)
    epoch = talk.store.keys[LAYOUT.candidate(VIP.address, THEIRS)].create_revision
    record = f'{{"epoch":{epoch},"released":true,"reason":"moved","to":"n3"}}'.encode()
    talk.store.put(LAYOUT.owner(VIP.address), record, THEIRS)
    talk.tell_changes()
    talk.store.end_lease(THEIRS)
    talk.store.stand("n3", THEIRS + 1)
    talk.tell_changes()
    assert talk.is_in(Phase.RELEASING)
    talk.none(HoldAddress)
