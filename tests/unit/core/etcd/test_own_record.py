"""The agent's own record: written on change alone, and again when it is gone."""

from __future__ import annotations

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import (
    DrainRequested,
    Transact,
)
from tests.stages.harness import LAYOUT, OURS, owner


def test_a_record_is_written_only_when_it_says_something_new() -> None:
    """Idle: no etcd writes."""
    talk = owner()
    talk.hear(DrainRequested(1, drained=False))
    talk.none(Transact)
    talk.hear(DrainRequested(2, drained=True))
    talk.tell_changes()
    assert b'"drained":true' in talk.expect(Transact).then[0].value  # type: ignore[union-attr]


def test_a_deleted_record_is_registered_anew_and_costs_no_address() -> None:
    """The name's key is not what ownership hangs on."""
    talk = owner()
    talk.store.delete(LAYOUT.agent("n1"))
    talk.run(3.0)
    assert talk.store.keys[LAYOUT.agent("n1")].lease == OURS
    assert talk.is_in(Phase.OWNING)
