"""The session: lease, registration, watch, endpoints, and what it does when etcd is away."""

from __future__ import annotations

from dataclasses import replace

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.requests import RequestKind
from sharedip.core.etcd.session import REVOKE_TRIES_MAX, STALE_ANSWERS_MAX
from sharedip.core.messages import (
    CloseWatch,
    GrantLease,
    KeepLeaseAlive,
    KeysChanged,
    LeaseRevoked,
    OpenWatch,
    ReadKeys,
    ReadMember,
    RevokeLease,
    StopRequested,
    TimePassed,
    Transact,
    WatchLost,
)
from sharedip.core.model import Failure, Guard, GuardTarget, KeyChange, Put
from tests.stages.harness import ANSWERED, LAYOUT, OURS, THEIRS, Talk, owner, waiting_behind


def watches(orders: list[object]) -> list[OpenWatch]:
    """The watches that were opened."""
    return [order for order in orders if isinstance(order, OpenWatch)]


# -- the beginning ----------------------------------------------------------------------------------------------------


def test_a_lease_then_the_name_then_the_watch_then_the_campaign() -> None:
    """One at a time, each only when the one before has succeeded."""
    talk = Talk()
    talk.start()
    assert [type(order) for order in talk.open] == [GrantLease]
    talk.answer(talk.expect(GrantLease))
    assert [type(order) for order in talk.open] == [Transact]
    register = talk.expect(Transact)
    assert register.guards == (Guard(LAYOUT.agent("n1"), GuardTarget.CREATE, 0),)
    orders = talk.answer(register)
    assert watches(list(orders))[0].from_revision == talk.store.revision + 1
    campaign = talk.expect(Transact)
    assert campaign.then == (Put(talk.key, b"n1", OURS),)
    assert campaign.guards == (Guard(talk.key, GuardTarget.CREATE, 0),)


def test_a_second_grant_that_comes_late_is_left_to_expire() -> None:
    """One lease per agent."""
    talk = Talk()
    talk.start()
    grant = talk.expect(GrantLease)
    talk.fail(grant)
    talk.answer(talk.expect(GrantLease))
    assert talk.node.session.lease == OURS
    talk.hear(talk.outcome(grant).__class__(grant.request, 0, OURS + 1, 15, 5, talk.now))
    assert talk.node.session.lease == OURS


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    """Every request is answered once; a second answer is somebody's mistake, not a fact."""
    talk = owner()
    _, read = talk.renew()
    answer = talk.outcome(read)
    talk.hear(answer)
    until = talk.right_until
    for stray in (answer, LeaseRevoked(9999, 0, OURS)):
        talk.hear(stray)
    assert talk.right_until == until
    assert talk.is_in(Phase.OWNING)


def test_a_campaign_that_finds_its_own_key_takes_its_place() -> None:
    """Asked again with the same key: if the first try was applied, we find it."""
    talk = Talk()
    talk.start()
    talk.serve(Transact)
    talk.answer(talk.expect(Transact))
    first = talk.expect(Transact)
    talk.outcome(first)
    talk.fail(first)
    talk.pass_time(0.3)
    talk.answer(talk.expect(Transact))
    assert talk.candidacy.epoch == talk.store.keys[talk.key].create_revision
    talk.tell_changes()
    assert talk.is_in(Phase.VERIFYING)


# -- the watch --------------------------------------------------------------------------------------------------------


def test_a_lost_watch_reopens_elsewhere_right_after_what_was_seen() -> None:
    """The watch reopens elsewhere from the last revision + 1."""
    talk = waiting_behind()
    talk.store.stand("n3", THEIRS + 1)
    talk.tell_changes()
    revision = talk.store.revision
    orders = talk.hear(WatchLost(talk.watch or 0, 0, Failure.UNAVAILABLE, "reset"))
    (again,) = watches(list(orders))
    assert (again.endpoint, again.from_revision) == (1, revision + 1)


def test_a_compacted_watch_reads_first_and_then_watches_from_there() -> None:
    """Compaction is weather."""
    talk = waiting_behind()
    orders = talk.hear(WatchLost(talk.watch or 0, 0, Failure.COMPACTED, "compacted"))
    assert not watches(list(orders))
    talk.store.revision += 50
    orders = talk.answer(talk.expect(ReadKeys))
    assert watches(list(orders))[0].from_revision == talk.store.revision + 1


