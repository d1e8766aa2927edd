"""Which agents speak: any fresh authentic datagram shows it, and silence is evidence only under conditions."""

from __future__ import annotations

from sharedip.core.messages import TimePassed
from sharedip.core.segment.voices import GONE_AFTER_S, SPEAKS_WITHIN_S
from tests.stages.segment import Hall, lease_of


def test_who_says_hello_speaks_and_who_stops_is_gone_after_a_while() -> None:
    hall = Hall("n2", "n3").enter()
    voices, lease = hall.node.voices, lease_of("n2")
    assert voices.is_speaking(lease, hall.now)
    hall.go_on(SPEAKS_WITHIN_S + 0.1, "n3")
    assert not voices.is_speaking(lease, hall.now)
    assert not voices.is_gone(lease, hall.now)
    hall.go_on(GONE_AFTER_S - SPEAKS_WITHIN_S, "n3")
    assert voices.is_gone(lease, hall.now)
    assert not voices.is_gone(lease_of("n3"), hall.now)


def test_who_writes_that_it_misses_us_lives() -> None:
    """A filter on UDP between the two: it can't be heard, and it can write."""
    hall = Hall("n2", "n3").enter()
    hall.go_on(1.5, "n3")
    hall.publish("n2", heard=["n3"], mute=["n1"])
    hall.tell_changes()
    hall.go_on(10.0, "n3")
    assert not hall.node.voices.is_gone(lease_of("n2"), hall.now)
    hall.publish("n2", heard=["n3"])
    hall.tell_changes()
    hall.go_on(0.1, "n3")
    assert hall.node.voices.is_gone(lease_of("n2"), hall.now)


def test_who_was_never_heard_is_not_gone() -> None:
    """Law 4."""
    hall = Hall("n2", "n3").enter(greeted=False)
    hall.go_on(10.0, "n3")
    assert hall.node.voices.silent_s(lease_of("n2"), hall.now) == 0.0
    assert not hall.node.voices.is_gone(lease_of("n2"), hall.now)


def test_silence_that_we_slept_through_is_none() -> None:
    hall = Hall("n2", "n3").enter()
    hall.now += 30.0
    hall.hear(TimePassed())
    assert not hall.node.voices.is_gone(lease_of("n2"), hall.now)
    hall.go_on(GONE_AFTER_S + 0.1, "n3")
    assert hall.node.voices.is_gone(lease_of("n2"), hall.now)


def test_what_is_remembered_of_a_lease_goes_with_its_record() -> None:
    hall = Hall("n2", "n3").enter()
    hall.store.end_lease(lease_of("n2"))
    hall.tell_changes()
    assert not hall.node.voices.is_speaking(lease_of("n2"), hall.now)
    assert hall.node.voices.silent_s(lease_of("n2"), hall.now) == 0.0


def test_a_hello_tells_how_old_the_proof_of_its_lease_is() -> None:
    hall = Hall("n2", "n3").enter()
    hall.greet("n2", age_ms=4000)
    hall.go_on(1.0, "n3")
    hall.greet("n3", age_ms=9000)
    age_s = hall.node.voices.proved_age_s(lease_of("n2"), hall.now)
    assert age_s is not None
    assert age_s < 5.1
