"""Renewals: how often, in good time, and what a proof makes of the lease that is held."""

from __future__ import annotations

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import (
    HoldAddress,
    KeepLeaseAlive,
    ReadKeys,
    RemoveAddress,
)
from sharedip.core.settings import lease_margin_s, renew_every_s
from tests.stages.harness import NEVER, Talk, owner


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


@pytest.mark.parametrize(("told_s", "counts_s"), [(60, 15), (15, 15), (5, 5)])
def test_a_ttl_that_grows_with_a_keepalive_makes_no_right_longer(told_s: int, counts_s: int) -> None:
    """The lease was granted for less; a shorter one is believed at once."""
    talk = owner()
    talk.held.deadline.until = NEVER
    keepalive = talk.due()
    sent_at = talk.sent[keepalive.request]
    talk.answer(keepalive, ttl_s=told_s)
    talk.answer(talk.expect(ReadKeys))
    assert talk.held.deadline.until == pytest.approx(sent_at + counts_s - lease_margin_s(counts_s), abs=1e-6)
