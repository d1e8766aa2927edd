"""Clients of the VIPs, as the kernels of the simulation show them: each client says by which epoch it was served.

Role: answers the looks and the tickles of cores, and judges the latter: whoever takes asks clients of the owner before
it alone. Must never: read what a core believes about clients. Counterpart: `world.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sharedip.core.messages import ClientsRead, ClientsTickled, ReadClients, TickleClients
from sharedip.core.model import Client, IPAddress

CLIENTS = 3
"""Of each address."""
PORT = (6443).to_bytes(2)
EPOCH_BYTES = 3
PREFIXES = {4: bytes((10,)), 6: bytes.fromhex("20010db8") + bytes(9)}


class WrongClientsError(AssertionError):
    """Somebody was asked who is no client of the owner before."""


def served_by(address: IPAddress, epoch: int) -> Iterator[Client]:
    """The clients of this address while its owner has that epoch."""
    for number in range(CLIENTS):
        yield PORT + (40000 + number).to_bytes(2) + PREFIXES[address.version] + epoch.to_bytes(EPOCH_BYTES)


@dataclass(slots=True)
class ServedClients:
    """`owners`: the epochs by which each address was put up, in their order; `tickled`: what was sent, by whom."""

    owners: dict[IPAddress, list[int]] = field(default_factory=dict)
    tickled: list[tuple[str, TickleClients]] = field(default_factory=list)

    def put_up(self, address: IPAddress, epoch: int) -> None:
        """A kernel has the address by this epoch."""
        known = self.owners.setdefault(address, [])
        if epoch not in known:
            known.append(epoch)

    def read(self, order: ReadClients, epochs: dict[IPAddress, int]) -> ClientsRead:
        """What the kernel shows. `epochs`: by which the addresses stand there."""
        found = [
            (address, client)
            for address in order.addresses
            if address in epochs
            for client in served_by(address, epochs[address])
        ]
        return ClientsRead(order.number, tuple(found), True)

    def tickle(self, name: str, order: TickleClients, epoch: int) -> ClientsTickled:
        """The node sends them, by its own epoch."""
        self.tickled.append((name, order))
        address = order.vip.address
        for client in order.clients:
            former = int.from_bytes(client[-EPOCH_BYTES:])
            between = [each for each in self.owners.get(address, []) if former < each < epoch]
            if client not in served_by(address, former) or former >= epoch or between:
                raise WrongClientsError(f"{name} by epoch {epoch} asks a client of {former}, after {between}")
        return ClientsTickled(order.vip, len(order.clients), 0)
