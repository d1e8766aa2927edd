"""Law 8: a word is a resignation, and provisional. Who may say it, to whom, and what becomes of taking by it."""

from __future__ import annotations

from dataclasses import replace

from sharedip.core.election.candidacy import Phase
from sharedip.core.election.words import EXECUTED_WITHIN_S, Words
from sharedip.core.etcd.keys import write_record
from sharedip.core.messages import (
    DrainRequested,
    Exit,
    GrantLease,
    KeepLeaseAlive,
    Level,
    MoveRequested,
    ReadKeys,
    RemoveAddress,
    RevokeLease,
    SendDatagram,
    StateNotSaved,
    StateSaved,
    StopRequested,
    Transact,
)
from sharedip.core.model import Delete, GuardTarget, KeyValue
from sharedip.core.saved_state import UNSAVED_S_MAX
from sharedip.core.segment.wire import RELEASES, Released, unseal
from tests.stages.harness import (
    LAYOUT,
    OURS,
    THEIRS,
    VIP,
    Talk,
    agent_record,
    owner,
    taken_by_word,
    waiting_behind,
    with_a_rival,
)

THIRD = 0xA00


def executions(talk: Talk) -> list[Transact]:
    """Transactions that delete the key of another candidate."""
    speaker = LAYOUT.candidate(VIP.address, THEIRS)
    return [order for order in talk.open if isinstance(order, Transact) and Delete(speaker) in order.then]


def releases(talk: Talk) -> list[SendDatagram]:
    """What was said to others of an address that has left."""
    sent = [order for order in talk.open if isinstance(order, SendDatagram)]
    return [each for each in sent if (envelope := unseal(each.payload)) and envelope.kind in RELEASES]


def with_two_rivals() -> Talk:
    """An owner, and two agents behind it that can be reached."""
    talk = owner()
    for name, lease in (("n2", THEIRS), ("n3", THIRD)):
        talk.store.stand(name, lease)
        talk.store.put(LAYOUT.agent(name), agent_record(name), lease)
    talk.tell_changes()
    talk.serve()
    talk.open.clear()
    return talk


def test_who_takes_by_a_word_executes_it_in_etcd() -> None:
    """One transaction that tests the speaker's epoch and the taker's own key."""
    talk = taken_by_word()
    (execution,) = executions(talk)
    mine, speakers = talk.store.keys[talk.key], talk.store.keys[LAYOUT.candidate(VIP.address, THEIRS)]
    guards = {(guard.key, guard.target, guard.revision) for guard in execution.guards}
    assert guards == {
        (mine.key, GuardTarget.CREATE, mine.create_revision),
        (speakers.key, GuardTarget.CREATE, speakers.create_revision),
    }
    talk.open.remove(execution)
    talk.answer(execution)
    assert not talk.candidacy.words.unexecuted
    talk.run(10.0)
    assert talk.is_in(Phase.OWNING)


def test_a_leaver_that_dies_between_its_word_and_its_deletion_costs_nothing() -> None:
    """Its key goes by our transaction, long before its lease ends."""
    talk = taken_by_word()
    talk.run(0.5)
    assert LAYOUT.candidate(VIP.address, THEIRS) not in talk.store.keys
    assert talk.is_in(Phase.OWNING)


def test_the_address_goes_at_the_first_answer_in_which_the_own_key_is_missing() -> None:
    """Whoever deleted it: somebody else may be entitled."""
    talk = taken_by_word()
    (execution,) = executions(talk)
    talk.open.remove(execution)
    talk.store.delete(talk.key)
    talk.answer(execution)
    talk.expect(RemoveAddress)


