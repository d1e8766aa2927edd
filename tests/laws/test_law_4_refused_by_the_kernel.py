"""Law 4: what the kernel refused may have been carried out: the fence counts as the longest that was ever ordered."""

from __future__ import annotations

import pytest

from sharedip.core.address.ownership import REFUSALS_MAX, Ownership
from sharedip.core.election.candidacy import REFUSED_HOLDOFF_S, Phase
from sharedip.core.messages import (
    AddressGone,
    AddressHeld,
    AddressRefused,
    Command,
    GateOpened,
    GateRefused,
    HoldAddress,
    OpenGate,
    RemoveAddress,
    Transact,
)
from sharedip.core.model import FenceKind
from tests.stages.harness import VIP, Talk, owner, tell, with_a_rival

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


# -- refused for good -------------------------------------------------------------------------------------------------

NO_IPV6 = "IPv6 is off on eth0 (disable_ipv6, or an MTU below 1280)"


def refused(talk: Talk, *, is_for_good: bool) -> None:
    """The address leaves the link, the owner wants it back, and the kernel does not let it."""
    index = talk.node.links.index_of(VIP.link)
    assert index is not None
    talk.hear(AddressGone(index, VIP.address, VIP.host_prefix_length))
    talk.expect(HoldAddress)
    talk.hear(AddressRefused(VIP, NO_IPV6, is_for_good=is_for_good))


def test_a_refusal_that_can_not_pass_hands_over_at_once_and_says_why() -> None:
    """Trying again for two seconds would be two seconds of darkness."""
    talk = with_a_rival(owner())
    refused(talk, is_for_good=True)
    assert talk.is_in(Phase.LEAVING)
    assert talk.bid.leave_reason == f"the kernel will not have the address: {NO_IPV6}"
    left_at = talk.now
    talk.serve()
    assert talk.is_in(Phase.OUT), "the key is given up"
    talk.pass_time(REFUSED_HOLDOFF_S - 0.1)
    talk.serve()
    assert talk.is_in(Phase.OUT), "others come first for a while"
    assert talk.now < left_at + REFUSED_HOLDOFF_S


def test_it_is_no_sign_that_the_address_is_gone() -> None:
    """Law 3 holds all the same: removed, confirmed, and only then given up."""
    talk = with_a_rival(owner())
    refused(talk, is_for_good=True)
    removal = talk.expect(RemoveAddress)
    talk.none(Transact)
    assert not talk.candidacy.ownership.is_clear
    talk.answer(removal)
    talk.serve()
    assert talk.is_in(Phase.OUT)


def test_a_refusal_that_may_pass_is_borne_for_a_while() -> None:
    """A kernel that is short of memory, or too late, may do it the next time."""
    talk = with_a_rival(owner())
    refused(talk, is_for_good=False)
    assert talk.is_in(Phase.OWNING)
    for _ in range(REFUSALS_MAX - 2):
        talk.hear(AddressRefused(VIP, "ENOMEM"))
    assert talk.is_in(Phase.OWNING)


def test_a_hold_that_succeeds_forgets_what_was_refused_for_good() -> None:
    ownership, _ = taken(FenceKind.LIFETIME)
    tell(ownership, NOW, Ownership.address_refused, AddressRefused(VIP, NO_IPV6, is_for_good=True), NOW)
    assert ownership.refused_for_good == NO_IPV6
    tell(ownership, NOW, Ownership.address_held, AddressHeld(VIP, NOW, 1), NOW)
    assert ownership.refused_for_good == ""
