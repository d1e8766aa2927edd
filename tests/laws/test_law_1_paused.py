"""Law 1 for a machine that stood still as a whole: silence before proof, and the dead are told.

No clock of its own tells such an owner that its right is over; who was awake meanwhile does.
"""

from __future__ import annotations

import pytest

from sharedip.core.address.ownership import DOUBT_EVERY_S
from sharedip.core.election.candidacy import DEFENDS_AFTER_S, Phase
from sharedip.core.election.words import Words
from sharedip.core.messages import (
    Announce,
    DatagramReceived,
    ForeignClaim,
    GateOpened,
    KeepaliveConfirmed,
    KeepLeaseAlive,
    OpenGate,
    ReadKeys,
    RemoveAddress,
    SendDatagram,
    TimePassed,
)
from sharedip.core.model import NEVER, ConflictPolicy, Failure, FenceKind, KeyValue
from sharedip.core.peers.former_owners import TOLD_MAX
from sharedip.core.peers.witness import ENDED_MAX, Deposed
from sharedip.core.segment.wire import (
    Acknowledgement,
    DatagramKind,
    Entry,
    Heartbeat,
    Hello,
    Over,
    Owned,
    Ping,
    mark_of,
    open_entry,
    seal,
    unseal,
)
from tests.stages.harness import LAYOUT, OURS, THEIRS, VIP, Talk, agent_record, owner, secret_of
from tests.stages.witnessed import SECRET, WINDOW_S, Owner, Watch

PEERS_MAC, STRANGERS_MAC = b"\2\0\0\0\0\x52", b"\2\0\0\0\0\x99"


# -- the dead are told ------------------------------------------------------------------------------------------------


def deposed() -> Watch:
    """n2 has deposed n1, and etcd has said so."""
    watch = Watch()
    watch.beat()
    watch.wait(WINDOW_S * 1.2)
    (deposition,) = watch.depositions()
    watch.talk.open.remove(deposition)
    watch.talk.answer(deposition)
    watch.talk.run(0.1)
    assert watch.owner_key not in watch.talk.store.keys
    watch.talk.open.clear()
    return watch


def told(watch: Watch, *, secret: bytes = SECRET, sender: int = THEIRS) -> list[Over]:
    """What n2 answers to a beat under the designation that was."""
    watch.sequence += 1
    payload = seal(DatagramKind.HEARTBEAT, sender, OURS, [Heartbeat(watch.revision, watch.sequence)], secret)
    orders = watch.talk.hear(DatagramReceived("n1", 9470, payload, watch.talk.now))
    envelopes = [unseal(order.payload) for order in orders if isinstance(order, SendDatagram)]
    found = []
    for envelope in envelopes:
        assert envelope is not None
        found += [open_entry(envelope, body, tag, SECRET) for body, tag in envelope.entries]
    return [entry for entry in found if isinstance(entry, Over)]


def test_who_was_deposed_is_told_at_its_next_beat_as_often_as_it_beats() -> None:
    watch = deposed()
    for _ in range(3):
        assert told(watch) == [Over(watch.revision, watch.sequence)]


def test_it_is_told_when_its_lease_and_its_record_are_gone_too() -> None:
    """A machine may stand still for an hour."""
    watch = deposed()
    watch.talk.store.end_lease(THEIRS)
    watch.talk.store.delete(LAYOUT.agent("n1"))
    watch.talk.tell_changes()
    watch.talk.run(3600.0)
    assert watch.talk.node.peers.secret_with(THEIRS) is None
    assert told(watch) == [Over(watch.revision, watch.sequence)]
    watch.talk.open.clear()
    ping = seal(DatagramKind.PING, THEIRS, OURS, [Ping(1)], SECRET)
    assert not watch.talk.hear(DatagramReceived("n1", 9470, ping, watch.talk.now)), "nothing else is taken from it"


