"""The owner's side without its node: what it returns for the fences to follow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharedip.core.etcd.requests import RequestKind
from sharedip.core.messages import DatagramReceived, ReadKeys, SendDatagram, TimePassed, Transact
from sharedip.core.model import FenceKind, Put
from sharedip.core.node import Node
from sharedip.core.peers.owner import APPOINT_RETRY_S, Appointed, FencesLoose, GateDue, Promised
from sharedip.core.right import Deadline
from sharedip.core.segment.wire import Acknowledgement, DatagramKind, Pong, seal, unseal
from sharedip.core.settings import heartbeat_every_s
from tests.stages.harness import LAYOUT, OURS, THEIRS, Talk
from tests.stages.witnessed import SECRET, WINDOW_S, WITNESS, Owner

THIRD = 0xA00


def beats(talk: Talk) -> int:
    """How many datagrams with heartbeats have left in this turn."""
    sent = [unseal(order.payload) for order in talk.node._commands if isinstance(order, SendDatagram)]
    return sum(envelope is not None and envelope.kind is DatagramKind.HEARTBEAT for envelope in sent)


def test_a_committed_designation_binds_the_right_at_once_and_says_so() -> None:
    """Whoever holds the right is told; the designation itself touches no address."""
    owner = Owner()
    node, right = owner.talk.node, owner.talk.candidacy.ownership.right
    order = owner.designation()
    answer = owner.talk.outcome(order)
    changes = node.designations.answered(order.request, answer, node.candidacies, owner.talk.now)
    assert changes == [Appointed((right,))]
    assert right.until == owner.talk.now + WINDOW_S


def test_what_was_asked_for_by_somebody_who_is_gone_binds_nobody() -> None:
    """A reload may have put another candidacy in its place: that one's right is its own."""
    owner = Owner()
    order = owner.designation()
    answer = owner.talk.outcome(order)
    assert owner.talk.node.designations.answered(order.request, answer, {}, owner.talk.now) == []
    assert not owner.talk.node.designations.active


def test_nobody_beats_before_the_fence_is_tight() -> None:
    """What is loose is returned, for the fence to be set anew."""
    owner = Owner()
    node, candidacy = owner.talk.node, owner.talk.candidacy
    order = owner.designation()
    node.designations.answered(order.request, owner.talk.outcome(order), node.candidacies, owner.talk.now)
    assert not candidacy.ownership.fence_is_tight, "the address stands for as long as the lease"
    changes = node.designations.advance([candidacy], owner.talk.now)
    assert changes == [FencesLoose((candidacy.ownership.right,))]
    assert beats(owner.talk) == 0


def test_the_first_beats_follow_each_other_soon_until_one_is_acknowledged() -> None:
    """Before it has heard one the witness has no power, and its watch may tell it of the designation later than that:
    an owner that died meanwhile would be replaced when its lease ends.
    """
    owner = Owner().witnessed()
    owner.talk.run(0.2)
    assert len(owner.beats()) == 4, "after 20, 60 and 140 ms"
    owner.acknowledge()
    owner.talk.run(heartbeat_every_s(WINDOW_S, FenceKind.LIFETIME) + 0.01)
    assert len(owner.beats()) in (1, 2), "from then on as often as the window has it"


