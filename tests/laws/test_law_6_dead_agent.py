"""Law 6: an agent that dies in any way leaves no address behind; the kernel sees to it.

That it does is shown with a real one: `tests/contract/kernel/test_deadman.py`, and `test_addresses.py` beside it.
"""

from __future__ import annotations

from sharedip.core.messages import (
    AddressSeen,
    Exit,
    GrantLease,
    HoldAddress,
    KeepLeaseAlive,
    RemovalFailed,
    RemoveAddress,
    RevokeLease,
    StopRequested,
    Transact,
)
from sharedip.core.model import Failure, FenceKind
from sharedip.core.settings import LIFETIME_LATE_S
from tests.stages.harness import OURS, VIP, Talk, owner


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


def test_the_end_waits_for_the_lifetime_and_not_for_the_right() -> None:
    """Under the nftables fence the lifetime follows the lease, whatever the witness's promise was."""
    talk = Talk(fence=FenceKind.NFTABLES).own()
    talk.candidacy.ownership.right.set("witness", talk.now + 1.0)
    ends_at = talk.candidacy.ownership.stands_until
    talk.hear(StopRequested())
    while not any(isinstance(order, Exit) for order in talk.open) and talk.now < ends_at + 30.0:
        for order in [order for order in talk.open if isinstance(order, RemoveAddress)]:
            talk.open.remove(order)
            talk.hear(RemovalFailed(order.vip, "EBUSY"))
        talk.serve(RemoveAddress, RevokeLease, Transact)
        talk.pass_time(0.1)
    assert talk.now >= ends_at
