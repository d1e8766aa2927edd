"""Candidacy: every phase meets every fact. The table is the machine; a row that changes must be explained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.etcd.keys import write_record
from sharedip.core.etcd.requests import RequestKind
from sharedip.core.messages import (
    AddressGone,
    AddressHeld,
    AddressRefused,
    AddressRemoved,
    AddressSeen,
    Exit,
    ForeignClaim,
    HoldAddress,
    KeepLeaseAlive,
    LinkChanged,
    MoveRequested,
    Probe,
    ReadKeys,
    ReadMember,
    RemovalFailed,
    RemoveAddress,
    RequestFailed,
    RevokeLease,
    StopRequested,
    TimePassed,
    Transact,
)
from sharedip.core.model import Delete, Failure, Put
from sharedip.core.segment.wire import Released
from tests.stages.harness import (
    LAYOUT,
    LINK,
    MAC,
    THEIRS,
    VIP,
    Talk,
    owner,
    taken_by_word,
    waiting_behind,
    with_a_rival,
)

DOWN = replace(LINK, running=False)


def staged(phase: Phase) -> Talk:
    """A node in this phase; n2 waits behind it where it owns or has owned."""
    talk = Talk()
    match phase:
        case Phase.OUT:
            talk.start(link=DOWN)
            talk.serve()
        case Phase.CAMPAIGNING:
            talk.start()
            talk.serve(Transact)
            talk.answer(talk.expect(Transact))
        case Phase.WAITING:
            talk = waiting_behind()
        case Phase.VERIFYING:
            talk = waiting_behind()
            talk.store.end_lease(THEIRS)
            talk.tell_changes()
        case Phase.PROBING:
            talk.start()
            talk.serve()
        case _:
            talk.own()
            talk.store.stand("n2")
            talk.tell_changes()
    if phase is Phase.LAPSED:
        talk.run(16.0, KeepLeaseAlive, RemoveAddress)
        talk.drop(KeepLeaseAlive)
    if phase in (Phase.LEAVING, Phase.RELEASING):
        talk.hear(MoveRequested(1, VIP.address, None))
    if phase is Phase.RELEASING:
        talk.answer(talk.expect(RemoveAddress))
    assert talk.is_in(phase), talk.candidacy.phase
    return talk


def lose_lease(talk: Talk) -> None:
    """etcd says that it has the lease no more."""
    talk.hear(RequestFailed(talk.node.session._begin(RequestKind.READ), 0, Failure.LEASE_NOT_FOUND, ""))


def delete_key(talk: Talk) -> None:
    """An operator's `etcdctl del`."""
    talk.store.delete(talk.key)
    talk.tell_changes()


def join(talk: Talk) -> None:
    """One more candidate."""
    talk.store.stand("n3", THEIRS + 1)
    talk.tell_changes()


def vanish(talk: Talk) -> None:
    """The other candidate's lease ended."""
    talk.store.end_lease(THEIRS)
    talk.tell_changes()


def read(talk: Talk) -> None:
    """A linearizable read comes back."""
    talk.answer(ReadKeys(talk.node.session._begin(RequestKind.READ), 0, LAYOUT.root, 1.0))


def link_down(talk: Talk) -> None:
    """And it stays down."""
    talk.hear(LinkChanged(DOWN))
    talk.pass_time(0.3)


def fail_transaction(talk: Talk) -> None:
    """The transaction under way, if there is one, brings no answer that counts."""
    for order in [order for order in talk.open if isinstance(order, Transact)]:
        talk.fail(order, Failure.REFUSED)


