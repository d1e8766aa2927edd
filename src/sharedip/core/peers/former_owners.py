"""The new owner tells its former one: a machine that stood still learns by its first hello that the address is gone.

Its lease may have ended meanwhile, and its record with it; what it shared with us is remembered from when it came first
in the queue. It is told only by whom etcd shows as the owner (law 8: not by one who took by a word that is not executed
yet), only in answer to something authentic that it says, and with no more than it said.

Must never: end a right here, or say of an epoch what etcd has not shown. Counterparts: `witness.py`, which tells those
that it has deposed; `candidacy.py`, where a former owner lets go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sharedip.core.election.candidacy import Candidacy, Phase
from sharedip.core.etcd.agent_records import Peers
from sharedip.core.etcd.session import Session
from sharedip.core.model import IPAddress
from sharedip.core.segment.wire import ENTRIES_MAX, Owned, mark_of

FORMER_MAX = 256
"""Agents that are remembered, the latest."""
TOLD_MAX = 10
"""So often each is told of one epoch: who speaks hears, and one that lives and has no use of the address says hello
every second."""


@dataclass(slots=True)
class _Former:
    """An agent that came first in some queues, and what it and we shared then. `told`: how often of what."""

    secret: bytes
    epochs: dict[IPAddress, int] = field(default_factory=dict)
    told: dict[Owned, int] = field(default_factory=dict)


class FormerOwners:
    """Invariant: nothing is remembered of ourselves."""

    def __init__(self, session: Session, peers: Peers) -> None:
        self._session = session
        self._peers = peers
        self._known: dict[int, _Former] = {}

    def seen(self, candidacy: Candidacy) -> None:
        """What the picture shows of one VIP's queue."""
        queue = candidacy.queue()
        if not queue or queue[0].lease == self._session.lease:
            return
        lease, secret = queue[0].lease, self._peers.secret_with(queue[0].lease)
        if secret is None:
            return
        former = self._known.pop(lease, None)
        if former is None or former.secret != secret:
            former = _Former(secret)
        self._known[lease] = former
        former.epochs[candidacy.vip.address] = queue[0].create_revision
        while len(self._known) > FORMER_MAX:
            del self._known[next(iter(self._known))]

    def secret_with(self, lease: int) -> bytes | None:
        """What we shared with an agent that came first once; its record may be gone with its lease."""
        former = self._known.get(lease)
        return None if former is None else former.secret

    def news_for(self, lease: int, candidacies: Mapping[IPAddress, Candidacy]) -> list[Owned]:
        """What this agent owned, and we do by now, unless it has been told often enough."""
        former = self._known.get(lease)
        if former is None:
            return []
        found = []
        for address, epoch in former.epochs.items():
            candidacy, news = candidacies.get(address), Owned(epoch, mark_of(address))
            if candidacy is None or candidacy.epoch is None or former.told.get(news, 0) >= TOLD_MAX:
                continue
            owns = candidacy.phase is Phase.OWNING and not candidacy.words.unexecuted
            if owns and candidacy.epoch > epoch and all(key.lease != lease for key in candidacy.queue()):
                found.append(news)
        return found[:ENTRIES_MAX]

    def told(self, lease: int, news: list[Owned]) -> None:
        """That was sent."""
        for each in news:
            told = self._known[lease].told
            told[each] = told.get(each, 0) + 1

    def lease_lost(self) -> None:
        """Without a lease we own nothing, and nobody believes us."""
        self._known.clear()
