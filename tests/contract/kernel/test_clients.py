"""Connections on an address are seen a slice at a time, and an idle client of a dead owner learns of it."""

from __future__ import annotations

import heapq
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from itertools import count

import pytest

from sharedip.adapters.kernel.clients import ClientSockets
from sharedip.adapters.kernel.netlink import Netlink
from sharedip.core.clients.tickling import SEQUENCES
from sharedip.core.messages import ClientsRead, ClientsTickled, HoldAddress, ReadClients, RemoveAddress, TickleClients
from sharedip.core.model import Client, IPAddress, Vip
from tests.contract.kernel.conftest import Pair
from tests.contract.kernel.kernel_loop import VIP4, VIP6
from tests.contract.kernel.kernel_netns import Recorder, boot_clock
from tests.contract.kernel.test_connections import PORT, connections, is_reset

BOTH = [
    (VIP4, socket.AF_INET),
    (VIP4, socket.AF_INET6),  # an IPv6 server that takes IPv4 clients
    (VIP6, socket.AF_INET6),
]
IDS = ["ipv4", "mapped", "ipv6"]
SLICE_S_MAX = 0.005
"""What one call may take of the loop's time. A busy machine may stretch any one of them, so the shortest counts."""


class Timers:
    """The part of an event loop that the adapter uses: calls in their order, at once."""

    def __init__(self) -> None:
        self._numbers = count()
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self.took_s: list[float] = []

    def call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._waiting, (delay_s, next(self._numbers), call))

    def run(self) -> None:
        while self._waiting:
            _, _, call = heapq.heappop(self._waiting)
            began_at = boot_clock()
            call()
            self.took_s.append(boot_clock() - began_at)


class Stage:
    """The adapter on the node."""

    def __init__(self, pair: Pair, recorder: Recorder) -> None:
        self.pair, self.recorder, self.timers = pair, recorder, Timers()
        self.sockets = ClientSockets(recorder, boot_clock, self.timers.call_later)

    def perform(self, order: ReadClients | TickleClients) -> None:
        with self.pair.node.inside():
            self.sockets.perform(order)
            self.timers.run()

    def look(self, *addresses: IPAddress) -> tuple[set[tuple[IPAddress, Client]], ClientsRead]:
        """What stands, and the last part of the answer."""
        self.recorder.take()
        self.perform(ReadClients(1, addresses))
        parts = [fact for fact in self.recorder.take() if isinstance(fact, ClientsRead)]
        assert [part.is_last for part in parts] == [False] * (len(parts) - 1) + [True]
        return {each for part in parts for each in part.found}, parts[-1]

    def tickle(self, vip: Vip, *clients: Client, sequence: int = SEQUENCES[0]) -> ClientsTickled:
        self.recorder.take()
        self.perform(TickleClients(vip, clients, sequence))
        (answer,) = self.recorder.take()
        assert isinstance(answer, ClientsTickled)
        return answer


@pytest.fixture
def stage(pair: Pair, netlink: Netlink, recorder: Recorder) -> Iterator[Stage]:
    for vip in (VIP4, VIP6):
        netlink.perform(HoldAddress(vip, 60, boot_clock() + 63))
    made = Stage(pair, recorder)
    yield made
    made.sockets.close()


def far_end(one: socket.socket, port: int = PORT) -> Client:
    host, there, *_ = one.getsockname()
    return port.to_bytes(2) + int(there).to_bytes(2) + ip_address(str(host)).packed


def forget(pair: Pair, netlink: Netlink, vip: Vip) -> None:
    """The address comes anew, to a kernel that knows none of its connections; no reset has a way to their clients."""
    netlink.perform(RemoveAddress(vip, reset_connections=False))
    client = "10.0.0.2/32" if vip.address.version == 4 else "2001:db8::2/128"
    pair.node.run(f"ip -{vip.address.version} route add unreachable {client}")
    netlink.connections.reset_connections([vip.address], budget_s=5.0)
    pair.node.run(f"ip -{vip.address.version} route del unreachable {client}")
    netlink.perform(HoldAddress(vip, 60, boot_clock() + 63))


@contextmanager
def orphaned(pair: Pair, netlink: Netlink, vip: Vip, family: int) -> Iterator[socket.socket]:
    """A client whose server is gone without a word, as after a crash."""
    with connections(pair, [str(vip)], family) as (client,):
        forget(pair, netlink, vip)
        yield client