FACTS: dict[str, Callable[[Talk], object]] = {
    "lease lost": lose_lease,
    "own key deleted": delete_key,
    "another joins": join,
    "the other vanishes": vanish,
    "a fresh read": read,
    "link down": link_down,
    "stop": lambda talk: talk.hear(StopRequested()),
    "move": lambda talk: talk.hear(MoveRequested(1, VIP.address, None)),
    "sick": lambda talk: talk.fall_sick() + talk.assent(),
    "held": lambda talk: talk.hear(AddressHeld(VIP, talk.now, 13)),
    "refused": lambda talk: talk.hear(AddressRefused(VIP, "no")),
    "removed": lambda talk: talk.hear(AddressRemoved(VIP)),
    "removal failed": lambda talk: talk.hear(RemovalFailed(VIP, "busy")),
    "gone": lambda talk: talk.hear(AddressGone(2, VIP.address, 32)),
    "seen": lambda talk: talk.hear(AddressSeen(2, VIP.address, 32, ours=True)),
    "stranger": lambda talk: talk.hear(ForeignClaim(VIP, MAC, talk.now)),
    "request fails": fail_transaction,
}

# The phase after the fact and the new orders; what is not listed changes neither.
TABLE: dict[Phase, dict[str, str]] = {
    Phase.OUT: {
        "held": "out, remove",
        "seen": "out, remove",
    },
    Phase.CAMPAIGNING: {
        "lease lost": "out",
        "held": "campaigning, remove",
        "seen": "campaigning, remove",
        "request fails": "out",
    },
    Phase.WAITING: {
        "lease lost": "out",
        "own key deleted": "campaigning, campaign",
        "the other vanishes": "verifying, probe",
        "link down": "releasing, release",
        "stop": "releasing, release",
        "held": "waiting, remove",
        "seen": "waiting, remove",
    },
    Phase.VERIFYING: {
        "lease lost": "out",
        "own key deleted": "campaigning, campaign",
        "a fresh read": "probing",
        "link down": "releasing, probe, release",  # the second one
        "stop": "releasing, release",
        "held": "verifying, remove",
        "seen": "verifying, remove",
    },
    Phase.PROBING: {
        "lease lost": "out",
        "own key deleted": "campaigning, campaign",
        "link down": "leaving, hold, probe, remove",  # the probes were over before the link counted as down
        "stop": "releasing, release",
        "held": "probing, remove",
        "refused": "probing, remove",
        "seen": "probing, remove",
    },
    Phase.OWNING: {
        "lease lost": "out, remove",
        "own key deleted": "campaigning, campaign, remove",
        "link down": "leaving, remove",
        "stop": "leaving, remove",
        "move": "leaving, remove",
        "sick": "leaving, remove",
        "gone": "owning, hold",
    },
    Phase.LAPSED: {
        "lease lost": "out",
        "own key deleted": "campaigning, campaign",
        "removed": "verifying",
    },
    Phase.LEAVING: {
        "lease lost": "out",
        "removed": "releasing, release",
    },
    Phase.RELEASING: {
        "lease lost": "out",
        "request fails": "releasing, release",  # refused with its record, it goes without
        "held": "releasing, remove",
        "seen": "releasing, remove",
    },
}


def words(order: object, key: str | None) -> str | None:
    """The orders that matter here."""
    match order:
        case HoldAddress():
            return "hold"
        case RemoveAddress():
            return "remove"
        case Probe():
            return "probe"
        case Transact() if any(isinstance(op, Delete) for op in order.then):
            return "release"
        case Transact() if any(isinstance(op, Put) and op.key == key for op in order.then):
            return "campaign"
    return None


@pytest.mark.parametrize("fact", FACTS)
@pytest.mark.parametrize("phase", Phase)
def test_every_phase_meets_every_fact(phase: Phase, fact: str) -> None:
    """The table says what follows."""
    talk = staged(phase)
    known = list(talk.open)
    FACTS[fact](talk)
    new = {words(order, talk.candidacy.key) for order in talk.open if not any(order is each for each in known)}
    after = ", ".join([talk.candidacy.phase.value, *sorted(word for word in new if word is not None)])
    assert after == TABLE[phase].get(fact, phase.value)


