"""Law 13: the queue is of the living, and succession stays safe: who is evicted, by whom, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharedip.core.address.links import DOWN_GRACE_S
from sharedip.core.election.candidacy import EVICT_WITHIN_S, PASSES_WITHIN_S, Phase
from sharedip.core.election.living import EVERY_S, SILENT_S, UNFIT_S, UNPROVED_FOR_S, UNPROVED_S
from sharedip.core.messages import (
    AddressGone,
    AddressRefused,
    AnswerOperator,
    DrainRequested,
    HoldAddress,
    KeepLeaseAlive,
    Level,
    LinkChanged,
    MoveRequested,
    RemoveAddress,
    RequestFailed,
    SendDatagram,
    StateNotSaved,
    StateSaved,
    StopRequested,
    Transact,
)
from sharedip.core.model import Delete, Failure, Guard, GuardTarget
from sharedip.core.segment.wire import Released
from tests.stages.harness import LAYOUT, LINK, THEIRS, VIP, Talk, deletes, restarted, waiting_behind
from tests.stages.living import LEASES, Queue, place
from tests.stages.witnessed import WITNESS, Watch

# -- who is taken out -------------------------------------------------------------------------------------------------


def test_the_dead_go_out_of_the_way_of_the_sound() -> None:
    """Nobody waits for a dead one's lease."""
    queue = Queue("n2", "n3")
    queue.live(SILENT_S - 0.6, "n3")
    assert queue.queue() == ["n1", "n2", "n3"]
    queue.live(1.0, "n3")
    assert queue.queue() == ["n1", "n3"]
    assert queue.talk.is_in(Phase.OWNING)
    assert [report.text for report in queue.talk.reports if report.level is Level.WARNING] == [
        "n2 goes to the end of the queue: others are sound"
    ]


@pytest.mark.parametrize("fields", [{"drained": True}, {"healthy": False}])
def test_the_unfit_go_out_of_the_way_of_the_sound(fields: dict[str, bool]) -> None:
    """By what they say of themselves."""
    queue = Queue("n2", "n3")
    queue.says("n2", **fields)
    queue.live(UNFIT_S - 0.5, "n2", "n3")
    assert queue.queue() == ["n1", "n2", "n3"], "who seems sound behind it may have died in the same second"
    queue.live(1.0, "n2", "n3")
    assert queue.queue() == ["n1", "n3"]


def test_who_has_no_touch_with_etcd_goes_out_of_the_way() -> None:
    """It could take nothing. By its own hellos, while etcd proves us."""
    queue = Queue("n2", "n3")
    queue.live(UNPROVED_S + UNPROVED_FOR_S - 1.0, "n2", "n3", proved=("n3",))
    assert queue.queue() == ["n1", "n2", "n3"]
    queue.live(2.5, "n2", "n3", proved=("n3",))
    assert queue.queue() == ["n1", "n3"]


def test_while_etcd_proves_nobody_it_says_nothing_of_the_others() -> None:
    """Law 4: their proofs are as old as ours."""
    queue = Queue("n2", "n3")
    queue.live(UNPROVED_S + UNPROVED_FOR_S + 1.0, "n2", "n3", proved=("n3",), but=(KeepLeaseAlive, Transact))
    assert not queue.evictions()


@pytest.mark.parametrize("speaks", [(), ("n2",)])
def test_the_unsound_at_the_end_are_left_alone(speaks: tuple[str, ...]) -> None:
    """Nothing churns where nobody is heard."""
    queue = Queue("n2", "n3")
    writes = queue.talk.store.revision
    queue.live(10.0, *speaks)
    assert queue.queue() == ["n1", "n2", "n3"]
    assert queue.talk.store.revision == writes


