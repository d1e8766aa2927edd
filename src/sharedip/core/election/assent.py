"""An owner that can't serve asks; who can, assents. Only then does the address move.

What fails here may fail everywhere: a switch, a health check that an overloaded service fails, a filter. So an owner
that would rather not have its addresses (isolated, unfit, unhealthy) first writes that, and why, into its record
(`asks`), and hands over only to a candidate that has written *after that* that it is better: heard by others on that
link, able to serve there, and healthy by a probe of the check of the same name that was started after it had seen the
owner's record. Etcd's revisions order the two: an assent names the revision of the record that it answers. What fails
everywhere moves nothing, not even once.

Must never: take silence, or an older record, for assent (law 4). Counterparts: `fitness.py` (what is asked and how this
node is), `candidacy.py` (which hands over).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from sharedip.core.election.fitness import CHECK, SERVE, Fitness
from sharedip.core.etcd.agent_records import Peers
from sharedip.core.etcd.keys import read_record
from sharedip.core.etcd.session import Session
from sharedip.core.messages import CheckProbed, Command, ProbeChecks
from sharedip.core.model import NEVER, REVISION_MAX, Instant, IPAddress, KeyValue, Vip

PROBE_AGAIN_S = 1.0
"""While an owner asks and our own check fails, it is probed again so often at most."""


@dataclass(slots=True)
class _Asking:
    """What another owner asks for, at the revision at which we saw it first."""

    asks: tuple[str, ...]
    revision: int
    seen_at: Instant
    probe_at: Instant = NEVER


class Assent:
    """Invariant: `answers` names only revisions whose asks were all met by what was found after they had been seen."""

    def __init__(
        self,
        session: Session,
        peers: Peers,
        fitness: Fitness,
        out: Callable[[Command], None],
    ) -> None:
        self._session = session
        self._peers = peers
        self._fitness = fitness
        self._out = out
        self._asked: dict[int, _Asking] = {}
        self._newest: dict[str, Instant] = {}
        """Check → when its newest probe of those that were asked for started."""
        self._probed: dict[str, Instant] = {}
        """The same, where that one passed."""
        self.own: tuple[str, ...] = ()
        """What our record asks for. Published."""
        self._own_revision: int | None = None
        self.answers: dict[int, int] = {}
        """Lease of an asking agent → the revision of its record that we assent to. Published."""

    # -- as the owner -------------------------------------------------------------------------------------------------

    def asked(self, asks: tuple[str, ...]) -> None:
        """What our record asks for from now on."""
        if asks != self.own:
            self.own, self._own_revision = asks, None
        if asks and self._own_revision is None:
            key = self._session.registry.get(self._session.own_record.key)
            record = read_record(key) or {}
            if key is not None and key.lease == self._session.lease and record.get("asks") == list(asks):
                self._own_revision = key.mod_revision

    def has_assented(self, candidate: KeyValue) -> bool:
        """Whether that candidate has written, after what we ask for stood in etcd, that it is better."""
        peer, lease = self._peers.of(candidate), self._session.lease
        if peer is None or lease is None or self._own_revision is None or not self.own:
            return False
        return peer.answers.get(lease, 0) >= self._own_revision

    # -- as a candidate -----------------------------------------------------------------------------------------------

    def look(self, vips: Mapping[IPAddress, Vip], now: Instant) -> bool:
        """What others ask for, or how this node is, may have changed. True: our answers have. `vips`: those of ours."""
        own = self._session.lease
        asking = {peer.lease: peer for peer in self._peers.all() if peer.asks and peer.lease != own}
        self._asked = {lease: each for lease, each in self._asked.items() if lease in asking}
        for lease, peer in asking.items():
            known = self._asked.get(lease)
            if known is None or known.asks != peer.asks:
                self._asked[lease] = _Asking(peer.asks, min(peer.revision, REVISION_MAX), now)
        answers = {lease: each.revision for lease, each in self._asked.items() if self._meets(each, vips, now)}
        if answers == self.answers:
            return False
        self.answers = answers
        return True

    def probed(self, event: CheckProbed) -> None:
        """A probe that we had asked for has an outcome."""
        newest = self._newest.get(event.name, NEVER)
        if event.started_at < newest:
            return  # an older one that took longer
        self._newest[event.name] = event.started_at
        if event.healthy:
            self._probed[event.name] = event.started_at
        else:
            self._probed.pop(event.name, None)

    def next_deadline(self) -> Instant:
        """When a check is to be probed again; infinity if none is."""
        waiting = (each.probe_at for each in self._asked.values() if each.probe_at > NEVER)
        return min(waiting, default=float("inf"))

    def _meets(self, asked: _Asking, vips: Mapping[IPAddress, Vip], now: Instant) -> bool:
        checks = [ask.removeprefix(CHECK) for ask in asked.asks if ask.startswith(CHECK)]
        places = [_vip(ask.removeprefix(SERVE), vips) for ask in asked.asks if ask.startswith(SERVE)]
        stale = [name for name in checks if self._probed.get(name, NEVER) <= asked.seen_at]
        if stale and now >= asked.probe_at:
            asked.probe_at = now + PROBE_AGAIN_S
            self._out(ProbeChecks(tuple(stale)))
        if not stale:
            asked.probe_at = NEVER
        if stale or not all(self._fitness.passes(name) for name in checks):
            return False
        return all(vip is not None and self._fitness.can_serve(vip) for vip in places)


def _vip(text: str, vips: Mapping[IPAddress, Vip]) -> Vip | None:
    try:
        return vips.get(ip_address(text))
    except ValueError:
        return None