def test_nobody_else_is_told_anything() -> None:
    """No authentic beat, no answer; nor to another agent that beats under the same revision."""
    watch = deposed()
    assert told(watch, secret=secret_of("n2", "n3")) == []
    watch.talk.store.put(LAYOUT.agent("n3"), agent_record("n3"), THEIRS + 1)
    watch.talk.tell_changes()
    assert told(watch, secret=secret_of("n2", "n3"), sender=THEIRS + 1) == []


@pytest.mark.parametrize("failure", [Failure.TIMEOUT, Failure.UNAVAILABLE, None])
def test_only_a_deposition_that_etcd_has_confirmed_is_told(failure: Failure | None) -> None:
    """Law 4: without an answer, or refused by its guards, it may be that another has done it, or nobody."""
    watch = Watch()
    watch.beat()
    watch.wait(WINDOW_S * 1.2)
    (deposition,) = watch.depositions()
    watch.talk.open.remove(deposition)
    if failure is None:
        watch.talk.answer(deposition, succeeded=False)
    else:
        watch.talk.fail(deposition, failure)
    assert told(watch) == []


def test_a_record_of_what_it_said_once_is_no_sign_of_its_life() -> None:
    """Law 11: whoever sends an old beat again gets an answer that nobody can use, and revives no dead."""
    watch = deposed()
    watch.talk.run(30.0)
    assert not watch.talk.node.voices.is_speaking(THEIRS, watch.talk.now)
    assert told(watch)
    assert not watch.talk.node.voices.is_speaking(THEIRS, watch.talk.now)


def test_what_is_remembered_is_bounded() -> None:
    """The oldest goes first."""
    watch = Watch()
    witness = watch.talk.node.witness
    for revision in range(2 * ENDED_MAX):
        witness._note_ended(Deposed(VIP.address, watch.owner_key, watch.epoch, "n1", "", revision, THEIRS))
    assert list(witness._ended) == list(range(ENDED_MAX, 2 * ENDED_MAX))


# -- what the one who was deposed makes of it -------------------------------------------------------------------------


def relying() -> Owner:
    """n1, with a promise of n2."""
    who = Owner().witnessed()
    who.acknowledge()
    while not who.beats():
        who.step()
    assert who.talk.is_in(Phase.OWNING)
    return who


def end(who: Owner, entry: Over, *, secret: bytes = SECRET, sender: int = THEIRS) -> None:
    payload = seal(DatagramKind.DEPOSED, sender, OURS, [entry], secret)
    who.talk.hear(DatagramReceived("n2", 9470, payload, who.talk.now))


def test_the_right_ends_in_the_turn_that_hears_it() -> None:
    """Whatever its clocks say; and only etcd's proof brings the address back."""
    who = relying()
    (beat, *_) = who.beats()
    assert who.talk.right_until > who.talk.now + WINDOW_S / 4
    end(who, Over(beat.revision, beat.sequence))
    assert who.talk.right_until < who.talk.now
    assert who.talk.is_in(Phase.LAPSED)
    who.talk.expect(RemoveAddress)
    assert "deposed by its witness n2" in who.talk.reports[-1].reason  # type: ignore[operator]
    who.hear(DatagramKind.ACKNOWLEDGEMENT, Acknowledgement(beat.revision, beat.sequence))
    assert who.talk.right_until < who.talk.now


def test_nothing_but_the_answer_to_a_beat_of_this_designation_ends_a_right() -> None:
    """Not a replay, not another agent's word, not without the secret."""
    who = relying()
    (beat, *_) = who.beats()
    end(who, Over(beat.revision, beat.sequence - 1))
    end(who, Over(beat.revision + 1, beat.sequence))
    end(who, Over(beat.revision, beat.sequence), secret=secret_of("n1", "n3"))
    who.talk.store.put(LAYOUT.agent("n3"), agent_record("n3"), THEIRS + 1)
    who.talk.tell_changes()
    end(who, Over(beat.revision, beat.sequence), secret=secret_of("n1", "n3"), sender=THEIRS + 1)
    assert who.talk.is_in(Phase.OWNING)
    assert who.talk.right_until > who.talk.now


# -- silence before proof ---------------------------------------------------------------------------------------------