def test_nobody_is_found_out_who_says_no_hello() -> None:
    """Law 4: an agent of an older version, and a plain candidate, are "cannot tell"."""
    queue = Queue("n2", "n3", "n4")
    queue.says("n2", places=None, drained=True)
    queue.talk.store.delete(queue.key("n3"))
    queue.talk.store.stand("n3", LEASES["n3"], sound=None)
    queue.talk.store.delete("sharedip:v1:vip:agent:n3")
    queue.talk.store.delete(queue.key("n4"))
    queue.talk.store.stand("n4", LEASES["n4"], sound=None)
    queue.talk.tell_changes()
    queue.live(6.0, "n4")
    assert queue.queue() == ["n1", "n2", "n3", "n4"]


def test_an_agent_that_misses_us_lives() -> None:
    """Datagrams between the two are lost; that is no death."""
    queue = Queue("n2", "n3")
    assert queue.talk.node.session.lease is not None
    queue.says("n2", places=[place(mute=(queue.talk.node.session.lease,))])
    queue.live(6.0, "n3")
    assert queue.queue() == ["n1", "n2", "n3"]


def test_one_deaf_ear_empties_no_queue() -> None:
    """The witness must miss it as well."""
    queue = Queue("n2", "n3")
    designations = queue.talk.node.designations
    queue.talk.node.living._witnesses_of = lambda _address: (LEASES["n3"],)
    queue.live(6.0, "n3")
    assert queue.queue() == ["n1", "n2", "n3"]
    queue.says("n3", places=[place(silent=(LEASES["n2"],))])
    queue.live(0.5, "n3")
    assert queue.queue() == ["n1", "n3"]
    assert designations.leases_of(VIP.address) == ()


def test_an_agent_is_taken_out_at_most_once_a_minute() -> None:
    """etcd sees no churn, whatever a check does."""
    queue = Queue("n2", "n3")
    store = queue.talk.store
    queue.says("n2", healthy=False)
    queue.live(UNFIT_S + 0.1, "n2", "n3")
    for _ in range(2):
        store.put(queue.key("n2"), b"n2", LEASES["n2"])
        store.delete(queue.key("n3"))
        store.put(queue.key("n3"), b"n3", LEASES["n3"])
        queue.talk.tell_changes()
    queue.live(EVERY_S - 1.0, "n2", "n3")
    assert queue.queue() == ["n1", "n2", "n3"]
    queue.live(2.0, "n2", "n3")
    assert queue.queue() == ["n1", "n3"]


def test_who_was_taken_out_queues_again_at_the_end_and_says_nothing_alarming() -> None:
    """One write, and no line in its log."""
    talk = waiting_behind()
    talk.store.put(LAYOUT.owner(VIP.address), b'{"epoch":%d}' % talk.candidacy.queue()[0].create_revision, THEIRS)
    revision = talk.store.revision
    talk.store.delete(talk.key)
    talk.run(5.0)
    assert talk.is_in(Phase.WAITING)
    assert talk.store.revision == revision + 2
    assert not talk.reports or all(report.level is Level.INFO for report in talk.reports)


# -- by whom, and when ------------------------------------------------------------------------------------------------


def dead_next() -> Queue:
    """n2 has been dead for long enough, and its eviction has not been carried out."""
    queue = Queue("n2", "n3")
    queue.talk.disk_answers = False
    queue.live(SILENT_S + 0.5, "n3", but=(SendDatagram,))
    return queue


def save(talk: Talk) -> None:
    """The disk answers what was ordered so far."""
    for order in list(talk.saves):
        talk.saves.remove(order)
        talk.hear(StateSaved(order.number))


def test_an_eviction_tests_both_epochs() -> None:
    """Ours, for whoever has the address by then may be that candidate; theirs, for their next key may have our word."""
    queue = dead_next()
    save(queue.talk)
    (eviction,) = queue.evictions()
    theirs, epoch = queue.standing("n2"), queue.talk.candidacy.epoch
    assert theirs is not None
    assert epoch is not None
    assert eviction.guards == (
        Guard(queue.talk.key, GuardTarget.CREATE, epoch),
        Guard(theirs.key, GuardTarget.CREATE, theirs.create_revision),
    )
    assert eviction.then == (Delete(theirs.key),), "a delete alone: an etcd that is full takes it"


