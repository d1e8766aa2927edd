"""Law 4, where etcd takes no writes: refused is not unreachable, and nobody waits for what can't be.

What frees, deposes and releases deletes alone, and records follow if they can.
Mod revisions never come back (docs/protocol.md, "Withdrawal"): each way in which a witness key can be gone is here.
"""

from __future__ import annotations

import pytest

from sharedip.core.election.candidacy import RELEASE_RETRY_S, Phase
from sharedip.core.etcd.keys import read_record
from sharedip.core.messages import AnswerOperator, DrainRequested, MoveRequested, RemoveAddress, SendDatagram, Transact
from sharedip.core.model import Delete, Failure, Get, Guard, GuardTarget, Put
from tests.stages.harness import LAYOUT, OURS, THEIRS, VIP, deletes, leaving, owner, restarted, waiting_behind
from tests.stages.witnessed import WINDOW_S, WITNESS, Owner, Watch

RECORD = LAYOUT.owner(VIP.address)
FULL_WORDS = "etcdserver: mvcc: database space exceeded"


def puts(order: Transact) -> list[Put]:
    """What it would write."""
    return [op for op in (*order.then, *order.otherwise) if isinstance(op, Put)]


# -- the owner --------------------------------------------------------------------------------------------------------


def silenced() -> tuple[Owner, Transact]:
    """Its witness has been silent for long; the withdrawal, unanswered."""
    scene = Owner().witnessed()
    scene.acknowledge()
    scene.talk.store.full = True
    return scene, scene.designation()


def test_a_withdrawal_is_a_guarded_deletion() -> None:
    """If our key and the designation are the ones we know; else it shows both."""
    scene, undo = silenced()
    epoch, designated = scene.talk.candidacy.epoch, scene.talk.store.keys[WITNESS]
    assert epoch is not None
    assert undo.then == (Delete(WITNESS),)
    assert undo.guards == (
        Guard(scene.talk.key, GuardTarget.CREATE, epoch),
        Guard(WITNESS, GuardTarget.MOD, designated.mod_revision),
    )
    assert set(undo.otherwise) == {Get(scene.talk.key), Get(WITNESS)}


def test_an_owner_is_freed_from_a_silent_witness_though_etcd_takes_no_writes() -> None:
    """L11: it keeps the address for as long as its lease is renewed."""
    scene, undo = silenced()
    until = scene.talk.right_until
    scene.talk.answer(undo)
    assert scene.talk.right_until > until
    scene.talk.removed.clear()
    for _ in range(300):
        scene.step()
        scene.talk.drop(SendDatagram)
    assert scene.talk.is_in(Phase.OWNING)
    assert not scene.talk.removed
    assert WITNESS not in scene.talk.store.keys


def test_a_designation_that_works_stays_while_etcd_takes_no_writes() -> None:
    """Nothing is gained by letting go of a witness that answers."""
    scene = Owner().witnessed()
    scene.talk.store.full = True
    scene.talk.node.session.space.refused(FULL_WORDS, scene.talk.now)
    scene.talk.node.session.raft_leader.leader_id = 2
    for _ in range(200):
        scene.acknowledge()
        scene.step()
    assert scene.talk.node.designations.witnesses_of(VIP.address) == ["n2"]
    assert WITNESS in scene.talk.store.keys


def test_a_key_that_is_gone_already_frees_if_our_own_stands() -> None:
    """Deleted by hand, or by our own earlier attempt whose answer was lost: the answer shows our key without it."""
    scene, undo = silenced()
    until = scene.talk.right_until
    scene.talk.outcome(undo)  # applied
    scene.talk.fail(undo)  # and not answered
    assert scene.talk.right_until == until, "it may be applied or not"
    again = scene.designation(Transact)
    assert not puts(again)
    scene.talk.answer(again)
    assert scene.talk.right_until > until


def test_a_key_that_is_gone_with_our_own_frees_from_nothing() -> None:
    """That is a deposition: the next one may have the address at the right's end."""
    scene, undo = silenced()
    until = scene.talk.right_until
    scene.talk.store.apply((), (Delete(WITNESS), Delete(scene.talk.key)), ())
    answer = scene.talk.outcome(undo)
    assert not answer.succeeded
    scene.talk.hear(answer)
    assert scene.talk.right_until <= until


def test_a_watch_that_shows_no_key_beside_our_own_frees_as_the_answer_does() -> None:
    """A picture is the very state of one revision."""
    scene, undo = silenced()
    until = scene.talk.right_until
    scene.talk.outcome(undo)
    scene.talk.tell_changes()
    freed_until = scene.talk.right_until
    assert freed_until > until
    scene.talk.fail(undo)  # the answer is lost
    assert scene.talk.right_until == freed_until


