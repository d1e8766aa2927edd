"""The whole node: time, links and addresses, and the end."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from sharedip.core.etcd.requests import RequestKind
from sharedip.core.messages import (
    AddressGone,
    AddressRefused,
    AddressSeen,
    Announce,
    Exit,
    HoldAddress,
    KeepLeaseAlive,
    Level,
    LinkChanged,
    LinkVanished,
    OpenGate,
    ReadKeys,
    RemoveAddress,
    ReorderAddress,
    RevokeLease,
    StateNotSaved,
    StopRequested,
    TimePassed,
    Transact,
)
from sharedip.core.model import Failure
from tests.stages.harness import LINK, VIP, owner, waiting_behind


def test_a_lost_lease_removes_before_it_asks_for_another_one() -> None:
    """Nothing on the wire goes before the address."""
    talk = owner()
    request = talk.node.session._begin(RequestKind.READ)
    orders = talk.fail(Transact(request, 0, (), (), (), 1.0), Failure.LEASE_NOT_FOUND)
    assert isinstance(orders[0], RemoveAddress)


# -- time -------------------------------------------------------------------------------------------------------------


def test_time_alone_changes_nothing_before_its_deadline() -> None:
    """`next_deadline` is when time itself becomes an event, and not before."""
    talk = owner()
    for _ in range(50):
        at = talk.node.next_deadline()
        assert at >= talk.now
        talk.now = (talk.now + at) / 2
        assert talk.hear(TimePassed()) == []


def test_doing_it_twice_changes_nothing() -> None:
    """The same instant, told again and again."""
    talk = waiting_behind()
    for _ in range(10):
        assert talk.hear(TimePassed()) == []


# -- links and addresses ----------------------------------------------------------------------------------------------


def test_a_vanished_link_hands_the_address_over() -> None:
    """A lost carrier of the owner hands over, and so does a lost link."""
    talk = owner()
    talk.hear(LinkVanished(2))
    talk.pass_time(0.3)
    talk.expect(RemoveAddress)


@pytest.mark.parametrize("last", [LinkVanished(2), None])
def test_a_link_that_takes_the_address_along_is_the_only_reason_that_is_told(last: LinkVanished | None) -> None:
    """In the kernel's order: down, the address, the link. Nobody has removed anything behind our back."""
    talk = owner()
    talk.run(1.0)
    talk.reports.clear()
    talk.hear(LinkChanged(replace(LINK, running=False)))
    talk.hear(AddressGone(LINK.index, VIP.address, 32))
    if last is not None:
        talk.hear(last)
    for order in [each for each in talk.open if isinstance(each, HoldAddress)]:
        talk.open.remove(order)
        talk.hear(AddressRefused(VIP, "No such device"))
    talk.pass_time(0.3)
    talk.expect(RemoveAddress)
    told = [f"{report.text} ({report.reason})" for report in talk.reports if report.level is not Level.INFO]
    assert not [text for text in told if "behind our back" in text or "refused" in text], told
    assert talk.candidacy.ownership.losses.count == 0


def test_neighbours_are_told_again_when_the_mac_changes() -> None:
    """Again on carrier up, MAC change."""
    talk = owner()
    talk.run(0.1)
    talk.open.clear()
    talk.hear(LinkChanged(replace(LINK, mac=b"\2\0\0\0\0\7")))
    talk.expect(Announce)


def test_the_vip_goes_behind_the_nodes_own_address_once() -> None:
    """The VIP must not become the source address of the node's own traffic."""
    talk = owner()
    own = AddressSeen(2, VIP.address - 5, 24, ours=False)
    talk.hear(own)
    talk.answer(talk.expect(ReorderAddress))
    talk.hear(own)
    talk.hear(replace(own, index=9))
    talk.none(ReorderAddress)


# -- the end ----------------------------------------------------------------------------------------------------------


def test_a_stop_gives_up_waiting_for_etcd() -> None:
    """The address is off at once; etcd may cost ten seconds, and no more."""
    talk = owner()
    talk.hear(StopRequested())
    talk.answer(talk.expect(RemoveAddress))
    talk.pass_time(9.0)
    talk.none(Exit)
    talk.pass_time(2.0)
    talk.expect(Exit)


def test_a_stop_never_gives_up_waiting_for_the_kernel_while_the_lifetime_runs() -> None:
    """No address is left, or the kernel has ended its lifetime by now."""
    talk = owner()
    until = talk.right_until
    talk.hear(StopRequested())
    talk.expect(RemoveAddress)
    talk.pass_time(until - talk.now - 0.2)
    talk.none(Exit, RevokeLease)
    talk.pass_time(1.0)
    talk.expect(Exit)


def test_a_second_stop_is_the_first_one() -> None:
    """SIGTERM twice."""
    talk = owner()
    talk.hear(StopRequested())
    assert talk.hear(StopRequested()) == []


def test_a_stop_that_waits_for_a_disk_that_refuses_does_not_spin() -> None:
    talk = owner()
    talk.hear(StopRequested())
    talk.serve(Transact, RevokeLease)
    talk.disk_answers = False
    turns = 0
    while not talk.node.is_over:
        talk.now = max(talk.now, talk.node.next_deadline())
        talk.hear(TimePassed())
        while talk.saves:
            talk.hear(StateNotSaved(talk.saves.pop(0).number, "no space"))
        talk.drop(Transact, KeepLeaseAlive, ReadKeys)
        turns += 1
        assert turns < 200, "it asks to be woken at once, without end"


def test_what_one_beat_has_opened_is_opened_as_one() -> None:
    """A thousand VIPs are some dozen designations, and each order would be a transaction of the kernel's."""
    node, other = owner().node, replace(VIP, address=ip_address("192.168.0.9"))
    node._commands += [OpenGate((VIP,), 0.9, 10.0, 3.0), OpenGate((other,), 0.9, 10.0, 3.0)]
    assert node._give_out_beats() == [OpenGate((VIP, other), 0.9, 10.0, 3.0)]
    assert node._commands == []
