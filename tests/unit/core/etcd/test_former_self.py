"""A former run of this very agent is known again by machine, kernel and peer address, and its lease is revoked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sharedip.core.etcd.keys import write_record
from sharedip.core.messages import (
    DatagramReceived,
    DrainRequested,
    LeaseRevoked,
    Level,
    PeerAddressChanged,
    ReadKeys,
    RemovalFailed,
    RemoveAddress,
    RevokeLease,
    StateSaved,
    Transact,
)
from sharedip.core.model import Failure
from sharedip.core.segment.wire import DatagramKind, Heartbeat, seal
from tests.stages.harness import LAYOUT, OURS, THEIRS, VIP, SmallEtcd, Talk, waiting_behind

PEER = "192.0.2.1:9470"
HERE = {
    "node": "n1",
    "machine": "machine of n1",
    "kernel": "kernel of n1",
    "peer": PEER,
    "peerIsLocal": True,
}
REBOOTED = {**HERE, "kernel": "an earlier kernel of n1"}


def met(record: dict[str, Any], *, peer: str | None = PEER, is_here: bool = True, **settings: Any) -> Talk:
    """A node that finds its name taken by a run that left this record, and a candidate's key on the same lease."""
    store = SmallEtcd()
    store.put(LAYOUT.agent("n1"), write_record(record), THEIRS)
    store.put(LAYOUT.candidate(VIP.address, THEIRS), b"n1", THEIRS)
    talk = Talk(store=store, window_s=settings.pop("window_s", 1.0), **settings)
    talk.start()
    talk.hear(PeerAddressChanged(peer, is_here))
    talk.serve(RemoveAddress, RevokeLease)
    assert not talk.node.session.is_registered
    return talk


def revoked(talk: Talk) -> list[int]:
    """The leases that are to be revoked."""
    return [order.lease for order in talk.open if isinstance(order, RevokeLease)]


def said(talk: Talk, words: str) -> list[Level]:
    """How loud it was said."""
    return [report.level for report in talk.reports if words in report.text]


def datagram(sender: int, receiver: int = OURS, kind: DatagramKind = DatagramKind.HEARTBEAT) -> DatagramReceived:
    """Whoever made it: nothing about it is authentic."""
    return DatagramReceived("192.0.2.9", 9470, seal(kind, sender, receiver, [Heartbeat(1, 1)], bytes(16)), 0.0)


# -- same kernel ------------------------------------------------------------------------------------------------------


def test_on_this_kernel_it_is_removed_confirmed_and_revoked_at_once() -> None:
    """Law 3, whatever was known of the address: only the kernel's list after a removal confirms."""
    talk = met(HERE)
    removal = talk.expect(RemoveAddress)
    assert revoked(talk) == []
    began = talk.now
    talk.answer(removal)
    assert revoked(talk) == [THEIRS]
    talk.run(0.5)
    assert talk.node.session.is_registered
    assert talk.now - began <= 0.5


def test_on_this_kernel_nothing_is_revoked_while_the_removal_is_not_confirmed() -> None:
    """It may still be there."""
    talk = met(HERE)
    for _ in range(40):
        talk.hear(RemovalFailed(talk.expect(RemoveAddress).vip, "EBUSY"))
        talk.run(0.1, RemoveAddress, RevokeLease)
    assert revoked(talk) == []
    talk.answer(talk.expect(RemoveAddress))
    talk.run(3.0, RevokeLease)
    assert THEIRS in revoked(talk)


def test_nothing_is_revoked_while_a_later_run_may_still_stand_on_it() -> None:
    """The state file that could not be replaced may name that very lease."""
    talk = met(HERE)
    talk.disk_answers = False
    talk.hear(DrainRequested(1, drained=True))
    talk.answer(talk.expect(RemoveAddress))
    talk.run(0.1, RevokeLease)
    assert revoked(talk) == []
    for order in list(talk.saves):
        talk.hear(StateSaved(order.number))
    assert revoked(talk) == [THEIRS]


def test_a_former_run_is_not_called_another_agent() -> None:
    """It is said what stands there, what is done, and how long it would last otherwise; once."""
    talk = met(REBOOTED)
    talk.run(0.9)
    assert said(talk, "another agent") == []
    assert talk.node.session.name_taken_by is None
    assert said(talk, "the former run of this node still stands in etcd") == [Level.INFO]
    assert any("up to 15 s" in str(report.reason) for report in talk.reports)


