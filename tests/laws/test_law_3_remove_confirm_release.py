"""Law 3: out, remove, confirm, release; in, own the key, hold a right, add, announce."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.keys import read_record, write_record
from sharedip.core.messages import (
    AddressHeld,
    AddressSeen,
    Announce,
    AnnounceOnceHeld,
    CloseGate,
    DrainRequested,
    Exit,
    GrantLease,
    HoldAddress,
    KeepLeaseAlive,
    KeysRead,
    MoveRequested,
    OpenGate,
    ReadKeys,
    RemoveAddress,
    RevokeLease,
    SaveState,
    SendDatagram,
    StopRequested,
    TimePassed,
    Transact,
)
from sharedip.core.model import Delete, Failure, FenceKind, Guard, GuardTarget, KeyValue, Put, Vip
from sharedip.core.orders import in_order
from sharedip.core.settings import LIFETIME_LATE_S, lease_margin_s
from tests.stages.harness import LAYOUT, OURS, THEIRS, VIP, Talk, agent_record, leaving, owner, waiting_behind

# -- "Remove, confirm, release" ---------------------------------------------------------------------------------------


def test_the_key_is_given_up_only_when_the_kernel_has_confirmed_the_removal() -> None:
    """Reset the connections on the address, remove it, see the kernel confirm it, and only then give the key up."""
    talk = leaving()
    removal = talk.expect(RemoveAddress)
    assert removal.reset_connections
    talk.none(Transact)
    talk.pass_time(0.5)
    talk.none(Transact)
    talk.answer(removal)
    release = talk.expect(Transact)
    record, deletion = release.then
    assert record.key == LAYOUT.owner(VIP.address)
    assert deletion == Delete(talk.key)
    assert release.guards == (Guard(talk.key, GuardTarget.CREATE, talk.candidacy.epoch or 0),)


def test_an_address_that_is_held_after_giving_up_is_removed_again() -> None:
    """Nothing under way may bring it back behind a release."""
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.prove()
    hold = talk.expect(HoldAddress)
    talk.hear(MoveRequested(1, VIP.address, None))
    talk.answer(talk.expect(RemoveAddress))
    talk.none(Transact)
    talk.hear(AddressHeld(VIP, talk.now, hold.valid_lft_s))
    talk.none(Transact)
    talk.answer(talk.expect(RemoveAddress))
    talk.expect(Transact)


def test_the_resignation_is_saved_before_the_removal_and_told_after_it() -> None:
    """Clients wait from the removal on, so the file is written before; what it says only binds ourselves."""
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    epoch = talk.candidacy.epoch
    orders = talk.hear(MoveRequested(1, VIP.address, None))
    assert isinstance(orders[0], Transact), "whether etcd takes writes"
    assert [type(order) for order in orders[1:3]] == [SaveState, RemoveAddress]
    assert talk.saved is not None
    assert talk.saved.resigned == ((VIP.address, epoch),)
    kinds = [type(order) for order in talk.answer(talk.expect(RemoveAddress))]
    assert kinds.index(Transact) < len(kinds), "released"
    assert SendDatagram not in kinds[kinds.index(SaveState) :] if SaveState in kinds else True


def test_a_run_that_was_killed_between_saving_and_removing_leaves_in_order() -> None:
    """The next run finds the address on the link and the epoch resigned: it removes, and only then releases."""
    before = leaving()
    again = Talk(store=before.store, now=before.now + 0.1)
    again.start(before.saved)
    again.hear(AddressSeen(2, VIP.address, 32, ours=True))
    again.serve(RemoveAddress, HoldAddress)
    again.none(HoldAddress)
    assert before.key in again.store.keys
    again.answer(again.expect(RemoveAddress))
    again.serve(HoldAddress)
    assert before.key not in again.store.keys
    again.none(HoldAddress)


def test_a_lapse_or_a_lost_lease_saves_nothing_before_it_removes() -> None:
    """Others may own the address at that instant: it goes first."""
    talk = owner()
    _, read = talk.renew()
    talk.open.clear()
    orders = talk.fail(read, Failure.LEASE_NOT_FOUND)
    kinds = [type(order) for order in orders]
    assert kinds.index(RemoveAddress) < kinds.index(SaveState)


def test_no_release_is_answered_by_another_try_not_by_owning_again() -> None:
    """After a RequestFailed the write may have been applied: who has resigned stays resigned."""
    talk = leaving()
    talk.answer(talk.expect(RemoveAddress))
    for _ in range(5):
        talk.fail(talk.expect(Transact))
        talk.pass_time(0.3)
        talk.none(HoldAddress)
    talk.answer(talk.expect(Transact))
    talk.none(HoldAddress)
    assert [key.value for key in talk.store.under(LAYOUT.elections)] == [b"n2"]


def test_the_lease_is_revoked_only_when_no_address_is_left() -> None:
    """Revoking gives every key up at once."""
    talk = Talk(vips=(VIP, replace(VIP, address=VIP.address + 1))).own()
    talk.hear(StopRequested())
    first, second = talk.expect(RemoveAddress), talk.expect(RemoveAddress)
    talk.answer(first)
    talk.pass_time(5.0)
    talk.none(RevokeLease)
    talk.answer(second)
    talk.run(1.0, RevokeLease)
    talk.expect(RevokeLease)


def test_a_stop_ends_only_when_all_is_given_up() -> None:
    """Exit: everything is given up in order; the process may end."""
    talk = owner()
    talk.hear(StopRequested())
    talk.pass_time(1.0)
    talk.none(Exit)
    talk.serve()
    talk.expect(Exit)
    assert not talk.store.under(LAYOUT.root)


# -- "own the key, hold a right, then add, then announce" -------------------------------------------------------------


def test_nothing_is_added_before_the_own_key_was_read_back_as_the_first() -> None:
    """On the way in: own the key. The recipe's client waits without noticing that its key is gone: check it again."""
    talk = waiting_behind()
    talk.store.end_lease(THEIRS)
    talk.tell_changes()
    talk.none(HoldAddress)
    read = talk.expect(ReadKeys)
    talk.store.delete(talk.key)  # behind our back, and the watch has not told yet
    talk.answer(read)
    talk.none(HoldAddress)


