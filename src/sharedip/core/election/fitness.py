"""Which node should have an address: is a node fit for it, ours and each of the others, and which one should not be
the successor.

A node is fit for a VIP when its agent says that it is healthy and not drained, that it can serve on the VIP's link, and
that it is heard there (law 12). An unfit owner hands over to a fit node, an unfit candidate takes nothing before a fit
one, and where nobody is fit the address stays.

Beside that, the candidate on the node of etcd's leader stays out of second place where an owner may have two witnesses:
if the owner and its successor die at once, the others can only make that dead node the owner, until its lease ends. A
witness is not chosen as successor for that reason, but the node of etcd's leader can be no witness. So its candidate
goes to the end of the queue: it gives its key up, and campaigns again.

Must never: take an address away because health is unknown (law 4), or let an owner step back, or a node that may
become one at this moment. Counterparts: `health.py` (one check's verdict), `candidacy.py` (which asks).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sharedip.core.address.own_side import OwnSide
from sharedip.core.election.spacing import Spacing
from sharedip.core.etcd.agent_records import ASKS_MAX, CODES_MAX, Peer, Peers
from sharedip.core.etcd.session import Session
from sharedip.core.history import name_of
from sharedip.core.messages import Ailment, Command, Level, Report
from sharedip.core.model import Instant, IPAddress, KeyValue, Vip
from sharedip.core.segment.hearing import Hearing
from sharedip.core.segment.isolation import ISOLATED, Isolation

CHECK = "check "
"""What an owner asks for when a health check fails: this, and the check's name."""
SERVE = "serve "
"""What it asks for when it can't serve, or is not heard: this, and one of the VIPs that are there."""
AGENTS_MIN = 5
"""With fewer members etcd would not survive the two deaths either (one on each node)."""
SETTLED_S = 5.0
"""The leader must have been the same for this long: an etcd that elects again and again must not stir the queues."""
NO_AGENT = "not a sharedip agent"
NOT_KNOWN = "not known to be healthy yet"


@dataclass(slots=True)
class Health:
    """The sum of this node's checks; None while no check has a result."""

    healthy: bool | None
    detail: str
    failing: tuple[tuple[str, Ailment], ...] = ()
    recovering: frozenset[str] = frozenset()
    """Those of them that pass again, and are not trusted yet."""


def every_vip_of(version: int) -> str:
    """What stands for all VIPs of a family among the flaws of a node that has no place for them at all."""
    return f"*{version}"


@dataclass(frozen=True, slots=True)
class PublishedFlaws:
    """Why this node had better not have some VIPs: by link and family, and where that differs, by VIP."""

    of_places: dict[tuple[str, int], str]
    of_vips: dict[str, str]


def why_unfit(peer: Peer | None, address: IPAddress) -> str | None:
    """What keeps that agent's node from being fit for this VIP, by its record; None if nothing does."""
    if peer is None:
        return NO_AGENT
    if peer.drained is not False:
        return "drained"
    if peer.healthy is not True:
        return "unhealthy" if peer.healthy is False else NOT_KNOWN
    place = peer.place_of(address)
    flaws = peer.flaws.get(str(address)) or peer.flaws.get(every_vip_of(address.version))
    return (place.flaw if place is not None else "") or flaws or None


