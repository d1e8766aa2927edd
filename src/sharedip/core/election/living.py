"""Who in a queue lives, as far as this node can tell: who is sound, who may take, and who stands in everybody's way.

Silence, and an etcd that does not prove a lease, are evidence only while this node itself hears and is proved; an agent
of an older version, and a plain candidate of etcd's recipe, are "cannot tell" (law 4) and are never found out.
Must never: delete a key; that is `evictions.py`, and the owner's alone. Counterparts: `segment/voices.py` (who speaks),
`fitness.py` (what records say), `candidacy.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from sharedip.core.election.fitness import NO_AGENT, NOT_KNOWN, Fitness
from sharedip.core.etcd.agent_records import Peer, Peers
from sharedip.core.etcd.session import Session
from sharedip.core.history import name_of
from sharedip.core.messages import Command, Level, Report
from sharedip.core.model import NEVER, Instant, IPAddress, KeyValue, Vip
from sharedip.core.segment.voices import Voices
from sharedip.core.settings import RENEW_EVERY_S_MAX, SILENCE_FRACTION

SILENT_S = 2.8
"""Whom neither we nor our witness has heard for so long is taken out of the queue: who died just behind a hello is out
of it, saved and asked of etcd, when it has been dead for 3 s.
"""
UNPROVED_S = 2 * RENEW_EVERY_S_MAX + 1.0
UNPROVED_FOR_S = 3.0
"""Whose lease was last proved longer ago than two renewals and a time-out, for so long: it could take nothing."""
UNFIT_S = 3.0
"""So long must a node have been unfit: whoever seems sound behind it may have died in the same second, and an unfit one
that comes first takes the address where the sound one is silent by then.
"""
EVERY_S = 60.0
"""One agent is taken out of one queue at most once in this time: etcd sees no churn."""
LOOK_EVERY_S = 1.0
EARLY_S = 0.3
"""A look so much early, with a turn that comes anyway, saves one; what it is too early for, the next one finds."""
LOOK_S_MIN = 0.01


class Living:
    """Invariant: whoever is in `_unproved_since` has been speaking without a proof, beside our own, since then."""

    def __init__(
        self,
        session: Session,
        peers: Peers,
        fitness: Fitness,
        voices: Voices,
        witnesses_of: Callable[[IPAddress], Collection[int]],
        out: Callable[[Command], None],
    ) -> None:
        """`witnesses_of`: the leases of the witnesses that this node has designated for a VIP."""
        self._session = session
        self._peers = peers
        self._fitness = fitness
        self._voices = voices
        self._witnesses_of = witnesses_of
        self._out = out
        self._unproved_since: dict[int, Instant] = {}
        self._unfit_since: dict[int, Instant] = {}
        self._suspects: frozenset[int] = frozenset()
        self._look_at: Instant = float("inf")
        self._again_at: Instant = float("inf")
        self._evicted_at: dict[tuple[IPAddress, str], Instant] = {}
        self._told_at: dict[str, Instant] = {}

    # -- what candidacies ask -----------------------------------------------------------------------------------------

    def is_sound(self, key: KeyValue, vip: Vip, now: Instant) -> bool:
        """Whether that candidate is heard, proved, fit, and says of itself no flaw."""
        if not self._fitness.is_fit(key, vip) or self._is_unproved(key.lease, now):
            return False
        return self._voices.is_speaking(key.lease, now)

    def may_take(self, key: KeyValue, vip: Vip, now: Instant) -> bool:
        """Whether that candidate is fit, and not known to be silent."""
        return self._fitness.is_fit(key, vip) and self.why_silent(key, now) is None

    def why_silent(self, key: KeyValue, now: Instant) -> str | None:
        """In words, if that candidate's agent should be heard and is not; None if it is heard, or that can't be told
        (law 4): it says no hello, or nobody was ever heard here. Where nobody is heard any more we may be deaf, and
        what is said in etcd counts, by those who say there that they miss us: who lives, and is not heard here, does.
        The record of one that has died in the same moment says what was before.
        """
        peer = self._peers.of(key)
        if peer is None or not peer.places or self._voices.hears_nobody:
            return None
        if self._voices.is_speaking(key.lease, now):
            return None
        own = self._session.lease
        others = [each for each in self._peers.all() if each.lease not in (own, key.lease)]
        is_deaf = not any(self._voices.is_speaking(each.lease, now) for each in others)
        living = [each for each in others if own in each.misses]
        if is_deaf and (own in peer.misses or _is_heard_among(living, key.lease)):
            return None
        silent_s = self._voices.silent_s(key.lease, now)
        return f"has been silent for {silent_s:.1f} s" if silent_s > 0 else "has not been heard yet"

    def can_be_told(self, key: KeyValue, vip: Vip, window_s: float | None, now: Instant) -> bool:
        """Whether a word would reach that candidate: it was heard a moment ago. A witness answers every beat, so its
        voice is missed sooner.
        """
        spoke_at = self._voices.spoke_at(key.lease)
        if window_s is not None and key.lease in self._witnesses_of(vip.address):
            return now - spoke_at <= window_s * SILENCE_FRACTION
        return self._peers.of(key) is not None and self._voices.is_speaking(key.lease, now)

    def has_spoken_since(self, lease: int, since: Instant) -> bool:
        """Whether that agent was heard since that instant."""
        return self._voices.spoke_at(lease) >= since

    def leads_in_silence_since(self, since: Instant) -> bool:
        """Whether etcd's leader is on another agent's node, which has not been heard since that instant."""
        leader, own = self._session.raft_leader.leader_id, self._session.lease
        there = [each.lease for each in self._peers.all() if each.member == leader and each.lease != own]
        return leader is not None and bool(there) and not any(self.has_spoken_since(each, since) for each in there)

    def is_proved_since(self, key: KeyValue, since: Instant | None, now: Instant) -> bool:
        """Whether that candidate's lease was proved by a request that left after that instant, and so lately that it is
        in touch with etcd: an etcd that is away for all has proved some a little later than others (law 4).
        """
        age_s = self._voices.proved_age_s(key.lease, now)
        if since is None or age_s is None or age_s > self._session.ttl_s / 2:
            return False
        return now - age_s > since

    def why_out(self, key: KeyValue, vip: Vip, now: Instant, *, hurried: bool) -> str | None:
        """Why that candidate should not stand before a sound one; None if nothing is known against it.

        `hurried`: somebody wants to leave past it now, so silence counts as soon as it is no chance any more.
        """
        peer = self._peers.of(key)
        if peer is None or peer.places is None:
            return None  # law 4: a plain candidate, or an agent of an older version
        unfit = self._fitness.why_unfit(key, vip)
        if unfit not in (None, NO_AGENT, NOT_KNOWN):
            return unfit if hurried or now >= self._unfit_since.get(key.lease, now) + UNFIT_S else None
        silent_s = self._voices.silent_s(key.lease, now)
        if self._voices.is_gone(key.lease, now) and (hurried or silent_s >= SILENT_S):
            return f"silent for {silent_s:.1f} s" if self._is_missed_by_witnesses(key.lease, vip) else None
        if self._is_unproved(key.lease, now):
            return f"without etcd for {self._voices.proved_age_s(key.lease, now) or 0.0:.0f} s"
        return None

    def may_evict(self, key: KeyValue, vip: Vip, now: Instant) -> bool:
        """Whether that agent's turn has come: at most once a minute for each VIP."""
        again_at = self._evicted_at.get((vip.address, name_of(key)), NEVER) + EVERY_S
        if now < again_at:
            self._again_at = min(self._again_at, again_at)
            return False
        return True

    def evicts(self, key: KeyValue, vip: Vip, why: str, now: Instant) -> None:
        """It is taken out of this queue. One line tells of all queues."""
        self._evicted_at = {each: at for each, at in self._evicted_at.items() if now < at + EVERY_S}
        name = name_of(key)
        self._evicted_at[vip.address, name] = now
        if now >= self._told_at.get(name, NEVER) + EVERY_S:
            self._told_at = {each: at for each, at in self._told_at.items() if now < at + EVERY_S}
            self._told_at[name] = now
            self._out(Report(Level.WARNING, f"{name} goes to the end of the queue: others are sound", reason=why))

    # -- time ---------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> Instant:
        """When silence or a missing proof may count for somebody anew; infinity if only facts can change that."""
        return min(self._look_at, self._again_at)

    def records_changed(self, now: Instant) -> None:
        """Agents came, went, or say something else of themselves."""
        unfit = [peer.lease for peer in self._peers.all() if _says_it_is_unfit(peer)]
        self._unfit_since = {lease: self._unfit_since.get(lease, now) for lease in unfit}
        self._look_at = now

    def advance(self, now: Instant) -> bool:
        """Look at the agents again, if that is due. True: owners should look at their queues."""
        if now < min(self._look_at - EARLY_S, self._again_at):
            return False
        leases = [peer.lease for peer in self._peers.all() if peer.places is not None]
        fresh = self._session.is_well(now)
        since: dict[int, Instant] = {}
        for lease in leases if fresh else ():
            age_s = self._voices.proved_age_s(lease, now)
            if age_s is not None and age_s > UNPROVED_S and self._voices.is_speaking(lease, now):
                since[lease] = self._unproved_since.get(lease, now)
        self._unproved_since = since
        silent = {lease: self._voices.silent_s(lease, now) for lease in leases}
        waits = [min(LOOK_EVERY_S, SILENT_S - silent_s) for silent_s in silent.values() if silent_s < SILENT_S]
        unfit = {lease for lease, since in self._unfit_since.items() if now >= since + UNFIT_S}
        waits += [since + UNFIT_S - now for since in self._unfit_since.values() if now < since + UNFIT_S]
        suspects = frozenset(
            lease for lease in leases if silent[lease] >= SILENT_S or self._is_unproved(lease, now) or lease in unfit
        )
        is_news = bool(suspects - self._suspects) or now >= self._again_at
        self._suspects, self._again_at = suspects, float("inf")
        # One that fell silent is found on time; another's proof, or our own, may end or come at any moment.
        self._look_at = now + max(LOOK_S_MIN, min(waits, default=LOOK_EVERY_S)) if leases else float("inf")
        return is_news

    # -- inside -------------------------------------------------------------------------------------------------------

    def _is_unproved(self, lease: int, now: Instant) -> bool:
        since = self._unproved_since.get(lease)
        return since is not None and now >= since + UNPROVED_FOR_S

    def _is_missed_by_witnesses(self, lease: int, vip: Vip) -> bool:
        """Whether our witnesses, but for that agent itself, say the same: one deaf ear empties no queue."""
        witnesses = [self._peers.by_lease(each) for each in self._witnesses_of(vip.address) if each != lease]
        return all(each is not None and lease in each.misses for each in witnesses)


def _says_it_is_unfit(peer: Peer) -> bool:
    flaws = (*(place.flaw for place in peer.places or ()), *peer.flaws.values())
    return peer.drained is True or peer.healthy is False or any(flaws)


def _is_heard_among(agents: Iterable[Peer], lease: int) -> bool:
    """Whether one of these agents says in its record that it hears that one, and none that it misses it."""
    records = list(agents)
    is_heard = any(lease in place.heard for each in records for place in each.places or ())
    return is_heard and not any(lease in each.misses for each in records)