def test_a_candidate_that_is_not_the_first_does_not_claim_whatever_its_own_picture_says() -> None:
    """The owner is the lowest create revision, in the read and not in the watch."""
    talk = waiting_behind()
    talk.store.end_lease(THEIRS)
    talk.tell_changes()
    read = talk.outcome(talk.expect(ReadKeys))
    assert isinstance(read, KeysRead)
    before = replace(read.keys[0], key=LAYOUT.candidate(VIP.address, 0x77), create_revision=1, lease=0x77)
    talk.hear(replace(read, keys=(*read.keys, before)))
    talk.none(HoldAddress)
    assert talk.is_in(Phase.WAITING)


def test_a_key_that_was_made_again_is_not_the_one_that_we_stood_with() -> None:
    """A node knows itself by its own key and revision."""
    talk = waiting_behind()
    talk.store.end_lease(THEIRS)
    talk.tell_changes()
    read = talk.expect(ReadKeys)
    talk.store.delete(talk.key)
    talk.store.put(talk.key, b"n1", OURS)
    talk.answer(read)
    talk.none(HoldAddress)


def test_a_read_from_before_the_own_resignation_is_nothing_to_claim_on() -> None:
    """Every claim is guarded by my key's create revision: the old key stood first, the new one stands last."""
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    _, read = talk.renew()
    talk.store.stand("n3", THEIRS + 1)  # the watch is slow, and tells neither this nor what follows
    before = talk.outcome(read)
    talk.hear(MoveRequested(1, VIP.address, None))
    talk.answer(talk.expect(RemoveAddress))
    talk.now += 1.0
    talk.answer(talk.release())
    talk.answer(talk.expect(Transact))
    assert talk.candidacy.epoch == talk.store.keys[talk.key].create_revision
    talk.hear(before)
    talk.none(HoldAddress)


def test_nothing_is_added_while_a_removal_is_not_confirmed() -> None:
    """A new bid waits until nothing of the old one is left, though its key may stand first already."""
    talk = owner()
    talk.store.delete(talk.key)
    talk.tell_changes()
    removal = talk.expect(RemoveAddress)
    talk.run(1.0)
    assert talk.store.under(LAYOUT.elections)[0].key == talk.key
    talk.none(HoldAddress)
    assert talk.is_in(Phase.WAITING)
    talk.answer(removal)
    talk.run(1.0)
    assert talk.is_in(Phase.OWNING)