def test_a_word_that_etcd_does_not_confirm_in_time_is_void_for_good() -> None:
    """It answers everything else: two seconds are all that a forged word is worth."""
    talk = taken_by_word()
    while talk.node.session.answered_at <= talk.bid.taken_at:
        talk.run(0.05, Transact)
    began_at = talk.now
    while talk.is_in(Phase.OWNING) and talk.now < began_at + 10.0:
        for execution in executions(talk):
            talk.open.remove(execution)
            talk.fail(execution)
        talk.run(0.05, Transact)
    assert EXECUTED_WITHIN_S - 0.1 <= talk.now - began_at <= EXECUTED_WITHIN_S + 0.1
    assert talk.removed
    talk.run(1.0, Transact)
    talk.candidacy.released(talk.candidacy.queue()[0].create_revision, "moved", talk.now)
    talk.run(1.0, Transact)
    assert not talk.is_in(Phase.OWNING), "void for good"


def test_a_void_word_is_void_under_the_next_key_as_well() -> None:
    """It names an epoch, and that epoch was never resigned as far as etcd knows."""
    words = Words()
    before, own = KeyValue("a", b"", 7, 7, 1), KeyValue("b", b"", 9, 9, 2)
    words.heard(7, "moved", 0.0)
    words.take([before], 0.0)
    words.void()
    words.forget()
    words.heard(7, "moved", 5.0)
    assert not words.let_us_take([before, own], own)


def test_while_etcd_is_silent_the_taker_keeps_the_address_until_its_right_ends() -> None:
    """An owner that is cut off speaks to one that is, too: nobody could execute it."""
    talk = taken_by_word()
    talk.run(EXECUTED_WITHIN_S + 1.0, Transact, KeepLeaseAlive, ReadKeys, GrantLease)
    assert talk.is_in(Phase.OWNING)


def test_a_word_goes_to_every_candidate() -> None:
    """The next one may have died in the same second."""
    talk = with_two_rivals()
    talk.hear(MoveRequested(1, VIP.address, None))
    talk.answer(talk.expect(RemoveAddress))
    assert {each.host for each in releases(talk)} == {"n2", "n3"}


def test_a_word_that_cannot_be_saved_is_not_said() -> None:
    """Neither written nor deleted: a later run may stand on the epoch, so nobody is told, and the key stays."""
    talk = with_two_rivals()
    epoch = talk.candidacy.epoch
    talk.disk_answers = False
    talk.hear(MoveRequested(1, VIP.address, None))
    for order in list(talk.saves):
        talk.hear(StateNotSaved(order.number, "EIO"))
    talk.saves.clear()
    talk.answer(talk.expect(RemoveAddress))
    talk.run(3.0)
    assert not releases(talk)
    assert talk.store.keys[LAYOUT.candidate(VIP.address, OURS)].create_revision == epoch
    assert any(report.level is Level.ERROR and "EIO" in str(report.reason) for report in talk.reports)
    for order in list(talk.saves):
        talk.hear(StateSaved(order.number))
    assert {each.host for each in releases(talk)} == {"n2", "n3"}
    talk.serve()
    assert all(key.create_revision != epoch for key in talk.store.keys.values())


def fail_to_save(talk: Talk, seconds: float) -> None:
    """So long the state file can be neither written nor deleted."""
    until = talk.now + seconds
    talk.disk_answers = False
    while talk.now < until:
        for order in list(talk.saves):
            talk.saves.remove(order)
            talk.hear(StateNotSaved(order.number, "EIO"))
        talk.run(0.1, GrantLease)


def test_who_can_save_nothing_leaves_the_queue_by_letting_its_lease_expire() -> None:
    """It can give no key up in order, and would stand in everybody's way."""
    talk = waiting_behind()
    lease = talk.node.session.lease
    talk.disk_answers = False
    talk.hear(DrainRequested(1, drained=True))  # there is something to save
    fail_to_save(talk, UNSAVED_S_MAX + 1.0)
    assert talk.is_in(Phase.OUT)
    talk.none(RevokeLease)
    assert not any(isinstance(order, KeepLeaseAlive) and order.lease == lease for order in talk.open)
    talk.store.end_lease(OURS)
    talk.answer(talk.expect(GrantLease))
    fail_to_save(talk, 3.0)
    assert talk.is_in(Phase.OUT), "not before the state can be saved again"
    talk.disk_answers = True
    talk.run(3.0)
    assert talk.is_in(Phase.WAITING)