def test_an_eviction_that_is_not_saved_is_not_sent() -> None:
    """A later run would tell that candidate a word."""
    queue = dead_next()
    assert not queue.evictions()
    for order in list(queue.talk.saves):
        queue.talk.saves.remove(order)
        queue.talk.hear(StateNotSaved(order.number, "EIO"))
    queue.live(0.6, "n3")
    assert not queue.evictions()
    save(queue.talk)
    assert len(queue.evictions()) == 1


def test_the_state_file_has_the_eviction_before_its_request_leaves() -> None:
    """The order to save comes first, and names both epochs."""
    queue = dead_next()
    run = queue.talk.saved
    theirs = queue.standing("n2")
    assert run is not None
    assert theirs is not None
    assert run.evicted == ((VIP.address, queue.talk.candidacy.epoch, (theirs.create_revision,)),)


def test_an_evicted_key_gets_no_word() -> None:
    """From the order on it counts as gone: the request may be applied when that candidate has taken the address."""
    queue = dead_next()
    queue.speak("n2")
    queue.talk.hear(StopRequested())
    save(queue.talk)
    queue.talk.pass_time(PASSES_WITHIN_S + 0.01)
    queue.talk.answer(queue.talk.expect(RemoveAddress))
    save(queue.talk)
    assert queue.told() == {"n3"}


def test_a_restart_forgets_no_eviction() -> None:
    """The request of the former run may still be applied: its candidate gets no word of the next run either."""
    queue = dead_next()
    save(queue.talk)
    later = Queue.__new__(Queue)
    later.names, later.talk = queue.names, restarted(queue.talk)
    talk = later.talk
    talk.run(0.5, Transact)
    assert talk.is_in(Phase.OWNING)
    later.speak("n2", "n3")
    talk.hear(StopRequested())
    talk.pass_time(PASSES_WITHIN_S + 0.01)
    talk.answer(talk.expect(RemoveAddress))
    assert later.told() == {"n3"}


def test_a_restarted_owner_asks_again_for_what_its_former_run_had_ordered() -> None:
    """Nobody knows whether that request ever left."""
    queue = dead_next()
    save(queue.talk)
    later = Queue.__new__(Queue)
    later.names, later.talk = queue.names, restarted(queue.talk)
    later.live(1.0, "n3")
    assert later.queue() == ["n1", "n3"]


def test_after_its_word_an_owner_evicts_nobody() -> None:
    """Who was told may have taken the address: its key must stand."""
    queue = Queue("n2", "n3")
    queue.talk.hear(MoveRequested(1, VIP.address, None))
    queue.talk.answer(queue.talk.expect(RemoveAddress))
    assert queue.told() == {"n2", "n3"}
    queue.live(SILENT_S + 2.0, "n3", but=(Transact,))
    assert not queue.evictions()
    assert queue.talk.node.evicted.for_file == ()
    assert queue.talk.is_in(Phase.RELEASING)


def test_who_owns_by_a_word_evicts_nobody_before_it_is_executed() -> None:
    """The former owner's key still comes first: etcd does not call us the owner yet."""
    queue = Queue("n2", "n3", owns=False)
    queue.says("n2", drained=True)
    queue.live(UNFIT_S + 0.1, "n2", "n3")
    first = queue.talk.candidacy.queue()[0]
    queue.talk.node._released(first.lease, Released(first.create_revision, VIP.address, "moved"), queue.talk.now)
    queue.talk.settle()
    assert queue.talk.is_in(Phase.OWNING)
    assert queue.talk.candidacy.words.unexecuted
    queue.talk.settle()
    save(queue.talk)
    assert not queue.evictions()
    queue.live(0.1, "n2", "n3")
    assert queue.queue() == ["n1", "n3"], "once etcd shows us first"


