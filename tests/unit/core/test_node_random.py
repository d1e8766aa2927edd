"""Random operations on one node, with the invariants after every step; a failure prints its seed.

The oracle is not the core's arithmetic but a store whose lease ends at a time of its own, and a kernel that knows what
stands on its link. Answers come late, twice-delayed, out of order, from a leader that was cut off, or never, and what
failed may have been carried out all the same.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sharedip.core.election.candidacy import Phase
from sharedip.core.messages import (
    AddressGone,
    AddressSeen,
    Announce,
    AnnounceOnceHeld,
    Command,
    DrainRequested,
    Exit,
    ForeignClaim,
    HealthChanged,
    HoldAddress,
    KeepaliveConfirmed,
    KeepLeaseAlive,
    LinkChanged,
    MoveRequested,
    RemoveAddress,
    RequestFailed,
    RevokeLease,
    StopRequested,
    Transact,
    WatchLost,
)
from sharedip.core.model import Delete, Failure
from tests.models.judge import given_up_too_early, outlives_its_lease
from tests.models.kernel import refused
from tests.stages.harness import LAYOUT, LINK, MAC, THEIRS, VIP, SmallEtcd, Talk

pytestmark = pytest.mark.slow

WANDERINGS = int(os.environ.get("SHAREDIP_WANDERINGS", "150"))
STEPS = 300


class Watched(Talk):
    """A talk whose every step is looked at, at the instant of the step."""

    judge: Callable[[list[Command]], None] | None = None

    def _note(self, orders: list[Command]) -> list[Command]:
        super()._note(orders)
        if self.judge is not None:
            self.judge(orders)
        return orders


class Wandering:
    """One node in a world that a seed moves."""

    def __init__(self, seed: int, *, restarts: bool = False) -> None:
        self.restarts = restarts
        self.orphans: list[Any] = []
        """Writes of former runs that may still be applied."""
        self.random = random.Random(seed)
        self.store = SmallEtcd(expiry=lambda ttl_s: self.talk.now + ttl_s)
        self.talk: Watched = Watched(
            ttl_s=self.random.choice((3, 5, 15)), endpoints=self.random.choice((1, 3)), store=self.store
        )
        self.released: set[int] = set()
        self.delayed: list[Any] = []
        self.is_over = False

    def play(self) -> None:
        """Walk, and look around after every step."""
        self.talk.judge = self.look
        self.talk.start()
        operations = [
            *[self.carry_out] * 12,
            *[self.pass_time] * 4,
            *[self.tell_changes] * 3,
            self.pass_long_time,
            self.fail,
            self.fail_though_applied,
            self.delay,
            self.deliver,
            self.deliver,
            self.confirm_from_a_stale_leader,
            self.lose_watch,
            self.others_come_and_go,
            self.take_off_behind_its_back,
            self.delete_key,
            self.end_leases,
            self.new_term,
            self.hear_something,
            *((self.restart, self.apply_an_orphan) if self.restarts else ()),
        ]
        for _ in range(STEPS):
            self.random.choice(operations)()
            if self.is_over:
                return

    # -- the world ----------------------------------------------------------------------------------------------------

    def outcome(self, order: Any) -> Any:
        """Carry it out, keeping the oracle's books."""
        talk = self.talk
        self.end_leases()
        match order:
            case Transact():
                before = {key.key: key for key in talk.store.under(LAYOUT.elections)}
                answer = talk.outcome(order)
                self.released |= {key.create_revision for name, key in before.items() if name not in talk.store.keys}
                return answer
            case RemoveAddress() if self.random.random() < 0.2:
                return refused(order, "busy")
        return talk.outcome(order)

    def stands(self) -> bool:
        """Whether the kernel may still have the address."""
        self.talk.kernel.expire(self.talk.now)
        return VIP.address in self.talk.kernel.addresses

    def end_leases(self) -> None:
        """Those of this node whose time has come; other candidates renew theirs."""
        for lease in self.store.expired(self.talk.now):
            if lease < THEIRS:
                self.store.end_lease(lease)

    def open(self, *but: type) -> list[Command]:
        """Orders that wait for an answer, oldest first; the kernel answers in order."""
        return [o for o in self.talk.open if not isinstance(o, but) and (hasattr(o, "request") or self.is_next(o))]

    def is_next(self, order: Command) -> bool:
        """The kernel's orders are executed one after the other."""
        kernel = [o for o in self.talk.open if isinstance(o, HoldAddress | RemoveAddress)]
        return bool(kernel) and kernel[0] is order

    def take(self, *but: type) -> Any:
        """Any open order, or None."""
        waiting = self.open(*but)
        if not waiting:
            return None
        order = self.random.choice(waiting)
        self.talk.open = [o for o in self.talk.open if o is not order]
        return order

    # -- operations ---------------------------------------------------------------------------------------------------

    def hear(self, event: Any) -> None:
        self.talk.hear(event)

    def carry_out(self) -> None:
        order = self.take()
        if order is not None:
            self.hear(self.outcome(order))

    def fail(self) -> None:
        order = self.take(HoldAddress, RemoveAddress)
        if order is not None:
            weather = [failure for failure in Failure if failure is not Failure.LEASE_NOT_FOUND]
            failure = self.random.choice(weather)
            self.hear(RequestFailed(order.request, order.endpoint, failure, failure.value))

    def fail_though_applied(self) -> None:
        order = self.take(HoldAddress, RemoveAddress)
        if order is not None:
            self.outcome(order)
            self.hear(RequestFailed(order.request, order.endpoint, Failure.TIMEOUT, "no answer in time"))

    def delay(self) -> None:
        order = self.take(HoldAddress, RemoveAddress)
        if order is not None:
            self.delayed.append(self.outcome(order))

    def deliver(self) -> None:
        if self.delayed:
            self.hear(self.delayed.pop(self.random.randrange(len(self.delayed))))

    def confirm_from_a_stale_leader(self) -> None:
        """It confirms without extending anything, in its own old term."""
        order = next((order for order in self.talk.open if isinstance(order, KeepLeaseAlive)), None)
        if order is not None:
            self.talk.open.remove(order)
            term = self.talk.term - self.random.randrange(2)
            self.talk.term += self.talk.term == term  # the others have elected another one meanwhile
            sent_at, ttl_s = self.talk.sent[order.request], self.talk.settings.lease_ttl_s
            self.hear(KeepaliveConfirmed(order.request, order.endpoint, order.lease, ttl_s, term, sent_at))

    def new_term(self) -> None:
        """A new leader extends every lease, and whatever stood in the old term stays there."""
        self.talk.term += 1
        self.end_leases()
        for lease in self.store.leases.values():
            lease.expires_at = max(lease.expires_at, self.talk.now + lease.ttl_s)

    def tell_changes(self) -> None:
        self.talk.tell_changes()

    def lose_watch(self) -> None:
        if self.talk.watch is not None:
            failure = self.random.choice((Failure.UNAVAILABLE, Failure.COMPACTED, Failure.NO_LEADER))
            self.hear(WatchLost(self.talk.watch, self.random.randrange(3), failure, failure.value))

    def others_come_and_go(self) -> None:
        lease = THEIRS + self.random.randrange(3)
        if any(key.lease == lease for key in self.talk.store.under()):
            self.talk.store.end_lease(lease)
        else:
            self.talk.store.stand(f"n{lease:x}", lease, sound=self.random.choice((True, True, False, None)))

    def take_off_behind_its_back(self) -> None:
        if self.stands() and not any(isinstance(o, HoldAddress) for o in self.talk.open):
            self.talk.kernel.addresses.clear()
            self.hear(AddressGone(2, VIP.address, 32))

    def delete_key(self) -> None:
        if self.random.random() < 0.2 and self.talk.candidacy.key is not None:
            self.talk.store.delete(self.talk.candidacy.key)

    def restart(self) -> None:
        """SIGKILL, and the next run 0.2 s later; what was under way may be applied at any time."""
        if self.random.random() < 0.7:
            return
        old = self.talk
        self.orphans += [order for order in old.open if isinstance(order, Transact | RevokeLease)]
        self.delayed.clear()
        self.talk = Watched(ttl_s=old.settings.lease_ttl_s, store=self.store, now=old.now + 0.2)
        self.talk.term = old.term
        if old.saved is not None:  # else the agent removes what it finds
            self.talk.kernel = old.kernel
        self.talk.start(old.saved)
        self.talk.judge = self.look  # from here on it knows what stands
        if self.stands():
            self.hear(AddressSeen(2, VIP.address, 32, ours=True))

    def apply_an_orphan(self) -> None:
        """The frozen member wakes up, and serves what it had in its buffer."""
        if not self.orphans:
            return
        key = self.talk.store.keys.get(str(self.talk.candidacy.key))
        order = self.orphans.pop(self.random.randrange(len(self.orphans)))
        self.outcome(order)
        if key is not None and key.key not in self.talk.store.keys:
            holds = self.talk.candidacy.phase is Phase.OWNING and self.talk.candidacy.epoch == key.create_revision
            assert not holds, "a former run's release takes the key from under the owner"

    def pass_time(self) -> None:
        self.talk.pass_time(self.random.choice((0.001, 0.02, 0.2, 0.5)))

    def pass_long_time(self) -> None:
        """A freeze: nothing is looked at until it is over."""
        self.talk.now += self.random.choice((0.5, 2.0, 20.0))
        self.end_leases()

    def hear_something(self) -> None:
        choose = self.random.choice
        self.hear(
            choose(
                (
                    LinkChanged(replace(LINK, running=choose((True, False)))),
                    LinkChanged(LINK),
                    HealthChanged(healthy=choose((True, False)), detail="?"),
                    DrainRequested(1, drained=choose((True, False))),
                    MoveRequested(2, VIP.address, None),
                    ForeignClaim(VIP, MAC, self.talk.now),
                    *((StopRequested(),) if self.random.random() < 0.1 else ()),
                )
            )
        )

    # -- the judge ----------------------------------------------------------------------------------------------------

    def look(self, orders: list[Command]) -> None:
        """The invariants."""
        talk, candidacy = self.talk, self.talk.candidacy
        ownership = candidacy.ownership
        stands = self.stands()
        own = talk.store.keys.get(str(candidacy.key))
        if own is not None:
            is_broken = outlives_its_lease(talk.store, talk.node.session.lease, talk.right_until)
            assert not is_broken, "the right outlives the lease"
        removes = any(isinstance(each, RemoveAddress) for each in orders)
        for order in orders:
            broken = given_up_too_early(order, talk.node.session.lease, lambda _: talk.kernel.addresses)
            assert broken is None, broken
            match order:
                case HoldAddress():
                    assert talk.kernel.refusal(order, talk.now) is None, "the kernel's lifetime is too long"
                    assert order.not_after <= max(talk.right_until, talk.now), "held beyond the right"
                    assert candidacy.epoch not in self.released, "held on a key that was released"
                case Announce() | AnnounceOnceHeld() if not removes:  # regressions/test_attacks.py
                    assert candidacy.phase is Phase.OWNING
                    assert isinstance(order, AnnounceOnceHeld) or ownership.presence.value == "present"
                case Transact() if any(isinstance(op, Delete) for op in order.then):
                    assert not stands, "the key is released while the address stands"
                    assert LAYOUT.election_of(next(op.key for op in order.then if isinstance(op, Delete)))
                case Exit():
                    self.is_over = True
                    assert not stands or talk.now >= talk.right_until, "the end comes before the address is off"
                case _:
                    pass
        if stands and ownership.is_clear:
            raise AssertionError("the address stands, and the core believes that all is clear")
        assert talk.node.next_deadline() >= talk.now or self.is_over, "a deadline that was not served"


@pytest.mark.parametrize("seed", range(WANDERINGS))
def test_no_sequence_of_facts_breaks_an_invariant(seed: int) -> None:
    """Whatever is heard, in whatever order: `pytest -k '[SEED]'` plays one again."""
    Wandering(seed).play()


def test_no_restart_in_between_breaks_an_invariant() -> None:
    """The same, with SIGKILL and a next run that knows its state file."""
    for seed in range(WANDERINGS):
        try:
            Wandering(seed, restarts=True).play()
        except Exception as broken:
            broken.add_note(f"seed {seed}, with restarts")
            raise
