"""Attacks on the core that once led into a hole: each as the events that led there."""

from __future__ import annotations

from dataclasses import replace

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import (
    AddressGone,
    AddressHeld,
    AddressSeen,
    Announce,
    AnnounceOnceHeld,
    DrainRequested,
    Exit,
    GrantLease,
    HoldAddress,
    KeepLeaseAlive,
    KeysChanged,
    LinkChanged,
    MoveRequested,
    Probe,
    ReadKeys,
    RemovalFailed,
    RemoveAddress,
    RevokeLease,
    StopRequested,
    Transact,
    WatchLost,
)
from sharedip.core.model import Failure
from tests.stages.harness import LAYOUT, LINK, NEVER, OURS, THEIRS, VIP, Talk, deletes, leaving, owner, restarted


def releasing() -> Talk:
    """An owner whose address is off the link: its release to n2 is under way."""
    talk = leaving()
    talk.answer(talk.expect(RemoveAddress))
    return talk


def test_a_release_under_way_when_the_agent_dies_is_not_undone_by_the_next_run() -> None:
    """The write 'may still be applied later' (law of the etcd facts): the next run may not stand on that key."""
    talk = releasing()
    release = talk.release()
    assert deletes(release, talk.key)  # on its way, in the buffer of a member that is frozen; now SIGKILL
    again = restarted(talk)
    again.run(1.0, HoldAddress)
    held = [order for order in again.open if isinstance(order, HoldAddress)]
    talk.outcome(release)  # the member wakes up: the key is gone, n2 is first, verifies and takes the address
    queue = sorted(again.store.under(LAYOUT.election(VIP.address)), key=lambda key: key.create_revision)
    assert queue[0].value == b"n2"
    assert not held


def test_a_revocation_under_way_when_the_agent_ends_is_not_undone_by_the_next_run() -> None:
    """A lease whose revocation was sent may end at any moment: nobody may be owner on it again."""
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    talk.hear(StopRequested())
    talk.answer(talk.expect(RemoveAddress))
    talk.pass_time(11.0)  # etcd swallows everything; patience ends
    talk.expect(RevokeLease)
    assert any(isinstance(order, Exit) for order in talk.open)
    assert talk.saved is None or talk.saved.lease is None


def test_a_read_from_before_the_release_does_not_bring_the_address_back() -> None:
    """Resigned is resigned: an answer that is older than the release lets nobody claim on the released key."""
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    _, read = talk.renew()
    talk.store.stand("n3", THEIRS + 1)  # the watch is slow: it delivers neither this nor the deletion
    before = talk.outcome(read)  # served now, delivered late
    talk.hear(MoveRequested(1, VIP.address, None))
    talk.answer(talk.expect(RemoveAddress))
    talk.answer(talk.release())  # released: n2 is first, verifies and takes the address
    talk.none(HoldAddress)
    talk.now += 0.05
    talk.hear(before)
    assert talk.is_in(Phase.OUT)
    talk.none(HoldAddress)


def test_an_adoption_whose_proof_failed_neither_crashes_nor_counts() -> None:
    """etcd's leader changes between the keepalive and its read: nothing is proved, ask again."""
    before = owner()
    talk = restarted(before)
    talk.answer(talk.expect(KeepLeaseAlive))
    talk.term += 1
    talk.answer(talk.expect(ReadKeys))
    talk.none(HoldAddress)
    assert talk.right_until == NEVER
    talk.run(5.0)
    assert talk.is_in(Phase.OWNING)


def test_a_leftover_that_shows_up_while_probing_is_removed_and_the_claim_goes_on() -> None:
    """A late fact of the kernel may cost a moment, never the address."""
    talk = Talk()
    talk.start()
    talk.serve()
    assert talk.is_in(Phase.PROBING)
    talk.hear(AddressSeen(7, VIP.address, 24, ours=True))
    talk.run(30.0)
    assert talk.is_in(Phase.OWNING)


def test_an_adoption_that_is_given_up_revokes_the_lease() -> None:
    """An aborted campaign revokes or deletes its key at once: a stale key blocks everybody behind it."""
    before = owner()
    before.store.delete(LAYOUT.agent("n1"))
    talk = restarted(before)
    talk.answer(talk.expect(KeepLeaseAlive))
    talk.answer(talk.expect(ReadKeys))
    talk.none(RevokeLease)  # the former run's address may still stand
    talk.answer(talk.expect(RemoveAddress))
    assert talk.expect(RevokeLease).lease == OURS