def claimed(policy: ConflictPolicy = ConflictPolicy.DEFEND) -> Talk:
    """n1 has the address, and hears n2's card announce it."""
    talk = Talk(conflict_policy=policy).own()
    talk.store.put(LAYOUT.agent("n2"), agent_record("n2", macs=[PEERS_MAC.hex()]), THEIRS)
    talk.tell_changes()
    talk.run(20.0)
    talk.open.clear()
    talk.now += 0.001
    talk.hear(ForeignClaim(VIP, PEERS_MAC, talk.now - 0.0005))
    return talk


@pytest.mark.parametrize("policy", list(ConflictPolicy))
def test_an_owner_that_hears_a_node_of_its_cluster_is_silent_until_etcd_says_that_it_owns(
    policy: ConflictPolicy,
) -> None:
    """No defence, no repetition of what it said before, no yielding: perhaps it is the one that slept."""
    talk = claimed(policy)
    talk.none(Announce)
    read = talk.expect(ReadKeys)
    talk.open.clear()
    talk.run(1.5, ReadKeys)
    talk.none(Announce)
    assert talk.is_in(Phase.OWNING)
    talk.answer(read)
    talk.hear(TimePassed())
    talk.expect(Announce)


def test_a_proof_that_was_asked_for_before_the_claim_is_none() -> None:
    talk = claimed()
    read = talk.expect(ReadKeys)
    talk.answer(read, sent_at=talk.now - 0.002)
    talk.hear(TimePassed())
    talk.none(Announce)


def test_who_claims_without_end_silences_for_one_way_to_etcd_and_back() -> None:
    """A forger can use any card's address."""
    talk = claimed()
    read = talk.expect(ReadKeys)
    for _ in range(5):
        talk.now += 0.001
        talk.hear(ForeignClaim(VIP, PEERS_MAC, talk.now - 0.0005))
    talk.answer(read)
    talk.hear(TimePassed())
    talk.expect(Announce)
    talk.now += 0.001
    talk.hear(ForeignClaim(VIP, PEERS_MAC, talk.now - 0.0005))
    assert not talk.candidacy.ownership._holding.is_silent  # type: ignore[union-attr]
    talk.now += DOUBT_EVERY_S
    talk.hear(ForeignClaim(VIP, PEERS_MAC, talk.now - 0.0005))
    assert talk.candidacy.ownership._holding.is_silent  # type: ignore[union-attr]


def test_a_claim_every_second_does_not_outlast_a_slow_etcd() -> None:
    """The proof that was asked for after the first claim of a series counts, however long it takes."""
    talk = claimed()
    read = talk.expect(ReadKeys)
    for _ in range(3):
        talk.now += DOUBT_EVERY_S
        talk.hear(ForeignClaim(VIP, PEERS_MAC, talk.now - 0.0005))
        talk.drop(ReadKeys)
    talk.answer(read)
    talk.hear(TimePassed())
    talk.expect(Announce)


def test_a_stranger_silences_nobody() -> None:
    talk = owner()
    talk.run(20.0)
    talk.open.clear()
    talk.hear(ForeignClaim(VIP, STRANGERS_MAC, talk.now))
    talk.pass_time(DEFENDS_AFTER_S)
    talk.expect(Announce)


def test_a_stranger_ahead_of_the_successor_draws_no_announcement() -> None:
    """A machine that stood still finds both claims in its socket, the stranger's first."""
    talk = owner()
    talk.store.put(LAYOUT.agent("n2"), agent_record("n2", macs=[PEERS_MAC.hex()]), THEIRS)
    talk.tell_changes()
    talk.run(20.0)
    talk.open.clear()
    talk.hear(ForeignClaim(VIP, STRANGERS_MAC, talk.now))
    talk.hear(ForeignClaim(VIP, PEERS_MAC, talk.now))
    talk.pass_time(10 * DEFENDS_AFTER_S)
    talk.none(Announce)


