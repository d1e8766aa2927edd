"""Law 2: time passes first. What comes late revives nothing; an ended right is won back only by fresh proof."""

from __future__ import annotations

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.requests import RequestKind
from sharedip.core.messages import (
    Announce,
    AnnounceOnceHeld,
    HoldAddress,
    KeepLeaseAlive,
    LinkChanged,
    ReadKeys,
    RemoveAddress,
    TimePassed,
    Transact,
)
from sharedip.core.settings import REMOVAL_LEAD_S
from tests.stages.harness import LAYOUT, LINK, owner, taken_by_word


def test_a_late_answer_never_revives_a_right_that_has_ended() -> None:
    """Expiry is applied before the event, so a late answer never revives a right that has ended."""
    talk = owner()
    _, read = talk.renew()
    talk.now = talk.right_until
    talk.answer(read)
    talk.expect(RemoveAddress)
    assert talk.is_in(Phase.LAPSED)
    talk.none(HoldAddress)


def test_the_removal_is_ordered_when_the_right_ends_and_nobody_says_anything() -> None:
    """`next_deadline` is the latest instant by which time itself must be told."""
    talk = owner()
    end = talk.right_until
    talk.run(end - talk.now - REMOVAL_LEAD_S - 0.001, KeepLeaseAlive)
    talk.none(RemoveAddress)
    talk.pass_time(0.002)
    talk.expect(RemoveAddress)
    assert talk.now <= end - REMOVAL_LEAD_S + 0.002


def test_an_ended_right_is_won_back_only_by_fresh_proof() -> None:
    """A right that has ended is won back only by fresh proof; the key kept its place, so the address returns."""
    talk = owner()
    epoch = talk.candidacy.epoch
    talk.run(16.0, KeepLeaseAlive)
    assert talk.is_in(Phase.VERIFYING)
    talk.open = [order for order in talk.open if not isinstance(order, KeepLeaseAlive)]
    talk.answer(ReadKeys(talk.node.session._begin(RequestKind.READ), 0, LAYOUT.root, 1.0))
    talk.none(HoldAddress)
    talk.held.is_renewing = False  # the keepalive that was swallowed above
    talk.run(3.0)
    assert talk.is_in(Phase.OWNING)
    assert talk.candidacy.epoch == epoch


def test_after_a_freeze_the_first_fact_finds_the_address_given_up() -> None:
    """An agent that wakes up late applies the time, then whatever it hears."""
    talk = owner()
    talk.hear(LinkChanged(LINK), after_s=60.0)
    talk.expect(RemoveAddress)
    talk.none(HoldAddress, Announce, AnnounceOnceHeld)


def test_a_read_from_before_the_lapse_brings_no_address_back() -> None:
    """What it shows may be what has ended the right: only a proof and a picture that were sent later count."""
    talk = owner()
    talk.store.stand()
    talk.tell_changes()
    early = talk.now
    talk.candidacy.ownership.right.set("witness", talk.now + 0.1)
    talk.pass_time(0.2)
    talk.answer(talk.expect(RemoveAddress))
    talk.candidacy.ownership.right.drop("witness")
    talk.prove_picture(early)
    talk.none(HoldAddress)
    assert talk.node.session.proved_sent_at < early
    talk.prove_picture(talk.now)  # a new picture, and no proof since
    talk.none(HoldAddress)
    assert not talk.is_in(Phase.OWNING)
    talk.run(0.1)
    assert talk.is_in(Phase.OWNING)


def test_who_lapsed_takes_nothing_by_an_old_word() -> None:
    """The right has ended under this key: only a renewal and a picture that were sent later bring the address back."""
    talk = taken_by_word()
    talk.candidacy.ownership.right.set("witness", talk.now + 0.1)
    talk.node.vips.touch_all()
    talk.hear(TimePassed())
    talk.run(0.2, Transact, KeepLeaseAlive, ReadKeys)
    talk.candidacy.ownership.right.drop("witness")
    talk.node.vips.touch_all()
    talk.hear(TimePassed())
    assert talk.is_in(Phase.WAITING), "its speaker's key stands before ours"
