"""Law 1: the witnessed lease, from both sides: an owner is deposed only when its own right has ended."""

from __future__ import annotations

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.keys import read_record
from sharedip.core.messages import (
    AddressRefused,
    GrantLease,
    HoldAddress,
    KeepLeaseAlive,
    Probe,
    ReadMember,
    RemoveAddress,
    SendDatagram,
    TimePassed,
    Transact,
)
from sharedip.core.model import Delete, Guard, GuardTarget
from sharedip.core.segment.wire import DatagramKind, Heartbeat
from tests.stages.harness import LAYOUT, THEIRS, VIP, agent_record
from tests.stages.witnessed import SECRET, WINDOW_S, WITNESS, Owner, Watch

# -- the witness ------------------------------------------------------------------------------------------------------


def test_a_beat_is_acknowledged_at_once() -> None:
    """The witness acknowledges at once."""
    watch = Watch()
    assert watch.beat() == [Heartbeat(watch.revision, 1)]


def test_a_forged_a_repeated_and_an_older_beat_are_not() -> None:
    """Authenticated with the secret; a sequence counts once."""
    watch = Watch()
    assert watch.beat(secret=b"\1" * 16) == []
    assert watch.beat(sequence=10)
    assert watch.beat(sequence=10) == []
    assert watch.beat(sequence=9) == []


def test_nobody_is_deposed_before_the_first_beat() -> None:
    """A witness binds the owner from the first beat on: before it has heard one it has no power."""
    watch = Watch()
    watch.wait(30.0)
    assert watch.depositions() == []


def test_a_promise_is_kept_to_its_end() -> None:
    """Not to depose before receive time + window x (1 + drift)."""
    watch = Watch()
    watch.beat()
    watch.wait(1.0)
    watch.beat()
    watch.wait(WINDOW_S * 1.001)
    assert watch.depositions() == []
    watch.wait(0.02)
    assert len(watch.depositions()) == 1


def test_the_next_in_line_probes_as_the_promise_runs_out_and_takes_nothing_by_that() -> None:
    """One probe of two leaves before the promise is over, which the owner may answer; the other one after it."""
    watch = Watch()
    watch.beat()
    sent: list[tuple[float, int]] = []
    for seconds in (WINDOW_S * 1.002 - 0.01, 0.0015, 0.008, 0.003, 0.1):
        watch.talk.run(seconds, Transact, Probe)
        sent.append((len(watch.depositions()), sum(isinstance(order, Probe) for order in watch.talk.open)))
    assert sent == [(0, 0), (0, 1), (0, 1), (1, 2), (1, 2)]
    assert watch.talk.node.candidacies[VIP.address].phase is Phase.WAITING, "the owner's key stands"


def test_who_is_not_next_in_line_probes_for_nobody() -> None:
    watch = Watch(n3=THEIRS + 1)
    watch.beat()
    watch.talk.run(WINDOW_S * 1.002 + 0.1, Transact, Probe)
    assert len(watch.depositions()) == 1
    watch.talk.none(Probe)


def test_a_deposition_is_tied_to_the_designation_and_to_the_owners_epoch() -> None:
    """Witness key's mod revision still mine, and the owner's key's create revision still the epoch: delete both."""
    watch = Watch()
    watch.beat()
    watch.wait(WINDOW_S + 0.05)
    (deposition,) = watch.depositions()
    assert set(deposition.guards) == {
        Guard(WITNESS, GuardTarget.MOD, watch.revision),
        Guard(watch.owner_key, GuardTarget.CREATE, watch.epoch),
    }
    assert {Delete(WITNESS), Delete(watch.owner_key)} < set(deposition.then)


def test_nothing_is_acknowledged_from_before_the_attempt_on() -> None:
    """From before that attempt on it acknowledges this designation no more, whatever the outcome."""
    watch = Watch()
    watch.beat()
    watch.wait(WINDOW_S + 0.05)
    assert watch.beat() == []
    watch.talk.fail(watch.depositions()[0])
    assert watch.beat() == []
    watch.talk.pass_time(1.0)
    assert watch.beat() == []


def test_a_witness_that_was_replaced_deposes_nobody() -> None:
    """Success of a designation frees the owner from the promises before it."""
    watch = Watch()
    watch.beat()
    watch.designate(0x777)
    watch.wait(WINDOW_S * 2)
    assert watch.depositions() == []


def test_a_witness_that_was_away_itself_listens_first() -> None:
    """Silence that nobody was there to hear says nothing."""
    watch = Watch()
    watch.beat()
    watch.talk.now += WINDOW_S + 1.0  # frozen; the beats of the meantime are in its socket
    assert watch.beat()
    assert watch.depositions() == []