# -- same machine, another kernel -------------------------------------------------------------------------------------


def test_after_a_reboot_it_is_revoked_after_a_window_of_silence_and_the_name_is_taken_at_once() -> None:
    """Its kernel is gone, and with it the address; the silence is for clones."""
    talk = met(REBOOTED)
    began = talk.now
    talk.run(0.95, RevokeLease)
    assert revoked(talk) == []
    while not revoked(talk):
        talk.run(0.01, RevokeLease)
    assert talk.now - began == pytest.approx(1.0, abs=0.05)
    talk.run(0.05)
    assert talk.node.session.is_registered
    assert all(key.lease == OURS for key in talk.store.under())


def test_a_longer_window_is_waited_for() -> None:
    """An owner may be silent for as long before it counts as gone."""
    talk = met(REBOOTED, window_s=4.0)
    talk.run(3.9, RevokeLease)
    assert revoked(talk) == []
    talk.run(0.2, RevokeLease)
    assert revoked(talk) == [THEIRS]


@pytest.mark.parametrize("window_s", [None, 0.1])
def test_the_silence_lasts_a_second_at_least(window_s: float | None) -> None:
    """Who only waits for its turn says nothing by itself."""
    talk = met(REBOOTED, window_s=window_s)
    talk.run(0.95, RevokeLease)
    assert revoked(talk) == []
    talk.run(0.1, RevokeLease)
    assert revoked(talk) == [THEIRS]


@pytest.mark.parametrize(
    "heard",
    [datagram(THEIRS), datagram(0x77, THEIRS, DatagramKind.ACKNOWLEDGEMENT)],
    ids=["from it", "an answer to it"],
)
def test_a_datagram_of_it_begins_the_silence_anew(heard: DatagramReceived) -> None:
    """Authentic or not: it can only delay."""
    talk = met(REBOOTED)
    for _ in range(4):
        talk.run(0.8, RevokeLease)
        talk.hear(heard)
    assert revoked(talk) == []
    talk.run(0.95, RevokeLease)
    assert revoked(talk) == []
    talk.run(0.2, RevokeLease)
    assert revoked(talk) == [THEIRS]


def test_datagrams_of_others_do_not_count() -> None:
    """A living owner greets the dead one's record, too."""
    talk = met(REBOOTED)
    for _ in range(4):
        talk.run(0.26, RevokeLease)
        talk.hear(datagram(0x77))
        talk.hear(datagram(0x77, THEIRS))
    assert revoked(talk) == [THEIRS]


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.put(LAYOUT.agent("n1"), write_record({**REBOOTED, "healthy": True}), THEIRS),
        lambda store: store.put(LAYOUT.owner(VIP.address), b"{}", THEIRS),
    ],
    ids=["its record", "a new key"],
)
def test_a_write_on_its_lease_begins_the_silence_anew(write: Callable[[SmallEtcd], None]) -> None:
    """Somebody lives there."""
    talk = met(REBOOTED)
    talk.run(0.5, RevokeLease)
    write(talk.store)
    talk.run(1.4, RevokeLease)
    assert revoked(talk) == []
    talk.run(1.2, RevokeLease)
    assert revoked(talk) == [THEIRS]


def test_what_others_delete_is_no_sign_of_its_life() -> None:
    """A witness deposes it meanwhile."""
    talk = met(REBOOTED)
    talk.run(0.5, RevokeLease)
    talk.store.delete(LAYOUT.candidate(VIP.address, THEIRS))
    talk.run(0.6, RevokeLease)
    assert revoked(talk) == [THEIRS]


def test_a_picture_that_was_asked_for_before_the_silence_was_over_shows_no_silence() -> None:
    """The answer waited while this process stood still; nobody knows what has been written since."""
    talk = met(REBOOTED)
    talk.run(0.5, RevokeLease)
    talk.held.register_at = talk.now  # for whatever reason it looks early
    talk.pass_time(0.0)
    early = talk.expect(Transact)
    talk.now += 5.0
    talk.answer(early)
    assert revoked(talk) == []


