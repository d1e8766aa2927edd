"""The laws of ARCHITECTURE.md, one dialogue each; every docstring quotes the sentence that its test proves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharedip.core.candidacy import Phase
from sharedip.core.messages import (
    AddressHeld,
    AddressSeen,
    Announce,
    Exit,
    ForeignClaim,
    GrantLease,
    HoldAddress,
    KeepLeaseAlive,
    KeysRead,
    LinkChanged,
    MoveRequested,
    Probe,
    ReadKeys,
    RemovalFailed,
    RemoveAddress,
    RequestFailed,
    RevokeLease,
    StopRequested,
    Transact,
)
from sharedip.core.model import ConflictPolicy, Delete, Failure, Guard, GuardTarget, Put
from sharedip.core.ownership import Tenure
from sharedip.core.session import Kind
from sharedip.core.settings import LIFETIME_LATE_S, REMOVAL_LEAD_S, lease_margin_s, renew_every_s
from tests.unit.core.harness import LAYOUT, LINK, MAC, NEVER, OURS, THEIRS, VIP, Talk, owner, waiting_behind

# -- "Deadlines count from the moment a request was sent" -------------------------------------------------------------


def test_a_grant_counts_from_its_sending() -> None:
    """Law 5: deadlines count from the moment a request was sent, never from the moment that its answer came."""
    talk = Talk()
    talk.start()
    sent_at, grant = talk.now, talk.expect(GrantLease)
    talk.now += 0.9
    talk.answer(grant)
    assert talk.right_until == pytest.approx(sent_at + 15 - lease_margin_s(15))


def test_a_renewal_counts_from_the_keepalives_sending() -> None:
    """lease_until = t_sent + ttl - margin: neither the keepalive's answer nor the read moves it."""
    talk = owner()
    talk.pass_time(2.0)
    keepalive = talk.expect(KeepLeaseAlive)
    sent_at = talk.sent[keepalive.request]
    talk.now = sent_at + 0.4
    talk.answer(keepalive)
    talk.now += 0.4
    talk.answer(talk.expect(ReadKeys))
    assert talk.right_until == pytest.approx(sent_at + 15 - lease_margin_s(15))


def test_the_ttl_that_etcd_granted_counts() -> None:
    """Read the granted TTL back: etcd raises a short one."""
    talk = Talk(ttl_s=3)
    talk.start()
    sent_at = talk.now
    talk.answer(talk.expect(GrantLease), ttl_s=5)
    assert talk.right_until == pytest.approx(sent_at + 5 - lease_margin_s(5))
    assert any("raised" in report.text for report in talk.reports)


def test_a_renewal_never_shortens_the_right() -> None:
    """A proof that was long under way says less than a newer one, and takes nothing back."""
    talk = owner()
    talk.prove()
    until = talk.right_until
    _, read = talk.renew()
    talk.answer(read)
    assert talk.right_until > until


# -- "A keepalive counts only when a linearizable read … succeeds after it" -------------------------------------------


def test_a_keepalive_alone_renews_nothing() -> None:
    """A cut-off etcd leader confirms keepalives for up to two seconds."""
    talk = owner()
    until = talk.right_until
    _, read = talk.renew()
    assert talk.right_until == until
    talk.fail(read)
    assert talk.right_until == until


def test_keepalives_without_reads_let_the_right_end() -> None:
    """However many are confirmed."""
    talk = owner()
    talk.run(16.0, ReadKeys, RemoveAddress)
    assert talk.is_in(Phase.LAPSED)
    talk.expect(RemoveAddress)


def test_the_read_goes_to_the_endpoint_that_confirmed_the_keepalive() -> None:
    """On the same endpoint, even when the session has moved on to another one."""
    talk = owner()
    talk.pass_time(2.0)
    keepalive = talk.expect(KeepLeaseAlive)
    talk.node.session.endpoint = 2
    talk.answer(keepalive)
    assert talk.expect(ReadKeys).endpoint == keepalive.endpoint


def test_a_read_on_another_endpoint_renews_nothing() -> None:
    """Same endpoint: another member's word is not about this one's leader."""
    talk = owner()
    until = talk.right_until
    _, read = talk.renew()
    talk.answer(read, endpoint=1)
    assert talk.right_until == until


@pytest.mark.parametrize("change", [-1, 1])
def test_a_read_in_another_term_renews_nothing(change: int) -> None:
    """With the same raft_term: the leader changed in between, and nothing is proved."""
    talk = owner()
    until = talk.right_until
    _, read = talk.renew()
    talk.answer(read, raft_term=talk.term + change)
    assert talk.right_until == until


