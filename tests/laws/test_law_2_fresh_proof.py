"""Law 2: a right is won by fresh proof alone: a keepalive, and a read behind it by an entry of etcd's log."""

from __future__ import annotations

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.requests import RequestKind
from sharedip.core.messages import (
    GrantLease,
    HoldAddress,
    KeepLeaseAlive,
    Probe,
    ReadKeys,
    RemoveAddress,
    RequestFailed,
    TimePassed,
)
from sharedip.core.model import Failure
from tests.stages.harness import THEIRS, owner, waiting_behind


def test_a_keepalive_alone_renews_nothing() -> None:
    """A cut-off etcd leader confirms keepalives for up to two seconds."""
    talk = owner()
    until = talk.right_until
    _, read = talk.renew()
    assert talk.right_until == until
    talk.fail(read)
    assert talk.right_until == until


def test_keepalives_without_reads_let_the_right_end() -> None:
    """However many are confirmed."""
    talk = owner()
    talk.run(16.0, ReadKeys, RemoveAddress)
    assert talk.is_in(Phase.LAPSED)
    talk.expect(RemoveAddress)


def test_the_read_goes_to_the_endpoint_that_confirmed_the_keepalive() -> None:
    """On the same endpoint, even when the session has moved on to another one."""
    talk = owner()
    talk.pass_time(2.0)
    keepalive = talk.expect(KeepLeaseAlive)
    talk.node.session.endpoints.rotate(keepalive.endpoint)
    talk.answer(keepalive)
    assert talk.expect(ReadKeys).endpoint == keepalive.endpoint


def test_a_read_on_another_endpoint_renews_nothing() -> None:
    """Same endpoint: another member's word is not about this one's leader."""
    talk = owner()
    until = talk.right_until
    _, read = talk.renew()
    talk.answer(read, endpoint=1)
    assert talk.right_until == until


def test_a_keepalive_is_proved_by_an_entry_of_etcds_log() -> None:
    """After a raft snapshot a member answers plain reads of the new state in the old term (docs/safety.md)."""
    talk = owner()
    _, proof = talk.renew()
    assert proof.by_entry
    talk.answer(proof)
    talk.node.session.want_read()
    talk.hear(TimePassed())
    assert not talk.expect(ReadKeys).by_entry  # a claim wants the state, whatever the term


@pytest.mark.parametrize("change", [-1, 1])
def test_a_read_in_another_term_renews_nothing(change: int) -> None:
    """With the same raft_term: the leader changed in between, and nothing is proved."""
    talk = owner()
    until = talk.right_until
    _, read = talk.renew()
    talk.answer(read, raft_term=talk.term + change)
    assert talk.right_until == until


def test_a_keepalive_in_an_older_term_is_no_half_of_a_renewal() -> None:
    """A node whose raft_term is older than one already seen is stale."""
    talk = owner()
    talk.pass_time(2.0)
    keepalive = talk.expect(KeepLeaseAlive)
    talk.answer(keepalive, raft_term=talk.term - 1)
    assert not any(isinstance(order, ReadKeys) and order.endpoint == keepalive.endpoint for order in talk.open)
    assert talk.expect(KeepLeaseAlive).endpoint != keepalive.endpoint


def test_a_read_in_an_older_term_than_one_already_seen_lets_nobody_claim() -> None:
    """A node whose raft_term is older than one already seen is stale."""
    talk = waiting_behind()
    talk.store.end_lease(THEIRS)
    talk.tell_changes()
    talk.answer(talk.expect(ReadKeys), raft_term=talk.term - 1)
    talk.none(HoldAddress)


def test_a_read_without_a_key_of_ours_ends_the_lease() -> None:
    """A read of the own key: its absence is an answer too."""
    talk = owner()
    _, read = talk.renew()
    talk.store.stand("n2")
    others = tuple(key for key in talk.store.under() if key.lease == THEIRS)
    talk.answer(read, keys=others, count=len(others))
    talk.none(RemoveAddress)  # the count shows that keys are gone, but not which
    talk.answer(talk.expect(KeepLeaseAlive))
    everything = talk.expect(ReadKeys)
    assert everything.after == 0
    talk.answer(everything, keys=others, count=len(others))
    talk.expect(RemoveAddress)
    assert talk.node.session.lease is None


def test_an_answer_about_an_old_lease_says_nothing_about_the_new_one() -> None:
    """A read that was sent on a lease that is gone proves nothing for its successor."""
    talk = owner()
    _, read = talk.renew()
    old = talk.outcome(read)
    talk.hear(RequestFailed(talk.node.session._begin(RequestKind.READ), 0, Failure.LEASE_NOT_FOUND, ""))
    talk.answer(talk.expect(GrantLease))
    until = talk.node.session.lease_until
    talk.hear(old)
    assert talk.node.session.lease_until == until
    talk.none(HoldAddress, Probe)