def test_after_a_deposition_the_next_in_the_queue_takes_the_address() -> None:
    """After success it campaigns as always, and being next in the queue, takes the address."""
    watch = Watch()
    watch.beat()
    watch.talk.run(WINDOW_S + 0.5)
    assert watch.owner_key not in watch.talk.store.keys
    assert watch.talk.is_in(Phase.OWNING)


# -- the owner --------------------------------------------------------------------------------------------------------


def test_a_designation_is_guarded_by_the_own_key_and_the_witness_key() -> None:
    """In a transaction guarded by its own key's create revision and the witness key's mod revision."""
    owner = Owner()
    order = owner.designation()
    assert owner.talk.candidacy.epoch is not None
    assert Guard(owner.talk.key, GuardTarget.CREATE, owner.talk.candidacy.epoch) in order.guards
    assert Guard(WITNESS, GuardTarget.MOD, 0) in order.guards
    owner.talk.answer(order)
    record = read_record(owner.talk.store.keys[WITNESS])
    assert record is not None
    assert (record["epoch"], record["witnesses"]) == (owner.talk.candidacy.epoch, [f"{THEIRS:x}"])


def test_the_witness_has_no_power_before_the_fence_in_the_kernel_is_as_short_as_its_window() -> None:
    """From before a witness may depose us, the fence in the kernel ends no later than its promise."""
    owner = Owner()
    designation = owner.designation()
    owner.talk.serve()
    owner.talk.drop(SendDatagram)
    owner.talk.answer(designation)
    hold = owner.talk.expect(HoldAddress)
    owner.talk.pass_time(0.1)
    assert owner.beats() == []
    owner.talk.hear(AddressRefused(VIP, "EBUSY"))
    owner.talk.pass_time(0.05)
    assert owner.beats() == [], "the kernel still has it for the whole lease"
    assert hold.valid_lft_s <= WINDOW_S - 1
    owner.talk.run(1.0)
    assert owner.beats()


def test_the_earliest_promise_counts_and_not_the_lease() -> None:
    """right_until = min(lease_until, witness_until)."""
    owner = Owner().witnessed()
    owner.acknowledge()
    assert owner.talk.right_until <= owner.talk.now + WINDOW_S
    assert owner.talk.node.session.lease_until > owner.talk.now + 10


def test_without_acknowledgements_and_without_etcd_the_address_goes() -> None:
    """If no answer arrives before witness_until: remove the address."""
    owner = Owner().witnessed()
    sent_at = owner.talk.now
    owner.acknowledge()
    owner.talk.run(sent_at + WINDOW_S - owner.talk.now - 0.1, Transact, KeepLeaseAlive, RemoveAddress)
    owner.talk.none(RemoveAddress)
    owner.talk.run(0.1, Transact, KeepLeaseAlive, RemoveAddress)
    owner.talk.expect(RemoveAddress)
    assert owner.talk.is_in(Phase.LAPSED)


def test_a_silent_witness_is_replaced_before_its_promise_ends_and_only_success_frees() -> None:
    """At half the window without an answer it un-designates; success frees it from that promise."""
    owner = Owner().witnessed()
    owner.acknowledge()
    until = owner.talk.right_until
    undo = owner.designation()
    assert owner.talk.now < until - 0.5
    owner.talk.fail(undo)
    assert owner.talk.right_until == until
    again = owner.designation()
    owner.talk.answer(again)
    assert owner.talk.right_until > until
    owner.talk.run(5.0)
    assert owner.talk.is_in(Phase.OWNING)


def test_an_acknowledgement_that_is_forged_or_of_no_beat_of_ours_sets_nothing() -> None:
    """Authenticated with the secret."""
    owner = Owner().witnessed()
    until = owner.talk.right_until
    (beat,) = owner.beats()[-1:]
    owner.talk.now += 0.2
    forged = (beat, b"\1" * 16), (Heartbeat(beat.revision, beat.sequence + 1), SECRET), (Heartbeat(1, 1), SECRET)
    for entry, secret in forged:
        owner.hear(DatagramKind.ACKNOWLEDGEMENT, entry, secret)
    assert owner.talk.right_until == until


def test_a_withdrawal_that_the_watch_shows_frees_as_its_answer_does() -> None:
    """The witness has seen it as well, and acknowledges no more; etcd may stall before it answers."""
    owner = Owner().witnessed()
    owner.acknowledge()
    until = owner.talk.right_until
    undo = owner.designation()
    assert undo.then == (Delete(WITNESS),)
    owner.talk.store.delete(WITNESS)
    owner.talk.tell_changes()
    freed_until = owner.talk.right_until
    assert freed_until > until
    owner.talk.answer(undo)  # late, and its guard fails by now in this store: nothing comes of it
    assert owner.talk.right_until == freed_until


