"""A witness that has reason to doubt itself: it was killed, its own link is down, or it was away."""

from __future__ import annotations

from dataclasses import replace

from sharedip.core.messages import LinkChanged, TimePassed
from tests.stages.harness import LINK, Talk
from tests.stages.witnessed import WINDOW_S, Watch


def test_a_restarted_witness_keeps_silent_about_designations_that_it_finds() -> None:
    """Its former run may have tried to depose, and a frozen etcd member may apply that when it wakes up."""
    watch = Watch()
    watch.beat()
    watch.wait(WINDOW_S + 0.2)
    assert watch.depositions(), "the former run's attempt is under way"
    former = watch.talk
    watch.talk = Talk(name="n2", window_s=WINDOW_S, store=former.store, now=former.now + 0.2)
    watch.talk.start(former.saved)
    watch.talk.run(0.5)
    assert watch.talk.node.session.lease == former.node.session.lease
    assert not watch.talk.node.session.is_adopting
    assert watch.beat() == []
    watch.wait(3 * WINDOW_S)
    assert watch.depositions() == []
    watch.designate()  # the owner's next designation ends whatever was under way
    assert watch.beat()


def test_a_witness_whose_own_link_is_down_takes_the_silence_for_its_own() -> None:
    """It would depose an owner that everybody else hears."""
    watch = Watch()
    watch.beat()
    watch.talk.hear(LinkChanged(replace(LINK, running=False)))
    watch.wait(3 * WINDOW_S)
    assert watch.depositions() == []
    watch.talk.hear(LinkChanged(LINK))
    watch.wait(3 * WINDOW_S)
    assert watch.depositions(), "it hears again, and the owner is silent"


def test_a_witness_that_was_away_first_hears_what_was_said_meanwhile() -> None:
    """Frozen, or short of a processor: the beats wait in its socket."""
    watch = Watch()
    watch.beat()
    watch.talk.now += WINDOW_S + 1.0
    watch.talk.hear(TimePassed())
    assert watch.depositions() == []
    watch.wait(WINDOW_S / 2 + 0.1)
    assert watch.depositions()
