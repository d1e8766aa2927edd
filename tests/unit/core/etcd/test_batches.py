"""What many VIPs ask of etcd at one instant: together on the way, each with its own outcome."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharedip.core.etcd.batches import GuardedWrite, Outcome, WriteBatcher
from sharedip.core.etcd.requests import RequestKind
from sharedip.core.messages import RequestFailed, StopRequested, TransactionDone
from sharedip.core.model import Failure, Guard, GuardTarget, Operation, Put, Vip
from tests.stages.harness import LAYOUT, OURS, SmallEtcd, Talk

TTL_S = 15
VIPS = tuple(Vip(ip_address("10.0.0.0") + number, "eth0") for number in range(300))


class Road:
    """What was sent, and a small etcd at the end of it."""

    def __init__(self, store: SmallEtcd | None = None) -> None:
        self.store = SmallEtcd() if store is None else store
        if OURS not in self.store.leases:
            self.store.grant(TTL_S, OURS)
        self.sent: list[tuple[int, RequestKind, tuple[Guard, ...], tuple[Operation, ...], tuple[Operation, ...]]] = []
        self.batcher = WriteBatcher()

    def flush(self) -> None:
        """Start a transaction for each batch."""
        for batch in self.batcher.flush():
            self.batcher.sent(batch, len(self.sent))
            self.sent.append((len(self.sent), batch.kind, batch.guards, batch.then, batch.otherwise))

    def outcome(self, number: int) -> TransactionDone:
        """What etcd says to it."""
        _, _, guards, then, otherwise = self.sent[number]
        succeeded, found = self.store.apply(guards, then, otherwise)
        return TransactionDone(number, 0, succeeded, found, self.store.revision, 1, 0.0)

    def arrive(
        self, refuses: Callable[[tuple[Guard, ...]], bool] = lambda _: False
    ) -> list[tuple[GuardedWrite, Outcome]]:
        """Everything under way is answered, and what goes again too; who got what."""
        told, at = [], 0
        while at < len(self.sent):
            refused = RequestFailed(at, 0, Failure.REFUSED, "etcd's words")
            told += self.batcher.answered(at, refused if refuses(self.sent[at][2]) else self.outcome(at))
            self.flush()
            at += 1
        return told


def succeeded(told: list[tuple[GuardedWrite, Outcome]]) -> list[tuple[GuardedWrite, bool]]:
    """Who got what it wanted."""
    return [(write, isinstance(each, TransactionDone) and each.succeeded) for write, each in told]


def campaign(vip: Vip, lease: int = OURS) -> GuardedWrite:
    """The recipe's transaction for one VIP."""
    key = LAYOUT.candidate(vip.address, lease)
    return GuardedWrite(RequestKind.CAMPAIGN, vip, (Guard(key, GuardTarget.CREATE, 0),), (Put(key, b"n1", lease),))


def record(vip: Vip, epoch: int) -> GuardedWrite:
    """A record that nobody waits for."""
    guard = Guard(LAYOUT.candidate(vip.address, OURS), GuardTarget.CREATE, epoch)
    return GuardedWrite(RequestKind.RECORD, vip, (guard,), (Put(LAYOUT.owner(vip.address), b"{}", OURS),))


def test_a_thousand_writes_are_a_few_transactions_within_what_etcd_takes() -> None:
    """128 operations by default (--max-txn-ops); every write gets its outcome."""
    road = Road()
    for vip in VIPS:
        road.batcher.add(campaign(vip))
    road.flush()
    assert len(road.sent) == 3
    assert all(max(len(then), len(guards), len(other)) <= 128 for _, _, guards, then, other in road.sent)
    assert succeeded(road.arrive()) == [(campaign(vip), True) for vip in VIPS]
    assert all(LAYOUT.candidate(vip.address, OURS) in road.store.keys for vip in VIPS)


