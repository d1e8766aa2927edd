"""The models' kernel does what a real one does through the adapters: one script of orders, the same words in both.

Real time is short and somewhat late, so the script looks well before an end, and well after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Protocol

import pytest

from sharedip.adapters.kernel.deadman import Deadman
from sharedip.adapters.kernel.netlink import Netlink
from sharedip.adapters.kernel.nftables import Fence
from sharedip.core.address import frames
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
    RemoveAddress,
    ReorderAddress,
)
from sharedip.core.model import NEVER, Vip
from tests.contract.kernel.conftest import Pair
from tests.contract.kernel.kernel_netns import Recorder, boot_clock, wait_until
from tests.contract.kernel.neighbour import answers_resolution
from tests.contract.kernel.test_segment import send_from
from tests.models.kernel import Kernel, KernelAnswer, KernelOrder, refused

VIPS = (Vip(IPv4Address("10.0.0.50"), "eth0"), Vip(IPv6Address("2001:db8::50"), "eth0"))


OTHER = bytes.fromhex("0200000000aa")
CLAIM_ARRIVES_S = 0.1


class Node(Protocol):
    """A node with the fence over its VIPs, in one of the two worlds."""

    def now(self) -> float: ...
    def wait(self, seconds: float) -> None: ...
    def carry_out(self, order: KernelOrder) -> KernelAnswer: ...
    def stands(self, vip: Vip) -> bool: ...
    def answers(self, vip: Vip) -> bool: ...
    def hear_claim(self, vip: Vip) -> None: ...
    def flush(self) -> None: ...
    def lose_link(self, name: str) -> None: ...


class ModelNode:
    """`tests/models/kernel.py`, and a clock."""

    def __init__(self) -> None:
        self.kernel = Kernel(guarded={vip.address for vip in VIPS}, missing_links={"eth9"})
        self.clock = 1000.0

    def now(self) -> float:
        return self.clock

    def wait(self, seconds: float) -> None:
        self.clock += seconds
        self.kernel.expire(self.clock)

    def carry_out(self, order: KernelOrder) -> KernelAnswer:
        return self.kernel.carry_out(order, self.clock)

    def stands(self, vip: Vip) -> bool:
        return vip.address in self.kernel.addresses

    def answers(self, vip: Vip) -> bool:
        return self.kernel.uses(vip.address, self.clock)

    def hear_claim(self, vip: Vip) -> None:
        self.kernel.peers = frozenset({OTHER})
        self.kernel.hear_claim(vip.address, OTHER, self.clock)
        self.wait(CLAIM_ARRIVES_S)

    def flush(self) -> None:
        self.kernel.flush()

    def lose_link(self, name: str) -> None:
        self.kernel.missing_links.add(name)


class RealNode:
    """A namespace, under the adapters; whether it answers, its neighbour says."""

    def __init__(self, pair: Pair, netlink: Netlink, recorder: Recorder, fence: Fence) -> None:
        self.pair, self.netlink, self.recorder, self.fence = pair, netlink, recorder, fence

    def now(self) -> float:
        return boot_clock()

    def wait(self, seconds: float) -> None:
        until = boot_clock() + seconds
        wait_until(lambda: boot_clock() >= until)
        self.netlink.receive()

    def carry_out(self, order: KernelOrder) -> KernelAnswer:
        if isinstance(order, OpenGate | CloseGate):
            reason = self.fence.perform(order)
            if reason is not None:
                return refused(order, reason)
            return GateClosed(order.vips) if isinstance(order, CloseGate) else GateOpened(order.vips, order.not_after)
        self.recorder.take()
        self.netlink.perform(order)
        answer = self.recorder.take()[0]
        assert isinstance(answer, KernelAnswer)
        return answer

    def stands(self, vip: Vip) -> bool:
        return f" {vip}/{vip.host_prefix_length} " in self.pair.node.run("ip addr show")

    def answers(self, vip: Vip) -> bool:
        return answers_resolution(self.pair, vip)

    def hear_claim(self, vip: Vip) -> None:
        assert self.fence.know(frozenset({OTHER})) is None
        send_from(self.pair.peer, *frames.announcements(OTHER, vip.address), *frames.for_rules(OTHER, vip.address))
        self.wait(CLAIM_ARRIVES_S)

    def flush(self) -> None:
        self.pair.node.run("nft flush ruleset")

    def lose_link(self, name: str) -> None:
        self.pair.node.run(f"ip link set {name} name gone")
        self.netlink.snapshot()


@contextmanager
def real_node(pair: Pair, netlink: Netlink, recorder: Recorder, deadman: Deadman) -> Iterator[RealNode]:
    with pair.node.inside():
        fence = Fence(boot_clock, deadman)
        try:
            assert fence.install(VIPS) is None
            yield RealNode(pair, netlink, recorder, fence)
        finally:
            fence.close()


def script(node: Node, vip: Vip) -> list[Any]:
    """Everything that the core relies on: each answer, and what stands and answers behind it."""
    said: list[Any] = []

    def look() -> None:
        said.append((node.stands(vip), node.answers(vip)))

    def order(what: KernelOrder) -> None:
        answer = node.carry_out(what)
        said.append((type(answer), answer.valid_lft_s if isinstance(answer, AddressHeld) else None))
        look()

    def hold(valid_lft_s: int, spare_s: float = 3.0) -> HoldAddress:
        return HoldAddress(vip, valid_lft_s, node.now() + valid_lft_s + spare_s)

    def opening(timeout_s: float, spare_s: float = 2.0, proved_at: float = NEVER) -> OpenGate:
        return OpenGate((vip,), timeout_s, node.now() + timeout_s + spare_s, proved_at)

    order(hold(60))
    order(opening(30))
    order(hold(50))  # renewed
    order(ReorderAddress(vip, 40, node.now() + 45))
    order(CloseGate((vip,)))
    order(CloseGate((vip,)))
    order(opening(1, spare_s=-1.5))  # its instant has passed
    order(hold(5, spare_s=0.5))  # the kernel might remove it after its instant
    order(opening(1))
    node.wait(1.3)
    look()  # the gate has closed by itself
    order(OpenGate((vip,), 30.0, node.now() + 1.5))  # it had to wait, and opens for less
    node.wait(1.6)
    look()
    order(opening(30))
    node.hear_claim(vip)
    look()  # mute
    order(opening(29, proved_at=node.now() - 1.0))
    order(opening(30, proved_at=node.now()))
    node.hear_claim(vip)
    look()  # so soon after the proof it says nothing
    order(RemoveAddress(vip))
    order(RemoveAddress(vip))
    order(hold(2))
    node.wait(3.3)
    look()  # the lifetime has ended
    order(CloseGate((vip,)))
    order(HoldAddress(replace(vip, link="eth9"), 60, node.now() + 65))
    order(hold(60))
    node.flush()
    look()  # nothing mutes it any more
    order(opening(30))
    order(CloseGate((vip,)))  # the rules are back
    order(RemoveAddress(vip))
    node.lose_link("eth0")
    order(hold(60))
    order(RemoveAddress(vip))
    return said


@pytest.mark.parametrize("vip", VIPS, ids=["ipv4", "ipv6"])
def test_the_model_does_what_the_kernel_does(
    pair: Pair, netlink: Netlink, recorder: Recorder, deadman: Deadman, vip: Vip
) -> None:
    """Holds, lifetimes, removals, gates, instants that have passed, links that are gone."""
    model = script(ModelNode(), vip)
    with real_node(pair, netlink, recorder, deadman) as node:
        assert script(node, vip) == model
    kinds = {said[0] for said in model if isinstance(said[0], type)}
    assert kinds == {AddressHeld, AddressRefused, AddressRemoved, GateOpened, GateClosed, GateRefused}