def test_a_candidate_evicts_nobody() -> None:
    """Who stands next may own already, by a word that we have not heard."""
    queue = Queue("n2", "n3", owns=False)
    queue.says("n2", drained=True)
    queue.live(SILENT_S + 3.0, "n3")
    assert queue.queue() == ["n0", "n1", "n2", "n3"]


def test_a_witness_that_deposes_evicts_nobody() -> None:
    """Whoever is next may have the address by the word of an owner that died as it spoke."""
    watch = Watch()
    watch.talk.store.stand("n3", LEASES["n3"])
    watch.talk.tell_changes()
    assert watch.beat()
    watch.wait(4.0)
    (deposition,) = watch.depositions()
    deleted = {op.key for op in deposition.then if isinstance(op, Delete)}
    assert deleted == {WITNESS, watch.owner_key}


def test_an_answer_in_which_our_own_key_is_missing_ends_the_address() -> None:
    """Whoever deleted it: somebody else may be entitled."""
    queue = dead_next()
    save(queue.talk)
    (eviction,) = queue.evictions()
    queue.talk.open.remove(eviction)
    queue.talk.store.delete(queue.talk.key)
    queue.talk.answer(eviction)
    queue.talk.expect(RemoveAddress)
    assert queue.standing("n2") is not None


def test_an_eviction_without_an_answer_is_asked_for_again() -> None:
    """It may have been applied, or not: the guards make both harmless."""
    queue = dead_next()
    save(queue.talk)
    (eviction,) = queue.evictions()
    queue.talk.open.remove(eviction)
    queue.talk.hear(RequestFailed(eviction.request, eviction.endpoint, Failure.TIMEOUT, "timeout"))
    queue.live(1.0, "n3")
    assert queue.queue() == ["n1", "n3"]


def test_a_word_does_not_count_while_a_key_stands_between() -> None:
    """One that was evicted got no word, and may yet take by etcd's own."""
    talk = waiting_behind()
    first = talk.candidacy.queue()[0]
    between = replace(first, key=first.key + "0", create_revision=first.create_revision + 1)
    own = talk.store.keys[talk.key]
    talk.candidacy.words.heard(first.create_revision, "moved", talk.now)
    assert talk.candidacy._is_entitled_by_word(talk.bid, [first, own])
    assert not talk.candidacy._is_entitled_by_word(talk.bid, [first, between, own])


def test_what_is_gone_is_dropped_from_the_file() -> None:
    """A create revision never comes again."""
    queue = Queue("n2", "n3")
    queue.live(SILENT_S + 1.0, "n3")
    assert queue.queue() == ["n1", "n3"]
    assert queue.talk.saved is not None
    assert queue.talk.saved.evicted == ()


# -- leaving past the dead --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event", [MoveRequested(1, VIP.address, None), MoveRequested(1, VIP.address, "n3"), StopRequested()]
)
def test_an_owner_takes_the_dead_out_of_its_successors_way_before_it_leaves(
    event: MoveRequested | StopRequested,
) -> None:
    """L5: one save and one transaction, while the address still answers."""
    queue = Queue("n2", "n3")
    queue.live(2.7, "n3")
    before = queue.talk.now
    queue.talk.hear(event)
    assert not queue.is_leaving()
    (eviction,) = queue.evictions()
    queue.talk.open.remove(eviction)
    queue.talk.answer(eviction)
    assert not queue.is_leaving()
    queue.talk.tell_changes()
    assert queue.queue() == ["n1", "n3"]
    assert queue.is_leaving()
    queue.talk.answer(queue.talk.expect(RemoveAddress))
    assert queue.told() == {"n3"}
    assert queue.talk.now == before


