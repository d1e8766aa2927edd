"""One node's kernel as the core's orders see it: the one interpreter of these orders in the tests.

Role: addresses with the lifetimes that end them, the links that carry them, and the nftables fence with its gates.
Must never: read a clock, draw lots, fail, or be late unless it is told to: faults are layers above it.
Counterparts: `tests/contract/kernel/test_model.py` holds it to the real adapters in a namespace;
`tests/stages/harness.py`, `tests/fuzz/stage.py` and `tests/simulation/world.py` stand on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

from sharedip.core.messages import (
    AddressHeld,
    AddressRefused,
    AddressRemoved,
    CloseGate,
    GateClosed,
    GateOpened,
    GateRefused,
    HoldAddress,
    OpenGate,
    RemovalFailed,
    RemoveAddress,
    ReorderAddress,
)
from sharedip.core.model import IPAddress
from sharedip.core.settings import LIFETIME_LATE_S, gate_timeout_s

KernelOrder = HoldAddress | RemoveAddress | ReorderAddress | OpenGate | CloseGate
"""What changes a kernel; announcements, probes and datagrams pass through it."""

TICK_S = 0.005
VOUCHED_S = 1.0
"""As `adapters/kernel/nftables.py` has them."""

Refusal = AddressRefused | RemovalFailed | GateRefused
KernelAnswer = AddressHeld | AddressRemoved | GateOpened | GateClosed | Refusal


def refused(order: KernelOrder, reason: str) -> Refusal:
    """How this order is answered where nothing was done, or nobody could see what was."""
    match order:
        case HoldAddress() | ReorderAddress():
            return AddressRefused(order.vip, reason)
        case RemoveAddress():
            return RemovalFailed(order.vip, reason)
        case OpenGate() | CloseGate():
            return GateRefused(order.vips, reason)
        case _:
            assert_never(order)


@dataclass(slots=True)
class Kernel:
    """Instants are those of the node's own clock. Links are there unless they are named as missing.

    `guarded` are the addresses that the fence's rules mute; `gates` says until when it lets traffic for one pass.
    """

    addresses: dict[IPAddress, float] = field(default_factory=dict)
    """Each with the end of its lifetime."""
    guarded: set[IPAddress] = field(default_factory=set)
    gates: dict[IPAddress, float] = field(default_factory=dict)
    peers: frozenset[bytes] = frozenset()
    """The cards by which other nodes claim an address."""
    claimed: dict[IPAddress, float] = field(default_factory=dict)
    """What another node has announced, and since when: mute until a newer proof (`nftrules.py`)."""
    vouched: dict[IPAddress, float] = field(default_factory=dict)
    """What has just been proved, and until when no claim counts."""
    missing_links: set[str] = field(default_factory=set)

    # -- orders -------------------------------------------------------------------------------------------------------

    def refusal(self, order: KernelOrder, now: float) -> Refusal | None:
        """What is said instead of carrying the order out: its instant has passed, or its link is gone."""
        match order:
            case HoldAddress() | ReorderAddress():
                is_late = now + order.valid_lft_s + LIFETIME_LATE_S > order.not_after
                if is_late or order.vip.link in self.missing_links:
                    return refused(order, "too late, or no link")
            case OpenGate():
                if _open_for_s(order, now) <= 0:
                    return refused(order, "too late")
            case RemoveAddress() | CloseGate():
                pass
            case _:
                assert_never(order)
        return None

    def carry_out(self, order: KernelOrder, now: float, *, late_s: float = 0.0) -> KernelAnswer:
        """Do it, and say so. A lifetime or an opening that this begins will end so much later than it should."""
        refusal = self.refusal(order, now)
        if refusal is not None:
            return refusal
        match order:
            case HoldAddress() | ReorderAddress():
                self.addresses[order.vip.address] = now + order.valid_lft_s + late_s
                return AddressHeld(order.vip, now, order.valid_lft_s)
            case RemoveAddress():
                self.addresses.pop(order.vip.address, None)
                return AddressRemoved(order.vip)
            case OpenGate():
                for vip in order.vips:
                    self.guarded.add(vip.address)
                    self.gates[vip.address] = now + _open_for_s(order, now) + late_s
                    if self.claimed.get(vip.address, order.proved_at) + TICK_S < order.proved_at:
                        del self.claimed[vip.address]
                        self.vouched[vip.address] = now + VOUCHED_S
                return GateOpened(order.vips, order.not_after)
            case CloseGate():
                for vip in order.vips:
                    self.gates.pop(vip.address, None)
                return GateClosed(order.vips)
            case _:
                assert_never(order)

    # -- what clients see ---------------------------------------------------------------------------------------------

    def lets_pass(self, address: IPAddress, now: float) -> bool:
        """Whether the fence, as long as its rules stand, lets traffic for the address pass."""
        return address not in self.guarded or (self.gates.get(address, now) > now and address not in self.claimed)

    def uses(self, address: IPAddress, now: float) -> bool:
        """Whether clients could reach the address here."""
        return address in self.addresses and self.lets_pass(address, now)

    def hear_claim(self, address: IPAddress, mac: bytes, now: float) -> None:
        """Somebody announces the address: the rules shut it before any program runs."""
        if address in self.guarded and mac in self.peers and self.vouched.get(address, now) <= now:
            self.claimed.setdefault(address, now)

    # -- what happens by itself, or by others -------------------------------------------------------------------------

    def expire(self, now: float) -> list[IPAddress]:
        """Take off what has outlived its lifetime, and say what that was."""
        gone = [address for address, until in self.addresses.items() if until <= now]
        for address in gone:
            del self.addresses[address]
        return gone

    def flush(self) -> None:
        """Somebody takes the fence's rules away, and the gates with them."""
        self.guarded.clear()
        self.gates.clear()
        self.claimed.clear()
        self.vouched.clear()


def _open_for_s(order: OpenGate, now: float) -> float:
    """An order that had to wait opens for less: what it must not outlive stays where it was."""
    return min(order.timeout_s, gate_timeout_s(order.not_after - now))