class Fitness:
    """Invariant: at most one step back for each VIP and reign of a leader, unless all behind it have had their turn."""

    def __init__(
        self,
        session: Session,
        peers: Peers,
        hearing: Hearing,
        isolation: Isolation,
        own_side: OwnSide,
        out: Callable[[Command], None],
        *,
        has_checks: bool,
    ) -> None:
        self._session = session
        self._peers = peers
        self._hearing = hearing
        self._isolation = isolation
        self._own_side = own_side
        self._out = out
        self.drained = False
        self.health = Health(healthy=None if has_checks else True, detail="")
        self.spacing = Spacing()
        self._moves_seen: dict[tuple[int, str], int] = {}
        self._moved: set[str] = set()
        """The checks for which addresses have left this node; `spacing` forgets, this need not."""
        self._leader: int | None = None
        self._settles_at: Instant = float("inf")
        self._is_settled = False
        self._told = False

    # -- this node ----------------------------------------------------------------------------------------------------

    def why_not_candidate(self, vip: Vip) -> str | None:
        """Why another node should rather get this address; None if this one is fit."""
        if self.health.healthy is None and not self.drained:
            return NOT_KNOWN
        why_not = self.why_not_owner(vip)
        if why_not is None and self._own_side.is_doubtful(vip):
            return f"not known to be able to serve on {vip.link} yet"
        if why_not is None and self._hearing.hears_nobody(vip) and self._is_missed(vip):
            return f"nobody is heard on {vip.link}"
        return why_not

    def why_not_owner(self, vip: Vip) -> str | None:
        """Why another node should rather have this address of ours: "cannot tell" is no reason."""
        if self.drained:
            return "drained"
        flaw = self._own_side.flaw(vip)
        if flaw is not None:
            return flaw.text
        side = self._isolation.better_side(vip.link, vip.address.version)
        if side is not None:
            return f"not heard on {vip.link}, where {self._names(side)} {'is' if len(side) == 1 else 'are'} heard"
        if self.health.healthy is False:
            return f"unhealthy ({self.health.detail or 'no check passes'})"
        return None

    def flaw(self, vip: Vip) -> str:
        """The code that our record has for this VIP; empty: this node can serve it."""
        flaw = self._own_side.flaw(vip)
        if flaw is not None:
            return flaw.code
        return "" if self._isolation.better_side(vip.link, vip.address.version) is None else ISOLATED

    @property
    def is_impaired(self) -> bool:
        """Whether anything at all keeps this node from being fit as an owner, but a drain."""
        return self.health.healthy is False or self._own_side.is_flawed or self._isolation.is_on_worse_side

    def flaws(self, vips: Iterable[Vip]) -> PublishedFlaws:
        """What our record says of this node's flaws: one code for a place where all its VIPs have that one."""
        of_places: dict[tuple[str, int], str] = {}
        of_vips: dict[str, str] = {}
        if self._own_side.is_flawed or self._isolation.is_on_worse_side:
            by_place: dict[tuple[str, int], dict[Vip, str]] = {}
            for vip in vips:
                by_place.setdefault((vip.link, vip.address.version), {})[vip] = self.flaw(vip)
            for place, codes in by_place.items():
                is_same = len(set(codes.values())) == 1
                if not any(codes.values()):
                    continue
                if is_same and self._hearing.has_place(*place):
                    of_places[place] = next(iter(codes.values()))
                elif is_same and sum(version == place[1] for _, version in by_place) == 1:
                    of_vips[every_vip_of(place[1])] = next(iter(codes.values()))
                else:
                    of_vips |= {str(vip): code for vip, code in codes.items() if code}
        return PublishedFlaws(of_places, dict(sorted(of_vips.items())[:CODES_MAX]))

    # -- an overload is not to be driven in circles (`spacing.py`) -----------------------------------------------------

    def may_leave(self, vip: Vip, now: Instant) -> bool:
        """Whether an owner may hand over now for what keeps it from being fit: not for a slow check, too soon again;
        nor for what passes again, however long it is not trusted: after an overload somebody is always trusted first.
        """
        if self.drained or self.flaw(vip):
            return True
        if self.health.recovering and all(name in self.health.recovering for name, _ in self.health.failing):
            return False
        is_dead = any(how is Ailment.DEAD for _, how in self.health.failing)
        return is_dead or all(self.spacing.may_move(name, now) for name, _ in self.health.failing)

    def may_go_to(self, candidate: KeyValue, vip: Vip, now: Instant) -> bool:
        """Whether that node has not failed lately what fails here now."""
        if self.drained or self.flaw(vip):
            return True
        name = name_of(candidate)
        return all(self.spacing.may_move_to(check, name, now) for check, _ in self.health.failing)

    def leaves(self, vip: Vip, now: Instant) -> None:
        """An address is handed over. Where a slow check is the reason, that counts."""
        if self.drained or self.flaw(vip) or self.health.healthy is not False:
            return
        if not any(how is Ailment.DEAD for _, how in self.health.failing):
            for check, _ in self.health.failing:
                self.spacing.moved(check, now)
                self._moved.add(check)

    def note_failures(self, now: Instant) -> None:
        """What fails here and, by their records, elsewhere; and how often addresses have moved for it by now."""
        for peer in self._peers.all():
            if peer.lease == self._session.lease:
                continue
            for check in peer.failing:
                self.spacing.failed(check, peer.name, now)
            for check, count in peer.moves.items():
                if count > self._moves_seen.get((peer.lease, check), 0):
                    self.spacing.take_over(check, count, now)
                self._moves_seen[peer.lease, check] = count
        known = {peer.lease for peer in self._peers.all()}
        self._moves_seen = {each: count for each, count in self._moves_seen.items() if each[0] in known}

    @property
    def moves(self) -> dict[str, int]:
        """For which checks of ours addresses have moved, and how often in a row. Published."""
        counts = {check: self.spacing.count(check) for check in self._moved}
        return {check: count for check, count in sorted(counts.items()) if count}

    def passes(self, check: str) -> bool:
        """Whether the health check of that name passes here."""
        return self.health.healthy is True and check not in {name for name, _ in self.health.failing}

    def asks(self, owned: Iterable[Vip]) -> tuple[str, ...]:
        """What a better candidate must assent to before it gets one of these addresses that this node has."""
        flawed = {(vip.link, vip.address.version, self.flaw(vip)): vip for vip in owned}
        if not flawed:
            return ()
        asks = {SERVE + str(vip) for (_, _, code), vip in flawed.items() if code}
        asks |= {CHECK + name for name, _ in self.health.failing}
        return tuple(sorted(asks))[:ASKS_MAX]

    def can_serve(self, vip: Vip) -> bool:
        """Whether this node is heard, and able to serve, where this VIP is: what it assents to. Who stands on the side
        of the owner that asks finds out with it that another one is better, and may be the later of the two.
        """
        is_in_question = self._isolation.is_in_question(vip.link, vip.address.version)
        is_fit = self.why_not_candidate(vip) is None and not is_in_question
        own = self._hearing.own_place(vip)
        return is_fit and own is not None and bool(own.heard | own.mute or own.gateway)

    # -- the others ---------------------------------------------------------------------------------------------------

    def is_fit(self, candidate: KeyValue, vip: Vip) -> bool:
        """Whether the other candidate's node is fit for this VIP."""
        return self.why_unfit(candidate, vip) is None

    def why_unfit(self, candidate: KeyValue, vip: Vip) -> str | None:
        """What keeps the other candidate's node from being fit; None if nothing does."""
        return why_unfit(self._peers.of(candidate), vip.address)

    def _is_missed(self, vip: Vip) -> bool:
        """Whether another agent has written that it hears us no more where the VIP is: so it lives, and we are cut off.

        Where all the others have died nobody writes that, and who is left is not cut off (law 13).
        """
        places = (peer.place_of(vip.address) for peer in self._peers.all())
        return any(place is not None and self._session.lease in place.silent for place in places)

    def _names(self, side: Iterable[int]) -> str:
        names = sorted(self._peers.name_of(lease) for lease in side)
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

    # -- the next in line ---------------------------------------------------------------------------------------------

    def leader_changed(self, now: Instant) -> None:
        """It became known who leads etcd, or which member is ours."""
        if self._session.raft_leader.leader_id != self._leader:
            self._leader, self._is_settled, self._told = self._session.raft_leader.leader_id, False, False
            self._settles_at = now + SETTLED_S

    def next_deadline(self) -> Instant:
        """When a new leader counts; infinity if none is awaited."""
        return self._settles_at

    def settle(self, now: Instant) -> bool:
        """True at most once for each leader: from now on the candidates of this node may step back."""
        if now < self._settles_at:
            return False
        self._settles_at, self._is_settled = float("inf"), True
        return self._leads

    def reason_to_step_back(self, queue: list[KeyValue], vip: Vip) -> str | None:
        """Why this node should not be the successor in this queue; None if it is not, or may be."""
        if not (self._is_settled and self._leads) or len(queue) < AGENTS_MIN or queue[1].lease != self._session.lease:
            return None
        if sum(self._peers.of(key) is not None for key in queue) < AGENTS_MIN:
            return None
        if not any(self.is_fit(key, vip) for key in queue[2:]):
            return None
        reason = "etcd's leader is on this node, and the next in line had better not die with it"
        if not self._told:
            self._told = True
            self._out(Report(Level.INFO, "stepping back in the queue", reason=reason))
        return reason

    @property
    def _leads(self) -> bool:
        raft_leader = self._session.raft_leader
        return self._leader is not None and self._leader == raft_leader.leader_id == raft_leader.member_id