def test_a_record_that_etcd_refuses_neither_spins_nor_costs_the_lease() -> None:
    """One key that may not be written is no reason to lose the others."""
    talk = owner()
    talk.node.candidacies[VIP.address].record.want()
    talk.hear(LinkChanged(LINK))
    tries = 0
    until = talk.now + 20.0
    while talk.now < until and tries < 200:
        talk.serve(Transact)
        if any(isinstance(order, Transact) for order in talk.open):
            tries += 1
            talk.now += 0.002
            talk.fail(talk.expect(Transact), Failure.REFUSED)
        else:
            talk.pass_time(0.01)
    assert tries < 200
    assert talk.is_in(Phase.OWNING)


def test_a_stop_during_the_adoption_removes_the_former_runs_address_at_once() -> None:
    """SIGTERM while etcd is away: nothing needs etcd to take the address off."""
    before = owner()
    talk = restarted(before)
    talk.hear(AddressSeen(2, VIP.address, 32, ours=True))
    talk.hear(StopRequested())
    talk.expect(RemoveAddress)


def test_a_candidate_that_leaves_the_queue_says_nothing_about_the_owners_release() -> None:
    """Probe when the former owner did not release in order; n3, a mere candidate, leaves, and then n2 crashes."""
    n3 = Talk(name="n3")
    n2 = n3.store.stand("n2")
    n3.store.put(LAYOUT.owner(VIP.address), b'{"node":"n2","epoch":11}', THEIRS)
    n3.start()
    n3.run(1.0)
    n3.hear(StopRequested())
    n3.serve(RevokeLease)
    assert n3.store.keys[LAYOUT.owner(VIP.address)].lease == THEIRS, "the owner's record hangs on a stranger's lease"
    assert n2 in n3.store.keys


def test_a_campaign_that_was_applied_late_is_no_adoption() -> None:
    """The segment is asked before the first claim, whichever way we learned of our key."""
    talk = Talk()
    talk.store.stand("n2")
    talk.start()
    talk.serve(Transact)
    talk.answer(talk.expect(Transact))  # the registration
    campaign = talk.expect(Transact)
    talk.fail(campaign)
    talk.outcome(campaign)  # applied after we stopped waiting
    talk.run(1.0)
    assert talk.is_in(Phase.WAITING)
    talk.store.end_lease(THEIRS)  # n2 crashed
    talk.tell_changes()
    talk.serve()
    assert talk.is_in(Phase.PROBING)
    talk.expect(Probe)


def test_a_lapse_before_leaving_does_not_spare_the_probe_of_a_later_claim() -> None:
    """Between the lapse and this claim somebody else was owner and crashed."""
    talk = owner()
    talk.pass_time(16.0)
    assert talk.is_in(Phase.LAPSED)
    talk.hear(LinkChanged(replace(LINK, running=False)))
    talk.pass_time(0.5)
    talk.run(1.0)  # removed, released
    talk.store.stand("n2")
    talk.hear(LinkChanged(LINK))
    talk.run(10.0)
    assert talk.is_in(Phase.WAITING)
    talk.store.end_lease(THEIRS)
    talk.tell_changes()
    talk.serve()
    assert talk.is_in(Phase.PROBING)


def test_a_read_proves_only_the_keepalive_that_came_before_it() -> None:
    """'succeeds after it': an older read on the same endpoint, in the same term, is no proof."""
    talk = Talk(endpoints=1).own()
    first, early_read = talk.renew()
    talk.hear(WatchLost(talk.watch or 0, 0, Failure.COMPACTED, "compacted"))
    stale = talk.expect(ReadKeys)
    early = talk.outcome(early_read)
    talk.answer(stale, revision=1)  # the renewal begins anew, on the only endpoint
    talk.pass_time(3.0)
    second = talk.expect(KeepLeaseAlive)
    assert second.request != first.request
    talk.answer(second)
    until = talk.right_until
    talk.hear(early)
    assert talk.right_until == until


