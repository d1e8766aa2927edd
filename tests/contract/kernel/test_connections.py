"""Connections on a leaving address get a RST at once; all others live on."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import pytest

from sharedip.adapters.kernel.netlink import Netlink
from sharedip.adapters.kernel.sockets import ConnectionResetter
from sharedip.adapters.kernel.wire import Refusal
from sharedip.core.messages import AddressRemoved, HoldAddress, RemoveAddress, Report
from sharedip.core.model import Vip
from tests.contract.kernel.conftest import Pair
from tests.contract.kernel.kernel_loop import VIP4, VIP6
from tests.contract.kernel.kernel_netns import Recorder, boot_clock

PORT = 8080


@contextmanager
def connections(
    pair: Pair, addresses: list[str], family: int = socket.AF_INET, *, accepts: bool = True
) -> Iterator[list[socket.socket]]:
    """A server on the node, and one client on the peer for each address; the clients are yielded."""
    opened: list[socket.socket] = []
    try:
        with pair.node.inside():
            server = socket.socket(family, socket.SOCK_STREAM)
            opened.append(server)
            if family == socket.AF_INET6:
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("", PORT))
            server.listen(4096)
        clients = []
        with pair.peer.inside():
            for address in addresses:
                client = socket.create_connection((address, PORT), timeout=5)
                opened.append(client)
                clients.append(client)
                if accepts:
                    opened.append(server.accept()[0])
        yield clients
    finally:
        for one in opened:
            one.close()


def is_reset(client: socket.socket) -> bool:
    client.settimeout(0.5)
    try:
        client.recv(1)
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    pytest.fail("the server said something")


@pytest.mark.parametrize(
    ("vip", "family", "own"),
    [
        (VIP4, socket.AF_INET, "10.0.0.1"),
        (VIP4, socket.AF_INET6, "10.0.0.1"),  # an IPv6 server that takes IPv4 clients
        (VIP6, socket.AF_INET6, "2001:db8::1"),
    ],
    ids=["ipv4", "mapped", "ipv6"],
)
def test_clients_of_a_leaving_address_get_a_rst_and_the_node_s_own_connections_live(
    pair: Pair, netlink: Netlink, recorder: Recorder, vip: Vip, family: int, own: str
) -> None:
    netlink.perform(HoldAddress(vip, 60, boot_clock() + 63))
    recorder.take()
    with connections(pair, [str(vip), own], family) as (doomed, spared):
        netlink.perform(RemoveAddress(vip))
        assert recorder.take() == [AddressRemoved(vip)]
        assert is_reset(doomed)
        assert not is_reset(spared)
        assert netlink.connections.reset == 1
        assert netlink.connections.failed == 0


def test_connections_are_left_alone_when_the_order_says_so(pair: Pair, netlink: Netlink) -> None:
    netlink.perform(HoldAddress(VIP4, 60, boot_clock() + 63))
    with connections(pair, [str(VIP4)]) as (client,):
        netlink.perform(RemoveAddress(VIP4, reset_connections=False))
        assert not is_reset(client)


def test_half_closed_connections_are_reset_too(pair: Pair, netlink: Netlink) -> None:
    """CLOSE_WAIT on the server's side."""
    netlink.perform(HoldAddress(VIP4, 60, boot_clock() + 63))
    with connections(pair, [str(VIP4)]) as (client,):
        client.shutdown(socket.SHUT_WR)
        netlink.perform(RemoveAddress(VIP4))
        assert netlink.connections.reset == 1


def test_many_addresses_leave_with_one_look_at_the_sockets(pair: Pair, netlink: Netlink, recorder: Recorder) -> None:
    """More than the kernel's filter is asked to compare."""
    vips = [Vip(ip_address("10.0.0.100") + number, "eth0") for number in range(20)]
    netlink.perform_many([HoldAddress(vip, 60, boot_clock() + 63) for vip in vips])
    with connections(pair, [*map(str, vips), "10.0.0.1"]) as clients:
        netlink.perform_many([RemoveAddress(vip) for vip in vips])
        assert [is_reset(client) for client in clients[:20]] == [True] * 20
        assert not is_reset(clients[20])


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "mapped"])
def test_clients_of_a_program_that_is_frozen_are_reset_too(pair: Pair, netlink: Netlink, family: int) -> None:
    """Its kernel has taken their connections, and no program will."""
    netlink.perform(HoldAddress(VIP4, 60, boot_clock() + 63))
    with connections(pair, [str(VIP4)] * 3, family, accepts=False) as clients:
        netlink.perform(RemoveAddress(VIP4))
        assert [is_reset(client) for client in clients] == [True] * 3


def test_a_look_that_takes_long_is_not_in_vain(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is short of CPU the kernel's list alone may take longer than resetting is given."""
    late_s = 0.0

    def clock() -> float:
        return boot_clock() + late_s

    with pair.node.inside():
        resetter = ConnectionResetter(clock, lambda report: pytest.fail(str(report)))
    look = ConnectionResetter._find

    def slow_look(*args: Any) -> Any:
        nonlocal late_s
        late_s += 1.0
        return look(*args)

    monkeypatch.setattr(ConnectionResetter, "_find", slow_look)
    with connections(pair, ["10.0.0.1"] * 2) as clients:
        assert resetter.reset_connections([ip_address("10.0.0.1")]) == 2
        assert [is_reset(client) for client in clients] == [True] * 2
    resetter.close()


def test_hundreds_of_connections_are_reset_within_the_budget(pair: Pair, netlink: Netlink) -> None:
    netlink.perform(HoldAddress(VIP4, 60, boot_clock() + 63))
    with connections(pair, [str(VIP4)] * 300) as clients:
        netlink.perform(RemoveAddress(VIP4))
        assert netlink.connections.reset + netlink.connections.left == 300
        assert sum(is_reset(client) for client in clients) == netlink.connections.reset


def test_when_the_budget_is_spent_the_rest_is_counted_and_the_removal_goes_on(
    pair: Pair, netlink: Netlink, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    netlink.perform(HoldAddress(VIP4, 60, boot_clock() + 63))
    recorder.take()
    monkeypatch.setattr("sharedip.adapters.kernel.sockets._BUDGET_S", 0.0)
    with connections(pair, [str(VIP4)] * 3):
        assert netlink.connections.reset_connections([VIP4.address], budget_s=0.0) == 0
        assert netlink.connections.left == 3


def test_a_kernel_that_can_t_destroy_sockets_is_told_of_once(pair: Pair) -> None:
    told: list[Report] = []
    with pair.node.inside():
        resetter = ConnectionResetter(boot_clock, told.append)
        resetter.reset_connections([VIP4.address])
    channel = resetter._channel
    assert channel is not None
    refusal = Refusal(errno.EOPNOTSUPP, "")
    channel.transact = lambda requests: [refusal] * len(requests)  # type: ignore[method-assign]
    with connections(pair, ["10.0.0.1"] * 2):
        for _ in range(2):
            assert resetter.reset_connections([ip_address("10.0.0.1")]) == 0
    assert resetter.failed == 4
    assert [report.reason for report in told] == ["the kernel was built without CONFIG_INET_DIAG_DESTROY"]
    resetter.close()
