"""Whether this node is cut off, on the link of a VIP, from those who should rather have the address.

The verdict of `sides.py` has to stand for a while before it counts, so that what heals by itself moves nothing; and
healing clears it, which moves nothing either: whoever owns by then has no better side against it.
Must never: move an address; `fitness.py` makes a reason of it. Counterparts: `hearing.py`, `sides.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sharedip.core.etcd.agent_records import PeerPlace, Peers
from sharedip.core.etcd.session import Session
from sharedip.core.messages import Command, Level, Report
from sharedip.core.model import Instant, Vip
from sharedip.core.segment.hearing import Hearing
from sharedip.core.segment.sides import Side, better_side
from sharedip.core.settings import Settings

STANDS_S = 2.5
"""Silence takes a second and a half to be told (`hearing.py`): four seconds of it in all."""
VETO_AGAIN_S = 0.25
ISOLATED = "isolated"
"""The code in the record."""


@dataclass(slots=True)
class _Verdict:
    side: Side
    counts_at: Instant
    """When it counts, if it still stands by then, and nobody outside of the cluster answers us."""
    counts: bool = False


class Isolation:
    """Invariant: `_verdicts` has the places on which another side is better, by the picture as last looked at."""

    def __init__(
        self, settings: Settings, session: Session, peers: Peers, hearing: Hearing, out: Callable[[Command], None]
    ) -> None:
        self._out = out
        self._session = session
        self._peers = peers
        self._hearing = hearing
        self._vips = _first_on_each(settings)
        self._verdicts: dict[tuple[str, int], _Verdict] = {}

    def reconfigure(self, settings: Settings) -> None:
        """Other VIPs, other links."""
        self._vips = _first_on_each(settings)
        self._verdicts = {place: each for place, each in self._verdicts.items() if place in self._vips}

    def look(self, now: Instant) -> bool:
        """What is heard, or said of it in etcd, has changed, or time has passed. True: a verdict has changed."""
        changed = False
        for place, vip in self._vips.items():
            side, verdict = self._better_side(vip, has_outsiders=False), self._verdicts.get(place)
            if side is None:
                if verdict is not None and verdict.counts:
                    changed = True
                    self._out(
                        Report(Level.INFO, f"no side of the segment is better any more on {place[0]} (IPv{place[1]})")
                    )
                self._verdicts.pop(place, None)
                continue
            if verdict is None:
                verdict = self._verdicts[place] = _Verdict(side, now + STANDS_S)
            verdict.side = side
            if verdict.counts or now < verdict.counts_at:
                continue
            outsiders = self._hearing.has_outsiders(vip, now)
            if outsiders and self._better_side(vip, has_outsiders=True) is None:
                verdict.counts_at = now + VETO_AGAIN_S
                continue
            verdict.counts = changed = True
            names = ", ".join(sorted(self._peers.name_of(lease) for lease in side))
            text = f"not heard on {place[0]} (IPv{place[1]}) by the better side of the segment: {names}"
            self._out(Report(Level.WARNING, text, reason="the VIPs there are for those who are heard"))
        return changed

    def next_deadline(self) -> Instant:
        """When a verdict will count, if it still stands; infinity if there is none that waits."""
        waiting = (each.counts_at for each in self._verdicts.values() if not each.counts)
        return min(waiting, default=float("inf"))

    @property
    def is_on_worse_side(self) -> bool:
        """Whether that is so on any link."""
        return any(each.counts for each in self._verdicts.values())

    def is_in_question(self, link: str, version: int) -> bool:
        """Whether another side is better there, be it only for a moment yet: no time to promise anything to others."""
        return (link, version) in self._verdicts

    def better_side(self, link: str, version: int) -> Side | None:
        """The agents (leases) that should rather have the addresses there; None: this node is as good as they are."""
        verdict = self._verdicts.get((link, version))
        return verdict.side if verdict is not None and verdict.counts else None

    def _better_side(self, vip: Vip, *, has_outsiders: bool) -> Side | None:
        lease, own = self._session.lease, self._hearing.own_place(vip)
        if lease is None or own is None:
            return None
        places: dict[int, PeerPlace] = {lease: own}
        for peer in self._peers.all():
            place = peer.place_of(vip.address)
            if place is not None and peer.lease != lease:
                places[peer.lease] = place
        return better_side(places, lease, has_outsiders=has_outsiders)


def _first_on_each(settings: Settings) -> dict[tuple[str, int], Vip]:
    found: dict[tuple[str, int], Vip] = {}
    for vip in settings.vips:
        found.setdefault((vip.link, vip.address.version), vip)
    return found
