"""The laws of ARCHITECTURE.md on deadlines, proof and time. Every docstring quotes what its test proves."""

from __future__ import annotations

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.requests import RequestKind
from sharedip.core.messages import (
    Announce,
    AnnounceOnceHeld,
    GrantLease,
    HoldAddress,
    KeepLeaseAlive,
    LinkChanged,
    Probe,
    ReadKeys,
    RemoveAddress,
    TimePassed,
)
from sharedip.core.settings import REMOVAL_LEAD_S, lease_margin_s, renew_every_s
from tests.stages.harness import LAYOUT, LINK, THEIRS, Talk, owner, waiting_behind

# -- "Deadlines count from the moment a request was sent" -------------------------------------------------------------


def test_a_grant_counts_from_its_sending() -> None:
    """Law 5: deadlines count from the moment a request was sent, never from the moment that its answer came."""
    talk = Talk()
    talk.start()
    sent_at, grant = talk.now, talk.expect(GrantLease)
    talk.now += 0.9
    talk.answer(grant)
    assert talk.right_until == pytest.approx(sent_at + 15 - lease_margin_s(15))


def test_a_renewal_counts_from_the_keepalives_sending() -> None:
    """lease_until = t_sent + ttl - margin: neither the keepalive's answer nor the read moves it."""
    talk = owner()
    talk.pass_time(2.0)
    keepalive = talk.expect(KeepLeaseAlive)
    sent_at = talk.sent[keepalive.request]
    talk.now = sent_at + 0.4
    talk.answer(keepalive)
    talk.now += 0.4
    talk.answer(talk.expect(ReadKeys))
    assert talk.right_until == pytest.approx(sent_at + 15 - lease_margin_s(15))


def test_the_ttl_that_etcd_granted_counts() -> None:
    """Read the granted TTL back: etcd raises a short one."""
    talk = Talk(ttl_s=3)
    talk.start()
    sent_at = talk.now
    talk.answer(talk.expect(GrantLease), ttl_s=5)
    assert talk.right_until == pytest.approx(sent_at + 5 - lease_margin_s(5))
    assert any("raised" in report.text for report in talk.reports)


def test_a_renewal_never_shortens_the_right() -> None:
    """A proof that was long under way says less than a newer one, and takes nothing back."""
    talk = owner()
    talk.prove()
    until = talk.right_until
    _, read = talk.renew()
    talk.answer(read)
    assert talk.right_until > until


# -- "A keepalive counts only when a linearizable read … succeeds after it" -------------------------------------------


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
    talk.none(Probe, HoldAddress)


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


def test_a_failed_renewal_is_tried_on_another_endpoint() -> None:
    """A silent endpoint (request deadline passed) is dropped; retries go to other endpoints."""
    talk = owner()
    talk.pass_time(2.0)
    first = talk.expect(KeepLeaseAlive)
    talk.fail(first)
    second = talk.expect(KeepLeaseAlive)
    talk.fail(second)
    third = talk.expect(KeepLeaseAlive)
    assert {first.endpoint, second.endpoint, third.endpoint} == {0, 1, 2}
    assert any(type(order).__name__ == "DropEndpoint" for order in talk.open)


# -- "time passes first" ----------------------------------------------------------------------------------------------


def test_a_late_answer_never_revives_a_right_that_has_ended() -> None:
    """Expiry is applied before the event, so a late answer never revives a right that has ended."""
    talk = owner()
    _, read = talk.renew()
    talk.now = talk.right_until
    talk.answer(read)
    talk.expect(RemoveAddress)
    assert talk.is_in(Phase.LAPSED)
    talk.none(HoldAddress)


def test_the_removal_is_ordered_when_the_right_ends_and_nobody_says_anything() -> None:
    """`next_deadline` is the latest instant by which time itself must be told."""
    talk = owner()
    end = talk.right_until
    talk.run(end - talk.now - REMOVAL_LEAD_S - 0.001, KeepLeaseAlive)
    talk.none(RemoveAddress)
    talk.pass_time(0.002)
    talk.expect(RemoveAddress)
    assert talk.now <= end - REMOVAL_LEAD_S + 0.002


def test_an_ended_right_is_won_back_only_by_fresh_proof() -> None:
    """A right that has ended is won back only by fresh proof; the key kept its place, so the address returns."""
    talk = owner()
    epoch = talk.candidacy.epoch
    talk.run(16.0, KeepLeaseAlive)
    assert talk.is_in(Phase.VERIFYING)
    talk.open = [order for order in talk.open if not isinstance(order, KeepLeaseAlive)]
    talk.answer(ReadKeys(talk.node.session._begin(RequestKind.READ), 0, LAYOUT.root, 1.0))
    talk.none(HoldAddress)
    talk.held.is_renewing = False  # the keepalive that was swallowed above
    talk.run(3.0)
    assert talk.is_in(Phase.OWNING)
    assert talk.candidacy.epoch == epoch


def test_after_a_freeze_the_first_fact_finds_the_address_given_up() -> None:
    """An agent that wakes up late applies the time, then whatever it hears."""
    talk = owner()
    talk.hear(LinkChanged(LINK), after_s=60.0)
    talk.expect(RemoveAddress)
    talk.none(HoldAddress, Announce, AnnounceOnceHeld)


# -- renewing in good time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ttl_s", [3, 6, 15, 60])
def test_idle_costs_one_keepalive_and_one_read_a_period_and_no_write(ttl_s: int) -> None:
    """Idle: no etcd writes, at most one keepalive and one read per agent in 2 s."""
    talk = Talk(ttl_s=ttl_s).own()
    revision, sent = talk.store.revision, len(talk.sent)
    periods = 20
    talk.run(periods * renew_every_s(ttl_s) + 0.01)
    assert talk.store.revision == revision
    assert 2 * periods - 2 <= len(talk.sent) - sent <= 2 * periods + 2


@pytest.mark.parametrize("ttl_s", [3, 6, 15, 60])
def test_two_frozen_endpoints_do_not_cost_the_address(ttl_s: int) -> None:
    """In good time for two retries on other endpoints before lease_until."""
    talk = Talk(ttl_s=ttl_s).own()
    keepalive = talk.due()
    for _ in range(2):
        talk.now += keepalive.timeout_s
        talk.fail(keepalive)
        keepalive = talk.expect(KeepLeaseAlive)
    talk.answer(keepalive)
    talk.answer(talk.expect(ReadKeys))
    assert talk.is_in(Phase.OWNING)
    assert talk.expect(HoldAddress).valid_lft_s >= 1
    talk.none(RemoveAddress)