def test_changes_from_a_watch_that_was_closed_are_not_heard() -> None:
    """Its successor tells the same, in order."""
    talk = waiting_behind()
    old = talk.watch or 0
    talk.hear(WatchLost(old, 0, Failure.UNAVAILABLE, "reset"))
    before = talk.node.session.registry.revision
    talk.hear(KeysChanged(old, (KeyChange(LAYOUT.candidate(talk.settings.vips[0].address, THEIRS), None, 99),), 99))
    talk.hear(WatchLost(old, 0, Failure.UNAVAILABLE, "again"))
    assert talk.node.session.registry.revision == before
    assert talk.watch != old


# -- endpoints and weather --------------------------------------------------------------------------------------------


def test_an_etcd_that_went_back_in_time_is_another_etcd() -> None:
    """Restored or wiped: its keys are not the ones that we stood with."""
    talk = owner()
    _, read = talk.renew()
    for _ in range(STALE_ANSWERS_MAX * 3 - 1):
        talk.answer(read, revision=1)
        assert talk.node.session.lease == OURS
        talk.pass_time(3.0)
        talk.answer(talk.expect(KeepLeaseAlive))
        read = talk.expect(ReadKeys)
    talk.answer(read, revision=1)
    assert talk.node.session.lease is None


# -- the agent's record -----------------------------------------------------------------------------------------------


# -- the end ----------------------------------------------------------------------------------------------------------


def test_a_stop_closes_the_watch_and_revokes_the_lease() -> None:
    """No fact of this watch follows; no key is left."""
    talk = waiting_behind()
    orders = list(talk.hear(StopRequested()))
    orders += talk.answer(talk.expect(Transact))
    assert any(isinstance(order, CloseWatch) for order in orders)
    talk.answer(talk.expect(RevokeLease))
    assert not [key for key in talk.store.under() if key.lease == OURS]


def test_a_revocation_is_tried_a_few_times_and_then_left_to_the_ttl() -> None:
    """A dead etcd may cost a little of the stop, not all of it."""
    talk = waiting_behind()
    talk.hear(StopRequested())
    talk.answer(talk.expect(Transact))
    for _ in range(REVOKE_TRIES_MAX):
        talk.fail(talk.expect(RevokeLease))
        talk.pass_time(2.0)
    talk.none(RevokeLease)
    assert talk.node.session.is_over


def test_a_stop_without_a_lease_ends_at_once() -> None:
    """There is nothing to give back."""
    talk = Talk()
    talk.start()
    talk.hear(StopRequested())
    assert talk.node.is_over


def test_a_new_lease_begins_with_an_empty_picture() -> None:
    """What hung on the old one is history; the new one reads for itself."""
    talk = owner()
    talk.fail(ReadKeys(talk.node.session._begin(RequestKind.READ), 0, LAYOUT.root, 1.0), Failure.LEASE_NOT_FOUND)
    assert talk.node.session.registry.revision == 0
    assert talk.watch is None
    talk.store.end_lease(OURS)
    talk.run(3.0)
    assert talk.is_in(Phase.OWNING)


def test_a_keepalive_of_a_new_term_doubts_the_leader_as_well() -> None:
    """No witness is chosen by the old one in the turn before the read."""
    talk = owner()
    assert talk.node.session.raft_leader.leader_id is not None
    keepalive = talk.due()
    confirmed = talk.outcome(keepalive)
    talk.node.session.handle(replace(confirmed, raft_term=confirmed.raft_term + 1), talk.now)
    assert talk.node.session.raft_leader.leader_id is None


def test_where_our_own_member_knows_no_leader_another_one_is_asked() -> None:
    """It has lost its peers: it answers no linearizable request either, so all else goes to another one by then."""
    talk = Talk(local_endpoint=0, endpoints=3)
    talk.start()
    asked = set()
    for _ in range(200):
        order = next((each for each in talk.open if isinstance(each, ANSWERED)), None)
        if order is None:
            if not talk.tell_changes():
                talk.now = max(talk.now, talk.node.next_deadline())
                talk.hear(TimePassed())
            continue
        talk.open.remove(order)
        told = talk.outcome(order)
        if isinstance(order, ReadMember):
            asked.add(order.endpoint)
            talk.hear(replace(told, leader_id=0) if order.endpoint == 0 else told)
        elif getattr(order, "endpoint", 1) == 0:
            talk.fail(order, Failure.NO_LEADER)
        else:
            talk.hear(told)
    assert asked > {0}
    assert talk.node.session.raft_leader.leader_id is not None
