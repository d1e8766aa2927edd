"""TCP connections on our addresses: looked at a part at a time, and the bare ACKs that ask clients of a dead owner.

Role: carry `ReadClients` and `TickleClients` out between the loop's turns.
Must never: keep the loop for longer than a slice, however many connections there are (law 11); send from an address
that is leaving; or judge whom to ask.
Counterparts: `core/clients/`, which does; `diagwire.py` and `core/address/tickles.py` for the bytes.

A dump of sock_diag is made inside our own system calls, a buffer at a time (af_netlink.c, netlink_recvmsg calls
netlink_dump), so whoever reads one buffer in each round of the loop decides how long each round takes.

A raw socket for IPPROTO_RAW sends whole IP packets and hears nothing. Bound to the address, it is routed as the
address's own traffic is; the kernel refuses what goes to a broadcast address.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from sharedip.adapters.kernel import diagwire, wire
from sharedip.adapters.kernel.channel import NETLINK_SOCK_DIAG, open_socket
from sharedip.adapters.kernel.facts import Clock, Emit
from sharedip.core.address.tickles import tickle
from sharedip.core.messages import ClientsRead, ClientsTickled, ReadClients, TickleClients
from sharedip.core.model import CLIENTS_MAX, Client, IPAddress, Vip

FOUND_MAX: Final = CLIENTS_MAX
_SLICE_BYTES: Final = 1 << 14
"""Of a dump: some 120 connections, half a millisecond."""
_SLICE_PACKETS: Final = 128
"""A millisecond and a half; a thousand clients are told within 20 ms of the loop's time."""
_STEP_S: Final = 0.005

Later = Callable[[float, Callable[[], None]], object]
_Found = list[tuple[IPAddress, Client]]


class ClientSockets:
    """Invariant: what has begun goes on by `call_later` until it has answered, one slice at a time; no socket outlives
    what it was opened for.
    """

    def __init__(self, emit: Emit, clock: Clock, call_later: Later) -> None:
        self.sent = 0
        self.unsent = 0
        """Packets that the kernel did not take: no route, a broadcast address, the fence."""
        self._emit = emit
        self._clock = clock
        self._call_later = call_later
        self._rounds: dict[Vip, TickleRound] = {}
        self._looks: set[SocketLook] = set()

    def perform(self, order: ReadClients | TickleClients) -> None:
        """Begin it; the answer comes as a fact."""
        if isinstance(order, ReadClients):
            self._look(order)
        else:
            self._begin_round(order)

    def withhold(self, vip: Vip) -> None:
        """The address is about to leave this node: nothing is sent from it any more."""
        self._rounds.pop(vip, None)

    def close(self) -> None:
        """Forget what is under way."""
        self._rounds.clear()
        for look in self._looks:
            look.close()
        self._looks.clear()

    # -- what stands --------------------------------------------------------------------------------------------------

    def _look(self, order: ReadClients) -> None:
        """Tell what is found, a slice at a time."""
        room = FOUND_MAX

        def tell(found: _Found, look: SocketLook) -> None:
            nonlocal room
            told, room = tuple(found[:room]), max(0, room - len(found))
            if look.is_over:
                left_out = max(0, look.count - FOUND_MAX)
                self._emit(
                    ClientsRead(
                        order.number, told, is_last=True, left_out=left_out, took_s=look.busy_s, failure=look.failure
                    )
                )
            elif told:
                self._emit(ClientsRead(order.number, told, is_last=False))

        self._begin(SocketLook(order.addresses, diagwire.STATES_ESTABLISHED, self._clock), tell)

    def _begin(self, look: SocketLook, tell: Callable[[_Found, SocketLook], None]) -> None:
        self._looks.add(look)

        def step() -> None:
            if look not in self._looks:
                return  # closed meanwhile
            found = look.read_slice()
            if look.is_over:
                look.close()
                self._looks.discard(look)
            else:
                self._call_later(0.0, step)
            tell(found, look)

        self._call_later(0.0, step)

    # -- whom to ask --------------------------------------------------------------------------------------------------

    def _begin_round(self, order: TickleClients) -> None:
        """First see who has a connection here by now: they came back by themselves."""
        begun = self._rounds[order.vip] = TickleRound(order)

        def know(found: _Found, look: SocketLook) -> None:
            begun.here.update(client for _, client in found)
            if look.is_over and self._rounds.get(order.vip) is begun:
                self._send_slice(begun)

        self._begin(SocketLook([order.vip.address], diagwire.STATES_CONNECTED, self._clock), know)

    def _send_slice(self, begun: TickleRound) -> None:
        vip = begun.order.vip
        if self._rounds.get(vip) is not begun:
            return
        is_over = begun.send_slice()
        if not is_over:
            self._call_later(_STEP_S, lambda: self._send_slice(begun))
            return
        del self._rounds[vip]
        self.sent += begun.sent
        self.unsent += begun.unsent
        self._emit(ClientsTickled(vip, begun.sent, len(begun.here.intersection(begun.order.clients))))