@pytest.mark.parametrize(("vip", "family"), BOTH, ids=IDS)
def test_connections_on_an_address_are_seen_and_no_others(pair: Pair, stage: Stage, vip: Vip, family: int) -> None:
    own = "10.0.0.1" if vip is VIP4 else "2001:db8::1"
    with connections(pair, [str(vip), own, str(vip)], family) as (first, _, second):
        found, last = stage.look(VIP4.address, VIP6.address)
        assert found == {(vip.address, far_end(first)), (vip.address, far_end(second))}
        assert (last.left_out, last.failure) == (0, "")
        assert stage.look()[0] == set()


@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.parametrize(("vip", "family"), BOTH, ids=IDS)
def test_an_idle_client_of_a_dead_owner_is_reset_by_being_asked(
    pair: Pair, netlink: Netlink, stage: Stage, vip: Vip, family: int, sequence: int
) -> None:
    with orphaned(pair, netlink, vip, family) as client:
        assert not is_reset(client)
        assert stage.tickle(vip, far_end(client), sequence=sequence) == ClientsTickled(vip, 1, 0)
        assert is_reset(client)


@pytest.mark.parametrize(("vip", "family"), BOTH, ids=IDS)
def test_who_has_a_connection_here_is_not_asked_and_would_not_be_hurt(
    pair: Pair, stage: Stage, vip: Vip, family: int
) -> None:
    with connections(pair, [str(vip)], family) as (client,):
        assert stage.tickle(vip, far_end(client)) == ClientsTickled(vip, 0, 1)
        assert stage.sockets.sent == 0
        assert not is_reset(client)


def test_hundreds_are_seen_and_told_in_slices(pair: Pair, netlink: Netlink, stage: Stage) -> None:
    with connections(pair, [str(VIP4)] * 400) as clients:
        found, _ = stage.look(VIP4.address)
        assert len(found) == 400
        looks = len(stage.timers.took_s)
        assert looks > 3
        forget(pair, netlink, VIP4)
        stage.timers.took_s.clear()
        assert stage.tickle(VIP4, *map(far_end, clients)) == ClientsTickled(VIP4, 400, 0)
        assert len(stage.timers.took_s) > 3
        assert min(stage.timers.took_s) < SLICE_S_MAX
        assert all(map(is_reset, clients))


def test_more_than_the_limit_are_counted(pair: Pair, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharedip.adapters.kernel.clients.FOUND_MAX", 2)
    with connections(pair, [str(VIP4)] * 5):
        found, last = stage.look(VIP4.address)
        assert len(found) == 2
        assert last.left_out == 3


def test_nothing_is_sent_from_an_address_that_is_not_here_or_to_a_broadcast_address(
    pair: Pair, netlink: Netlink, stage: Stage
) -> None:
    nobody, everybody = (
        PORT.to_bytes(2) + (9).to_bytes(2) + ip_address(host).packed for host in ("10.0.0.2", "10.0.0.255")
    )
    assert stage.tickle(VIP4, everybody, nobody) == ClientsTickled(VIP4, 1, 0)
    assert stage.sockets.unsent == 1
    netlink.perform(RemoveAddress(VIP4))
    assert stage.tickle(VIP4, nobody) == ClientsTickled(VIP4, 0, 0)


def test_an_address_that_leaves_ends_what_is_under_way(pair: Pair, stage: Stage) -> None:
    stage.recorder.take()
    nobody = PORT.to_bytes(2) + (9).to_bytes(2) + ip_address("10.0.0.2").packed
    with pair.node.inside():
        stage.sockets.perform(TickleClients(VIP4, (nobody,), 0))
        stage.sockets.withhold(VIP4)
        stage.timers.run()
    assert stage.recorder.take() == []
    assert stage.sockets.sent == 0


def test_a_client_on_this_very_node_is_reset_too(pair: Pair, netlink: Netlink, stage: Stage) -> None:
    """The kubelet of the node that takes the address had its connection to the node that died."""
    netlink.perform(RemoveAddress(VIP4))
    pair.peer.run(f"ip addr add {VIP4}/32 dev eth0")
    with pair.peer.inside():
        server = socket.create_server((str(VIP4), PORT))
    with server, pair.node.inside(), socket.create_connection((str(VIP4), PORT), timeout=5) as client:
        accepted, _ = server.accept()
        pair.peer.run("ip link set eth0 down")
        netlink.perform(HoldAddress(VIP4, 60, boot_clock() + 63))
        with accepted:
            assert not is_reset(client)
            assert stage.tickle(VIP4, far_end(client)).sent == 1
            assert is_reset(client)