def test_who_leaves_takes_the_dead_out_of_the_way_however_lately_that_was_done_before() -> None:
    """Once a minute is for an owner that stays."""
    queue = Queue("n2", "n3")
    queue.talk.node.living.evicts(queue.talk.candidacy.others()[0], VIP, "a test", queue.talk.now)
    queue.live(2.7, "n3")
    queue.talk.hear(StopRequested())
    assert len(queue.evictions()) == 1
    assert not queue.is_leaving()


def test_who_waits_for_the_way_to_be_clear_is_not_woken_all_the_while() -> None:
    """It had just taken the address, and its record is not written yet: it will not be."""
    queue = Queue("n2", "n3")
    queue.live(2.7, "n3")
    queue.talk.candidacy.record.want()
    queue.talk.hear(StopRequested())
    assert queue.evictions()
    assert not queue.is_leaving()
    assert queue.talk.node.next_deadline() > queue.talk.now


def test_an_owner_that_etcd_does_not_answer_leaves_all_the_same() -> None:
    """After 3 s in which its clients are served, and without a word to the dead."""
    queue = Queue("n2", "n3")
    queue.live(2.7, "n3")
    queue.talk.hear(StopRequested())
    queue.live(PASSES_WITHIN_S - 0.01, "n3", but=(Transact,))
    assert not queue.is_leaving()
    queue.talk.pass_time(0.02)
    assert queue.is_leaving()
    queue.talk.answer(queue.talk.expect(RemoveAddress))
    assert queue.told() == {"n3"}


def test_an_owner_that_serves_nobody_waits_for_etcd_no_longer_than_a_moment() -> None:
    """The kernel took the address away: what is dark does not stay dark for an eviction."""
    queue = Queue("n2", "n3")
    queue.live(2.7, "n3")
    queue.talk.hear(AddressGone(2, VIP.address, 32))
    queue.talk.expect(HoldAddress)
    queue.talk.hear(AddressRefused(VIP, "EOPNOTSUPP", is_for_good=True))
    assert queue.talk.is_in(Phase.OWNING)
    assert queue.evictions()
    queue.talk.pass_time(EVICT_WITHIN_S + 0.01)
    assert not queue.talk.is_in(Phase.OWNING)


@pytest.mark.parametrize("wish", ["move", "drain"])
def test_an_address_that_may_stay_is_not_left_to_a_silent_node(wish: str) -> None:
    """etcd does not answer: the dead one's key stands before the sound one's. Better here than nowhere."""
    queue = Queue("n2", "n3")
    queue.live(2.7, "n3")
    queue.talk.hear(MoveRequested(1, VIP.address, None) if wish == "move" else DrainRequested(1, drained=True))
    queue.live(PASSES_WITHIN_S + 0.2, "n3", but=(Transact,))
    assert queue.talk.is_in(Phase.OWNING)
    assert not queue.is_leaving()
    assert [each.text for each in queue.talk.reports if "stays here" in each.text]
    assert queue.told() == set()


def test_a_link_that_goes_while_an_owner_waits_ends_the_waiting() -> None:
    """Nobody is served any more: it leaves as an owner whose link was lost before, and does not stay."""
    queue = Queue("n2", "n3")
    queue.live(2.7, "n3")
    queue.talk.hear(MoveRequested(1, VIP.address, None))
    queue.live(0.5, "n3", but=(Transact,))
    assert queue.talk.is_in(Phase.OWNING)
    queue.talk.hear(LinkChanged(replace(LINK, running=False)))
    for _ in range(2):  # a carrier that flickers is none that is lost
        queue.talk.pass_time(DOWN_GRACE_S + EVICT_WITHIN_S / 2)
    assert not queue.talk.is_in(Phase.OWNING)


