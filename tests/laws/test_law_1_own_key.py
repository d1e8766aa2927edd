"""Law 1: without its own key a node owns nothing, whatever shows that the key is gone, or another in its place.

The session and the candidacy each keep this; some tests ask one of the two by itself.
"""

from __future__ import annotations

from dataclasses import replace

from sharedip.core.address.ownership import Hold
from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import (
    RemoveAddress,
    TimePassed,
    Transact,
)
from sharedip.core.model import Failure
from tests.stages.harness import NEVER, owner, waiting_behind


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


def test_a_lost_lease_takes_the_address_off_at_once() -> None:
    """Every key hangs on the lease: whoever was behind may own the address now."""
    talk = owner()
    _, read = talk.renew()
    talk.fail(read, Failure.LEASE_NOT_FOUND)
    talk.expect(RemoveAddress)
    assert talk.right_until == NEVER
    assert talk.candidacy.ownership.hold is Hold.REMOVING


def test_a_deleted_key_takes_the_address_off_at_once() -> None:
    """Every claim is guarded by the key's create revision; without the key there is no claim."""
    talk = owner()
    talk.store.delete(talk.key)
    talk.tell_changes()
    talk.expect(RemoveAddress)


def test_a_deleted_key_is_seen_in_the_read_too_when_the_watch_is_silent() -> None:
    """A watch on a frozen endpoint stays silent for ever."""
    talk = owner()
    talk.watch = None
    talk.store.delete(talk.key)
    talk.prove()
    talk.none(RemoveAddress)  # what was read is what has changed; a count tells that something is gone
    talk.prove()
    talk.expect(RemoveAddress)