def test_a_watch_that_shows_neither_key_frees_from_nothing() -> None:
    """We were deposed while the withdrawal was under way."""
    scene, _ = silenced()
    talk = scene.talk
    until = talk.right_until
    talk.store.apply((), (Delete(WITNESS), Delete(talk.key)), ())
    registry = talk.node.session.registry
    registry.apply_changes(talk.store.changes_from(registry.revision + 1), talk.store.revision)
    assert talk.node.designations.seen(VIP.address, talk.node.candidacies, talk.now) == []
    assert talk.right_until == until


def test_a_late_designation_has_no_power_over_an_owner_that_is_free() -> None:
    """The attempt was guarded by an absent key, timed out, and is applied after a withdrawal: nobody beats under it."""
    scene = Owner()
    late = scene.designation()
    scene.talk.fail(late)
    scene.talk.answer(scene.designation())
    while not scene.beats():
        scene.step()
    scene.acknowledge()
    scene.talk.store.full = True
    scene.talk.answer(scene.designation())  # the witness is silent: withdrawn
    assert WITNESS not in scene.talk.store.keys
    scene.talk.store.full = False
    assert scene.talk.outcome(late).succeeded
    scene.talk.drop(SendDatagram)
    scene.talk.tell_changes()
    scene.talk.run(0.0, Transact)
    assert not scene.talk.node.designations.active
    assert not scene.beats()
    assert scene.talk.right_until == pytest.approx(scene.talk.node.session.lease_until)


def test_a_late_withdrawal_takes_no_later_designation_away() -> None:
    """It is guarded by the revision of the one that it was meant for."""
    scene, undo = silenced()
    scene.talk.fail(undo)
    scene.talk.answer(scene.designation())
    scene.talk.store.full = False
    scene.talk.node.session.space.taken(scene.talk.now)
    scene.talk.store.put(WITNESS, b"{}", OURS)
    assert not scene.talk.outcome(undo).succeeded
    assert WITNESS in scene.talk.store.keys


def test_what_a_former_run_designated_is_withdrawn_from_a_full_etcd() -> None:
    """Law 7: no right before that, and it comes."""
    before = Owner().witnessed()
    assert WITNESS in before.talk.store.keys
    before.talk.store.full = True
    again = restarted(before.talk, window_s=WINDOW_S)
    again.run(1.0, SendDatagram)
    assert WITNESS not in again.store.keys
    assert again.is_in(Phase.OWNING)


# -- the witness ------------------------------------------------------------------------------------------------------


def test_a_deposition_only_deletes_and_its_record_follows() -> None:
    """In a write of its own, which overwrites no newer record and stands for a key that is gone."""
    watch = Watch()
    watch.talk.store.put(RECORD, b"{}", THEIRS)
    watch.talk.serve()
    known = watch.talk.store.keys[RECORD].mod_revision
    watch.beat()
    watch.wait(WINDOW_S + 0.05)
    (deposition,) = watch.depositions()
    assert not puts(deposition)
    watch.talk.open.remove(deposition)
    watch.talk.answer(deposition)
    (fate,) = (order for order in watch.talk.open if isinstance(order, Transact) and puts(order))
    assert fate.guards == (Guard(watch.owner_key, GuardTarget.CREATE, 0), Guard(RECORD, GuardTarget.MOD, known))
    watch.talk.answer(fate)
    record = read_record(watch.talk.store.keys[RECORD]) or {}
    assert record["epoch"] == watch.epoch
    assert "n1 silent for 3.0 s, deposed by its witness n2" in str(record["fate"])


def test_the_record_of_a_deposition_follows_though_the_watch_was_faster_than_its_answer() -> None:
    """The watch has ended the duty by then; nobody else knows why the owner's key is gone."""
    watch = Watch()
    watch.beat()
    watch.wait(WINDOW_S + 0.05)
    (deposition,) = watch.depositions()
    watch.talk.open.remove(deposition)
    answer = watch.talk.outcome(deposition)
    watch.talk.tell_changes()
    watch.talk.hear(answer)
    (fate,) = (order for order in watch.talk.open if isinstance(order, Transact) and puts(order))
    assert b"deposed by its witness n2" in puts(fate)[0].value
    watch.talk.run(0.5, Transact)
    assert watch.talk.candidacy.history.reason.endswith("deposed by its witness n2")


