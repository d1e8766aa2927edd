"""Whose word counts, for how much, and what waits for the kernel's."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.keys import read_record, write_record
from sharedip.core.messages import (
    AddressRefused,
    AddressRemoved,
    Announce,
    DrainRequested,
    RemoveAddress,
    RevokeLease,
    SaveState,
    SendDatagram,
    TimePassed,
    Transact,
)
from sharedip.core.model import KeyValue, Put, Vip
from sharedip.core.orders import in_order
from sharedip.core.peers.wire import Pong, Released
from tests.stages.harness import LAYOUT, THEIRS, VIP, Talk, agent_record, owner, waiting_behind
from tests.stages.witnessed import WITNESS, Owner


def test_a_release_of_another_epoch_says_nothing_of_this_one() -> None:
    """A former tenure's word, late or recorded."""
    talk = waiting_behind()
    first = talk.candidacy.queue()[0]
    talk.node._released(THEIRS, Released(first.create_revision - 1, VIP.address), talk.now)
    talk.settle()
    assert talk.is_in(Phase.WAITING)
    talk.node._released(THEIRS, Released(first.create_revision, VIP.address), talk.now)
    talk.settle()
    assert talk.is_in(Phase.OWNING)


def test_a_word_counts_only_with_a_picture_that_is_as_new_as_the_own_campaign() -> None:
    """An older one may lack a candidate that stands before us."""
    talk = waiting_behind()
    own = [talk.store.keys[talk.key]]
    assert talk.candidacy._is_entitled_by_word(talk.bid, own)
    talk.bid.epoch = talk.node.session.registry.revision + 1
    assert not talk.candidacy._is_entitled_by_word(talk.bid, [replace(own[0], create_revision=talk.bid.epoch)])


def test_a_word_counts_only_with_a_picture_that_shows_the_own_key() -> None:
    """A lease that lives does not show that the key stands."""
    talk = waiting_behind()
    before = talk.candidacy.queue()[0]
    talk.candidacy.words.heard(before.create_revision, "moved", talk.now)
    assert not talk.candidacy._is_entitled_by_word(talk.bid, [before])
    assert talk.candidacy._is_entitled_by_word(talk.bid, [before, talk.store.keys[talk.key]])


def test_an_old_pings_answer_makes_no_dead_peer_reachable() -> None:
    """Only the newest ping has an answer."""
    talk = Owner().talk
    talk.node.peers.silent(THEIRS)
    talk.node.designations.ping_now(THEIRS, talk.now)
    talk.node.designations.ponged(THEIRS, Pong(1, 0), talk.now)
    assert not talk.node.peers.is_reachable(THEIRS)


def test_what_is_left_of_a_lost_lease_is_revoked_only_when_no_address_is_left() -> None:
    """Its keys may still stand, and with them whoever is next would begin too early."""
    talk = owner()
    talk.lose_lease("a test")
    talk.hear(TimePassed())
    removal = talk.expect(RemoveAddress)
    talk.none(RevokeLease)
    talk.answer(removal)
    talk.expect(RevokeLease)


def test_a_kernel_that_goes_on_refusing_lets_another_node_try() -> None:
    """Two seconds of refusals."""
    talk = owner()
    for _ in range(25):
        talk.hear(AddressRefused(VIP, "ENOMEM"), after_s=0.05)
    assert talk.is_in(Phase.LEAVING)


def test_the_node_of_etcds_leader_is_no_witness() -> None:
    """Its death would silence the witness and stall etcd at once."""
    owning = Owner()
    leader = owning.talk.node.session.raft_leader.leader_id
    assert leader is not None
    for member, wanted in ((leader, []), (leader + 1, [f"{THEIRS:x}"])):
        owning.talk.store.put(LAYOUT.agent("n2"), agent_record("n2", member=f"{member:x}"), THEIRS)
        owning.talk.tell_changes()
        for _ in range(20):
            owning.acknowledge()
            owning.step()
        designated = read_record(owning.talk.store.keys.get(WITNESS)) or {"witnesses": []}
        assert designated["witnesses"] == wanted


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


def leaving_owner() -> Talk:
    """An owner with a sound candidate behind it."""
    talk = owner()
    talk.store.put(LAYOUT.agent("n2"), agent_record("n2"), THEIRS)
    talk.store.put(LAYOUT.candidate(VIP.address, THEIRS), b"n2", THEIRS)
    talk.tell_changes()
    talk.open.clear()
    return talk


def test_the_next_candidate_is_woken_before_the_address_leaves() -> None:
    """The word will find its process awake; a ping that comes behind the removal would cost what it saves."""
    orders = leaving_owner().hear(DrainRequested(1, drained=True))
    kinds = [type(order) for order in orders if isinstance(order, SaveState | SendDatagram | RemoveAddress)]
    assert kinds == [SaveState, SendDatagram, RemoveAddress]


def test_what_clients_wait_for_is_ordered_before_the_rest_is_thought_of() -> None:
    """The word leaves in a step of its own; etcd is asked in the next one."""
    talk = leaving_owner()
    talk.hear(DrainRequested(1, drained=True))
    first, rest = list(talk.node.handle_in_steps([AddressRemoved(VIP)], talk.now))
    assert any(isinstance(order, SendDatagram) for order in first)
    assert not any(isinstance(order, Transact) for order in first)
    assert any(isinstance(order, Transact) for order in rest)