def test_a_keepalive_in_an_older_term_is_no_half_of_a_renewal() -> None:
    """A node whose raft_term is older than one already seen is stale."""
    talk = owner()
    talk.pass_time(2.0)
    keepalive = talk.expect(KeepLeaseAlive)
    talk.answer(keepalive, raft_term=talk.term - 1)
    assert not any(isinstance(order, ReadKeys) and order.endpoint == keepalive.endpoint for order in talk.open)
    assert talk.expect(KeepLeaseAlive).endpoint != keepalive.endpoint


def test_a_read_in_an_older_term_than_one_already_seen_lets_nobody_claim() -> None:
    """A node whose raft_term is older than one already seen is stale."""
    talk = waiting_behind()
    talk.store.end_lease(THEIRS)
    talk.tell_changes()
    talk.answer(talk.expect(ReadKeys), raft_term=talk.term - 1)
    talk.none(Probe, HoldAddress)


def test_a_read_without_a_key_of_ours_ends_the_lease() -> None:
    """A read of the own key: its absence is an answer too."""
    talk = owner()
    _, read = talk.renew()
    talk.store.stand("n2")
    others = tuple(key for key in talk.store.under() if key.lease == THEIRS)
    talk.answer(read, keys=others)
    talk.expect(RemoveAddress)
    assert talk.node.session.lease is None


def test_a_failed_renewal_is_tried_on_another_endpoint() -> None:
    """A silent endpoint (request deadline passed) is dropped; retries go to other endpoints."""
    talk = owner()
    talk.pass_time(2.0)
    first = talk.expect(KeepLeaseAlive)
    talk.fail(first)
    second = talk.expect(KeepLeaseAlive)
    talk.fail(second)
    third = talk.expect(KeepLeaseAlive)
    assert {first.endpoint, second.endpoint, third.endpoint} == {0, 1, 2}
    assert any(type(order).__name__ == "DropEndpoint" for order in talk.open)


# -- "time passes first" ----------------------------------------------------------------------------------------------


def test_a_late_answer_never_revives_a_right_that_has_ended() -> None:
    """Expiry is applied before the event, so a late answer never revives a right that has ended."""
    talk = owner()
    _, read = talk.renew()
    talk.now = talk.right_until
    talk.answer(read)
    talk.expect(RemoveAddress)
    assert talk.is_in(Phase.LAPSED)
    talk.none(HoldAddress)


def test_the_removal_is_ordered_when_the_right_ends_and_nobody_says_anything() -> None:
    """`next_deadline` is the latest instant by which time itself must be told."""
    talk = owner()
    end = talk.right_until
    talk.run(end - talk.now - REMOVAL_LEAD_S - 0.001, KeepLeaseAlive)
    talk.none(RemoveAddress)
    talk.pass_time(0.002)
    talk.expect(RemoveAddress)
    assert talk.now <= end - REMOVAL_LEAD_S + 0.002


def test_an_ended_right_is_won_back_only_by_fresh_proof() -> None:
    """A right that has ended is won back only by fresh proof; the key kept its place, so the address returns."""
    talk = owner()
    epoch = talk.candidacy.epoch
    talk.run(16.0, KeepLeaseAlive)
    assert talk.is_in(Phase.VERIFYING)
    talk.open = [order for order in talk.open if not isinstance(order, KeepLeaseAlive)]
    talk.answer(ReadKeys(talk.node.session._begin(Kind.READ), 0, LAYOUT.root, 1.0))
    talk.none(HoldAddress)
    talk.node.session._renewing = False  # the keepalive that was swallowed above
    talk.run(3.0)
    assert talk.is_in(Phase.OWNING)
    assert talk.candidacy.epoch == epoch


def test_after_a_freeze_the_first_fact_finds_the_address_given_up() -> None:
    """An agent that wakes up late applies the time, then whatever it hears."""
    talk = owner()
    talk.hear(LinkChanged(LINK), after_s=60.0)
    talk.expect(RemoveAddress)
    talk.none(HoldAddress, Announce)


# -- "Remove, confirm, release" ---------------------------------------------------------------------------------------


def _leaving() -> Talk:
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.hear(MoveRequested(1, VIP.address, None))
    return talk


def test_the_key_is_given_up_only_when_the_kernel_has_confirmed_the_removal() -> None:
    """Reset the connections on the address, remove it, see the kernel confirm it, and only then give the key up."""
    talk = _leaving()
    removal = talk.expect(RemoveAddress)
    assert removal.reset_connections
    talk.none(Transact)
    talk.pass_time(0.5)
    talk.none(Transact)
    talk.answer(removal)
    release = talk.expect(Transact)
    assert Delete(talk.key) in release.then
    assert release.guards == (Guard(talk.key, GuardTarget.CREATE, talk.candidacy.epoch or 0),)


