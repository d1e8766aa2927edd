"""Who is heard where the VIP is: hellos both ways, asks behind them, and what is published of it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from sharedip.core.messages import AskNeighbour, DatagramReceived, LinkChanged, SurroundingsRead, TimePassed
from sharedip.core.segment.hearing import MISSED_AFTER_S, Hears
from sharedip.core.segment.wire import DatagramKind, Hello, seal
from tests.stages.harness import LINK, VIP, secret_of
from tests.stages.segment import GATEWAY, Hall, address_of, lease_of


def state(hall: Hall, name: str) -> Hears:
    return hall.node.hearing.state(VIP, lease_of(name))


def test_a_hello_a_second_goes_to_each_other_agent_from_link_to_link() -> None:
    hall = Hall("n2", "n3").enter()
    hall.hellos()
    hall.go_on(3.0, "n2", "n3")
    told = hall.hellos()
    assert sorted(name for name, _ in told) == ["n2"] * 3 + ["n3"] * 3
    assert all(hello.hears_you for _, hello in told)


def test_our_hellos_go_with_the_turn_that_anothers_costs_but_not_twice_in_half_a_second() -> None:
    """Agents at rest wake together."""
    hall = Hall("n2", "n3").enter()
    hall.go_on(1.0, "n2", "n3")
    hall.run(0.3)
    hall.greet("n2")
    hall.hellos()
    begun, told = hall.now, []
    while hall.now < begun + 3.0:
        hall.run(0.55)
        hall.greet("n3")
        told += [name for name, _ in hall.hellos()]
        hall.greet("n2")
        assert not hall.hellos(), "as an answer to the answer"
    assert told.count("n2") == told.count("n3") == 6


def test_a_hello_that_changes_nothing_costs_no_turn_of_its_own_later() -> None:
    """When somebody would be missed is counted from the newest one: no timer goes off for an older one."""
    hall = Hall("n2", "n3").enter()
    hall.go_on(8.0, "n2", "n3")
    for _ in range(20):
        hall.greet("n2", "n3")
        assert hall.node.next_deadline() >= hall.now
        missed_at = hall.now + MISSED_AFTER_S
        assert hall.node.hearing.next_deadline() in (missed_at, hall.node.hearing._hello_at)
        hall.run(0.2)


def test_heard_is_who_says_that_our_hellos_arrive() -> None:
    hall = Hall("n2", "n3").enter()
    assert state(hall, "n2") is state(hall, "n3") is Hears.HEARD
    hall = Hall("n2").enter(greeted=False)
    hall.greet("n2", hears_you=False)
    assert state(hall, "n2") is Hears.UNKNOWN


def test_who_was_never_heard_is_not_silent() -> None:
    """Law 4: neither asked for, nor told of."""
    hall = Hall("n2", "n3").enter(greeted=False)
    hall.go_on(10.0)
    assert not hall.says("silent")


def test_silence_is_told_after_three_asks_without_an_answer() -> None:
    hall = Hall("n2", "n3").enter()
    begun = greet_at = hall.now
    while state(hall, "n2") is not Hears.SILENT:
        if hall.now >= greet_at:
            hall.greet("n3")
            greet_at += 1.0
        hall.go_on(0.05)
        assert hall.now - begun < 5.0
    assert 1.4 <= hall.now - begun <= 1.7
    assert state(hall, "n3") is not Hears.SILENT
    assert "n2" in hall.says("silent")


def test_a_node_that_answers_is_mute_and_not_silent() -> None:
    """Only datagrams are lost: a filter on UDP, or an agent that is dead or frozen while its node lives."""
    hall = Hall("n2", "n3").enter()
    hall.go_on(30.0, "n3", answering=("n2",))
    assert state(hall, "n2") is Hears.MUTE
    assert hall.says("mute") == ["n2"]
    assert not hall.says("silent")
    hall.go_on(3.0, "n3")
    assert hall.says("silent") == ["n2"]


def test_who_hears_us_not_is_not_heard() -> None:
    """One direction is none: its hellos arrive, and say that ours do not."""
    hall = Hall("n2", "n3").enter()
    for _ in range(4):
        hall.greet("n2", hears_you=False)
        hall.go_on(1.0, "n3")
    assert hall.says("silent") == ["n2"]


def anew(hall: Hall) -> None:
    """Our lease ends in etcd, and another one is granted and registered."""
    former = hall.node.session.lease
    assert former is not None
    hall.store.end_lease(former)
    hall.tell_changes()
    for _ in range(200):
        hall.run(0.05)
        if hall.node.session.is_registered and hall.node.session.lease != former:
            return
    raise AssertionError("no other lease")


def test_a_lease_of_ours_that_others_do_not_know_yet_makes_nobody_mute() -> None:
    """They speak to the former one, and say of the new one that they do not hear it, until they have read of it."""
    hall = Hall("n2", "n3").enter()
    hall.go_on(3.0, "n2", "n3")
    anew(hall)
    hall.go_on(1.5, answering=("n2", "n3"))
    hall.go_on(0.9, "n2", "n3", answering=("n2", "n3"), hears_you=False)
    assert hall.says("mute") == hall.says("silent") == []
    hall.go_on(3.0, "n2", "n3")
    assert state(hall, "n2") is state(hall, "n3") is Hears.HEARD
    assert hall.says("mute") == []


def test_who_does_not_hear_us_under_a_new_lease_either_is_mute() -> None:
    hall = Hall("n2", "n3").enter()
    hall.go_on(3.0, "n2", "n3")
    anew(hall)
    hall.go_on(5.0, "n2", "n3", answering=("n2", "n3"), hears_you=False)
    assert state(hall, "n2") is Hears.MUTE


def test_who_is_not_heard_is_told_at_once() -> None:
    """It writes in etcd that it lives, a second before its silence would count."""
    hall = Hall("n2", "n3").enter()
    hall.hellos()
    hall.pass_time(1.35)
    assert any(name == "n2" and not hello.hears_you for name, hello in hall.hellos())


def test_at_rest_nobody_is_asked() -> None:
    hall = Hall("n2", "n3").enter()
    asked = []
    for _ in range(60):
        hall.greet("n2", "n3")
        asked += [order for order in hall.pass_time(1.0) if isinstance(order, AskNeighbour)]
        hall.serve()
    assert not asked


def test_silence_counts_only_while_this_process_runs_on_time() -> None:
    """A process that stood still has heard nobody for its own fault (law 4)."""
    hall = Hall("n2", "n3").enter()
    hall.now += 5.0
    hall.hear(TimePassed())
    hall.go_on(1.0)
    assert not hall.says("silent")
    hall.go_on(1.0)
    assert hall.says("silent") == ["n2", "n3"]


def test_a_recorded_hello_is_no_newer_than_what_was_heard() -> None:
    hall = Hall("n2", "n3").enter()
    lease = hall.node.session.lease
    assert lease is not None
    payload = seal(DatagramKind.HELLO, lease_of("n2"), lease, [Hello(1, 0, hears_you=True)], secret_of("n1", "n2"))
    for _ in range(20):
        hall.go_on(0.2, "n3")
        hall.hear(DatagramReceived(address_of("n2"), 9470, payload, hall.now, LINK.index, is_direct=True))
    assert hall.says("silent") == ["n2"]


@pytest.mark.parametrize("fields", [{"index": LINK.index + 1}, {"is_direct": False}])
def test_a_hello_counts_only_on_the_link_of_the_vip(fields: dict[str, object]) -> None:
    """By another network, or through a router, it says nothing of the segment."""
    hall = Hall("n2", "n3").enter()
    lease = hall.node.session.lease
    assert lease is not None
    for number in range(4):
        entry = Hello(1000 + number, 0, hears_you=True)
        payload = seal(DatagramKind.HELLO, lease_of("n2"), lease, [entry], secret_of("n1", "n2"))
        datagram = DatagramReceived(address_of("n2"), 9470, payload, hall.now, LINK.index, is_direct=True)
        hall.hear(replace(datagram, **fields))  # type: ignore[arg-type]
        hall.go_on(1.0, "n3")
    assert hall.says("silent") == ["n2"]


def test_the_gateway_is_asked_while_somebody_is_missed() -> None:
    hall = Hall("n2", "n3").enter()
    hall.hear(SurroundingsRead(LINK.index, (), (GATEWAY,), ()))
    hall.go_on(3.0, "n3", answering=("gateway",))
    own = hall.node.hearing.own_place(VIP)
    assert own is not None
    assert own.gateway is True
    hall.go_on(3.0, "n3")
    own = hall.node.hearing.own_place(VIP)
    assert own is not None
    assert own.gateway is False
    hall.go_on(3.0, "n2", "n3")
    own = hall.node.hearing.own_place(VIP)
    assert own is not None
    assert own.gateway is None


def test_a_node_of_the_cluster_is_no_gateway() -> None:
    """A default route by way of another node, or proxy ARP by one, leads nowhere else."""
    hall = Hall("n2", "n3").enter()
    hall.hear(SurroundingsRead(LINK.index, (), (ip_address(address_of("n2")),), ()))
    hall.go_on(5.0, "n3", answering=("n2",))
    own = hall.node.hearing.own_place(VIP)
    assert own is not None
    assert own.gateway is None


def test_a_link_that_was_made_anew_begins_with_a_hello() -> None:
    """By which neighbours learn its new MAC (L10d); who was heard on the old one is unknown on it."""
    hall = Hall("n2", "n3").enter()
    hall.hellos()
    hall.hear(LinkChanged(replace(LINK, mac=b"\2\0\0\0\0\x77")))
    assert {name for name, _ in hall.hellos()} == {"n2", "n3"}
    assert state(hall, "n2") is Hears.UNKNOWN


def test_good_news_is_published_at_most_once_in_five_seconds() -> None:
    """A segment that flaps must not churn etcd."""
    hall = Hall("n2", "n3").enter()
    writes = hall.store.revision
    for number in range(60):
        heard = ["n3"] if number % 6 < 3 else ["n2", "n3"]
        hall.go_on(1.0, *heard)
    assert hall.store.revision - writes <= 2 * 60 / 6 + 4
