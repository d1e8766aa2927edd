"""The story of one VIP: a hand-over is told in the same words, whichever way the news came."""

from __future__ import annotations

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.keys import read_record
from sharedip.core.messages import DrainRequested, MoveRequested, RemoveAddress, SendDatagram, Transact
from sharedip.core.model import KeyValue, Put
from sharedip.core.segment.wire import Released, open_entry, unseal
from tests.stages.harness import LAYOUT, THEIRS, VIP, Talk, agent_record, owner, secret_of, waiting_behind

SECRET = secret_of("n1", "n2")
EVENTS = [
    (MoveRequested(1, VIP.address, None), "moved by the operator"),
    (DrainRequested(1, drained=True), "drained"),
    (None, "unhealthy (api: answered 500)"),
]


def reasons_told(talk: Talk) -> tuple[str, str]:
    """What the leaving owner says in its datagram, and in etcd."""
    datagram = talk.expect(SendDatagram)
    envelope = unseal(datagram.payload)
    assert envelope is not None
    (body, tag) = envelope.entries[0]
    entry = open_entry(envelope, body, tag, SECRET)
    assert isinstance(entry, Released)
    puts = [each for order in talk.open if isinstance(order, Transact) for each in order.then if isinstance(each, Put)]
    (put,) = [each for each in puts if each.key == LAYOUT.owner(VIP.address)]
    record = read_record(KeyValue(put.key, put.value, 1, 1, put.lease or 0))
    assert record is not None
    return entry.reason, str(record["reason"])


@pytest.mark.parametrize(("event", "reason"), EVENTS)
def test_the_leaving_owner_says_why_in_its_datagram_and_in_etcd(event: object, reason: str) -> None:
    talk = owner()
    talk.store.stand("n2", sound=None)
    talk.store.put(LAYOUT.agent("n2"), agent_record("n2"), THEIRS)
    talk.tell_changes()
    if event is None:
        talk.fall_sick("api: answered 500")
        talk.assent()
    else:
        talk.hear(event)  # type: ignore[arg-type]
    talk.drop(SendDatagram)  # which wakes the next candidate
    talk.answer(talk.expect(RemoveAddress))
    assert reasons_told(talk) == (reason, reason)


def test_the_next_owner_says_so_too_whether_by_word_or_by_etcd() -> None:
    said = []
    for by_word in (True, False):
        talk = waiting_behind()
        (first,) = [key for key in talk.candidacy.queue() if key.lease == THEIRS]
        if by_word:
            talk.candidacy.released(first.create_revision, "drained", talk.now)
            talk.settle()
        else:
            record = b'{"node":"n2","epoch":%d,"released":true,"reason":"drained","to":null}' % first.create_revision
            talk.store.put(LAYOUT.owner(VIP.address), record, THEIRS)
            talk.store.delete(first.key)
            talk.tell_changes()
            talk.run(0.1)
        assert talk.is_in(Phase.OWNING)
        said.append(talk.candidacy.history.reason)
    assert said == ["n2 handed it over (drained)"] * 2