def test_a_removal_that_failed_never_releases() -> None:
    """'Cannot tell' is never 'yes': it is tried again until the kernel confirms."""
    talk = _leaving()
    for _ in range(20):
        talk.expect(RemoveAddress)
        talk.hear(RemovalFailed(VIP, "EBUSY"))
        talk.pass_time(0.1)
        talk.none(Transact)
    talk.answer(talk.expect(RemoveAddress))
    talk.expect(Transact)


def test_an_address_that_is_held_after_giving_up_is_removed_again() -> None:
    """Nothing under way may bring it back behind a release."""
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.prove()
    hold = talk.expect(HoldAddress)
    talk.hear(MoveRequested(1, VIP.address, None))
    talk.answer(talk.expect(RemoveAddress))
    talk.none(Transact)
    talk.hear(AddressHeld(VIP, talk.now, hold.valid_lft_s))
    talk.none(Transact)
    talk.answer(talk.expect(RemoveAddress))
    talk.expect(Transact)


def test_no_release_is_answered_by_another_try_not_by_owning_again() -> None:
    """After a RequestFailed the write may have been applied: who has resigned stays resigned."""
    talk = _leaving()
    talk.answer(talk.expect(RemoveAddress))
    for _ in range(5):
        talk.fail(talk.expect(Transact))
        talk.pass_time(0.3)
        talk.none(HoldAddress)
    talk.answer(talk.expect(Transact))
    talk.none(HoldAddress)
    assert [key.value for key in talk.store.under(LAYOUT.elections)] == [b"n2"]


def test_the_lease_is_revoked_only_when_no_address_is_left() -> None:
    """Revoking gives every key up at once."""
    talk = Talk(vips=(VIP, replace(VIP, address=VIP.address + 1))).own()
    talk.hear(StopRequested())
    first, second = talk.expect(RemoveAddress), talk.expect(RemoveAddress)
    talk.answer(first)
    talk.pass_time(5.0)
    talk.none(RevokeLease)
    talk.answer(second)
    talk.run(1.0, RevokeLease)
    talk.expect(RevokeLease)


def test_a_stop_ends_only_when_all_is_given_up() -> None:
    """Exit: everything is given up in order; the process may end."""
    talk = owner()
    talk.hear(StopRequested())
    talk.pass_time(1.0)
    talk.none(Exit)
    talk.serve()
    talk.expect(Exit)
    assert not talk.store.under(LAYOUT.root)


# -- "own the key, hold a right, then add, then announce" -------------------------------------------------------------


def test_nothing_is_added_before_the_own_key_was_read_back_as_the_first() -> None:
    """On the way in: own the key. The recipe's client waits without noticing that its key is gone: check it again."""
    talk = waiting_behind()
    talk.store.end_lease(THEIRS)
    talk.tell_changes()
    talk.none(HoldAddress, Probe)
    read = talk.expect(ReadKeys)
    talk.store.delete(talk.key)  # behind our back, and the watch has not told yet
    talk.answer(read)
    talk.none(HoldAddress, Probe)


def test_a_candidate_that_is_not_the_first_does_not_claim_whatever_its_own_picture_says() -> None:
    """The owner is the lowest create revision, in the read and not in the watch."""
    talk = waiting_behind()
    talk.store.end_lease(THEIRS)
    talk.tell_changes()
    read = talk.outcome(talk.expect(ReadKeys))
    assert isinstance(read, KeysRead)
    before = replace(read.keys[0], key=LAYOUT.candidate(VIP.address, 0x77), create_revision=1, lease=0x77)
    talk.hear(replace(read, keys=(*read.keys, before)))
    talk.none(HoldAddress, Probe)
    assert talk.is_in(Phase.WAITING)


def test_a_key_that_was_made_again_is_not_the_one_that_we_stood_with() -> None:
    """A node knows itself by its own key and revision."""
    talk = waiting_behind()
    talk.store.end_lease(THEIRS)
    talk.tell_changes()
    read = talk.expect(ReadKeys)
    talk.store.delete(talk.key)
    talk.store.put(talk.key, b"n1", OURS)
    talk.answer(read)
    talk.none(HoldAddress)


def test_a_read_from_before_the_own_resignation_is_nothing_to_claim_on() -> None:
    """Every claim is guarded by my key's create revision: the old key stood first, the new one stands last."""
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    _, read = talk.renew()
    talk.store.stand("n3", THEIRS + 1)  # the watch is slow, and tells neither this nor what follows
    before = talk.outcome(read)
    talk.hear(MoveRequested(1, VIP.address, None))
    talk.answer(talk.expect(RemoveAddress))
    talk.now += 1.0
    talk.answer(talk.expect(Transact))
    talk.answer(talk.expect(Transact))
    assert talk.candidacy.epoch == talk.store.keys[talk.key].create_revision
    talk.hear(before)
    talk.none(HoldAddress, Probe)


