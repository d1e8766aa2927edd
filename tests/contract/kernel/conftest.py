"""A node and its neighbour, in network namespaces of their own.

Not here, for want of the kernel modules: VLAN, bond and dummy links. Links are veth and macvlan; the adapters treat
every kind alike, by index.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from sharedip.adapters.kernel.deadman import Deadman
from sharedip.adapters.kernel.netlink import Netlink
from sharedip.adapters.kernel.packet import Segment
from tests.contract.kernel.kernel_loop import VIP4, VIP6, Loop, link_of
from tests.contract.kernel.kernel_netns import Namespace, Recorder, boot_clock, remove_stale, wait_until

HERE = os.path.dirname(__file__)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of it needs root."""
    for item in items:
        if str(item.path).startswith(HERE):
            item.add_marker(pytest.mark.root)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root for network namespaces"))


class Pair(NamedTuple):
    """`node` and `peer`, joined by a cable; its ends are called eth0."""

    node: Namespace
    peer: Namespace


def await_ipv6(namespace: Namespace) -> None:
    """The link-local address comes last, when the carrier was noticed: IPv6 is deaf before that."""
    wait_until(lambda: "fe80:" in namespace.run("ip -6 addr show dev eth0"))


@pytest.fixture(scope="session")
def _no_stale_namespaces() -> None:
    remove_stale()


@pytest.fixture
def pair(_no_stale_namespaces: None) -> Iterator[Pair]:
    """The node is 10.0.0.1 and 2001:db8::1, the peer 10.0.0.2 and 2001:db8::2."""
    made: list[Namespace] = []
    try:
        for name in ("node", "peer"):
            made.append(Namespace(name))  # noqa: PERF401 - each is to be removed, also when the next one fails
        node, peer = made
        # Different indexes: the kernel notices the carrier of equal ones up to a second late (linkwatch_urgent_event).
        node.run(f"ip link add eth0 index 11 type veth peer name eth0 index 22 netns {peer.name}")
        for number, namespace in enumerate(made, 1):
            namespace.run(f"ip addr add 10.0.0.{number}/24 dev eth0")
            namespace.run(f"ip addr add 2001:db8::{number}/64 dev eth0 nodad")
            namespace.run("ip link set eth0 up")
        for namespace in made:
            await_ipv6(namespace)
        yield Pair(node, peer)
    finally:
        for namespace in made:
            namespace.remove()


@pytest.fixture(scope="session")
def deadman() -> Deadman:
    """One per process, as in the agent."""
    return Deadman()


@pytest.fixture
def recorder() -> Recorder:
    """Where facts go."""
    return Recorder()


@pytest.fixture
def netlink(pair: Pair, deadman: Deadman, recorder: Recorder) -> Iterator[Netlink]:
    """The adapter on the node, past its first look around."""
    with pair.node.inside():
        made = Netlink(recorder, boot_clock, deadman)
    made.snapshot()
    recorder.take()
    yield made
    made.close()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def segment(pair: Pair, netlink: Netlink, loop: Loop, deadman: Deadman, recorder: Recorder) -> Iterator[Segment]:
    made = Segment(
        recorder,
        boot_clock,
        deadman,
        add_reader=loop.add,
        remove_reader=loop.readers.pop,
        is_own_mac=netlink.is_own_mac,
    )
    with pair.node.inside():
        made.watch_link(link_of(netlink), [VIP4, VIP6])
        yield made
        made.close()
    assert loop.readers == {}