def test_the_claim_makes_it_ask_its_witness_at_once() -> None:
    """The beat leaves before it is due: who has deposed it answers."""
    who = relying()
    talk = who.talk
    record = agent_record("n2", macs=[PEERS_MAC.hex()])
    talk.store.put(LAYOUT.agent("n2"), record, THEIRS)
    talk.tell_changes()
    who.acknowledge()
    talk.open.clear()
    talk.now += 0.01
    talk.hear(ForeignClaim(VIP, PEERS_MAC, talk.now - 0.0005))
    assert who.beats()
    talk.open.clear()
    talk.now += 0.01
    talk.hear(ForeignClaim(VIP, PEERS_MAC, talk.now - 0.0005))
    assert not who.beats(), "not for each claim"


# -- silence before proof, in the kernel's rules ----------------------------------------------------------------------


def openings(talk: Talk) -> list[OpenGate]:
    return [order for order in talk.open if isinstance(order, OpenGate)]


def opened(talk: Talk) -> list[OpenGate]:
    """The kernel carries out what is ordered of the gate, and says so."""
    orders = openings(talk)
    for order in orders:
        talk.open.remove(order)
        talk.hear(talk.outcome(order))
    return orders


def gated() -> Owner:
    """n1 with a gate, and a promise of n2, whose card is known; a beat has just left."""
    who = Owner(fence=FenceKind.NFTABLES)
    who.talk.store.put(LAYOUT.agent("n2"), agent_record("n2", macs=[PEERS_MAC.hex()]), THEIRS)
    who.talk.tell_changes()
    who.talk.hear(GateOpened((VIP,), who.talk.right_until))  # what was ordered meanwhile
    who.talk.answer(who.designation(OpenGate))
    beat(who)
    who.acknowledge()
    opened(who.talk)
    who.talk.open.clear()
    beat(who)
    return who


def beat(who: Owner) -> float:
    """To the next beat; when it left."""
    for _ in range(100):
        if who.beats():
            return who.talk.now
        opened(who.talk)
        who.step()
    raise AssertionError("no beat")


def claimed_by_peer(talk: Talk) -> float:
    """A moment later n2's card claims the address; when that was."""
    talk.now += 0.01
    seen_at = talk.now - 0.0005
    talk.hear(ForeignClaim(VIP, PEERS_MAC, seen_at))
    assert talk.candidacy.ownership.is_silent
    return seen_at


def test_an_opening_says_when_its_proof_was_asked_for() -> None:
    """The kernel stays mute for a claim that it has heard since."""
    talk = Talk(fence=FenceKind.NFTABLES)
    talk.start()
    sent_at: list[float] = []
    for _ in range(200):
        for read in [order for order in talk.open if isinstance(order, ReadKeys)]:
            sent_at.append(talk.now)
            talk.open.remove(read)
            talk.now += 0.003
            talk.answer(read, sent_at=sent_at[-1])
        if orders := openings(talk):
            assert orders[0].proved_at in sent_at
            return
        talk.run(max(0.0, talk.node.next_deadline() - talk.now), ReadKeys)
    raise AssertionError("it was never opened")


def test_an_opening_by_an_acknowledgement_is_proved_from_its_beats_sending() -> None:
    who = gated()
    for _ in range(3):  # not at every beat
        sent_at = beat(who)
        who.talk.now += 0.01
        who.acknowledge()
        orders = openings(who.talk)
        if orders:
            assert orders[0].proved_at == sent_at
            return
    raise AssertionError("no acknowledgement opened it")


def test_an_acknowledgement_refutes_a_claim_while_etcd_is_away() -> None:
    """Its witness has not deposed it: the address is announced again, and opened in the turn that hears it."""
    who = gated()
    who.talk.open.clear()
    claimed_at = claimed_by_peer(who.talk)
    assert who.beats(), "asked at once"
    who.talk.now += 0.01
    who.acknowledge()
    assert not who.talk.candidacy.ownership.is_silent
    assert [order for order in who.talk.open if isinstance(order, Announce)]
    assert max(order.proved_at for order in openings(who.talk)) > claimed_at


