"""Law 5: deadlines count from the moment a request was sent, on CLOCK_BOOTTIME, and never from its answer."""

from __future__ import annotations

import time

import pytest

from sharedip.adapters.clock import Clock
from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.renewal import Proof
from sharedip.core.messages import (
    DatagramReceived,
    ForeignClaim,
    GrantLease,
    KeepLeaseAlive,
    ReadKeys,
)
from sharedip.core.segment.wire import DatagramKind, Released, seal
from sharedip.core.settings import lease_margin_s
from tests.stages.harness import LAYOUT, MAC, OURS, THEIRS, VIP, Talk, agent_record, owner, secret_of, waiting_behind
from tests.stages.witnessed import WINDOW_S, Owner


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
    _, read = talk.renew()
    newer = talk.held.deadline.until = talk.right_until + 100.0
    assert talk.held.judge(talk.outcome(read), talk.now, shows_us=True) is Proof.KNOWN
    assert talk.right_until == newer


def test_a_promise_counts_from_the_beats_sending() -> None:
    """An acknowledged sequence sets witness_until = its send time + window."""
    owner = Owner().witnessed()
    sent_at = owner.talk.now
    owner.talk.now += 0.4
    owner.acknowledge()
    assert owner.talk.right_until == pytest.approx(sent_at + WINDOW_S)


def test_the_agents_clock_counts_the_time_in_suspend_and_nobody_can_set_it() -> None:
    """CLOCK_BOOTTIME: between two readings of it lies the one of the agent's clock."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    now = Clock().now()
    assert before <= now <= time.clock_gettime(time.CLOCK_BOOTTIME)


def test_a_word_counts_from_its_receipt_not_from_the_turn_in_which_it_is_taken_in() -> None:
    """A loop that is late must not make it younger than a claim that came after it."""
    phases = {}
    for claimed_after_s in (-0.101, 0.002):
        talk = waiting_behind()
        speaker = talk.candidacy.queue()[0]
        talk.store.put(LAYOUT.agent("n2"), agent_record("n2", macs=[MAC.hex()]), THEIRS)
        talk.tell_changes()
        received_at = talk.now
        word = seal(
            DatagramKind.RELEASE,
            THEIRS,
            OURS,
            [Released(speaker.create_revision, VIP.address, "moved")],
            secret_of("n2", "n1"),
        )
        talk.now += 0.003
        talk.hear(ForeignClaim(VIP, MAC, received_at + claimed_after_s))
        talk.hear(DatagramReceived("n2", 9470, word, received_at))
        phases[claimed_after_s] = talk.candidacy.phase
    assert phases == {-0.101: Phase.OWNING, 0.002: Phase.WAITING}
