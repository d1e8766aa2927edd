"""Which endpoint is asked next, and how long all of them are left alone."""

from __future__ import annotations

from itertools import pairwise

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.requests import RequestKind
from sharedip.core.messages import (
    CloseWatch,
    DropEndpoint,
    GrantLease,
    KeepLeaseAlive,
    OpenWatch,
    ReadMember,
)
from sharedip.core.model import Failure
from tests.stages.harness import Talk, owner


def test_a_silent_endpoint_is_dropped_and_one_that_refuses_is_not() -> None:
    """A silent endpoint (request deadline passed) is dropped with its TCP connection."""
    talk = owner()
    talk.fail(talk.due(), Failure.UNAVAILABLE)
    talk.none(DropEndpoint)
    keepalive = talk.expect(KeepLeaseAlive)
    talk.fail(keepalive, Failure.TIMEOUT)
    assert talk.expect(DropEndpoint).endpoint == keepalive.endpoint


def test_while_etcd_is_away_the_agent_waits_longer_and_longer_and_says_so_once() -> None:
    """It waits, says so once, and keeps trying with backoff and jitter."""
    talk = Talk()
    talk.start()
    tries = []
    while talk.now < 1120.0:
        for order in [order for order in talk.open if isinstance(order, GrantLease)]:
            tries.append(talk.now)
            talk.open.remove(order)
            talk.fail(order, Failure.UNAVAILABLE)
        talk.pass_time(0.05)
    assert sum("does not answer" in report.text for report in talk.reports) == 1
    assert max(b - a for a, b in pairwise(tries)) <= 2.1
    assert 60 <= len(tries) <= 250
    talk.run(2.0)
    assert talk.is_in(Phase.OWNING)
    assert sum("etcd answers" in report.text for report in talk.reports) == 1


def test_our_own_nodes_member_is_asked_again_as_soon_as_it_knows_a_leader() -> None:
    """Another node's dies with that node: an agent that asks there learns of it by a time-out, and watches nothing."""
    talk = Talk(local_endpoint=0).own()
    keepalive = talk.due()
    talk.fail(keepalive, Failure.UNAVAILABLE)
    assert talk.node.session.endpoint == 1
    watch = talk.watch
    talk.serve()
    talk.open.append(ReadMember(talk.node.session._begin(RequestKind.MEMBER), 0, 1.0))
    orders = talk.answer(talk.open[-1])
    assert [order.watch for order in orders if isinstance(order, CloseWatch)] == [watch]
    (opened,) = (order for order in orders if isinstance(order, OpenWatch))
    assert (opened.endpoint, opened.from_revision) == (0, talk.store.revision + 1)
    assert talk.due().endpoint == 0


def test_another_nodes_member_is_no_home() -> None:
    talk = owner()
    talk.fail(talk.due(), Failure.UNAVAILABLE)
    talk.serve()
    talk.open.append(ReadMember(talk.node.session._begin(RequestKind.MEMBER), 0, 1.0))
    assert not any(isinstance(order, CloseWatch) for order in talk.answer(talk.open[-1]))
    assert talk.due().endpoint == 1