def test_a_dead_owner_is_deposed_though_etcd_takes_no_writes() -> None:
    """L13; and the witness that takes the address itself knows its own words."""
    watch = Watch()
    watch.beat()
    watch.talk.store.full = True
    watch.talk.run(WINDOW_S + 0.5)
    assert watch.owner_key not in watch.talk.store.keys
    assert watch.talk.is_in(Phase.OWNING)
    assert "deposed by its witness n2" in watch.talk.candidacy.history.reason


def test_a_deposition_that_failed_tells_nobody_anything() -> None:
    """The owner was faster: its designation is another by now."""
    watch = Watch()
    watch.beat()
    watch.wait(WINDOW_S + 0.05)
    (deposition,) = watch.depositions()
    watch.talk.open.remove(deposition)
    watch.talk.store.put(WITNESS, watch.talk.store.keys[WITNESS].value, THEIRS)
    watch.talk.answer(deposition)
    assert not [order for order in watch.talk.open if isinstance(order, Transact) and puts(order)]


# -- the way out ------------------------------------------------------------------------------------------------------


def test_a_key_is_given_up_though_etcd_takes_no_writes() -> None:
    """L12: the record is refused, and the deletion stands."""
    talk = leaving()
    talk.store.full = True
    key = talk.key
    talk.run(0.1)
    assert key not in talk.store.keys
    assert not talk.is_in(Phase.RELEASING)


def test_a_release_and_its_record_are_one_transaction() -> None:
    """Two requests would arrive in any order, and a record behind its key is refused: nobody would know why."""
    talk = leaving()
    talk.answer(talk.expect(RemoveAddress))
    release = talk.expect(Transact)
    assert [op.key for op in puts(release)] == [RECORD]
    assert deletes(release, talk.key)
    talk.none(Transact)


@pytest.mark.parametrize("failure", [Failure.FULL, Failure.REFUSED])
def test_where_etcd_takes_no_record_the_deletion_goes_alone_and_at_once(failure: Failure) -> None:
    """A full one, or one whose permissions are for keys of candidates alone."""
    talk = leaving()
    talk.answer(talk.expect(RemoveAddress))
    talk.fail(talk.expect(Transact), failure)
    talk.pass_time(0.0)
    assert talk.release().then == (Delete(talk.key),)


def test_a_release_without_an_answer_is_sent_again_with_its_record() -> None:
    """It may have been applied, or not: then the second one is, or its guard fails."""
    talk = leaving()
    talk.answer(talk.expect(RemoveAddress))
    talk.fail(talk.expect(Transact), Failure.TIMEOUT)
    talk.none(Transact)
    talk.pass_time(RELEASE_RETRY_S)
    assert puts(talk.release())


@pytest.mark.parametrize("wish", [MoveRequested(1, VIP.address, None), DrainRequested(2, drained=True)])
def test_nothing_is_moved_or_drained_by_a_person_while_etcd_takes_no_writes(
    wish: MoveRequested | DrainRequested,
) -> None:
    """Who has given the address away could not queue again; nobody would hear of the drain. It shows by a write, made
    before anything is given up; once it is known, by that.
    """
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.tries_answer = False
    talk.hear(wish)
    talk.none(AnswerOperator, RemoveAddress)
    talk.hear(wish)
    talk.fail(talk.expect_own_record(), Failure.FULL)
    talk.hear(wish)
    for _ in range(3):
        answer = talk.expect(AnswerOperator)
        assert not answer.accepted
        assert "database is full" in answer.text
    assert talk.is_in(Phase.OWNING)
    assert not talk.node.fitness.drained
    talk.hear(DrainRequested(3, drained=False))
    assert talk.expect(AnswerOperator).accepted


def test_who_has_made_room_need_not_wait_until_that_is_found_out() -> None:
    """A move asks etcd again, whatever it said before."""
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.node.session.space.refused(FULL_WORDS, talk.now)
    talk.hear(MoveRequested(1, VIP.address, None))
    assert talk.expect(AnswerOperator).accepted
    assert not talk.node.session.space.is_full


def test_a_candidate_keeps_its_place_in_a_full_etcd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stepping back for a better order is for an etcd that gives places."""
    for full, keeps in ((True, True), (False, False)):
        talk = waiting_behind()
        monkeypatch.setattr(talk.node.fitness, "reason_to_step_back", lambda *_: "the node of etcd's leader")
        if full:
            talk.node.session.space.refused(FULL_WORDS, talk.now)
        talk.settle()
        assert talk.is_in(Phase.WAITING) is keeps
