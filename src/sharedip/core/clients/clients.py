"""The clients of all VIPs: what stands here, what others are told of it, and what follows when an owner has died.

Must never: hold an address, or a right; it asks candidacies. Counterparts: `node.py`, and the three parts in here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sharedip.core.address.ownership import Presence
from sharedip.core.clients.standing import StandingClients
from sharedip.core.clients.telling import Telling
from sharedip.core.clients.tickling import Tickling
from sharedip.core.election.candidacy import Candidacy, Phase
from sharedip.core.etcd.agent_records import Peers
from sharedip.core.etcd.session import Session
from sharedip.core.messages import ClientsRead, ClientsTickled, Command
from sharedip.core.model import Instant, IPAddress, KeyValue, Vip
from sharedip.core.segment.wire import Clients, Noted

Vips = Mapping[IPAddress, Candidacy]


class VipClients:
    """Invariant: an address has clients here only while this node owns it and the kernel has confirmed it."""

    def __init__(self, session: Session, peers: Peers, out: Callable[[Command], None]) -> None:
        self.standing = StandingClients(out)
        self.telling = Telling(session, peers, self.standing, out)
        self.tickling = Tickling(out)

    def advance(self, vips: Vips, now: Instant) -> None:
        """Look, tell and send what is due."""
        if now >= self.standing.due_at or now >= self.telling.next_deadline():
            owned = [each for each in vips.values() if _stands(each)]
            self.standing.advance([each.vip.address for each in owned], now)
            self.telling.advance(owned, now)
        self.tickling.advance(vips, now)

    def next_deadline(self) -> Instant:
        """When something is due; infinity if only facts can change anything."""
        return min(part.next_deadline() for part in (self.standing, self.telling, self.tickling))

    def answered(self, event: ClientsRead | ClientsTickled, vips: Vips, now: Instant) -> None:
        """The kernel has looked, or sent."""
        if isinstance(event, ClientsTickled):
            candidacy = vips.get(event.vip.address)
            self.tickling.tickled(event, None if candidacy is None else candidacy.epoch)
        elif self.standing.read(event, now):
            self.telling.look_again(now)

    def heard(self, sender: int, entry: Clients, vips: Vips) -> Noted | None:
        """An agent tells of its clients."""
        candidacy = vips.get(entry.address)
        return None if candidacy is None else self.tickling.heard(sender, entry, next(iter(candidacy.queue()), None))

    def noted(self, sender: int, entry: Noted, now: Instant) -> bool:
        """A candidate has answered; whether that is a sign of life."""
        return self.telling.noted(sender, entry, now)

    def taken(self, vip: Vip, epoch: int, former: KeyValue, vips: Vips, now: Instant) -> None:
        """This node has taken the address from an owner that did not release it."""
        self.tickling.taken(vip, epoch, former, vips, now)

    def keep(self, vips: Vips) -> None:
        """The documents have changed."""
        self.tickling.keep(vips)

    def lease_lost(self) -> None:
        """Nobody believes us, and what others told us they told to somebody else."""
        self.telling.lease_lost()
        self.tickling.lease_lost()


def _stands(candidacy: Candidacy) -> bool:
    return candidacy.phase is Phase.OWNING and candidacy.ownership.presence is Presence.PRESENT
