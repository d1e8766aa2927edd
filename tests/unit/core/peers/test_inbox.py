"""What counts as said to us, and what answers it."""

from __future__ import annotations

import pytest

from sharedip.core.messages import DatagramReceived
from sharedip.core.segment.wire import (
    Acknowledgement,
    DatagramKind,
    Entry,
    Heartbeat,
    Ping,
    Pong,
    Released,
    seal,
    unseal,
)
from tests.stages.harness import OURS, THEIRS, VIP, Talk, secret_of, waiting_behind

SECRET = secret_of("n1", "n2")


def datagram(
    kind: DatagramKind, *entries: Entry, sender: int = THEIRS, receiver: int = OURS, secret: bytes = SECRET
) -> DatagramReceived:
    return DatagramReceived("n2", 9470, seal(kind, sender, receiver, entries, secret), 1000.0)


def strange(talk: Talk) -> int:
    return talk.node.inbox.strange_datagrams


@pytest.mark.parametrize(
    ("kind", "entry"),
    [
        (DatagramKind.HEARTBEAT, Heartbeat(5, 1)),
        (DatagramKind.ACKNOWLEDGEMENT, Acknowledgement(5, 1)),
        (DatagramKind.PING, Ping(1)),
        (DatagramKind.PONG, Pong(1, 20)),
        (DatagramKind.RELEASE, Released(5, VIP.address, "moved")),
    ],
)
def test_each_kind_says_one_thing(kind: DatagramKind, entry: Entry) -> None:
    letter = waiting_behind().node.inbox.open(datagram(kind, entry, entry))
    assert letter is not None
    assert (letter.sender, letter.entries) == (THEIRS, (entry, entry))


def test_an_entry_that_was_tampered_with_takes_none_of_the_others_along() -> None:
    talk = waiting_behind()
    said = datagram(DatagramKind.HEARTBEAT, Heartbeat(5, 1), Heartbeat(6, 1))
    said = DatagramReceived(said.host, said.port, said.payload[:-1] + bytes([said.payload[-1] ^ 1]), 1000.0)
    letter = talk.node.inbox.open(said)
    assert letter is not None
    assert letter.entries == (Heartbeat(5, 1),)
    assert strange(talk) == 1


@pytest.mark.parametrize(
    "said",
    [
        datagram(DatagramKind.PING, Ping(1), receiver=OURS + 1),
        datagram(DatagramKind.PING, Ping(1), sender=0x123),
        DatagramReceived("n2", 9470, b"garbage", 1000.0),
    ],
    ids=["to another", "from nobody we know", "garbage"],
)
def test_what_is_not_between_us_two_is_no_letter(said: DatagramReceived) -> None:
    talk = waiting_behind()
    assert talk.node.inbox.open(said) is None
    assert strange(talk) == 1


def test_nothing_is_said_to_an_agent_without_a_lease() -> None:
    """A lease is what it is known by."""
    talk = waiting_behind()
    talk.lose_lease("a test")
    assert talk.node.inbox.open(datagram(DatagramKind.PING, Ping(1))) is None


def test_a_ping_is_answered_once_with_the_age_of_our_proof() -> None:
    talk = waiting_behind()
    talk.now = talk.node.session.proved_sent_at + 0.5
    assert talk.node.inbox.pong(THEIRS, Ping(7), talk.now) == Pong(7, 500)
    assert talk.node.inbox.pong(THEIRS, Ping(7), talk.now) is None
    assert talk.node.inbox.pong(THEIRS, Ping(6), talk.now) is None


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        (DatagramKind.ACKNOWLEDGEMENT, [Acknowledgement(5, 1), Acknowledgement(6, 1)]),
        (DatagramKind.PONG, [Pong(1, 20)]),
    ],
)
def test_all_answers_to_a_letter_are_one_datagram(kind: DatagramKind, answers: list[Acknowledgement | Pong]) -> None:
    """Never longer than the letter."""
    inbox = waiting_behind().node.inbox
    letter = inbox.open(datagram(DatagramKind.PING, Ping(1)))
    assert letter is not None
    order = inbox.answer(letter, answers)
    assert order is not None
    assert order.payload == seal(kind, OURS, THEIRS, answers, SECRET)
    envelope = unseal(order.payload)
    assert envelope is not None
    assert (order.host, order.port, envelope.kind) == ("n2", 9470, kind)
    assert inbox.answer(letter, []) is None
