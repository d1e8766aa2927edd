"""One VIP's evictions: who is noted, and when their requests leave. The rules are in law 13's file."""

from __future__ import annotations

import pytest

from sharedip.core.election.living import UNFIT_S
from sharedip.core.messages import RequestFailed, Transact
from sharedip.core.model import Failure
from tests.stages.harness import VIP
from tests.stages.living import LEASES, Queue


def test_only_who_stands_before_a_sound_one_is_noted() -> None:
    """The rest of the queue is nobody's way."""
    queue = Queue("n2", "n3", "n4", "n5")
    queue.talk.disk_answers = False
    for name in ("n5", "n4", "n2"):
        queue.says(name, drained=True)
    queue.live(UNFIT_S + 0.1, *queue.names)
    candidacy = queue.talk.candidacy
    assert candidacy.epoch is not None
    noted = queue.talk.node.evicted.of(VIP, candidacy.epoch)
    second = queue.standing("n2")
    assert second is not None
    assert noted == {second.create_revision}
    assert [key.lease for key in candidacy.others()] == [LEASES[name] for name in ("n3", "n4", "n5")]


def test_nobody_is_noted_but_behind_the_owner() -> None:
    """It is a bug to ask."""
    queue = Queue("n2", "n3", owns=False)
    candidacy = queue.talk.candidacy
    assert candidacy.epoch is not None
    with pytest.raises(AssertionError, match="only the owner"):
        candidacy.evictions.note_due(candidacy.queue(), candidacy.epoch, queue.talk.now, hurried=True)


def test_a_request_under_way_is_not_sent_again_and_one_that_failed_a_little_later() -> None:
    queue = Queue("n2", "n3")
    queue.says("n2", drained=True)
    queue.live(UNFIT_S + 0.1, *queue.names, but=(Transact,))
    (first,) = queue.evictions()
    queue.talk.settle()
    assert queue.evictions() == [first]
    queue.talk.open.remove(first)
    queue.talk.hear(RequestFailed(first.request, first.endpoint, Failure.TIMEOUT, "timeout"))
    assert not queue.evictions()
    queue.speak("n3")
    queue.talk.pass_time(0.25)
    assert len(queue.evictions()) == 1


def test_a_key_that_went_by_itself_is_asked_for_no_more() -> None:
    queue = Queue("n2", "n3")
    queue.says("n2", drained=True)
    queue.live(UNFIT_S + 0.1, *queue.names, but=(Transact,))
    (first,) = queue.evictions()
    queue.talk.open.remove(first)
    queue.talk.store.delete(queue.key("n2"))
    queue.talk.tell_changes()
    queue.talk.answer(first)
    queue.live(1.0, "n3", but=(Transact,))
    assert not queue.evictions()
    assert queue.talk.node.evicted.for_file == ()