def test_an_agent_that_is_stopped_while_it_waits_leaves_when_that_time_is_up() -> None:
    """A move may stay, a stop may not."""
    queue = Queue("n2", "n3")
    queue.live(2.7, "n3")
    queue.talk.hear(MoveRequested(1, VIP.address, None))
    queue.live(0.5, "n3", but=(Transact,))
    queue.talk.hear(StopRequested())
    queue.live(PASSES_WITHIN_S - 0.4, "n3", but=(Transact, RemoveAddress))
    assert queue.is_leaving()
    assert not [each.text for each in queue.talk.reports if "stays here" in each.text]


def test_a_move_waits_until_one_that_has_just_fallen_silent_is_found_dead() -> None:
    """It misses a hello for 1.5 s, and is dead after 2.5 s: in between nobody can tell, and clients are served."""
    queue = Queue("n2", "n3")
    queue.live(1.7, "n3")
    queue.talk.hear(MoveRequested(1, VIP.address, None))
    queue.live(0.5, "n3")
    assert not queue.is_leaving()
    assert queue.queue() == ["n1", "n2", "n3"]
    queue.live(0.6, "n3", but=(RemoveAddress,))
    assert queue.queue() == ["n1", "n3"]
    assert queue.is_leaving()


def test_a_move_that_waits_goes_on_when_the_next_one_is_heard_again() -> None:
    """And to that one, which nobody has evicted."""
    queue = Queue("n2", "n3")
    queue.live(1.7, "n3")
    queue.talk.hear(MoveRequested(1, VIP.address, None))
    queue.live(0.3, "n3", "n2", but=(RemoveAddress,))
    assert queue.is_leaving()
    assert queue.queue() == ["n1", "n2", "n3"]


def test_a_right_that_ends_does_not_wait_for_an_eviction() -> None:
    """The removal goes at once, as the right says."""
    queue = Queue("n2", "n3")
    queue.live(2.7, "n3")
    queue.talk.hear(StopRequested())
    queue.talk.candidacy.ownership.right.set("somebody's promise", queue.talk.now + 0.1)
    queue.talk.pass_time(0.1)
    assert queue.is_leaving()


def test_with_a_living_next_one_nothing_waits() -> None:
    """The removal leaves with the very order."""
    queue = Queue("n2", "n3")
    queue.talk.hear(StopRequested())
    assert queue.is_leaving()
    assert not queue.evictions()


def test_a_move_goes_to_no_silent_node() -> None:
    """L5: `move` left a sound owner for a dead node; the refusal says for how long it has been silent."""
    queue = Queue("n2")
    queue.live(3.2)
    for to in (None, "n2"):
        queue.talk.hear(MoveRequested(1, VIP.address, to))
        answer = queue.talk.expect(AnswerOperator)
        assert not answer.accepted
        assert "n2 has been silent for 3.2 s" in answer.text
    assert queue.talk.is_in(Phase.OWNING)


def test_a_move_to_an_older_agent_is_done() -> None:
    """Law 4: whether it is heard can't be told."""
    queue = Queue("n2")
    queue.says("n2", places=None)
    queue.live(3.2)
    queue.talk.hear(MoveRequested(1, VIP.address, None))
    assert queue.is_leaving()


@pytest.mark.parametrize("speaks", [False, True])
def test_a_drained_owner_leaves_only_for_one_that_is_heard(*, speaks: bool) -> None:
    """And at once when one is."""
    queue = Queue("n2")
    queue.live(3.2)
    if speaks:
        queue.speak("n2")
    queue.talk.hear(DrainRequested(1, drained=True))
    assert queue.is_leaving() is speaks
    queue.speak("n2")
    queue.talk.settle()
    assert queue.is_leaving()


def test_whose_key_is_not_its_own_any_more_orders_nothing() -> None:
    """A new key is a new epoch: what the former one had evicted says nothing of it."""
    queue = dead_next()
    queue.talk.store.delete(queue.talk.key)
    queue.talk.tell_changes()
    save(queue.talk)
    queue.talk.run(1.0)
    assert not any(deletes(order, queue.key("n2")) for order in queue.talk.open)
    assert queue.standing("n2") is not None