@given(st.sets(st.integers(0, 39)), st.integers(1, 40))
def test_whose_guard_fails_is_told_so_and_the_others_get_what_they_wanted(taken: set[int], number: int) -> None:
    """A transaction holds only if all its guards do: the innocent ones go again."""
    road = Road()
    for at in taken:
        road.store.put(LAYOUT.candidate(VIPS[at].address, OURS), b"n1", OURS)
    for vip in VIPS[:number]:
        road.batcher.add(campaign(vip))
    road.flush()
    told = {write.vip: got_it for write, got_it in succeeded(road.arrive())}
    assert told == {vip: at not in taken for at, vip in enumerate(VIPS[:number])}
    assert len(road.sent) <= 2


def test_a_failed_guard_shows_the_key_that_stands_there() -> None:
    """An earlier try that was applied is found: the key is ours, and its create revision is the epoch."""
    road = Road()
    road.store.put(LAYOUT.candidate(VIPS[0].address, OURS), b"n1", OURS)
    road.batcher.add(campaign(VIPS[0]))
    road.flush()
    ((_, outcome),) = road.batcher.answered(0, road.outcome(0))
    assert isinstance(outcome, TransactionDone)
    assert [key.create_revision for key in outcome.keys] == [road.store.revision]


def test_a_transaction_without_an_answer_is_nobodys_success() -> None:
    """What became of it nobody knows; nothing is sent again behind the candidacy's back."""
    road = Road()
    for vip in VIPS[:2]:
        road.batcher.add(campaign(vip))
    road.flush()
    failed = RequestFailed(0, 0, Failure.TIMEOUT, "")
    assert road.batcher.answered(0, failed) == [(campaign(vip), failed) for vip in VIPS[:2]]
    road.flush()
    assert len(road.sent) == 1
    assert road.batcher.answered(0, failed) == [], "an answer counts once"


def test_a_refusal_without_a_reason_is_nonsense_and_goes_on_for_ever_for_nobody() -> None:
    """An etcd that says that a guard failed and shows that all hold."""
    road = Road()
    for vip in VIPS[:2]:
        road.batcher.add(campaign(vip))
    road.flush()
    told = road.batcher.answered(0, TransactionDone(0, 0, False, (), 20, 1, 0.0))
    assert [outcome.failure for _, outcome in told if isinstance(outcome, RequestFailed)] == [Failure.NONSENSE] * 2
    road.flush()
    assert len(road.sent) == 1


def test_an_etcd_that_takes_fewer_operations_is_asked_for_fewer() -> None:
    """`--max-txn-ops` below 128: nobody is told of a refusal that was not meant for it."""
    road = Road()
    for vip in VIPS[:10]:
        road.batcher.add(campaign(vip))
    road.flush()
    told = road.arrive(refuses=lambda guards: len(guards) > 3)
    assert [write.vip for write, outcome in told if isinstance(outcome, TransactionDone)] == list(VIPS[:10])


def test_only_those_that_etcd_refuses_are_told_so() -> None:
    """A permission that is missing for one key."""
    road = Road()
    for vip in VIPS[:5]:
        road.batcher.add(campaign(vip))
    road.flush()
    told = road.arrive(refuses=lambda guards: campaign(VIPS[3]).guards[0] in guards)
    assert len(told) == 5
    assert [write.vip for write, outcome in told if isinstance(outcome, RequestFailed)] == [VIPS[3]]


def test_records_wait_for_the_one_under_way_and_releases_never_do() -> None:
    """Nobody waits for a record; while one transaction of them is under way the next ones gather."""
    road = Road()
    road.batcher.add(record(VIPS[0], 11))
    road.flush()
    for vip in VIPS[1:4]:
        road.batcher.add(record(vip, 11))
        road.flush()
    assert len(road.sent) == 1
    road.batcher.add(campaign(VIPS[5]))
    road.flush()
    assert [kind for _, kind, *_ in road.sent] == [RequestKind.RECORD, RequestKind.CAMPAIGN]
    road.batcher.answered(0, RequestFailed(0, 0, Failure.TIMEOUT, ""))
    road.flush()
    assert len(road.sent[2][2]) == 3, "three records in one transaction"


