"""What frees an owner from a witness's promise, and what does not."""

from __future__ import annotations

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import PeerAddressChanged, Transact
from sharedip.core.model import Put
from tests.stages.harness import Talk
from tests.stages.witnessed import WINDOW_S, WITNESS, Owner


def test_a_withdrawal_whose_guard_failed_frees_from_nothing() -> None:
    """Somebody else wrote the witness key: whoever could depose us may still be able to."""
    owner = Owner().witnessed()
    owner.acknowledge()
    until = owner.talk.right_until
    undo = owner.designation()
    standing = owner.talk.store.keys[WITNESS]
    owner.talk.store.put(WITNESS, standing.value, standing.lease)
    owner.talk.tell_changes()
    assert owner.talk.right_until == until
    owner.talk.answer(undo)
    assert owner.talk.right_until == until
    owner.talk.answer(owner.designation())  # with the revision that the answer showed
    assert owner.talk.right_until > until


def test_a_withdrawal_that_the_watch_shows_frees_as_its_answer_does() -> None:
    """The witness has seen it as well, and acknowledges no more; etcd may stall before it answers."""
    owner = Owner().witnessed()
    owner.acknowledge()
    until = owner.talk.right_until
    undo = owner.designation()
    (put,) = undo.then
    assert isinstance(put, Put)
    assert put.lease is not None
    owner.talk.store.put(WITNESS, put.value, put.lease)
    owner.talk.tell_changes()
    freed_until = owner.talk.right_until
    assert freed_until > until
    owner.talk.answer(undo)  # late, and its guard fails by now in this store: nothing comes of it
    assert owner.talk.right_until == freed_until


def test_a_restarted_owner_has_no_right_until_its_former_runs_witness_is_withdrawn() -> None:
    """When the former run beat last nobody knows, nor whether its fence was tight: nobody beats under what is found."""
    owner = Owner().witnessed()
    owner.acknowledge()
    former = owner.talk
    owner.talk = Talk(window_s=WINDOW_S, store=former.store, now=former.now + 0.2)
    owner.talk.start(former.saved)
    owner.talk.hear(PeerAddressChanged("n1:9470"))
    owner.talk.run(0.3, Transact)
    assert owner.talk.node.session.lease_until > owner.talk.now, "the lease itself is proved"
    assert owner.talk.right_until <= owner.talk.now
    assert not owner.talk.is_in(Phase.OWNING)
    assert not [beat for beat in owner.beats() if beat.revision], "it beats under nothing that it has found"
    owner.talk.run(0.1)
    assert owner.talk.is_in(Phase.OWNING), "the withdrawal has succeeded"