def test_a_late_write_of_the_agents_own_record_is_set_right() -> None:
    """Nobody hands over to a node whose record says 'drained' though it is not."""
    talk = owner()
    talk.hear(DrainRequested(1, drained=True))
    talk.tell_changes()
    late = talk.expect(Transact)
    talk.fail(late)
    talk.hear(DrainRequested(2, drained=False))
    talk.run(1.0)
    talk.outcome(late)
    talk.run(30.0)
    assert b'"drained":false' in talk.store.keys[LAYOUT.agent("n1")].value


def test_an_etcd_election_of_two_seconds_does_not_cost_a_short_lease_its_right() -> None:
    """While a right runs out, the wait between tries may not be a large part of what is left."""
    talk = Talk(ttl_s=3).own()
    talk.node.session.endpoints._jitter = lambda: 0.99
    began = talk.now
    back_at = began + 1.6
    tries_after: list[float] = []
    while talk.now < began + 3.0 and not tries_after:
        while any(hasattr(order, "request") for order in talk.open):
            order = next(order for order in talk.open if hasattr(order, "request"))
            talk.open.remove(order)
            if talk.now >= back_at:
                tries_after.append(talk.now)
                break
            talk.now += 0.001
            talk.fail(order, Failure.NO_LEADER)
        else:
            talk.pass_time(0.005)
    assert tries_after
    assert tries_after[0] < back_at + 0.3


def test_an_address_that_went_before_the_hold_was_answered_is_put_back() -> None:
    """Two sockets tell the core: the monitor may be faster than the answer to the order."""
    talk = owner()
    talk.prove()
    hold = talk.expect(HoldAddress)
    talk.hear(AddressGone(2, VIP.address, 32))  # networkd took it after our renewal, before our answer is heard
    talk.hear(AddressHeld(VIP, talk.now, hold.valid_lft_s))
    talk.pass_time(0.05)
    talk.expect(HoldAddress)


def test_a_leftover_on_another_link_is_removed_though_the_lease_is_adopted() -> None:
    """Leftovers of a former run are removed at start on whatever link."""
    before = owner()
    talk = restarted(before)
    talk.hear(AddressSeen(9, VIP.address, 32, ours=True))
    talk.serve()
    assert talk.removed


def test_an_adoption_asks_for_no_second_lease() -> None:
    """One lease per agent."""
    before = owner()
    talk = restarted(before)
    talk.none(GrantLease)


def test_a_watch_that_lags_does_not_bring_a_released_key_back() -> None:
    """The release is answered; then the watch tells what happened before it."""
    talk = releasing()
    release = talk.release()
    talk.store.stand("n3", THEIRS + 1)
    earlier = talk.store.changes_from(talk.watched + 1)
    talk.answer(release)
    talk.hear(KeysChanged(talk.watch or 0, earlier, earlier[-1].revision))
    assert talk.is_in(Phase.OUT)
    talk.none(ReadKeys, HoldAddress)


def test_an_adopted_lease_keeps_no_key_of_an_address_that_is_configured_no_more() -> None:
    """A stale key blocks everybody behind it."""
    before = owner()
    gone = replace(VIP, address=VIP.address + 1)
    before.store.put(LAYOUT.candidate(gone.address, OURS), b"n1", OURS)
    talk = restarted(before)
    talk.run(60.0)
    assert not talk.store.under(LAYOUT.election(gone.address))


def test_nothing_is_announced_after_the_removal() -> None:
    """A frame behind the removal draws the neighbours to a node that has just let go."""
    talk = owner()
    talk.store.stand("n2")
    talk.tell_changes()
    holding = talk.candidacy.ownership._holding
    assert holding is not None
    assert holding.announcements.next_at is not None
    talk.now = holding.announcements.next_at
    orders = talk.hear(DrainRequested(1, drained=True))
    kinds = [type(order) for order in orders]
    assert RemoveAddress in kinds
    assert not {Announce, AnnounceOnceHeld} & set(kinds[kinds.index(RemoveAddress) :])


def test_a_release_that_failed_waits_until_all_is_clear_again() -> None:
    """Law 3 holds for the second try as well: remove, confirm, and only then release."""
    talk = releasing()
    talk.fail(talk.release())
    talk.hear(AddressSeen(2, VIP.address, 32, ours=True))
    talk.hear(RemovalFailed(VIP, "EBUSY"))
    talk.pass_time(0.5)
    talk.none(Transact)