def test_an_acknowledgement_of_a_beat_before_the_claim_refutes_nothing() -> None:
    """It may have waited for a machine that stood still."""
    who = gated()
    waiting = who.beats()
    who.talk.open.clear()
    claimed_at = claimed_by_peer(who.talk)
    who.talk.open.clear()
    for each in waiting:
        who.hear(DatagramKind.ACKNOWLEDGEMENT, Acknowledgement(each.revision, each.sequence))
    assert who.talk.candidacy.ownership.is_silent
    assert not [order for order in who.talk.open if isinstance(order, Announce)]
    assert all(order.proved_at < claimed_at for order in openings(who.talk))


def test_all_its_witnesses_must_answer() -> None:
    """One that has deposed it says nothing, or says so; the others may not have heard yet."""
    talk = gated().talk
    designations, now = talk.node.designations, talk.now + 0.1
    (designation,) = designations.active.values()
    other, known = THEIRS + 1, designation.promises[THEIRS]
    known.vouched_at = NEVER
    designation.promises[other] = type(known)(other, known.acknowledged_at)
    known.sent[7] = designation.promises[other].sent[7] = now
    said = Acknowledgement(designation.revision, 7)
    proved_at = [designations.acknowledged(lease, said, now)[-1].proved_at for lease in (THEIRS, other)]  # type: ignore[union-attr]
    assert proved_at == [NEVER, now]


def test_who_takes_by_a_word_counts_claims_from_the_word_on() -> None:
    """Its speaker announced the address until then."""
    words = Words()
    words.heard(11, "", 5.0)
    words.heard(12, "", 7.0)
    before = [KeyValue("a", b"n1", 11, 11, 1), KeyValue("b", b"n2", 12, 12, 2)]
    assert words.take(before, 9.0) == 5.0


# -- time by others ---------------------------------------------------------------------------------------------------


def test_what_others_clocks_show_is_taken_off_every_right() -> None:
    """And etcd is asked in the same turn; the rights grow again by what is sent from now on."""
    who = gated()
    before = who.talk.right_until
    lease_until = who.talk.node.session.lease_until
    who.talk.node._stood_still(0.5, "n2", who.talk.now)
    assert who.talk.right_until == pytest.approx(before - 0.5)
    assert who.talk.node.session.lease_until == pytest.approx(lease_until - 0.5)
    assert who.talk.is_in(Phase.OWNING)
    who.talk.hear(TimePassed())
    assert [order for order in who.talk.open if isinstance(order, KeepLeaseAlive)]
    beat(who)
    who.acknowledge()
    assert who.talk.right_until >= before


def test_a_right_that_is_over_by_others_clocks_ends_in_that_turn() -> None:
    who = gated()
    who.talk.node._stood_still(60.0, "n2", who.talk.now)
    who.talk.hear(TimePassed())
    assert who.talk.is_in(Phase.LAPSED)
    who.talk.expect(RemoveAddress)
    assert "stood still for 60.0 s by n2's clock" in who.talk.reports[-1].reason  # type: ignore[operator]


def test_an_answer_to_what_was_sent_before_the_pause_proves_nothing_after_it() -> None:
    """It may have waited as long as the machine stood still."""
    who = gated()
    waiting = who.beats()
    who.talk.node._stood_still(0.5, "n2", who.talk.now)
    until = who.talk.right_until
    for each in waiting:
        who.hear(DatagramKind.ACKNOWLEDGEMENT, Acknowledgement(each.revision, each.sequence))
    assert who.talk.right_until == until


def test_a_keepalive_that_was_sent_before_the_pause_proves_nothing_after_it() -> None:
    talk = Talk().own()
    talk.run(20.0, KeepLeaseAlive)
    keepalive = talk.expect(KeepLeaseAlive)
    sent_at = talk.now
    talk.now += 0.01
    talk.node._stood_still(0.5, "n2", talk.now)
    until = talk.node.session.lease_until
    talk.open.clear()
    talk.hear(KeepaliveConfirmed(keepalive.request, keepalive.endpoint, keepalive.lease, 15, 1, sent_at))
    talk.none(ReadKeys)
    assert talk.node.session.lease_until == until
    talk.expect(KeepLeaseAlive)