def test_the_table_names_only_facts_that_exist() -> None:
    """A row with a slip in its name would never be looked at."""
    assert all(set(rows) <= set(FACTS) for rows in TABLE.values())
    assert set(TABLE) == set(Phase)


@pytest.mark.parametrize("fact", FACTS)
def test_nothing_but_the_kernels_word_releases_the_key(fact: str) -> None:
    """Law 3 over the whole column: from OWNING and LEAVING no single fact leads to a release, save the confirmation."""
    for phase in (Phase.OWNING, Phase.LEAVING, Phase.LAPSED):
        talk = staged(phase)
        FACTS[fact](talk)
        released = [order for order in talk.open if words(order, talk.candidacy.key) == "release"]
        assert not released or (phase is Phase.LEAVING and fact == "removed")


def test_a_kernel_that_goes_on_refusing_lets_another_node_try() -> None:
    """Two seconds of refusals; where nobody else stands it goes on trying."""
    talk = owner()
    for _ in range(25):
        talk.hear(AddressRefused(VIP, "ENOMEM"), after_s=0.05)
    assert talk.is_in(Phase.OWNING)
    with_a_rival(talk)
    talk.hear(AddressRefused(VIP, "ENOMEM"), after_s=0.05)
    for _ in range(25):
        talk.hear(AddressRefused(VIP, "ENOMEM"), after_s=0.05)
    assert talk.is_in(Phase.LEAVING)


def test_a_key_that_is_found_on_a_lease_that_is_just_given_back_holds_nobody_up() -> None:
    """The agent stops before the former run's lease is proved: it is revoked, and its key with it, while the disk is
    still being asked.
    """
    before = owner()
    assert before.saved is not None
    talk = Talk(store=before.store, now=before.now + 60.0)
    talk.start(replace(before.saved, held=()))
    talk.hear(StopRequested())
    revocation, keepalive = talk.expect(RevokeLease), talk.expect(KeepLeaseAlive)
    talk.disk_answers = False
    talk.answer(keepalive)
    talk.answer(talk.expect(ReadKeys))
    assert talk.is_in(Phase.LEAVING)
    talk.answer(revocation)
    talk.disk_answers = True
    talk.hear(TimePassed())
    talk.expect(Exit)


def test_a_word_that_came_when_the_right_was_too_short_counts_once_it_is_long_enough() -> None:
    """Else clients wait for the speaker's lease to end, though its address is off the link."""
    talk = waiting_behind()
    until = talk.node.session.lease_until
    while talk.now < until - 2.2:  # etcd answers nobody
        talk.pass_time(0.5)
        for order in [each for each in talk.open if isinstance(each, KeepLeaseAlive | ReadKeys | ReadMember)]:
            talk.open.remove(order)
            talk.fail(order)
    speaker = talk.candidacy.queue()[0]
    talk.node._released(THEIRS, Released(speaker.create_revision, VIP.address, "cut off"), talk.now)
    talk.hear(TimePassed())
    assert talk.is_in(Phase.WAITING)
    talk.run(3.0)
    assert talk.is_in(Phase.OWNING)


def test_who_took_by_a_word_does_not_tell_afterwards_how_the_former_owner_got_it() -> None:
    """Its key stands for a moment more, and its record may come last: the change before ours is no news."""
    talk = taken_by_word()
    speaker = talk.candidacy.queue()[0]
    record = {"node": "n2", "epoch": speaker.create_revision, "former": None, "reason": "it had no owner"}
    changes, said = list(talk.candidacy.history.changes), len(talk.reports)
    talk.store.put(LAYOUT.owner(VIP.address), write_record(record), THEIRS)
    talk.tell_changes()
    assert talk.candidacy.queue()[0] == speaker, "nobody has executed the word yet"
    assert list(talk.candidacy.history.changes) == changes
    assert not [report for report in talk.reports[said:] if "has the address" in report.text]
