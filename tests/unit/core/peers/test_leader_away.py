"""Etcd's leader on an owner's node: when it is moved, where to, and what people hear of it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from sharedip.core.messages import (
    HealthChanged,
    MoveLeader,
    MoveRequested,
    ReadMembers,
    RemoveAddress,
    SendDatagram,
    SettingsChanged,
)
from sharedip.core.model import Failure, Vip
from sharedip.core.peers.leader_away import EVERY_S, QUIET_S
from tests.stages.harness import LAYOUT, THEIRS, VIP, Talk, agent_record

OURS_LEADS = 1
"""The member that leads the harness's etcd: the one of endpoint 0."""


def leading(*, wanted: bool = True, local: int | None = 0) -> Talk:
    """n1 owns the address, and its own member leads; n2 stands behind it, beside member 2."""
    talk = Talk(move_leader=wanted, local_endpoint=local).own()
    talk.store.stand("n2")
    talk.store.put(LAYOUT.agent("n2"), agent_record("n2", member="2"), THEIRS)
    talk.tell_changes()
    return talk


def rests(talk: Talk, seconds: float, *but: type) -> None:
    """Nothing happens but that n2 says hello."""
    end = talk.now + seconds
    while talk.now < end:
        talk.node.voices.heard(THEIRS, talk.now)
        talk.run(0.5, *but)


def asked(talk: Talk) -> list[int]:
    """Where etcd's leader was asked to go, as long as nobody has answered."""
    return [order.to for order in talk.open if isinstance(order, MoveLeader)]


def test_an_owner_whose_own_member_leads_asks_it_to_hand_over_to_one_beside_which_no_agent_runs() -> None:
    talk = leading()
    rests(talk, QUIET_S + 1.0, MoveLeader, SendDatagram)
    assert asked(talk) == [3]


def test_where_an_agent_runs_beside_each_it_is_one_that_owns_nothing_and_does_not_come_next() -> None:
    talk = leading()
    for number, member in ((3, "3"), (4, "4")):
        talk.store.stand(f"n{number}", THEIRS + number)
        record = agent_record(f"n{number}", member=member)
        talk.store.put(LAYOUT.agent(f"n{number}"), record, THEIRS + number)
    talk.tell_changes()
    talk.node.voices.heard(THEIRS + 3, talk.now + 60.0)  # of n3 it is known that it lives, and n4 is silent
    rests(talk, QUIET_S + 1.0, MoveLeader, SendDatagram)
    assert asked(talk) == [3]


def test_no_member_of_an_owner_is_asked() -> None:
    """From there it would be moved again: where every other node owns something, it stays."""
    vips = VIP, Vip(ip_address("192.168.0.16"), VIP.link)
    talk = Talk(vips=vips, move_leader=True, local_endpoint=0)
    talk.store.stand("n2", vip=vips[1])
    talk.start()
    talk.run(1.0)
    for lease, name, member in ((THEIRS + 3, "n3", "3"), (THEIRS, "n2", "2")):  # n3 is the next one
        talk.store.stand(name, lease)
        talk.store.put(LAYOUT.agent(name), agent_record(name, member=member), lease)
    talk.tell_changes()
    talk.node.voices.heard(THEIRS + 3, talk.now + 60.0)
    rests(talk, QUIET_S + 1.0, MoveLeader, SendDatagram)
    assert asked(talk) == [3]


@pytest.mark.parametrize("why", ["not wanted", "no local member", "another leads", "it has just begun", "etcd is full"])
def test_nothing_is_asked(why: str) -> None:
    talk = leading(wanted=why != "not wanted", local=None if why == "no local member" else 0)
    if why == "another leads":
        talk.node.session.raft_leader.leader_id = 2
    if why == "etcd is full":
        talk.node.session.space.refused("alarm NOSPACE", talk.now)
    rests(talk, QUIET_S - 1.5 if why == "it has just begun" else QUIET_S + 1.0, ReadMembers, SendDatagram)
    assert not any(isinstance(order, ReadMembers) for order in talk.open)


def test_while_an_address_moves_nothing_is_asked_and_the_rest_begins_anew() -> None:
    talk = leading()
    rests(talk, QUIET_S - 2.0, ReadMembers, SendDatagram)
    talk.hear(MoveRequested(1, VIP.address, None))
    talk.run(0.5)
    rests(talk, QUIET_S, ReadMembers, SendDatagram)
    assert not any(isinstance(order, ReadMembers) for order in talk.open)


def test_an_address_that_does_not_get_off_its_link_is_no_rest() -> None:
    """Whatever else this node owns."""
    vips = VIP, Vip(ip_address("192.168.0.16"), VIP.link)
    talk = Talk(vips=vips, move_leader=True, local_endpoint=0).own()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.hear(MoveRequested(1, VIP.address, None))
    rests(talk, QUIET_S + 1.0, RemoveAddress, ReadMembers, SendDatagram)
    assert not any(isinstance(order, ReadMembers) for order in talk.open)


def test_what_is_no_longer_quiet_when_the_members_are_known_is_not_asked_for() -> None:
    talk = leading()
    rests(talk, QUIET_S + 1.0, ReadMembers, SendDatagram)
    (order,) = (each for each in talk.open if isinstance(each, ReadMembers))
    talk.hear(MoveRequested(1, VIP.address, None))
    talk.answer(order)
    assert asked(talk) == []


def test_it_is_asked_once_in_ten_minutes_and_another_member_after_one_that_did_not_take_it() -> None:
    talk = leading()
    rests(talk, QUIET_S + 1.0, MoveLeader, SendDatagram)
    (order,) = (each for each in talk.open if isinstance(each, MoveLeader))
    talk.open.remove(order)
    talk.fail(order, Failure.TIMEOUT)
    assert any("etcd's leader stays on this node" in report.text for report in talk.reports)
    rests(talk, EVERY_S - 15.0, MoveLeader, SendDatagram)
    assert asked(talk) == []
    talk.store.put(LAYOUT.agent("n2"), agent_record("n2", member="2"), THEIRS)
    rests(talk, 20.0, MoveLeader, SendDatagram)
    assert asked(talk) == [2]


@pytest.mark.parametrize("kind", [ReadMembers, MoveLeader])
def test_a_refusal_names_the_role_that_is_missing(kind: type) -> None:
    talk = leading()
    rests(talk, QUIET_S + 1.0, kind, SendDatagram)
    (order,) = (each for each in talk.open if isinstance(each, kind))
    talk.fail(order, Failure.REFUSED)
    assert any("needs a user that has the role root" in report.text for report in talk.reports)


def test_that_it_has_moved_is_said() -> None:
    talk = leading()
    rests(talk, QUIET_S + 1.0, SendDatagram)
    assert any("moved etcd's leader to member 3" in report.text for report in talk.reports)


def test_it_can_be_switched_off_while_it_runs() -> None:
    """Nothing is asked for any more."""
    talk = leading()
    talk.hear(SettingsChanged(replace(talk.settings, move_leader=False)))
    talk.hear(HealthChanged(healthy=True, detail=""))
    rests(talk, QUIET_S + 1.0, ReadMembers, SendDatagram)
    assert not any(isinstance(order, ReadMembers) for order in talk.open)