def test_an_owner_that_can_save_nothing_stays_one() -> None:
    """It has the address, and could tell nobody."""
    talk = owner()
    talk.disk_answers = False
    talk.hear(DrainRequested(1, drained=True))
    fail_to_save(talk, UNSAVED_S_MAX + 3.0)
    assert talk.is_in(Phase.OWNING)


def test_an_owner_that_sees_a_later_epoch_in_use_says_so_as_an_error() -> None:
    """Somebody took the address by a word that was never said, or etcd was written to by hand."""
    talk = owner()
    talk.run(1.0)
    assert talk.candidacy.epoch is not None
    record = {"node": "n2", "epoch": talk.candidacy.epoch + 100, "former": 1, "reason": "n1 handed it over"}
    talk.store.put(LAYOUT.owner(VIP.address), write_record(record), THEIRS)
    talk.tell_changes()
    assert talk.candidacy.history.contested == "n2"
    assert [report.level for report in talk.reports if "comes first" in report.text] == [Level.ERROR]


def test_a_lost_lease_is_revoked_only_when_no_later_run_can_stand_on_it() -> None:
    """The state file names it until something newer is there, or nothing."""
    talk = with_a_rival(owner())
    talk.disk_answers = False
    talk.lose_lease("an etcd that answers nonsense")
    talk.pass_time(0.0)
    talk.serve(RevokeLease, GrantLease)
    talk.none(RevokeLease)
    for order in list(talk.saves):
        talk.hear(StateNotSaved(order.number, "EIO"))
    talk.saves.clear()
    talk.none(RevokeLease)
    talk.disk_answers = True
    talk.pass_time(1.0)
    assert talk.expect(RevokeLease).lease == OURS


def test_the_lease_is_given_back_only_when_no_later_run_can_stand_on_it() -> None:
    """The file that names it is gone, or names it no more, before the revocation leaves."""
    talk = owner()
    talk.disk_answers = False
    talk.hear(StopRequested())
    for _ in range(5):
        for order in [order for order in talk.saves if b'"lease": null' not in order.content]:
            talk.saves.remove(order)
            talk.hear(StateSaved(order.number))
        talk.serve(RevokeLease)
    talk.none(RevokeLease, Exit)
    (last,) = talk.saves
    talk.hear(StateSaved(last.number))
    assert talk.expect(RevokeLease).lease == OURS


def test_a_release_of_another_epoch_says_nothing_of_this_one() -> None:
    """A former bid's word, late or recorded."""
    talk = waiting_behind()
    first = talk.candidacy.queue()[0]
    talk.node._released(THEIRS, Released(first.create_revision - 1, VIP.address), talk.now)
    talk.settle()
    assert talk.is_in(Phase.WAITING)
    talk.node._released(THEIRS, Released(first.create_revision, VIP.address), talk.now)
    talk.settle()
    assert talk.is_in(Phase.OWNING)


def test_a_word_counts_only_with_a_picture_that_is_as_new_as_the_own_campaign() -> None:
    """An older one may lack a candidate that stands before us."""
    talk = waiting_behind()
    own = [talk.store.keys[talk.key]]
    assert talk.candidacy._is_entitled_by_word(talk.bid, own)
    talk.bid.epoch = talk.node.session.registry.revision + 1
    assert not talk.candidacy._is_entitled_by_word(talk.bid, [replace(own[0], create_revision=talk.bid.epoch)])


def test_a_word_counts_only_with_a_picture_that_shows_the_own_key() -> None:
    """A lease that lives does not show that the key stands."""
    talk = waiting_behind()
    before = talk.candidacy.queue()[0]
    talk.candidacy.words.heard(before.create_revision, "moved", talk.now)
    assert not talk.candidacy._is_entitled_by_word(talk.bid, [before])
    assert talk.candidacy._is_entitled_by_word(talk.bid, [before, talk.store.keys[talk.key]])
