"""Which secret authenticates what."""

from __future__ import annotations

from sharedip.core.keys import read_record
from tests.unit.core.test_laws_of_the_witness import SECRET, WITNESS, Owner


def test_a_designation_has_a_secret_of_its_own() -> None:
    """Not the run's, which authenticates greetings and releases: an old datagram must not speak for a new epoch."""
    owner = Owner()
    owner.talk.node.designations.own_secret = b"\7" * 16
    owner.talk.answer(owner.designation())
    record = read_record(owner.talk.store.keys[WITNESS])
    assert record is not None
    assert record["secret"] == SECRET.hex()