def whole_turns(node: Node, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the session looked at what is due, which a turn that is but a beat leaves out."""
    turns: list[float] = []
    advance = node.session.advance

    def noted(now: float) -> None:
        turns.append(now)
        advance(now)

    monkeypatch.setattr(node.session, "advance", noted)
    return turns


def test_a_beat_is_no_whole_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most turns of an owner at rest are about one."""
    owner = Owner().witnessed()
    owner.talk.run(0.01)
    turns = whole_turns(owner.talk.node, monkeypatch)
    owner.step()
    assert len(owner.beats()) > 1
    assert not turns


@pytest.mark.parametrize("more", ["a look is due", "a candidacy is touched", "a problem is to be published", "nothing"])
def test_a_beat_with_more_to_do_is_a_whole_turn(more: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written to etcd leaves at its end, and a candidacy takes its steps in it."""
    owner = Owner().witnessed()
    owner.talk.run(0.01)
    node, now = owner.talk.node, owner.talk.now
    turns = whole_turns(node, monkeypatch)
    if more == "a look is due":
        node.designations._look_at = now
    # Problems are looked for in such a turn as in any other: an owner at rest has few others.
    monkeypatch.setattr(node.alarms, "look", lambda *_: "published" in more)
    touched = Appointed((owner.talk.candidacy.ownership.right,))
    monkeypatch.setattr(node.designations, "acknowledged", lambda *_: [touched] if "touched" in more else [])
    payload = seal(DatagramKind.ACKNOWLEDGEMENT, THEIRS, OURS, [owner.beats()[-1]], SECRET)
    assert now < node.next_deadline() or more == "a look is due"
    node.handle(DatagramReceived("n2", 9470, payload, now), now)
    assert len(turns) == (more != "nothing")
    assert not node.vips.has_touched


def test_a_promise_counts_from_the_beats_sending() -> None:
    """However late its acknowledgement is."""
    owner = Owner().witnessed()
    right, sent_at = owner.talk.candidacy.ownership.right, owner.talk.now
    (beat,) = owner.beats()[-1:]
    said = Acknowledgement(beat.revision, beat.sequence)
    assert owner.talk.node.designations.acknowledged(THEIRS, said, sent_at + 1.0) == [Promised((right,), sent_at)]
    assert right.until <= sent_at + WINDOW_S
    assert owner.talk.node.designations.acknowledged(THEIRS, said, sent_at + 1.0) == [], "it counts once"


def test_one_order_opens_the_gates_of_a_designation_and_not_at_every_beat() -> None:
    """They have one right, and neighbours in one fence order cost one system call."""
    owner = Owner(fence=FenceKind.NFTABLES)
    node, now, right = owner.talk.node, owner.talk.now, owner.talk.candidacy.ownership.right
    order = owner.designation()
    node.designations.answered(order.request, owner.talk.outcome(order), node.candidacies, now)
    (designation,) = node.designations.active.values()
    designation.promises[THEIRS].sent.update({1: now, 2: now + 0.1})
    gate, promised = node.designations.acknowledged(THEIRS, Acknowledgement(designation.revision, 1), now)
    assert isinstance(gate, GateDue)
    assert (gate.rights, gate.until) == ((right,), now + WINDOW_S)
    assert 0 < gate.timeout_s < WINDOW_S
    assert promised == Promised((right,), now)
    assert gate.proved_at == now
    node.designations.gate_opened(gate)
    again = Acknowledgement(designation.revision, 2)
    assert node.designations.acknowledged(THEIRS, again, now + 0.1) == [Promised((right,), now + 0.1)]


@pytest.mark.parametrize(("window_s", "opens"), [(0.1, True), (0.3, False)])
def test_at_the_shortest_windows_each_beat_opens_the_gate(window_s: float, opens: bool) -> None:
    """A gate that is a beat older closes before etcd could have freed the owner from a witness that died."""
    owner = Owner(fence=FenceKind.NFTABLES)
    node, now = owner.talk.node, owner.talk.now
    order = owner.designation()
    node.designations.answered(order.request, owner.talk.outcome(order), node.candidacies, now)
    (designation,) = node.designations.active.values()
    designation.window_s = window_s
    designation.promises[THEIRS].sent.update({1: now, 2: now + window_s / 5})
    gate, _ = node.designations.acknowledged(THEIRS, Acknowledgement(designation.revision, 1), now)
    assert isinstance(gate, GateDue)
    node.designations.gate_opened(gate)
    after = node.designations.acknowledged(THEIRS, Acknowledgement(designation.revision, 2), now + window_s / 5)
    assert any(isinstance(each, GateDue) for each in after) is opens


@pytest.mark.parametrize(
    ("other_s", "lease_s", "open_s"), [(1.5, 9.0, 1.5), (9.0, 9.0, WINDOW_S), (2.0, 1.5, 1.5), (9.0, 2.0, 2.0)]
)
def test_no_gate_is_opened_for_longer_than_the_earliest_promise_and_the_lease(
    other_s: float, lease_s: float, open_s: float
) -> None:
    """Each witness may depose us once its own promise is over, whatever the other one has promised."""
    owner = Owner(fence=FenceKind.NFTABLES)
    node, now = owner.talk.node, owner.talk.now
    order = owner.designation()
    node.designations.answered(order.request, owner.talk.outcome(order), node.candidacies, now)
    (designation,) = node.designations.active.values()
    promise = designation.promises[THEIRS]
    promise.sent[1] = now
    designation.promises[THIRD] = replace(promise, lease=THIRD, deadline=Deadline(now + other_s))
    owner.talk.held.deadline.until = now + lease_s
    gate, _ = node.designations.acknowledged(THEIRS, Acknowledgement(designation.revision, 1), now)
    assert isinstance(gate, GateDue)
    assert gate.until == now + open_s


def test_the_age_in_a_pong_counts_by_the_slower_clock() -> None:
    """docs/protocol.md: the ping's sending - age x 1.002, however late the pong comes."""
    talk = Owner().talk
    sent_at = talk.now
    talk.node.designations.ping_now(THEIRS, sent_at)
    sequence, _ = talk.node.designations._pinged[THEIRS]
    talk.node.peers._proved_at.clear()
    talk.node.designations.ponged(THEIRS, Pong(sequence, 10_000), sent_at + 0.3)
    assert talk.node.peers.proved_at(THEIRS) == pytest.approx(sent_at - 10.02, abs=1e-6)


def test_no_witness_is_chosen_by_the_leader_of_a_term_that_is_over() -> None:
    """The answer that shows the new term comes in the very turn in which a witness would be chosen."""
    for newer, chosen in ((0, 1), (1, 0)):
        owner = Owner()
        talk, order = owner.talk, owner.designation()
        talk.fail(order)
        talk.open.clear()
        talk.now += APPOINT_RETRY_S
        look = ReadKeys(talk.node.session._begin(RequestKind.READ), 0, LAYOUT.root, 1.0)
        orders = talk.answer(look, raft_term=talk.term + newer)
        assert sum(designates(order) for order in orders) == chosen


def designates(order: object) -> bool:
    """Whether this is a transaction that writes a designation."""
    return isinstance(order, Transact) and any(isinstance(op, Put) and op.key == WITNESS for op in order.then)


def test_a_designation_of_an_earlier_epoch_binds_no_later_one() -> None:
    """Its witness could not depose the key that we have by now; to be bound to it would end the right for nothing."""
    scene = Owner()
    talk = scene.talk
    late = talk.outcome(scene.designation())
    epoch = talk.candidacy.epoch
    talk.store.delete(talk.key)
    talk.store.delete(WITNESS)
    talk.tell_changes()
    for _ in range(30):
        talk.serve(ReadKeys)
        if talk.candidacy.epoch not in (None, epoch):
            break
        talk.now = max(talk.now, talk.node.next_deadline())
        talk.hear(TimePassed())
    assert talk.candidacy.epoch not in (None, epoch)
    talk.hear(late)
    assert not talk.node.designations.active
