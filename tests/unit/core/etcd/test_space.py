"""Whether etcd takes writes, what the operator hears of it, and how the session behaves while it takes none."""

from __future__ import annotations

from sharedip.core.etcd.requests import DELETES, PUTS
from sharedip.core.etcd.space import TRY_EVERY_S, VITAL_RETRY_S, Space
from sharedip.core.messages import (
    Command,
    DropEndpoint,
    GrantLease,
    KeepLeaseAlive,
    Level,
    ReadMember,
    Report,
    Transact,
)
from sharedip.core.model import Failure
from sharedip.core.view import view
from tests.stages.harness import Talk, owner

WORDS = "http://m0:2379: etcdserver: mvcc: database space exceeded"


def test_it_is_told_once_when_it_begins_and_once_when_it_ends() -> None:
    """However many writes are refused, or taken."""
    told: list[Command] = []
    space = Space(told.append)
    assert not space.taken(1.0)
    space.refused(WORDS, 2.0)
    space.refused(WORDS, 3.0)
    assert (space.is_full, space.full_since, space.try_at) == (True, 2.0, 3.0 + TRY_EVERY_S)
    assert space.taken(62.0)
    assert not space.taken(63.0)
    begin, end = (report for report in told if isinstance(report, Report))
    assert (begin.level, begin.reason) == (Level.ERROR, WORDS)
    assert "its database is full" in begin.text
    assert (end.level, end.text) == (Level.INFO, "etcd takes writes again, after 60 s")


def test_a_raised_alarm_is_a_refusal_and_its_end_only_a_reason_to_try() -> None:
    """Told once; a write is tried as soon as the alarm is seen no more."""
    told: list[Command] = []
    space = Space(told.append)
    space.looked(1.0, is_raised=False)
    assert not space.is_full
    space.looked(31.0, is_raised=True)
    space.looked(61.0, is_raised=True)
    assert (space.full_since, len(told)) == (31.0, 1)
    space.looked(91.0, is_raised=False)
    assert (space.is_full, space.try_at) == (True, 91.0)


def test_what_frees_is_no_write() -> None:
    """No kind of request is both."""
    assert not PUTS & DELETES


def test_a_refusal_for_space_is_no_verdict_on_the_endpoint() -> None:
    """Every one of them would refuse, and this one has answered."""
    talk = Talk()
    talk.start()
    for _ in range(10):
        grant = talk.expect(GrantLease)
        assert grant.endpoint == 0
        talk.fail(grant, Failure.FULL)
        talk.pass_time(VITAL_RETRY_S - 0.01)
        talk.none(GrantLease, DropEndpoint)
        talk.pass_time(0.02)
    assert talk.node.session.endpoints.connected
    assert not any("does not answer" in report.text for report in talk.reports)
    status = view(talk.node, talk.now)
    assert (status["state"], status["detail"]) == (
        "waiting for etcd",
        "it takes no writes: its database is full",
    )
    assert not status["etcd"]["takes_writes"]
    assert status["etcd"]["full_s"] == talk.now - 1000.0


def test_the_end_is_found_out_by_the_own_record_now_and_then() -> None:
    """Changed or not, and not oftener than every ten seconds."""
    talk = owner()
    talk.store.full = True
    talk.node.session.space.refused(WORDS, talk.now)
    began, tries = talk.now, talk.store.refused
    talk.run(60.0)
    assert 4 <= talk.store.refused - tries <= 6
    talk.store.full = False
    talk.run(TRY_EVERY_S + 0.1)
    assert not talk.node.session.space.is_full
    assert talk.now - began < 80.0
    assert any("takes writes again" in report.text for report in talk.reports)


def test_the_alarm_is_looked_at_twice_a_minute_also_where_status_is_refused() -> None:
    """Each look is a request; one that etcd refuses is not asked for at every renewal."""
    talk = owner()
    asked = 0
    until = talk.now + 120.0
    while talk.now < until:
        talk.run(1.0, ReadMember)
        for order in [each for each in talk.open if isinstance(each, ReadMember)]:
            talk.open.remove(order)
            talk.fail(order, Failure.REFUSED)
            asked += 1
    assert 3 <= asked <= 5


def test_what_refuses_no_write_refuses_for_no_space() -> None:
    """A keepalive that is said to be refused for it says nothing of writes: an endpoint that fails, like any other."""
    talk = owner()
    keepalive = talk.due()
    talk.fail(keepalive, Failure.FULL)
    assert not talk.node.session.space.is_full
    assert talk.expect(KeepLeaseAlive).endpoint != keepalive.endpoint


def test_a_full_etcd_is_not_asked_for_a_place_at_every_moment() -> None:
    """A campaign is a put, tried again every two seconds."""
    talk = Talk()
    talk.start()
    talk.serve(Transact)
    talk.answer(talk.expect(Transact))  # the name
    talk.store.full = True
    talk.serve()
    before = talk.store.refused
    talk.run(20.0)
    assert 5 <= talk.store.refused - before <= 13
    talk.store.full = False
    talk.run(VITAL_RETRY_S + 1.0)
    assert talk.candidacy.epoch is not None
