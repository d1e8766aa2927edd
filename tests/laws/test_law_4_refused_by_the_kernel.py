"""Law 4: what the kernel refused may have been carried out: the fence counts as the longest that was ever ordered."""

from __future__ import annotations

import pytest

from sharedip.core.address.ownership import Ownership
from sharedip.core.messages import (
    AddressHeld,
    AddressRefused,
    Command,
    GateOpened,
    GateRefused,
    HoldAddress,
    OpenGate,
)
from sharedip.core.model import FenceKind
from tests.stages.harness import VIP, tell

NOW = 1000.0
LEASE_UNTIL = 1015.0
WINDOW_UNTIL = 1001.0


def taken(fence: FenceKind) -> tuple[Ownership, list[Command]]:
    """An address that was just taken on the lease alone, its first orders not answered yet; the gate was closed."""
    out: list[Command] = []
    ownership = Ownership(VIP, out.append, fence)
    tell(ownership, NOW, Ownership.gate_closed)
    ownership.right.set("lease", LEASE_UNTIL)
    tell(ownership, NOW, Ownership.take, 7, NOW)
    return ownership, out


def test_a_gate_that_was_refused_may_be_open_all_the_same() -> None:
    """An answer that got lost, or one that came too late: nobody knows how long it stays open."""
    ownership, out = taken(FenceKind.NFTABLES)
    (order,) = [each for each in out if isinstance(each, OpenGate)]
    assert order.not_after == LEASE_UNTIL
    tell(ownership, NOW, Ownership.gate_refused, GateRefused((VIP,), "the kernel did not answer"), NOW)
    ownership.right.set("witness", WINDOW_UNTIL)
    tell(ownership, NOW, Ownership.right_changed, NOW)
    tell(ownership, NOW, Ownership.gate_refused, GateRefused((VIP,), "EBUSY"), NOW)
    assert not ownership.fence_is_tight, "a witness would get its power while the gate is open for the lease"
    tell(ownership, NOW, Ownership.gate_opened, GateOpened((VIP,), WINDOW_UNTIL), NOW)
    assert ownership.fence_is_tight


@pytest.mark.parametrize("known", [False, True])
def test_an_address_that_was_refused_may_stand_all_the_same(*, known: bool) -> None:
    """With the lifetime that was ordered, and not with the one before."""
    ownership, out = taken(FenceKind.LIFETIME)
    (order,) = [each for each in out if isinstance(each, HoldAddress)]
    assert order.not_after == LEASE_UNTIL
    if known:
        tell(ownership, NOW, Ownership.address_held, AddressHeld(VIP, NOW, order.valid_lft_s), NOW)
    else:
        tell(ownership, NOW, Ownership.address_refused, AddressRefused(VIP, "the kernel did not answer"), NOW)
    ownership.right.set("witness", NOW + 3)
    tell(ownership, NOW, Ownership.right_changed, NOW)
    tell(ownership, NOW, Ownership.address_refused, AddressRefused(VIP, "EBUSY"), NOW)
    assert not ownership.fence_is_tight
    tell(ownership, NOW, Ownership.right_changed, NOW)
    tell(ownership, NOW, Ownership.address_held, AddressHeld(VIP, NOW, 1), NOW)
    assert ownership.fence_is_tight
