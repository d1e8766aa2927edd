"""The owner's record in etcd: how the address was come by, and what is read of the owner before."""

from __future__ import annotations

import json
from dataclasses import replace

from sharedip.core.election.candidacy import Phase
from sharedip.core.election.owner_record import RETRY_S
from sharedip.core.messages import AddressGone, AddressHeld, HoldAddress, LinkChanged, Transact
from sharedip.core.model import Guard, GuardTarget, Put
from tests.stages.harness import LAYOUT, LINK, OURS, THEIRS, VIP, Talk, owner, waiting_behind

RECORD = LAYOUT.owner(VIP.address)


def record_of(talk: Talk) -> dict[str, object]:
    found = json.loads(talk.store.keys[RECORD].value)
    assert isinstance(found, dict)
    return found


def writes(talk: Talk) -> list[Transact]:
    orders = [order for order in talk.open if isinstance(order, Transact)]
    return [order for order in orders if any(isinstance(op, Put) and op.key == RECORD for op in order.then)]


def owner_but_for_its_record() -> Talk:
    talk = Talk()
    talk.start()
    while not writes(talk):
        talk.serve(Transact)
        others = [order for order in talk.open if isinstance(order, Transact) and order not in writes(talk)]
        for order in others:
            talk.open.remove(order)
            talk.answer(order)
        if not writes(talk):
            talk.pass_time(max(0.0, talk.node.next_deadline() - talk.now))
    return talk


def test_an_owner_says_once_who_it_is_by_which_epoch_and_why() -> None:
    talk = Talk().own()
    talk.run(1.0)
    said = record_of(talk)
    assert said["node"] == "n1"
    assert said["epoch"] == talk.store.keys[talk.key].create_revision
    assert said["reason"]
    written = talk.store.keys[RECORD].mod_revision
    talk.run(5.0)
    assert talk.store.keys[RECORD].mod_revision == written


def test_it_is_guarded_by_the_own_key_and_hangs_on_the_own_lease() -> None:
    """Applied late it must not speak of a bid that is over."""
    talk = owner_but_for_its_record()
    (write,) = writes(talk)
    epoch = talk.store.keys[talk.key].create_revision
    assert write.guards == (Guard(talk.key, GuardTarget.CREATE, epoch),)
    assert [op.lease for op in write.then if isinstance(op, Put)] == [OURS]


def test_nobody_is_told_before_the_address_stands() -> None:
    """`sharedip move` says that the new owner has it when it reads this record."""
    talk = Talk()
    talk.start()
    talk.run(1.0, HoldAddress)
    assert talk.is_in(Phase.OWNING)
    assert RECORD not in talk.store.keys
    assert not writes(talk)
    assert talk.node.next_deadline() > talk.now, "nothing turns in circles meanwhile"
    hold = talk.expect(HoldAddress)
    talk.hear(AddressHeld(VIP, talk.now, hold.valid_lft_s))
    assert len(writes(talk)) == 1


def test_an_address_that_has_left_the_link_is_not_written_down_again() -> None:
    talk = Talk().own()
    talk.run(1.0)
    index = talk.node.links.index_of(VIP.link)
    assert index is not None
    talk.hear(AddressGone(index, VIP.address, VIP.host_prefix_length))
    talk.store.put(RECORD, b'{"node":"n2","epoch":1}', THEIRS)
    talk.tell_changes()
    assert not writes(talk), "whether it stands is not known"
    talk.answer(talk.expect(HoldAddress))
    assert len(writes(talk)) == 1


def test_a_write_without_an_answer_is_tried_again_a_little_later() -> None:
    talk = owner_but_for_its_record()
    (write,) = writes(talk)
    talk.open.remove(write)
    talk.fail(write)
    talk.pass_time(RETRY_S - 0.1)
    assert not writes(talk)
    talk.pass_time(0.2)
    assert len(writes(talk)) == 1


def test_a_former_owners_last_word_that_comes_after_our_first_is_written_over() -> None:
    talk = Talk().own()
    talk.run(1.0)
    talk.store.put(RECORD, b'{"node":"n2","epoch":1,"released":true,"reason":"moved","to":null}', THEIRS)
    talk.run(3.0)
    assert record_of(talk)["node"] == "n1"


def test_a_record_that_is_written_is_not_written_again_while_the_watch_is_behind_it() -> None:
    """The picture is older than the answer: that it does not show the record tells nothing."""
    talk = owner_but_for_its_record()
    (write,) = writes(talk)
    talk.open.remove(write)
    talk.answer(write)
    record = talk.candidacy.record
    assert record.read() is None
    record.check(talk.bid.epoch)
    assert record.next_deadline() is None
    talk.tell_changes()
    talk.store.delete(RECORD)
    talk.tell_changes()
    assert record.next_deadline() is not None or writes(talk), "a picture that is newer counts"


def test_the_record_tells_a_former_owners_fate_or_that_its_key_is_gone() -> None:
    talk = waiting_behind()
    (former, _) = talk.candidacy.queue()
    record = talk.candidacy.record
    assert record.fate_of(None) == "it had no owner"
    assert record.fate_of(former) == "n2 lost its key"
    epoch = former.create_revision
    talk.store.put(RECORD, b'{"node":"n2","epoch":%d,"fate":"n3 deposed it"}' % epoch, THEIRS)
    talk.tell_changes()
    assert record.fate_of(former) == "n3 deposed it"


def test_a_release_counts_for_the_former_owner_and_for_nobody_after_it() -> None:
    talk = waiting_behind()
    (former, own) = talk.candidacy.queue()
    record = talk.candidacy.record
    assert record.release_of(former) is None
    said = b'{"node":"n2","epoch":%d,"released":true,"reason":"moved","to":null}' % former.create_revision
    talk.store.put(RECORD, said, THEIRS)
    talk.tell_changes()
    release = record.release_of(former)
    assert release is not None
    assert release.reason == "moved"
    assert record.release_of(own) is None
    assert record.release_of(None) is None


def test_a_release_that_nobody_waited_for_is_told_as_one_all_the_same() -> None:
    """The queue ran empty, so the release is void; the record went with its lease: the next one asks the segment."""
    talk = waiting_behind()
    (former, own) = talk.candidacy.queue()
    said = b'{"node":"n2","epoch":%d,"released":true,"reason":"link eth0 is down","to":null}' % former.create_revision
    talk.store.put(RECORD, said, THEIRS)
    talk.tell_changes()
    talk.store.delete(own.key)
    talk.store.delete(former.key)
    talk.store.delete(RECORD)
    talk.tell_changes()
    assert talk.candidacy.record.release_of(former) is None
    talk.run(3.0)
    assert talk.is_in(Phase.OWNING)
    assert talk.candidacy.history.reason == "n2 handed it over (link eth0 is down)"


def test_an_owner_that_let_go_and_comes_back_does_not_say_that_it_lost_its_key() -> None:
    talk = owner()
    talk.run(1.0)
    talk.hear(LinkChanged(replace(LINK, running=False)))
    talk.run(2.0)
    talk.hear(LinkChanged(LINK))
    talk.run(3.0)
    assert talk.is_in(Phase.OWNING)
    assert talk.candidacy.history.reason == "n1 handed it over (link eth0 is down)"