class SocketLook:
    """One pass through the kernel's table, for both families that may hold connections on these addresses."""

    def __init__(self, addresses: Sequence[IPAddress], states: int, clock: Clock) -> None:
        self.count = 0
        self.busy_s = 0.0
        self.failure = ""
        self.is_over = False
        self._clock = clock
        self._requests = _requests(addresses, states)
        # An IPv6 socket shows IPv4 as ::ffff:a.b.c.d, and both keys differ in length.
        self._locals = {
            diagwire.local_key(address, family): address
            for address in addresses
            for family in ((socket.AF_INET, socket.AF_INET6) if address.version == 4 else (socket.AF_INET6,))
        }
        self._sequence = 0
        self._channel: socket.socket | None = None

    def close(self) -> None:
        """Give the socket back; the kernel forgets a dump that was not read to its end."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def read_slice(self) -> _Found:
        """The next few. `is_over`: there are no more."""
        began_at = self._clock()
        try:
            return self._read_slice()
        except OSError as error:  # no sock_diag in this kernel, no memory
            self.failure, self.is_over = error.strerror or str(error), True
            return []
        finally:
            self.busy_s += self._clock() - began_at

    def _read_slice(self) -> _Found:
        if self._channel is None:
            request = next(self._requests, None)
            if request is None:
                self.is_over = True
                return []
            self._channel = open_socket(NETLINK_SOCK_DIAG)
            self._sequence += 1
            self._channel.send(wire.encode(request, self._sequence, wire.NLM_F_DUMP))
        found: _Found = []
        for message in wire.decode(self._channel.recv(_SLICE_BYTES)):
            if message.kind == wire.NLMSG_ERROR:
                refused = wire.refusal(message)
                raise OSError(refused.errno if refused else 0, refused.text or "refused" if refused else "refused")
            if message.kind == wire.NLMSG_DONE:
                self.close()
                break
            far_end = diagwire.parse_far_end(message, self._locals)
            if far_end is not None:
                found.append(far_end)
        self.count += len(found)
        return found


class TickleRound:
    """One order to ask clients."""

    def __init__(self, order: TickleClients) -> None:
        self.order = order
        self.here: set[Client] = set()
        self.sent = 0
        self.unsent = 0
        self._at = 0

    def send_slice(self) -> bool:
        """Send the next few; whether that were the last."""
        order = self.order
        chosen = [each for each in order.clients[self._at : self._at + _SLICE_PACKETS] if each not in self.here]
        self._at += _SLICE_PACKETS
        self._send(order.vip.address, chosen)
        return self._at >= len(order.clients)

    def _send(self, address: IPAddress, clients: Collection[Client]) -> None:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        try:
            with socket.socket(family, flags, socket.IPPROTO_RAW) as made:
                made.bind((str(address), 0))
                for client in clients:
                    self._send_one(made, address, client, family)
        except OSError:  # the address is not here, or not any more
            self.unsent = len(self.order.clients) - self.sent
            self._at = len(self.order.clients)

    def _send_one(self, made: socket.socket, address: IPAddress, client: Client, family: int) -> None:
        try:
            made.sendto(tickle(address, client, self.order.sequence), (socket.inet_ntop(family, client[4:]), 0))
            self.sent += 1
        except OSError:  # one that can't be reached keeps no other from being told
            self.unsent += 1


def _requests(addresses: Sequence[IPAddress], states: int) -> Iterator[wire.Request]:
    of_ipv4 = [one for one in addresses if one.version == 4]
    if of_ipv4:
        yield diagwire.connected_sockets(socket.AF_INET, socket.IPPROTO_TCP, of_ipv4, states)
    if addresses:  # an IPv6 socket may hold connections of IPv4
        yield diagwire.connected_sockets(socket.AF_INET6, socket.IPPROTO_TCP, addresses, states)
