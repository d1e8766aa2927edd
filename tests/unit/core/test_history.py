"""The story of one VIP: a hand-over is told in the same words, whichever way the news came."""

from __future__ import annotations

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.keys import read_record
from sharedip.core.history import STRANGERS_COUNTED_MAX, History, Takeover
from sharedip.core.messages import (
    Command,
    DrainRequested,
    ForeignClaim,
    MoveRequested,
    RemoveAddress,
    Report,
    SendDatagram,
    Transact,
)
from sharedip.core.model import ConflictPolicy, KeyValue, Put
from sharedip.core.segment.wire import Released, open_entry, unseal
from sharedip.core.view import view
from tests.stages.harness import LAYOUT, MAC, THEIRS, VIP, Talk, agent_record, owner, secret_of, waiting_behind

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


def test_another_owner_with_the_same_epoch_is_told_as_a_change() -> None:
    """etcd was restored from a backup: revisions begin anew, and an epoch may come again."""
    talk = waiting_behind()
    record = {"node": "n2", "epoch": 7, "former": None, "reason": "first"}
    history, now = talk.candidacy.history, talk.now
    first, second = (KeyValue("k", name, 7, 7, 9) for name in (b"n2", b"n3"))
    history.another_took(first, record, now, is_ours=False)
    history.another_took(first, record, now, is_ours=False)
    history.another_took(second, {**record, "node": "n3", "reason": "restored"}, now, is_ours=False)
    assert [change.text.partition(" took ")[0] for change in history.changes] == ["n2", "n3"]
    assert history.reason == "restored"


def test_before_an_owner_was_seen_nothing_is_older_than_this_run() -> None:
    """Not as old as the machine's last boot, from which instants are counted."""
    talk = Talk()
    talk.start(link=None)
    assert view(talk.node, talk.now + 12.0)["vips"][0]["since_s"] == 12.0


class Segment:
    """What a history says of who claims its VIP."""

    def __init__(self) -> None:
        self.orders: list[Command] = []
        self.history = History(VIP, "n1", self.orders.append)

    def claims(self, mac: bytes, at: float) -> None:
        self.history.claimed_by(ForeignClaim(VIP, mac, at), ConflictPolicy.DEFEND, 4711, at)

    @property
    def said(self) -> list[str]:
        return [order.text for order in self.orders if isinstance(order, Report)]


def test_a_flood_of_invented_macs_is_one_line_a_minute_and_the_first_is_shown() -> None:
    segment = Segment()
    for number in range(3000):
        segment.claims(number.to_bytes(6), number / 50)
    assert segment.said == ["conflict: MAC 00:00:00:00:00:00 claims the address on the segment"]
    conflict = segment.history.conflict
    assert conflict is not None
    assert (conflict.mac, conflict.count) == (bytes(6), 3000)
    assert len(conflict.others) <= STRANGERS_COUNTED_MAX
    segment.claims(MAC, 60.5)
    assert "and so did 1000 and more other MACs" in segment.said[-1]
    assert MAC.hex(":") in segment.said[-1], "who was not seen for a minute makes room for who is"


def test_another_stranger_does_not_hide_behind_the_first() -> None:
    segment = Segment()
    for at, mac in ((0.0, MAC), (1.0, bytes(6)), (61.0, MAC)):
        segment.claims(mac, at)
    assert segment.said[1:] == [
        f"conflict: MAC {MAC.hex(':')} claims the address on the segment, and so did 1 other MAC"
    ]


@pytest.mark.parametrize(
    ("reason", "former", "kind"),
    [
        ("it had no owner", None, Takeover.UNOWNED),
        ("n2 handed it over (moved by the operator)", 7, Takeover.HANDED_OVER),
        ("n2 silent for 1.0 s, deposed by its witness n3", 7, Takeover.DEPOSED),
        ("n2 lost its key", 7, Takeover.ENDED),
        ("its right is proved afresh", 9, Takeover.RETURNED),
    ],
)
def test_takeovers_are_counted_by_how_they_came_about_and_told_for_the_history(
    reason: str, former: int | None, kind: Takeover
) -> None:
    told: list[Command] = []
    history = History(VIP, "n1", told.append)
    before = None if former is None else KeyValue("k", b"n2", former, former, THEIRS)
    history.took(reason, 9, before, 100.0)
    assert {each for each, count in history.takeovers.items() if count} == {kind}
    (report,) = told
    assert isinstance(report, Report)
    assert report.change == history.changes[-1].text