# -- the new owner tells its former one -------------------------------------------------------------------------------


def heir() -> Talk:
    """n2, which took the address when n1's lease had ended."""
    talk = Talk(name="n2")
    talk.store.stand("n1")
    talk.store.put(LAYOUT.agent("n1"), agent_record("n1"), THEIRS)
    talk.start()
    talk.run(2.0)
    talk.store.end_lease(THEIRS)
    talk.tell_changes()
    for _ in range(100):
        if talk.is_in(Phase.OWNING):
            break
        talk.run(0.1)
    assert talk.is_in(Phase.OWNING)
    talk.open.clear()
    return talk


def says(talk: Talk, kind: DatagramKind, entry: Entry, secret: bytes = SECRET) -> list[Owned]:
    """What n2 answers to n1."""
    payload = seal(kind, THEIRS, OURS, [entry], secret)
    orders = talk.hear(DatagramReceived("192.168.250.9", 9470, payload, talk.now, 2, is_direct=True))
    sent = [order.payload for order in orders if isinstance(order, SendDatagram) and order.host == "192.168.250.9"]
    assert all(len(answer) <= len(payload) for answer in sent), "no amplification"
    envelopes = [envelope for answer in sent if (envelope := unseal(answer)) is not None]
    entries = [open_entry(envelope, body, tag, SECRET) for envelope in envelopes for body, tag in envelope.entries]
    return [entry for entry in entries if isinstance(entry, Owned)]


@pytest.mark.parametrize("kind", [DatagramKind.HELLO, DatagramKind.HEARTBEAT])
def test_a_former_owner_whose_lease_has_ended_hears_at_its_first_word_who_owns(kind: DatagramKind) -> None:
    talk = heir()
    entry = Hello(1, 0, hears_you=True) if kind is DatagramKind.HELLO else Heartbeat(5, 1)
    (said,) = says(talk, kind, entry)
    assert said.epoch < (talk.candidacy.epoch or 0)
    assert said.mark == mark_of(VIP.address)
    assert says(talk, kind, entry, secret_of("n2", "n3")) == [], "nobody else does"


def test_it_is_told_a_few_times_and_not_for_ever() -> None:
    """One that lives, and has no use of the address, says hello every second."""
    talk = heir()
    told = sum(len(says(talk, DatagramKind.HELLO, Hello(number, 0, hears_you=True))) for number in range(50))
    assert told == TOLD_MAX


def test_who_took_by_a_word_that_is_not_executed_tells_nobody() -> None:
    """Law 8: the word may be forged, and the one who is said to have spoken the true owner."""
    talk = heir()
    talk.candidacy.words.unexecuted[5] = "its key"
    assert says(talk, DatagramKind.HELLO, Hello(1, 0, hears_you=True)) == []


def test_who_does_not_own_tells_nobody() -> None:
    talk = heir()
    talk.candidacy.leave("a test", talk.now)
    assert says(talk, DatagramKind.HELLO, Hello(1, 0, hears_you=True)) == []


def test_a_former_owner_that_is_told_lets_go_in_that_turn() -> None:
    """Of the epoch that is named alone, and of the VIP: what one transaction has made is of one epoch (seed 4215)."""
    who = relying()
    epoch, mark = who.talk.candidacy.epoch, mark_of(VIP.address)
    assert epoch is not None
    who.hear(DatagramKind.OWNED, Owned(epoch + 1, mark))
    who.hear(DatagramKind.OWNED, Owned(epoch, mark_of(VIP.address + 1)))
    who.hear(DatagramKind.OWNED, Owned(epoch, mark), secret_of("n1", "n3"))
    assert who.talk.is_in(Phase.OWNING)
    who.hear(DatagramKind.OWNED, Owned(epoch, mark))
    assert who.talk.is_in(Phase.LAPSED)
    who.talk.expect(RemoveAddress)
