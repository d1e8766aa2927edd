"""What the owners of the VIPs have told us of their clients; and who takes from a dead one asks its clients.

An idle client of an owner that died hears of nothing: nobody is left to reset its connection. One bare ACK with a
sequence number that fits nothing has its kernel answer with the numbers that do (RFC 9293 section 3.10.7.4, RFC 5961);
that meets no connection here, so our kernel resets it, and the client comes back at once. A connection that stands
cannot be hurt by it.

Must never: send anything to whom the owner of the very epoch before ours has not named, to more than `CLIENTS_MAX` of
one owner, or to an address that is not one machine's. Counterparts: `telling.py` (the owner's side),
`adapters/kernel/clients.py`, which sends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from sharedip.core.election.candidacy import Candidacy, Phase
from sharedip.core.history import name_of
from sharedip.core.messages import ClientsTickled, Command, Level, Report, TickleClients
from sharedip.core.model import CLIENTS_MAX, Client, Instant, IPAddress, KeyValue, Vip
from sharedip.core.segment.wire import Clients, Noted

AGAIN_S = 1.0
"""After the first round, for what the segment has lost. A client's kernel answers twice a second at most."""

SEQUENCES = (0, 1 << 31)
"""Of the rounds. By chance a number is in the client's window; no window reaches from one of them to the other."""


@dataclass(slots=True)
class _List:
    """What the owner of this epoch has told of one VIP."""

    lease: int
    epoch: int
    sequence: int
    clients: set[Client]


@dataclass(frozen=True, slots=True)
class _SecondRound:
    """The second one, of an epoch of ours."""

    epoch: int
    at: Instant
    clients: tuple[Client, ...]


class Tickling:
    """Invariant: a list is what its owner has told by the datagram with that sequence, and is used once."""

    def __init__(self, out: Callable[[Command], None]) -> None:
        self._out = out
        self._lists: dict[IPAddress, _List] = {}
        self._again: dict[IPAddress, _SecondRound] = {}
        self._from: dict[Vip, str] = {}
        """From whom the clients of the round are that is under way: it is told when it has been sent."""
        self.told: dict[IPAddress, int] = {}
        """How many clients were told, since the start of this run."""

    def known(self, address: IPAddress, owner: KeyValue | None) -> int:
        """How many clients of the address we know that this owner has."""
        listed = self._lists.get(address)
        is_of_owner = listed is not None and owner is not None and listed.epoch == owner.create_revision
        return len(listed.clients) if listed is not None and is_of_owner else 0

    def heard(self, sender: int, entry: Clients, owner: KeyValue | None) -> Noted | None:
        """An agent tells of its clients. `owner`: who comes first in the queue of this VIP, by etcd; nobody else has
        any. None: no answer.
        """
        if owner is None or owner.lease != sender or owner.create_revision != entry.epoch:
            return None
        listed = self._lists.get(entry.address)
        if listed is not None and (listed.lease, listed.epoch) != (sender, entry.epoch):
            listed = None
        if listed is not None and entry.sequence <= listed.sequence:
            # Said again, for our answer was lost; what is older was recorded, or has come late.
            return Noted(entry.sequence, listed.sequence) if entry.sequence == listed.sequence else None
        if entry.base == 0:
            listed = self._lists[entry.address] = _List(sender, entry.epoch, entry.sequence, set())
        elif listed is None or listed.sequence != entry.base:
            return Noted(entry.sequence, 0 if listed is None else listed.sequence)
        listed.sequence = entry.sequence
        listed.clients.difference_update(entry.left)
        room = CLIENTS_MAX - sum(len(each.clients) for each in self._lists.values() if each.lease == sender)
        listed.clients.update(entry.joined[: max(0, room)])
        return Noted(entry.sequence, entry.sequence)

    def taken(self, vip: Vip, epoch: int, former: KeyValue, vips: Mapping[IPAddress, Candidacy], now: Instant) -> None:
        """This node has taken the address by `epoch` from an owner that did not release it. Its list is used up; one of
        an earlier owner is void.
        """
        listed = self._lists.pop(vip.address, None)
        if listed is None or (listed.lease, listed.epoch) != (former.lease, former.create_revision):
            return
        clients = tuple(sorted(each for each in listed.clients if _is_one_machine(each, vips)))
        if clients:
            self._from[vip] = name_of(former)
            self._again[vip.address] = _SecondRound(epoch, now + AGAIN_S, clients)
            self._out(TickleClients(vip, clients, SEQUENCES[0]))

    def tickled(self, event: ClientsTickled, epoch: int | None) -> None:
        """A round is over."""
        former = self._from.pop(event.vip, None)
        if former is None:
            return  # the second one, of the same clients
        self.told[event.vip.address] = self.told.get(event.vip.address, 0) + event.sent
        text = f"{event.sent} client{'' if event.sent == 1 else 's'} told"
        reason = f"they had connections to {former}, whose resets did not reach them"
        if event.here:
            reason += f"; {event.here} more are connected here already"
        self._out(Report(Level.INFO, text, event.vip, epoch, reason))

    def advance(self, vips: Mapping[IPAddress, Candidacy], now: Instant) -> None:
        """The second round, if we still own by that epoch."""
        if not self._again:
            return
        for address, due in [each for each in self._again.items() if now >= each[1].at]:
            del self._again[address]
            candidacy = vips.get(address)
            if candidacy is not None and candidacy.phase is Phase.OWNING and candidacy.epoch == due.epoch:
                self._out(TickleClients(candidacy.vip, due.clients, SEQUENCES[1]))

    def next_deadline(self) -> Instant:
        """When a second round is due; infinity if none is."""
        return min((each.at for each in self._again.values()), default=float("inf"))

    def keep(self, vips: Mapping[IPAddress, Candidacy]) -> None:
        """What is in the documents no more has no clients."""
        for memory in (self._lists, self._again, self.told):
            for address in [address for address in memory if address not in vips]:
                del memory[address]

    def lease_lost(self) -> None:
        """What we were told was told to the agent on that lease."""
        self._lists.clear()
        self._again.clear()


def _is_one_machine(client: Client, vips: Mapping[IPAddress, Candidacy]) -> bool:
    """Whether this can be the far end of a connection from elsewhere: no group, no loopback, and no VIP. Broadcasts of
    its own networks are refused by the kernel (net/ipv4/raw.c, without SO_BROADCAST).
    """
    address, port = ip_address(client[4:]), client[2:4]
    if port == b"\0\0" or address in vips or address.is_multicast or address.is_unspecified or address.is_loopback:
        return False
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped is None and not address.is_link_local
    return not address.is_reserved and not address.is_link_local
