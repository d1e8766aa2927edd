"""Gives an address to the next candidate: whether it may be, what is saved and whom to ping before, whom to tell after.

The order of steps (docs/safety.md, "Resigned"), for one epoch:
1. `begins`: the epoch is noted, and this turn's state file goes before its removals: after them clients would wait for
   the file. The successor is pinged at the same time, so that it is awake, with warm caches, when the release comes.
2. The kernel confirms the removal (`ownership.py`), and the disk the file (`resigned.py`).
3. `is_due`: every candidate is told, for the successor may have died in the same second. `depart` sends the release.

Must never: tell a release before the kernel has confirmed the removal (law 3) and the file is saved (law 8). A release
is a resignation: the candidate that hears it may take the address at once, by safety (4).
Counterparts: `candidacy.py` (which gives up), `words.py` (what the receiver makes of it).
"""

from __future__ import annotations

from collections.abc import Callable

from sharedip.core.election.candidacy import GivesUp, WordDue
from sharedip.core.election.resigned import ResignedEpochs
from sharedip.core.etcd.agent_records import Peers
from sharedip.core.etcd.session import Session
from sharedip.core.messages import Command, SendDatagram
from sharedip.core.model import Instant, Vip
from sharedip.core.peers.owner import Designations
from sharedip.core.segment.wire import RELEASES_MAX, DatagramKind, Released, seal


class Handover:
    """Invariant: an address that waits in `_releases` is off our links, and its epoch saved as given up."""

    def __init__(
        self,
        session: Session,
        peers: Peers,
        resigned: ResignedEpochs,
        designations: Designations,
        out: Callable[[Command], None],
    ) -> None:
        self._session = session
        self._peers = peers
        self._resigned = resigned
        self._designations = designations
        self._out = out
        self._releases: dict[tuple[int, DatagramKind], list[Released]] = {}
        self._woken: set[int] = set()
        self.goes_before_removals = False
        """Whether this turn's state must be on disk before an address is removed."""

    def begins(self, answer: GivesUp, now: Instant) -> None:
        """An epoch will be given up, whatever comes in between: it is saved first, and the successor is pinged."""
        self.goes_before_removals = True
        if answer.successor is not None and answer.successor not in self._woken:
            self._woken.add(answer.successor)
            self._designations.ping_now(answer.successor, now)

    def is_due(self, vip: Vip, word: WordDue) -> None:
        """The address is off the link, and no later run can come back to this epoch: tell every candidate. A lost
        release costs a round trip to etcd.
        """
        # Law 8. A later run that relied on this epoch, while another node takes the address, would be a second owner.
        assert self._resigned.is_saved(vip, word.epoch), "a word that is not saved is not said"
        kind = DatagramKind.RELEASE_UNTOLD if word.is_untold else DatagramKind.RELEASE
        for lease in word.candidates:
            release = Released(word.epoch, vip.address, word.reason, word.is_untold)
            self._releases.setdefault((lease, kind), []).append(release)

    @property
    def has_word(self) -> bool:
        """Whether a release waits to be sent."""
        return bool(self._releases)

    def depart(self) -> None:
        """Send this turn's releases, one datagram of a kind for each peer."""
        releases, self._releases = self._releases, {}
        lease = self._session.lease
        for (receiver, kind), entries in releases.items():
            peer, secret = self._peers.by_lease(receiver), self._peers.secret_with(receiver)
            if lease is None or peer is None or peer.host is None or secret is None:
                continue
            for start in range(0, len(entries), RELEASES_MAX):
                datagram = seal(kind, lease, receiver, entries[start : start + RELEASES_MAX], secret)
                self._out(SendDatagram(peer.host, peer.port, datagram))

    def turn_is_over(self) -> None:
        """The turn's orders have left."""
        self.goes_before_removals = False
        self._woken.clear()

    def lease_lost(self) -> None:
        """Other nodes may own the addresses already: nothing goes before the removals."""
        self.goes_before_removals = False
