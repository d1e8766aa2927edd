"""What a node believes of its own key when an older picture, or another key in its place, is shown to it.

Each law here is kept twice, by the session and by the candidacy. These tests ask each of the two by itself.
"""

from __future__ import annotations

from dataclasses import replace

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import RemoveAddress, TimePassed, Transact
from tests.stages.harness import owner, waiting_behind


def test_a_key_of_another_epoch_is_not_ours_to_claim_on() -> None:
    """A node knows itself by its own key and revision: a key that was deleted and made again is another candidacy."""
    talk = waiting_behind()
    own, registry = talk.store.keys[talk.key], talk.node.session.registry
    registry.apply_snapshot((replace(own, create_revision=own.create_revision + 1),), registry.revision)
    talk.prove_picture(talk.now)
    assert talk.is_in(Phase.WAITING)
    registry.apply_snapshot((own,), registry.revision)
    talk.prove_picture(talk.now)  # the same read with the key as it is lets it go on
    assert talk.is_in(Phase.PROBING)


def test_a_read_from_before_an_own_write_is_no_picture() -> None:
    """It proves the lease; what it shows of the queue is older than what we did ourselves."""
    talk = owner()
    _, read = talk.renew()
    talk.store.stand("n2")
    served_before = talk.outcome(read)
    talk.candidacy.leave("a test", talk.now)
    talk.hear(TimePassed())
    talk.answer(talk.expect(RemoveAddress))
    released = talk.outcome(talk.expect(Transact))
    talk.hear(released)
    known, proved = talk.node.session.registry.revision, talk.node.session.lease_until
    assert known < served_before.revision < released.revision
    talk.hear(served_before)
    assert talk.node.session.registry.revision == known
    assert talk.node.session.lease_until > proved