# -- whoever cannot tell has another agent before him -----------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        {**HERE, "peer": "192.0.2.2:9470"},
        {**REBOOTED, "peer": "192.0.2.2:9470"},
        {**REBOOTED, "peer": None},
        {**REBOOTED, "peerIsLocal": False},
        {**REBOOTED, "machine": "another"},
        {**REBOOTED, "machine": None},
        {**REBOOTED, "kernel": None},
        {**REBOOTED, "kernel": ""},
        {"node": "n1", "peer": PEER},
        {},
    ],
)
def test_a_clone_or_a_stranger_is_never_revoked(record: dict[str, Any]) -> None:
    """Clones share machine id and host name; the address for peers tells them apart."""
    talk = met(record)
    talk.run(60.0, RevokeLease)
    assert revoked(talk) == []
    assert said(talk, "another agent") == [Level.ERROR]
    assert LAYOUT.candidate(VIP.address, THEIRS) in talk.store.keys


@pytest.mark.parametrize("record", [HERE, REBOOTED])
def test_without_an_address_for_peers_nobody_is_known_again(record: dict[str, Any]) -> None:
    """An agent that could not bind its port may have another one beside it on this kernel."""
    talk = met({**record, "peer": None}, peer=None)
    talk.run(60.0, RevokeLease)
    assert revoked(talk) == []


def test_an_address_that_is_not_on_this_node_tells_nothing_of_another_kernel() -> None:
    """A clone's documents may name it: whatever arrives there, this node never hears it."""
    talk = met(REBOOTED, is_here=False)
    talk.run(60.0, RevokeLease)
    assert revoked(talk) == []
    talk = met(HERE, is_here=False)  # this very kernel's port is ours, wherever peers believe it to be
    talk.answer(talk.expect(RemoveAddress))
    assert revoked(talk) == [THEIRS]


def test_a_lease_that_somebody_renews_is_another_agents() -> None:
    """It would have ended long ago: a clone that has our very address, and lives."""
    talk = met(REBOOTED)
    for _ in range(60):
        talk.run(0.8, RevokeLease)
        talk.hear(datagram(THEIRS))
    assert revoked(talk) == []
    assert said(talk, "another agent") == [Level.ERROR]
    talk.run(10.0, RevokeLease)
    assert revoked(talk) == []


# -- weather ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [Failure.TIMEOUT, Failure.LEASE_NOT_FOUND])
def test_a_revocation_without_an_answer_costs_our_own_lease_nothing(failure: Failure) -> None:
    """It is tried again, elsewhere, if the name still stands."""
    talk = met(REBOOTED)
    while not revoked(talk):
        talk.run(0.01, RevokeLease)
    first = talk.expect(RevokeLease)
    talk.fail(first, failure)
    assert talk.node.session.lease == OURS
    talk.run(1.0)
    assert talk.node.session.is_registered


def test_a_late_answer_of_a_revocation_ends_nothing() -> None:
    """It is no answer to the revocation of our own lease."""
    talk = met(REBOOTED)
    while not revoked(talk):
        talk.run(0.01, RevokeLease)
    first = talk.expect(RevokeLease)
    talk.answer(first)
    talk.run(1.0)
    talk.hear(LeaseRevoked(first.request, first.endpoint, THEIRS))
    assert talk.node.session.lease == OURS
    assert talk.node.session.is_registered


def test_the_record_says_who_we_are() -> None:
    """Else the next run could not tell."""
    talk = Talk()
    talk.start()
    talk.hear(PeerAddressChanged(PEER))
    talk.run(1.0, ReadKeys)
    value = talk.store.keys[LAYOUT.agent("n1")].value
    assert b'"machine":"machine of n1"' in value
    assert b'"kernel":"kernel of n1"' in value
    assert b'"peer":"192.0.2.1:9470"' in value


def test_while_signs_of_its_life_are_looked_for_every_datagram_is_of_use() -> None:
    """What the kernel would drop, as it is for another lease than ours, may be it."""
    talk = met(REBOOTED)
    assert talk.node.inbox.lease is None
    assert waiting_behind().node.inbox.lease == OURS
    assert Talk().node.inbox.lease is None
