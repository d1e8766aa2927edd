"""One layer-2 segment: who hears whom on it, and which station answers for which address.

Role: ports with their MACs and addresses, and what may be wrong between them: a port that eats what comes in or what
goes out, of one family or of both; pairs that do not hear each other; the segment in two; UDP of the agents blocked
where ARP works; a spoof guard. A question has one answer at one instant; who asks brings time and losses with him.
Unicast needs no neighbour entry here: a real node's entries outlive a port that turned deaf by some seconds, too.
Must never: read a clock, draw lots, or ask an agent. Counterparts: `tests/contract/kernel/test_neighbours.py` holds
its answers to a real kernel's; `tests/simulation/wire.py` lets frames and datagrams travel over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from sharedip.core.model import IPAddress

BOTH_FAMILIES = frozenset({4, 6})


@dataclass(slots=True)
class Port:
    """Where one machine is plugged in. `addresses` are the link's own: its kernel answers for them while it runs,
    whatever its agent does.
    """

    name: str
    mac: bytes
    addresses: set[IPAddress]
    is_up: bool = True
    """The machine runs, and its link has carrier."""
    deaf: set[int] = field(default_factory=set)
    """Versions of IP whose frames are eaten on their way in; ARP counts as 4."""
    dumb: set[int] = field(default_factory=set)
    """The same on their way out."""
    blocks_udp: bool = False
    """An ACL drops the agents' datagrams, both ways; everything else passes."""
    guards: bool = False
    """A spoof guard: what says that an address which is not the link's own is at this MAC goes out no more."""

    @property
    def is_healthy(self) -> bool:
        """Whether everything passes, both ways."""
        return self.is_up and not (self.deaf or self.dumb or self.blocks_udp or self.guards)

    def heal(self) -> None:
        """Whatever was eaten passes again."""
        self.deaf.clear()
        self.dumb.clear()
        self.blocks_udp = self.guards = False


class Segment:
    """Invariant: ports come in the order in which they were plugged in, and no two have one name."""

    def __init__(self, ports: Iterable[Port], has: Callable[[str, IPAddress], bool] = lambda _name, _address: False):
        """`has` tells whether the kernel behind a port lets an address that is not the link's own be used: a VIP that
        stands, with its gate open.
        """
        self.ports = {port.name: port for port in ports}
        self.apart: set[tuple[str, str]] = set()
        """Sender and receiver between whom nothing passes, that way."""
        self.beyond: frozenset[str] = frozenset()
        """Ports on the far side of a cut; empty: the segment is in one."""
        self._has = has

    # -- what passes --------------------------------------------------------------------------------------------------

    def passes(self, sender: str, receiver: str, version: int) -> bool:
        """Whether a frame gets there."""
        ports = self.ports
        out, into = ports[sender], ports[receiver]
        return (
            out.is_up
            and into.is_up
            and version not in out.dumb
            and version not in into.deaf
            and (sender in self.beyond) is (receiver in self.beyond)
            and (sender, receiver) not in self.apart
        )

    def carries(self, sender: str, receiver: str, version: int) -> bool:
        """Whether an agent's datagram gets there."""
        blocked = self.ports[sender].blocks_udp or self.ports[receiver].blocks_udp
        return not blocked and self.passes(sender, receiver, version)

    def tells(self, sender: str, receiver: str, address: IPAddress) -> bool:
        """Whether a frame by which the sender says "this address is at my MAC" gets there."""
        port = self.ports[sender]
        is_eaten = port.guards and address not in port.addresses
        return not is_eaten and self.passes(sender, receiver, address.version)

    def hear_each_other(self, one: str, other: str, version: int) -> bool:
        """Whether frames pass both ways."""
        return self.passes(one, other, version) and self.passes(other, one, version)

    def sides(self, version: int, among: Iterable[str]) -> list[frozenset[str]]:
        """The sets of these ports that hear each other, two-way, be it by way of others of them."""
        left, found = list(among), list[frozenset[str]]()
        while left:
            side, edge = {left[0]}, [left[0]]
            while edge:
                one = edge.pop()
                near = [other for other in left if other not in side and self.hear_each_other(one, other, version)]
                side.update(near)
                edge += near
            found.append(frozenset(side))
            left = [name for name in left if name not in side]
        return found

    # -- who answers --------------------------------------------------------------------------------------------------

    def responders(self, asker: str, target: IPAddress, to: bytes | None = None) -> Iterator[Port]:
        """Who answers when `asker` asks for `target`, by a request to the MAC `to` or to everybody: those whose answer
        gets back.
        """
        for name, port in self.ports.items():
            if name == asker or to not in (None, port.mac) or not self.passes(asker, name, target.version):
                continue
            is_there = target in port.addresses or self._has(name, target)
            if is_there and self.tells(name, asker, target):
                yield port

    # -- healing ------------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Everything passes again. Links that are down stay down."""
        self.apart.clear()
        self.beyond = frozenset()
        for port in self.ports.values():
            port.heal()
