"""The laws of ARCHITECTURE.md on the queue, a restart and the segment. Every docstring quotes what its test proves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import (
    AddressSeen,
    Announce,
    ForeignClaim,
    GrantLease,
    HoldAddress,
    KeepLeaseAlive,
    LinkChanged,
    Probe,
    ReadKeys,
    RemoveAddress,
    Transact,
)
from sharedip.core.model import ConflictPolicy, Delete, Failure, Put
from tests.stages.harness import LAYOUT, LINK, MAC, NEVER, OURS, THEIRS, VIP, Talk, owner, waiting_behind

# -- "A node knows itself by its own key and revision, never by comparing names" --------------------------------------


def test_a_candidate_with_our_name_is_not_us() -> None:
    """Two agents with one nodeName never share an address."""
    talk = Talk()
    talk.store.put(LAYOUT.candidate(VIP.address, THEIRS), b"n1", THEIRS)
    talk.start()
    talk.run(5.0)
    assert talk.is_in(Phase.WAITING)


def test_two_agents_with_one_name_are_found_and_refused() -> None:
    """The second one says so, stands nowhere, and begins when the first one's record is gone."""
    talk = Talk()
    talk.store.put(LAYOUT.agent("n1"), b'{"peer":"10.0.0.9:9470"}', THEIRS)
    talk.start()
    talk.run(10.0)
    assert not talk.store.under(LAYOUT.elections)
    assert [report.text for report in talk.reports if "another agent" in report.text][1:] == []
    assert talk.node.session.name_taken_by == "10.0.0.9:9470"
    talk.store.end_lease(THEIRS)
    talk.run(5.0)
    assert talk.is_in(Phase.OWNING)


def test_soundness_is_told_by_the_record_on_the_candidates_own_lease() -> None:
    """A record under the same name on another lease is somebody else's."""
    talk = owner()
    key = talk.store.stand("n2", sound=None)
    talk.store.put(LAYOUT.agent("n2"), b'{"healthy":true,"drained":false}', THEIRS + 7)
    talk.tell_changes()
    assert not talk.node.fitness.is_fit(talk.store.keys[key])


# -- "An aborted campaign revokes or deletes its key at once" ---------------------------------------------------------


def test_a_campaign_that_is_applied_after_we_left_is_released_at_once() -> None:
    """A stale key blocks everybody behind it."""
    talk = Talk()
    talk.start()
    talk.serve(Transact)
    talk.answer(talk.expect(Transact))
    campaign = talk.expect(Transact)
    talk.hear(LinkChanged(replace(LINK, running=False)))
    talk.fail(campaign)
    talk.pass_time(0.3)
    assert talk.is_in(Phase.OUT)
    talk.outcome(campaign)
    talk.run(1.0)
    assert not talk.store.under(LAYOUT.elections)


def test_a_candidate_that_may_not_stand_gives_its_key_up() -> None:
    """A node whose link is down or missing is no candidate."""
    talk = waiting_behind()
    talk.hear(LinkChanged(replace(LINK, running=False)))
    talk.run(1.0)
    assert [key.value for key in talk.store.under(LAYOUT.elections)] == [b"n2"]


# -- restart ----------------------------------------------------------------------------------------------------------


def test_a_former_runs_lease_is_believed_only_with_proof() -> None:
    """Adoption: keepalive and read, as for any renewal, before anything is held."""
    before = owner()
    talk = Talk(store=before.store, now=before.now + 1)
    talk.start(before.saved)
    keepalive = talk.expect(KeepLeaseAlive)
    assert keepalive.lease == OURS
    talk.none(HoldAddress, Transact)
    talk.answer(keepalive)
    talk.none(HoldAddress)
    assert talk.right_until == NEVER
    talk.answer(talk.expect(ReadKeys))
    talk.expect(HoldAddress)


def test_a_former_runs_lease_that_is_gone_leaves_nothing_behind() -> None:
    """An agent that dies in any way leaves no address behind; what its successor finds, it removes."""
    before = owner()
    before.store.end_lease(OURS)
    talk = Talk(store=before.store, now=before.now + 20)
    talk.start(before.saved)
    talk.hear(AddressSeen(2, VIP.address, 32, ours=True))
    talk.fail(talk.expect(KeepLeaseAlive), Failure.LEASE_NOT_FOUND)
    talk.expect(RemoveAddress)


def test_a_leftover_whose_key_is_not_the_first_any_more_is_removed() -> None:
    """The lease lived on, the place in the queue did not."""
    before = owner()
    before.store.delete(before.key)
    before.store.stand("n2")
    talk = Talk(store=before.store, now=before.now + 1)
    talk.start(before.saved)
    talk.hear(AddressSeen(2, VIP.address, 32, ours=True))
    talk.run(1.0, RemoveAddress)
    talk.expect(RemoveAddress)


def test_the_lease_is_saved_before_any_key_hangs_on_it() -> None:
    """SaveState comes before the orders that follow; a crash in between leaves nothing that nobody knows."""
    talk = Talk()
    talk.start()
    orders = talk.answer(talk.expect(GrantLease))
    kinds = [type(order).__name__ for order in orders]
    assert kinds.index("SaveState") < kinds.index("Transact")
    assert talk.saved is not None
    assert talk.saved.lease == OURS


# -- the segment ------------------------------------------------------------------------------------------------------


def test_the_segment_is_asked_before_the_first_claim() -> None:
    """Conflict: before the first claim, and when the former owner did not release in order, probe."""
    talk = Talk()
    talk.start()
    talk.serve()
    talk.expect(Probe)
    talk.none(HoldAddress)


def test_an_owner_that_released_in_order_spares_the_probe() -> None:
    """Its word came in the very transaction that gave the key up."""
    talk = waiting_behind()
    record = b'{"epoch":12,"node":"n2","reason":"moved","released":true,"to":null}'
    talk.store.apply(
        (), (Delete(LAYOUT.candidate(VIP.address, THEIRS)), Put(LAYOUT.owner(VIP.address), record, THEIRS)), ()
    )
    talk.run(0.01, HoldAddress)
    talk.expect(HoldAddress)
    talk.none(Probe)


def test_an_owner_that_crashed_does_not() -> None:
    """Nobody knows what it left on the segment."""
    talk = waiting_behind()
    talk.store.end_lease(THEIRS)
    talk.tell_changes()
    talk.serve()
    talk.expect(Probe)


@pytest.mark.parametrize("policy", ConflictPolicy)
def test_a_stranger_is_named_and_met_as_the_policy_says(policy: ConflictPolicy) -> None:
    """Named with its MAC; the policy is defend or yield."""
    talk = Talk(conflict_policy=policy).own()
    talk.pass_time(2.5)
    talk.open.clear()
    talk.hear(ForeignClaim(VIP, MAC, talk.now))
    assert any(MAC.hex(":") in report.text for report in talk.reports)
    if policy is ConflictPolicy.DEFEND:
        talk.expect(Announce)
        talk.none(RemoveAddress)
    else:
        talk.expect(RemoveAddress)
