"""Who lives, as far as a node can tell: heard, proved, fit; and for whom that can't be told."""

from __future__ import annotations

import pytest

from sharedip.core.election.living import EVERY_S, SILENT_S, UNPROVED_S
from sharedip.core.messages import TimePassed
from sharedip.core.model import KeyValue
from tests.stages.harness import OURS, VIP, agent_record
from tests.stages.living import LEASES, Queue, place


def key(queue: Queue, name: str) -> KeyValue:
    found = queue.standing(name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("fields", "sound"),
    [
        ({}, True),
        ({"places": [place(flaw="settling")]}, False),
        ({"drained": True}, False),
        ({"healthy": None}, False),
        ({"healthy": False}, False),
    ],
)
def test_sound_is_who_is_heard_and_says_no_flaw_of_itself(fields: dict[str, object], sound: bool) -> None:
    queue = Queue("n2")
    queue.says("n2", **fields)
    living = queue.talk.node.living
    assert living.is_sound(key(queue, "n2"), VIP, queue.talk.now) is sound
    assert living.may_take(key(queue, "n2"), VIP, queue.talk.now) is sound
    queue.talk.pass_time(2.0)
    assert not living.is_sound(key(queue, "n2"), VIP, queue.talk.now)


def test_who_is_not_known_to_be_healthy_yet_is_not_in_anybodys_way() -> None:
    """Law 4: it has just booted."""
    queue = Queue("n2")
    queue.says("n2", healthy=None)
    assert queue.talk.node.living.why_out(key(queue, "n2"), VIP, queue.talk.now, hurried=True) is None


def test_where_nobody_was_ever_heard_silence_says_nothing() -> None:
    """No agent here says hello, or this one has just begun."""
    queue = Queue("n2")
    queue.talk.node.voices._spoke.clear()
    queue.talk.pass_time(5.0)
    assert queue.talk.node.living.why_silent(key(queue, "n2"), queue.talk.now) is None


def test_one_that_was_not_heard_yet_is_told_apart_from_one_that_fell_silent() -> None:
    queue = Queue("n2", "n3")
    queue.talk.node.voices._spoke.pop(LEASES["n3"])
    assert queue.talk.node.living.why_silent(key(queue, "n3"), queue.talk.now) == "has not been heard yet"
    queue.live(2.8, "n3")
    assert queue.talk.node.living.why_silent(key(queue, "n2"), queue.talk.now) == "has been silent for 2.8 s"


def test_who_hears_nobody_any_more_goes_by_what_the_others_say() -> None:
    """An isolated node is deaf; that says nothing of the rest. One that the others miss is silent all the same. Only
    who misses us lives as far as we know: the record of one that died with the other says what was before.
    """
    queue = Queue("n2", "n3")
    own = queue.talk.node.session.lease
    assert own is not None
    heard = {"heard": [f"{LEASES['n2']:x}"]}
    queue.says("n3", places=[place() | heard])
    queue.talk.pass_time(3.0)
    living = queue.talk.node.living
    assert living.why_silent(key(queue, "n2"), queue.talk.now) is not None, "n3 does not miss us, so it may be dead too"
    queue.says("n3", places=[place(mute=(own,)) | heard])
    assert living.why_silent(key(queue, "n2"), queue.talk.now) is None
    assert living.why_silent(key(queue, "n3"), queue.talk.now) is None, "it says itself that it misses us"
    queue.says("n3", places=[place(silent=(LEASES["n2"], own))])
    assert living.why_silent(key(queue, "n2"), queue.talk.now) is not None


def test_silence_is_looked_for_when_it_is_due_and_told_once() -> None:
    """A queue of a thousand addresses is not looked at for every second of it."""
    queue = Queue("n2")
    living, talk = queue.talk.node.living, queue.talk
    spoke_at = talk.now
    news = []
    while talk.now < spoke_at + SILENT_S + 5.0:
        talk.now = max(talk.now, living.next_deadline())
        if living.advance(talk.now):
            news.append(talk.now - spoke_at)
    assert news == [pytest.approx(SILENT_S, abs=0.02)]


def test_nothing_wakes_a_node_among_older_agents() -> None:
    """None of them can be found out."""
    queue = Queue("n2")
    queue.says("n2", places=None)
    own = queue.talk.node.session.own_record.key
    queue.talk.store.put(own, agent_record("n1", places=None), OURS)
    queue.talk.tell_changes()
    queue.talk.hear(TimePassed())
    assert queue.talk.node.living.next_deadline() == float("inf")


def test_a_missing_proof_counts_only_for_who_speaks() -> None:
    """Of one that is silent as well nothing is known but that."""
    queue = Queue("n2", "n3")
    queue.live(UNPROVED_S + 4.0, "n3")
    living = queue.talk.node.living
    assert not living._unproved_since


def test_an_agents_turn_comes_once_a_minute_and_one_line_tells_of_all_its_queues() -> None:
    queue = Queue("n2")
    living, talk = queue.talk.node.living, queue.talk
    before = len(talk.reports)
    assert living.may_evict(key(queue, "n2"), VIP, talk.now)
    for _ in range(3):
        living.evicts(key(queue, "n2"), VIP, "drained", talk.now)
    assert not living.may_evict(key(queue, "n2"), VIP, talk.now)
    assert living.next_deadline() <= talk.now + EVERY_S
    talk.hear(TimePassed())
    assert len(talk.reports) == before + 1
    assert living.may_evict(key(queue, "n2"), VIP, talk.now + EVERY_S)


def test_an_agent_without_a_place_says_no_hello() -> None:
    """Its link has lost its address: silence says nothing of it, nor that its record is of a new version."""
    queue = Queue("n2", "n3")
    queue.says("n2", places=[])
    queue.live(6.0, "n3")
    assert queue.talk.node.living.why_silent(key(queue, "n2"), queue.talk.now) is None
    assert queue.queue() == ["n1", "n2", "n3"]