def test_nothing_is_added_without_room_for_the_shortest_lifetime() -> None:
    """Hold a right: the last seconds of one are none for a fence that works in whole seconds."""
    talk = waiting_behind()
    talk.run(15 - lease_margin_s(15) - 1.5, KeepLeaseAlive)
    talk.store.end_lease(THEIRS)
    talk.tell_changes()
    talk.now = talk.right_until - LIFETIME_LATE_S - 0.5
    talk.answer(talk.expect(ReadKeys))
    talk.none(HoldAddress)


def test_the_announcement_waits_for_the_kernel() -> None:
    """Then add, then announce."""
    talk = Talk()
    talk.start()
    talk.run(1.0, HoldAddress)
    assert talk.is_in(Phase.OWNING)
    kinds = [type(order) for order in talk.open]
    assert kinds.index(HoldAddress) < kinds.index(AnnounceOnceHeld)
    talk.expect(AnnounceOnceHeld)
    talk.none(Announce, AnnounceOnceHeld)
    hold = talk.expect(HoldAddress)
    talk.hear(AddressHeld(VIP, talk.now, hold.valid_lft_s))  # done in time, and answered late
    talk.pass_time(1.2)
    talk.expect(Announce)
    talk.none(AnnounceOnceHeld)


def test_what_is_left_of_a_lost_lease_is_revoked_only_when_no_address_is_left() -> None:
    """Its keys may still stand, and with them whoever is next would begin too early."""
    talk = owner()
    talk.lose_lease("a test")
    talk.hear(TimePassed())
    removal = talk.expect(RemoveAddress)
    talk.none(RevokeLease)
    talk.answer(removal)
    talk.expect(RevokeLease)


def test_no_frame_is_sent_behind_the_removal() -> None:
    """It would draw the neighbours to a node that has just let go."""
    other = Vip(ip_address("192.168.0.16"), "eth0")
    orders = in_order([Announce(VIP, 1.0), Announce(other, 1.0), RemoveAddress(VIP)])
    assert orders == [RemoveAddress(VIP), Announce(other, 1.0)]


@pytest.mark.parametrize("released", [True, False])
def test_who_never_had_the_address_vouches_for_nobody(released: bool) -> None:
    """An owner whose key is deleted by hand hears of it a moment later: the next one to take the address has to ask.

    A drained node that becomes the first in between passes on; if it knows of no orderly release, nor does its word.
    """
    talk = waiting_behind()
    talk.store.put(LAYOUT.agent("n3"), agent_record("n3"), 0x333)
    talk.store.put(LAYOUT.candidate(VIP.address, 0x333), b"n3", 0x333)
    talk.tell_changes()
    talk.hear(DrainRequested(1, drained=True))
    talk.drop(SendDatagram)
    (first,) = [key for key in talk.candidacy.queue() if key.lease == THEIRS]
    if released:
        said = {"node": "n2", "epoch": first.create_revision, "released": True, "reason": "drained", "to": None}
        talk.store.put(LAYOUT.owner(VIP.address), write_record(said), THEIRS)
    talk.store.delete(first.key)
    talk.tell_changes()
    talk.run(0.0, Transact)
    assert any(isinstance(order, SendDatagram) for order in talk.open) is released
    puts = [each for order in talk.open if isinstance(order, Transact) for each in order.then if isinstance(each, Put)]
    (put,) = [each for each in puts if each.key == LAYOUT.owner(VIP.address)]
    record = read_record(KeyValue(put.key, put.value, 1, 1, put.lease))
    assert record is not None
    assert record["released"] is released


def test_a_gate_whose_first_opening_is_unanswered_closes_behind_the_removal() -> None:
    """The kernel may have opened it: translated traffic would pass until something else is due."""
    talk = Talk(fence=FenceKind.NFTABLES)
    talk.start()
    talk.run(1.0, OpenGate)
    opening = talk.outcome(talk.expect(OpenGate))
    talk.lose_lease("the answer waits behind this")
    kinds = [type(order) for order in talk.hear(TimePassed())]
    assert kinds.index(RemoveAddress) < kinds.index(CloseGate)
    talk.hear(opening)
    clear = [talk.candidacy.is_clear]
    talk.serve(GrantLease)
    clear.append(talk.candidacy.is_clear)
    assert clear == [False, True]
    assert not talk.kernel.lets_pass(VIP.address, talk.now)