def test_no_transaction_has_a_key_twice() -> None:
    """etcd refuses one that has ("duplicate key given in txn request")."""
    road = Road()
    road.batcher.add(record(VIPS[0], 11))
    road.batcher.add(record(VIPS[0], 12))
    road.flush()
    road.batcher.answered(0, RequestFailed(0, 0, Failure.TIMEOUT, ""))
    road.flush()
    assert all(len({each.key for each in then}) == len(then) for _, _, _, then, _ in road.sent)


def test_with_the_lease_everything_is_forgotten() -> None:
    """No write of a lease that is gone is sent on another one, and no late answer is anybody's."""
    road = Road()
    road.batcher.add(campaign(VIPS[0]))
    road.flush()
    road.batcher.add(campaign(VIPS[1]))
    road.batcher.forget()
    road.flush()
    assert len(road.sent) == 1
    assert road.batcher.answered(0, road.outcome(0)) == []


def test_a_single_write_of_its_own_is_told_what_etcd_says() -> None:
    """Alone there is no other whose guard could have failed."""
    road = Road()
    road.batcher.add(campaign(VIPS[0]))
    road.flush()
    ((_, outcome),) = road.batcher.answered(0, TransactionDone(0, 0, False, (), 20, 1, 0.0))
    assert outcome == TransactionDone(0, 0, False, (), 20, 1, 0.0)


# -- in the node ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 90])
def test_all_vips_of_a_node_campaign_at_once_and_are_owned(number: int) -> None:
    """One VIP or ninety: the same two round trips."""
    talk = Talk(vips=VIPS[:number])
    talk.start()
    talk.run(3.0)
    assert all(each.phase.value == "owning" for each in talk.node.candidacies.values())


def test_a_key_that_is_deleted_while_ninety_are_released_keeps_none_of_the_others() -> None:
    """One guard fails; every other key is gone all the same, and the node ends in order."""
    talk = Talk(vips=VIPS[:90])
    talk.start()
    talk.run(3.0)
    talk.hear(StopRequested())
    talk.store.delete(LAYOUT.candidate(VIPS[7].address, OURS))
    talk.run(1.0)
    assert talk.node.is_over
    assert not any(LAYOUT.election_of(name) for name in talk.store.keys)


def test_a_write_may_be_guarded_by_a_mod_revision() -> None:
    """Created long ago, changed since: whoever knew it as it was is refused, and the neighbour goes again."""
    road = Road()
    road.store.put("k", b"", 1)
    road.store.put("k", b"", 1)
    at = road.store.keys["k"]
    stale, fresh = (
        GuardedWrite(RequestKind.RECORD, vip, (Guard("k", GuardTarget.MOD, mod),), (Put(f"k{vip}", b"", 1),))
        for vip, mod in zip(VIPS[:2], (at.create_revision, at.mod_revision), strict=True)
    )
    road.batcher.add(stale)
    road.batcher.add(fresh)
    road.flush()
    assert succeeded(road.arrive()) == [(stale, False), (fresh, True)]


def test_a_write_with_two_guards_fails_with_either_of_them_and_shows_both_keys() -> None:
    """And no key of its neighbour's, which goes again; it does not, for what it wanted can never be."""
    road = Road()
    road.store.put("mine", b"", OURS)
    road.store.put(LAYOUT.candidate(VIPS[1].address, OURS), b"n1", OURS)
    mine = road.store.keys["mine"]
    neighbour = record(VIPS[1], road.store.revision)
    guards = Guard("mine", GuardTarget.CREATE, mine.create_revision), Guard("theirs", GuardTarget.CREATE, 99)
    execution = GuardedWrite(RequestKind.RECORD, VIPS[0], guards, (Put("k", b"", OURS),))
    road.batcher.add(execution)
    road.batcher.add(neighbour)
    road.flush()
    told = dict(road.arrive())
    assert succeeded(list(told.items())) == [(execution, False), (neighbour, True)]
    outcome = told[execution]
    assert isinstance(outcome, TransactionDone)
    assert outcome.keys == (mine,)
    assert "k" not in road.store.keys