def test_nothing_is_added_while_a_removal_is_not_confirmed() -> None:
    """A new tenure begins when nothing of the old one is left, though the new key may stand first already."""
    talk = owner()
    talk.store.delete(talk.key)
    talk.tell_changes()
    removal = talk.expect(RemoveAddress)
    talk.run(1.0)
    assert talk.store.under(LAYOUT.elections)[0].key == talk.key
    talk.none(HoldAddress)
    assert talk.is_in(Phase.WAITING)
    talk.answer(removal)
    talk.run(1.0)
    assert talk.is_in(Phase.OWNING)


def test_nothing_is_added_without_room_for_the_shortest_lifetime() -> None:
    """Hold a right: the last seconds of one are none for a fence that works in whole seconds."""
    talk = waiting_behind()
    talk.run(15 - lease_margin_s(15) - 1.5, KeepLeaseAlive)
    talk.store.end_lease(THEIRS)
    talk.tell_changes()
    talk.now = talk.right_until - LIFETIME_LATE_S - 0.5
    talk.answer(talk.expect(ReadKeys))
    talk.none(Probe, HoldAddress)


def test_the_announcement_waits_for_the_kernel() -> None:
    """Then add, then announce."""
    talk = Talk()
    talk.start()
    talk.run(1.0, HoldAddress)
    assert talk.is_in(Phase.OWNING)
    talk.none(Announce)
    talk.answer(talk.expect(HoldAddress))
    talk.expect(Announce)


def test_whatever_is_ordered_ends_before_the_right_does() -> None:
    """renewed_at + valid_lft + 1 s <= right_until, over a minute of renewals and a lost etcd."""
    talk = Talk()
    talk.start()
    for step in range(300):
        talk.run(0.2, *((KeepLeaseAlive,) if step > 200 else ()), HoldAddress)
        for hold in [order for order in talk.open if isinstance(order, HoldAddress)]:
            assert talk.now + hold.valid_lft_s + LIFETIME_LATE_S <= talk.right_until + 0.2
            assert hold.not_after <= talk.right_until
            talk.open.remove(hold)
            talk.answer(hold)


def test_a_renewed_right_renews_the_fence_at_once() -> None:
    """An agent that freezes right after has the whole of it; the fence is never shorter than it must be."""
    talk = owner()
    talk.prove()
    assert talk.expect(HoldAddress).valid_lft_s == 13


# -- "One owner": losing the key or the lease -------------------------------------------------------------------------


def test_a_lost_lease_takes_the_address_off_at_once() -> None:
    """Every key hangs on the lease: whoever was behind may own the address now."""
    talk = owner()
    _, read = talk.renew()
    talk.fail(read, Failure.LEASE_NOT_FOUND)
    talk.expect(RemoveAddress)
    assert talk.right_until == NEVER
    assert talk.candidacy.ownership.tenure is Tenure.REMOVING


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
    talk.expect(RemoveAddress)


def test_an_answer_about_an_old_lease_says_nothing_about_the_new_one() -> None:
    """A read that was sent on a lease that is gone proves nothing for its successor."""
    talk = owner()
    _, read = talk.renew()
    old = talk.outcome(read)
    talk.hear(RequestFailed(talk.node.session._begin(Kind.READ), 0, Failure.LEASE_NOT_FOUND, ""))
    grant = talk.expect(GrantLease)
    talk.answer(grant, lease=OURS + 1)
    until = talk.node.session.lease_until
    talk.hear(old)
    assert talk.node.session.lease_until == until
    talk.none(HoldAddress, Probe)


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
    assert not talk.node.is_sound(talk.store.keys[key])


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


# -- renewing in good time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ttl_s", [3, 6, 15, 60])
def test_idle_costs_one_keepalive_and_one_read_a_period_and_no_write(ttl_s: int) -> None:
    """Idle: no etcd writes, at most one keepalive and one read per agent in 2 s."""
    talk = Talk(ttl_s=ttl_s).own()
    revision, sent = talk.store.revision, len(talk.sent)
    periods = 20
    talk.run(periods * renew_every_s(ttl_s) + 0.01)
    assert talk.store.revision == revision
    assert 2 * periods - 2 <= len(talk.sent) - sent <= 2 * periods + 2


@pytest.mark.parametrize("ttl_s", [3, 6, 15, 60])
def test_two_frozen_endpoints_do_not_cost_the_address(ttl_s: int) -> None:
    """In good time for two retries on other endpoints before lease_until."""
    talk = Talk(ttl_s=ttl_s).own()
    keepalive = talk.due()
    for _ in range(2):
        talk.now += keepalive.timeout_s
        talk.fail(keepalive)
        keepalive = talk.expect(KeepLeaseAlive)
    talk.answer(keepalive)
    talk.answer(talk.expect(ReadKeys))
    assert talk.is_in(Phase.OWNING)
    assert talk.expect(HoldAddress).valid_lft_s >= 1
    talk.none(RemoveAddress)