def test_a_witness_that_was_away_first_hears_what_was_said_meanwhile() -> None:
    """Frozen, or short of a processor: the beats wait in its socket."""
    watch = Watch()
    watch.beat()
    watch.talk.now += WINDOW_S + 1.0
    watch.talk.hear(TimePassed())
    assert watch.depositions() == []
    watch.wait(WINDOW_S / 2 + 0.1)
    assert watch.depositions()


def member_of_n2(owning: Owner, member: int) -> dict[str, object]:
    """n2 runs beside this member of etcd: what is designated then."""
    owning.talk.store.put(LAYOUT.agent("n2"), agent_record("n2", member=f"{member:x}"), THEIRS)
    owning.talk.tell_changes()
    for _ in range(30):
        owning.acknowledge()
        owning.step()
    return read_record(owning.talk.store.keys.get(WITNESS)) or {"witnesses": [], "windowMs": 0}


@pytest.mark.parametrize(("shortest_s", "slow_s"), [(1, 4.0), (2, 8.0), (3, 12.0), (4, 0.0), (8, 0.0)])
def test_the_node_of_etcds_leader_is_a_slow_witness_where_no_other_is_left(shortest_s: int, slow_s: float) -> None:
    """Its death silences the witness and stalls etcd at once, and only etcd frees us from its promise: that has to
    outlast an election, or the lease alone is as good. With the leader elsewhere the window is the usual one.
    """
    owning = Owner()
    leader = owning.talk.node.session.raft_leader.leader_id
    assert leader is not None
    owning.talk.store._ttl_floor_s = shortest_s
    for member, window_s in ((leader, slow_s), (leader + 1, WINDOW_S), (leader, slow_s)):
        designated = member_of_n2(owning, member)
        assert designated["witnesses"] == ([f"{THEIRS:x}"] if window_s else [])
        assert designated["windowMs"] == window_s * 1000
        standing = owning.talk.node.designations.active.values()
        assert [each.window_s for each in standing] == ([window_s] if window_s else [])
        told = owning.talk.node.outlook.vip(owning.talk.candidacy, owning.talk.now + 60.0)
        why = "n2 runs beside etcd's leader, and would fall with it"
        assert told.why_unwatched == ("" if window_s == WINDOW_S else why)
        assert told.crash_s == pytest.approx(window_s + 0.1 if window_s else 15.6, abs=0.02)


def test_where_etcd_tells_nobody_who_leads_it_every_witness_is_a_slow_one() -> None:
    """Releases that let root alone ask for Status: whoever watches may be beside the leader."""
    owning = Owner()
    node = owning.talk.node
    owning.talk.store._ttl_floor_s = 1
    node.session.raft_leader.forget()
    node.session.raft_leader.refused(owning.talk.now)
    node.designations.look_again(owning.talk.now)
    for _ in range(30):
        owning.acknowledge()
        owning.step(ReadMember)
    designated = read_record(owning.talk.store.keys.get(WITNESS)) or {}
    assert designated["witnesses"] == [f"{THEIRS:x}"]
    assert designated["windowMs"] == 4000
    told = node.outlook.vip(owning.talk.candidacy, owning.talk.now + 60.0)
    assert told.why_unwatched == "etcd does not tell this user who leads it (Status is refused)"


def test_before_etcd_has_told_its_shortest_lease_nobody_beside_its_leader_is_a_witness() -> None:
    """A promise that an election outlasts would cost the address. It is asked for again, not at every look."""
    owning = Owner()
    leader = owning.talk.node.session.raft_leader.leader_id
    assert leader is not None
    owning.talk.store.put(LAYOUT.agent("n2"), agent_record("n2", member=f"{leader:x}"), THEIRS)
    owning.talk.tell_changes()
    for _ in range(30):
        owning.acknowledge()
        owning.step(GrantLease)
    (asked,) = (order for order in owning.talk.open if isinstance(order, GrantLease))
    assert WITNESS not in owning.talk.store.keys
    owning.talk.open.remove(asked)
    owning.talk.fail(asked)
    until = owning.talk.now + 11.0
    while owning.talk.now < until:
        owning.acknowledge()
        owning.step(GrantLease)
    (again,) = (order for order in owning.talk.open if isinstance(order, GrantLease))
    assert again.ttl_s == asked.ttl_s == 1


def test_a_slow_witness_is_beaten_as_often_as_a_fast_one() -> None:
    """The newer the last promise, the more of it is left when witness and etcd's leader die together."""
    owning = Owner()
    leader = owning.talk.node.session.raft_leader.leader_id
    assert leader is not None
    owning.talk.store._ttl_floor_s = 2
    member_of_n2(owning, leader)
    owning.talk.drop(SendDatagram)
    begin = owning.talk.now
    heard = 0
    while owning.talk.now < begin + WINDOW_S:
        owning.step()
        heard += len(owning.beats())
        owning.acknowledge()
    assert heard in (9, 10, 11)  # under the lifetime fence ten times in a window
