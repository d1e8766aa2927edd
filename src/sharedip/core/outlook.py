"""What the parts of a node know, put together as situations: is each VIP up, who comes next, what does a crash take.

Must never: change anything, or judge what is wrong; that is `problems.py`. Counterparts: `problems.py` (the words),
`alarms.py` (which asks every second), `view.py`.

Cost: one VIP's situation is independent of the number of VIPs, and what is read of etcd for it is read once a change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import assert_never

from sharedip.core.address.links import Links
from sharedip.core.address.own_side import OwnSide
from sharedip.core.address.ownership import Presence
from sharedip.core.election.candidacy import SETTLING, Candidacy, Phase
from sharedip.core.election.fitness import NO_AGENT, NOT_KNOWN, Fitness
from sharedip.core.election.hooks import Hooks
from sharedip.core.etcd.agent_records import Peer, PeerPlace, Peers
from sharedip.core.etcd.keys import read_record
from sharedip.core.etcd.session import Session
from sharedip.core.history import name_of
from sharedip.core.messages import CertificateRead, DocumentsJudged, WallClockRead
from sharedip.core.model import NEVER, Instant, IPAddress, KeyValue, Vip
from sharedip.core.peers.owner import Designations
from sharedip.core.peers.witness import WINDOW_S_MAX, read_witnesses
from sharedip.core.problems import (
    EXPIRY_S,
    AgentSituation,
    Standing,
    Trouble,
    VipSituation,
    flaw_words,
    listed,
)
from sharedip.core.saved_state import SavedState
from sharedip.core.segment.clocks import OthersClocks
from sharedip.core.segment.hearing import Hearing, by_place
from sharedip.core.segment.isolation import Isolation
from sharedip.core.segment.visibility import Unseen, Visibility, unseen_by
from sharedip.core.segment.voices import Voices
from sharedip.core.segment.wall_clocks import apart
from sharedip.core.settings import (
    LIFETIME_LATE_S,
    LIFETIME_SLACK_S,
    Settings,
    shared_settings,
    takeover_least_s,
    takeover_s,
)

CONFLICT_SHOWN_S = 300.0
"""A stranger that has not been seen for this long is left to the log."""
FOUGHT_OVER_MIN = 3
FOUGHT_OVER_S = 60.0
"""So often, and the last time so lately, something else has taken the address off its owner's link."""
SETTLES_S = 3.0
"""A new owner has its witness, and has said that it has the address, within a second; an etcd that elects may take two
more."""
LIFETIME_EARLY_S_MAX = LIFETIME_LATE_S + LIFETIME_SLACK_S + 1.0
"""The address's lifetime has whole seconds, and ends so much before the right that a late kernel keeps it, too."""
SILENT_S = 3.0
"""As for a candidate in the queue (`living.py`)."""
_VIPS_LINK = "the VIPs' link"
"""Another node's link may have another name; which one is meant its own words say."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The one of etcd's client files that ends first; `until` is an instant, made of its date when it was read."""

    file: str
    until: Instant


@dataclass(frozen=True, slots=True)
class Designated:
    """What a witness key says: by which epoch, whom (leases), and with which window."""

    epoch: object
    leases: tuple[int, ...]
    window_s: float | None


def read_designation(key: KeyValue) -> Designated:
    """The same, of this key."""
    record = read_record(key) or {}
    window_ms = record.get("windowMs")
    is_sane = isinstance(window_ms, int) and 0 < window_ms <= WINDOW_S_MAX * 1000
    window_s = window_ms / 1000 if isinstance(window_ms, int) and is_sane else None
    return Designated(record.get("epoch"), read_witnesses(record), window_s)


class Outlook:
    """Invariant: `_designated` and `_firsts` hold what was read of the keys as they stood when last asked for."""

    def __init__(
        self,
        settings: Settings,
        session: Session,
        peers: Peers,
        voices: Voices,
        clocks: OthersClocks,
        links: Links,
        own_side: OwnSide,
        hearing: Hearing,
        isolation: Isolation,
        visibility: Visibility,
        fitness: Fitness,
        designations: Designations,
        hooks: Hooks,
        state: SavedState,
    ) -> None:
        self._settings = settings
        self._session = session
        self._peers = peers
        self._voices = voices
        self._clocks = clocks
        self._links = links
        self._own_side = own_side
        self._hearing = hearing
        self._isolation = isolation
        self._visibility = visibility
        self._fitness = fitness
        self._designations = designations
        self._hooks = hooks
        self._state = state
        self.certificate: Certificate | None = None
        self.documents = DocumentsJudged("")
        self.wall_ahead_s: float | None = None
        """What our wall clock shows beyond the clock of instants, as others read it in our record."""
        self._designated: dict[IPAddress, tuple[KeyValue, Designated]] = {}
        self._firsts: dict[IPAddress, tuple[tuple[int, int], Instant]] = {}
        """VIP → lease and epoch of who comes first, and since when we know of it."""
        self._let_go: dict[IPAddress, tuple[int, int, Instant]] = {}
        """VIP → which epoch's owner had lost its right though it lived, by which record, and when that was so last."""

    def reconfigure(self, settings: Settings) -> None:
        """Other VIPs, another window."""
        self._settings = settings
        wanted = {vip.address for vip in settings.vips}
        for memory in (self._designated, self._firsts, self._let_go):
            for address in [each for each in memory if each not in wanted]:
                del memory[address]

    def told(self, event: CertificateRead | DocumentsJudged | WallClockRead, now: Instant) -> None:
        """What only the disk knows, and the machine's clock."""
        match event:
            case DocumentsJudged():
                self.documents = event
            case WallClockRead():
                self.wall_ahead_s = event.ahead_s
            case CertificateRead():
                self.certificate = Certificate(event.file, now + event.left_s) if event.file else None
            case _:
                assert_never(event)

    def shown_to_others(self) -> dict[str, object]:
        """What our record says of our wall clock."""
        return {} if self.wall_ahead_s is None else {"wallMs": round(1000 * self.wall_ahead_s)}

    @property
    def has_picture(self) -> bool:
        """Whether this node sees the keys."""
        return self._session.is_registered

    # -- a VIP --------------------------------------------------------------------------------------------------------

    def vip(self, candidacy: Candidacy, now: Instant) -> VipSituation:
        """Is it up, who comes next, what does a crash take?"""
        queue, me = candidacy.queue(), self._settings.node_name
        first = queue[0] if queue else None
        owns = candidacy.phase is Phase.OWNING
        since = self._first_since(candidacy.vip.address, first, now)
        standing, why, down_since = self._standing(candidacy, first, since, now)
        name = me if owns else "" if first is None else name_of(first)
        own_lease = self._session.lease
        ahead = own_lease if owns else None if first is None else first.lease
        followers = [(key, self._why_unsound(key, candidacy.vip, now)) for key in queue if key.lease != ahead]
        behind = tuple((name_of(key), why) for key, why in followers)
        silent = first is not None and not owns and first.lease != own_lease and self._is_silent(first, now)
        is_watched, crash_s, whole_s, lease_s, least_s = self._protection(candidacy, first)
        if whole_s is not None and not is_watched and now < since + SETTLES_S:
            crash_s = least_s = None  # it is only being appointed
        heir = min(followers, key=lambda each: bool(each[1]))[0].lease if followers else None
        members, ends_after = self._etcd_without(ahead, heir)
        why_unwatched, remedy = "", ""
        if owns and not is_watched:
            why_unwatched, remedy = self._why_unwatched(candidacy, now)
        elif owns:
            why_unwatched, remedy = self._why_slow(candidacy)
        return VipSituation(
            address=str(candidacy.vip.address),
            first=name,
            standing=standing,
            why=why,
            down_since=down_since,
            silent=silent,
            behind=behind,
            is_watched=is_watched,
            crash_s=crash_s,
            crash_least_s=least_s,
            whole_s=whole_s,
            lease_s=lease_s,
            leads_etcd=self._leads_etcd(ahead),
            without_etcd_s=max(0.0, self._session.lease_until - now - LIFETIME_EARLY_S_MAX) if owns else None,
            etcd_members=members,
            etcd_ends_after=ends_after,
            why_unwatched=why_unwatched,
            watch_remedy=remedy,
        )

    def _leads_etcd(self, lease: int | None) -> bool:
        """Whether etcd's leader is on that agent's node: its death costs an election first."""
        member = self._member_of(lease)
        return member is not None and member == self._session.raft_leader.leader_id

    def _etcd_without(self, *leases: int | None) -> tuple[int, int | None]:
        """How many members etcd has, by what agents and documents tell; and after how many of these machines' deaths no
        majority of them is left.
        """
        agents = {peer.lease for peer in self._peers.all()} | {self._session.lease}
        known = {member for lease in agents if (member := self._member_of(lease)) is not None}
        count, dead = max(len(known), len(self._settings.endpoints)), set[int]()
        for deaths, lease in enumerate(leases, 1):
            member = self._member_of(lease)
            dead |= {member} if member is not None else set()
            if dead and count - len(dead) <= count // 2:
                return count, deaths
        return count, None

    def _member_of(self, lease: int | None) -> int | None:
        """The member of etcd on that agent's node."""
        if lease is not None and lease == self._session.lease:
            return self._session.raft_leader.member_id
        peer = None if lease is None else self._peers.by_lease(lease)
        return None if peer is None else peer.member

    def _first_since(self, address: IPAddress, first: KeyValue | None, now: Instant) -> Instant:
        who = (0, 0) if first is None else (first.lease, first.create_revision)
        known = self._firsts.get(address)
        if known is None or known[0] != who:
            known = self._firsts[address] = who, now
        return known[1]

    def _standing(
        self, candidacy: Candidacy, first: KeyValue | None, since: Instant, now: Instant
    ) -> tuple[Standing, str, Instant | None]:
        """Up, down or "can't tell"; why, and who will have it; since when it is down, where that is known."""
        me, bid, reason = self._settings.node_name, candidacy.bid, candidacy.history.reason
        if candidacy.phase is Phase.OWNING:
            if candidacy.ownership.presence is Presence.PRESENT:
                return Standing.UP, "", None
            refused = candidacy.ownership.refused_for_good
            why = f"the kernel of {me} will not have it ({refused})" if refused else f"{me} is putting it up"
            if not refused and not candidacy.ownership.can_hold(now):
                why = f"the right of {me} to it has run out; {me} puts it back when etcd answers"
            return Standing.DOWN, why, None
        if first is None:
            if not self._session.is_registered:
                return Standing.UNKNOWN, self._blind(), None
            obstacle = candidacy.obstacle
            hope = f"{me} can't take it: {obstacle}" if obstacle else f"{me} will stand for it"
            return Standing.DOWN, f"nobody stands in its election; {hope}", None
        if first.lease == self._session.lease:
            away = "" if self._session.is_well(now) else " when etcd answers"
            if bid is not None and bid.lapsed_at > NEVER:
                return Standing.DOWN, f"{reason}; {me} takes it back{away}", bid.lapsed_at
            if candidacy.phase in (Phase.LEAVING, Phase.RELEASING):
                return Standing.DOWN, f"{me} hands it over", candidacy.history.since
            if candidacy.is_asking:
                return Standing.DOWN, f"{me} comes first, and its hook onAcquire has not passed yet", since
            return Standing.DOWN, f"{me} comes first, and takes it{away}", candidacy.history.since
        return self._standing_of_another(candidacy, first, since, now)

    def _standing_of_another(
        self, candidacy: Candidacy, first: KeyValue, since: Instant, now: Instant
    ) -> tuple[Standing, str, Instant | None]:
        name, peer, ttl_s = name_of(first), self._peers.of(first), self._session.ttl_s
        if peer is None:
            return Standing.UNKNOWN, f"{name}, which comes first, is not a sharedip agent, and does not say", None
        age_s = self._voices.proved_age_s(first.lease, now)
        if age_s is not None and age_s > ttl_s and self._voices.is_speaking(first.lease, now):
            # It lives, and says that etcd has not proved its lease for longer than that lasts: it has let go (law 1).
            self._let_go[candidacy.vip.address] = first.create_revision, self._record_revision(candidacy), now
            why = f"{name} had to let go, for etcd has not proved its lease for more than {ttl_s} s"
            return Standing.DOWN, f"{why}; it takes it back when etcd answers", now - (age_s - ttl_s)
        if now - self._session.proved_sent_at > ttl_s:
            return Standing.UNKNOWN, f"{self._blind()}; {name} had it", None
        if ("down", str(candidacy.vip.address)) in peer.problems:
            return Standing.DOWN, f"so says {name}, which comes first", None
        epoch, revision, let_go_at = self._let_go.get(candidacy.vip.address, (0, 0, NEVER))
        is_fresh = now < let_go_at + SETTLES_S and epoch == first.create_revision
        if is_fresh and revision == self._record_revision(candidacy):
            return Standing.DOWN, f"{name} had to let go, and has not said that it is back", None
        record = candidacy.record.read() or {}
        has_said = record.get("epoch") == first.create_revision and "released" not in record and "fate" not in record
        if has_said or self._session.space.is_full or now < since + SETTLES_S:
            return Standing.UP, "", None
        return Standing.DOWN, f"{name} comes first, and has not said that the address stands there", since

    def _record_revision(self, candidacy: Candidacy) -> int:
        """Which owner's record stands: an owner that takes the address again writes another."""
        record = self._session.registry.get(candidacy.record.key)
        return 0 if record is None else record.mod_revision

    def _blind(self) -> str:
        me = self._settings.node_name
        if self._session.name_taken_by is not None:
            return f"the name {me} is taken, so it may not look"
        return f"{me} is without etcd" if not self._session.endpoints.connected else f"{me} has no picture of etcd yet"

    def _is_silent(self, key: KeyValue, now: Instant) -> bool:
        return self._voices.is_gone(key.lease, now) and self._voices.silent_s(key.lease, now) >= SILENT_S

    def _why_unsound(self, key: KeyValue, vip: Vip, now: Instant) -> str:
        """Why this candidate had better not be the next owner; empty: nothing is known against it."""
        if key.lease == self._session.lease:
            return told_unfit(self._fitness.why_not_candidate(vip))
        unfit = told_unfit(self._fitness.why_unfit(key, vip))
        return unfit or ("is silent" if self._is_silent(key, now) else "")

    # -- its protection -----------------------------------------------------------------------------------------------

    def _protection(
        self, candidacy: Candidacy, first: KeyValue | None
    ) -> tuple[bool, float | None, float | None, float | None, float | None]:
        """Whether it has a witness; in seconds, what a crash takes now, with a fast witness, by the lease alone, and at
        least.
        """
        if first is None:
            return False, None, None, None, None
        owner = self._peers.of(first)
        if candidacy.phase is Phase.OWNING:
            window_s, ttl_s = self._designations.window.now_s, float(self._session.ttl_s)
        elif owner is None:
            return False, None, None, None, None
        elif owner.settings is not None:
            window_s, ttl_s = owner.settings.window_ms / 1000, float(owner.settings.ttl_s)
        else:  # an older agent: as here, for all that is known
            window_s, ttl_s = self._settings.window_s, float(self._session.ttl_s)
        lease_s = takeover_s(None, ttl_s)
        if not window_s:
            return False, lease_s, None, lease_s, takeover_least_s(None, ttl_s)  # nobody wants one
        designated = self._designated_for(candidacy.vip.address)
        stands = designated is not None and designated.epoch == first.create_revision and bool(designated.leases)
        if candidacy.phase is Phase.OWNING and not self._designations.leases_of(candidacy.vip.address):
            stands = False
        lives = stands and designated is not None and any(self._peers.by_lease(each) for each in designated.leases)
        slow_s = designated.window_s if designated is not None and lives else None
        least_s = takeover_least_s(slow_s, ttl_s)
        return lives, takeover_s(slow_s, ttl_s), takeover_s(window_s, ttl_s), lease_s, least_s

    def _designated_for(self, address: IPAddress) -> Designated | None:
        key = self._session.registry.get(self._session.layout.witness(address))
        if key is None:
            self._designated.pop(address, None)
            return None
        known = self._designated.get(address)
        if known is None or known[0] is not key:
            known = self._designated[address] = key, read_designation(key)
        return known[1]

    def _why_slow(self, candidacy: Candidacy) -> tuple[str, str]:
        """Why an address of ours has a slow witness, and what to do; empty: it is none, or its window has grown."""
        leader, leases = self._session.raft_leader.leader_id, self._designations.leases_of(candidacy.vip.address)
        if leader is None and self._session.raft_leader.is_refused:
            return _UNTOLD
        peers = [peer for lease in leases if (peer := self._peers.by_lease(lease)) is not None]
        beside = [peer.name for peer in peers if peer.member is not None and peer.member == leader]
        return _beside_leader(beside) if beside else ("", "")

    def _why_unwatched(self, candidacy: Candidacy, now: Instant) -> tuple[str, str]:
        """Why an address of ours has no witness, and what to do."""
        if self._session.space.is_full:
            return "etcd takes no writes", "make room in etcd"
        if self._session.own_record.advertise is None:
            return "peers have no address of this node", "set peer.advertise, or a peer.listen that peers reach"
        agents = [key for key in candidacy.others() if self._peers.of(key) is not None]
        if not agents:
            return "no other agent stands behind it", "start an agent on another node"
        unheard = [name_of(key) for key in agents if not self._designations.answers(key.lease, now)]
        if len(unheard) == len(agents):
            does = "does" if len(unheard) == 1 else "do"
            return (
                f"{listed(unheard)} {does} not answer this node's datagrams",
                "is the agent there running, and the UDP port of peer.listen (9470) open both ways?",
            )
        leader = self._session.raft_leader.leader_id
        if leader is None and self._session.raft_leader.is_refused:
            return _UNTOLD
        if leader is None:
            return "it is not known who leads etcd", "look at etcd"
        left = [peer for key in agents if name_of(key) not in unheard and (peer := self._peers.of(key)) is not None]
        if all(peer.member == leader for peer in left):
            return _beside_leader(sorted(peer.name for peer in left))
        return "none of the others is in touch with etcd", "look at the etcd endpoints of the others"

    # -- this node ----------------------------------------------------------------------------------------------------

    def own(self, now: Instant) -> Iterator[Trouble]:
        """What this node knows to be wrong with itself, but for what is about a VIP alone."""
        me, session = self._settings.node_name, self._session
        about = _about(me)
        if session.name_taken_by is not None:
            yield about("name-taken", detail=f"it has {session.name_taken_by}")
        if not session.endpoints.connected:
            tried = ", ".join(self._settings.endpoints[:5]) or "no endpoint"
            yield about("etcd-away", detail=f"{session.endpoints.trouble or 'no answer'}; tried {tried}")
        if session.space.full_since is not None:
            yield Trouble("etcd-full", since=session.space.full_since)
        if self._state.trouble:
            yield about("unsaved", detail=self._state.trouble)
        if self._designations.window.is_grown:
            yield about("window-grown", detail=f"{self._designations.window.now_s:g} s")
        if self.certificate is not None and self.certificate.until - now < EXPIRY_S:
            yield about(
                "certificate-expired" if self.certificate.until <= now else "certificate", detail=self._dated(now)
            )
        if self.documents.refused:
            yield about("documents", detail=self.documents.refused)
        if self.documents.unkept:
            yield about("unkept", detail=self.documents.unkept)
        if self._fitness.health.healthy is False:
            yield about("unhealthy", detail=self._fitness.health.detail)
        if session.is_registered and session.own_record.advertise is None and self._settings.window_s:
            yield about("unreached")
        for (link, version), vips in by_place(self._settings).items():
            yield from self._own_place(link, version, vips, about)
        for lease, rate in self._clocks.rates_off():
            way = "gains" if rate > 0 else "loses"
            detail = f"in a minute it {way} {abs(rate) * 60_000:.0f} ms on that of {me}"
            yield Trouble("clock-rate", self._peers.name_of(lease), detail=detail)
        yield from self.missed()
        yield from self._clocks_apart()

    def _clocks_apart(self) -> Iterator[Trouble]:
        """Wall clocks that are not like the others', by what hellos and records show of them."""
        if self.wall_ahead_s is None:
            return
        shown_s = {self._settings.node_name: self.wall_ahead_s}
        for peer in self._peers.all():
            beyond_s = self._clocks.beyond_s(peer.lease)
            if beyond_s is not None and peer.wall_ahead_s is not None:
                shown_s[peer.name] = beyond_s + peer.wall_ahead_s
        for name, apart_s in apart(shown_s):
            yield Trouble("clock", name, detail=f"{abs(apart_s):.0f} s {'ahead of' if apart_s > 0 else 'behind'} them")

    def _dated(self, now: Instant) -> str:
        assert self.certificate is not None
        left_s = self.certificate.until - now
        days = int(abs(left_s) // 86400)
        when = f"{days} day{'' if days == 1 else 's'}" if days else f"{int(abs(left_s) // 3600)} h"
        return f"{self.certificate.file}, {'in ' + when if left_s > 0 else when + ' ago'}"

    def _own_place(
        self, link: str, version: int, vips: tuple[Vip, ...], about: Callable[..., Trouble]
    ) -> Iterator[Trouble]:
        where = f"{link} (IPv{version})"
        flaw = next((each for vip in vips if (each := self._own_side.flaw(vip)) is not None), None)
        if flaw is not None:
            yield about("unfit", link=where, detail=flaw.wrong, remedy=flaw.remedy)
        side = self._isolation.better_side(link, version)
        if side is not None:
            heard = sorted(self._peers.name_of(lease) for lease in side)
            are = "is" if len(heard) == 1 else "are"
            yield about(
                "unfit",
                link=where,
                detail=f"it is not heard there, and {listed(heard)} {are} heard",
                remedy=f"look at its port, cable and VLAN; the VIPs go to {listed(heard)}, and come back by "
                "`sharedip move` alone",
            )

    def own_of_vip(self, candidacy: Candidacy, now: Instant) -> Iterator[Trouble]:
        """What this node knows to be wrong with it and one VIP."""
        vip, history, losses = candidacy.vip, candidacy.history, candidacy.ownership.losses
        about = _about(self._settings.node_name, str(vip))
        conflict = history.conflict
        if conflict is not None and now - conflict.last_at <= CONFLICT_SHOWN_S:
            yield about("stranger", detail=f"{conflict.mac.hex(':')}, seen by {self._settings.node_name}")
        if history.contested:
            yield about("contested", detail=f"by {history.contested}")
        if history.strays:
            names = sorted({self._links.name_of(index) for index, _ in history.strays})
            yield about("stray", detail=f"on {listed(names)}")
        if losses.count >= FOUGHT_OVER_MIN and now - losses.last_at <= FOUGHT_OVER_S:
            yield about("fought-over", detail=f"by {losses.by or 'an unknown program'}")
        for hook, detail in self._hooks.troubles(vip, now):
            yield about("hook-failed", detail=f"{hook.value}, {detail}")
        state = self._links.state(vip.link)
        if state == "missing":
            meant, at, _ = vip.link.partition("@")
            remedy = f"if that is copied from `ip link`, write link: {meant}" if meant and at else ""
            yield about("link-missing", link=vip.link, detail=f"there is no link {vip.link}", remedy=remedy)
        elif state == "down":
            yield about("link-down", link=vip.link, detail=vip.link)
        yield from unseen_trouble(candidacy.owner, str(vip), self.unseen(vip))

    def unseen(self, vip: Vip) -> Unseen | None:
        """What any agent sees to be wrong with the VIP on the wire, this one included."""
        own = self._visibility.unseen.get(vip)
        others = [(peer.name, peer.unseen) for peer in self._peers.all() if peer.lease != self._session.lease]
        return unseen_by(str(vip), [(self._settings.node_name, {} if own is None else {str(vip): own}), *others])

    # -- the others ---------------------------------------------------------------------------------------------------

    def agents(self) -> list[AgentSituation]:
        """All agents by their records, this one by what it knows."""
        me = AgentSituation(self._settings.node_name, settings=shared_settings(self._settings))
        others = (peer for peer in self._peers.all() if peer.lease != self._session.lease)
        return [me, *(agent_situation(peer) for peer in others)]

    def missed(self) -> Iterator[Trouble]:
        """Who is not heard any more, and by whom: this node by itself, the others by their records."""
        everybody = {peer.lease: peer for peer in self._peers.all()}
        own = [place for vips in by_place(self._settings).values() if (place := self._hearing.own_place(vips[0]))]
        places = [(peer.name, peer.places or ()) for lease, peer in everybody.items() if lease != self._session.lease]
        yield from missed(everybody, [(self._settings.node_name, tuple(own)), *places])


def agent_situation(peer: Peer) -> AgentSituation:
    """What that agent says of itself in its record."""
    flaws = {place.flaw: f"{_VIPS_LINK} (IPv{place.version})" for place in peer.places or () if place.flaw}
    flaws |= {flaw: _VIPS_LINK for flaw in peer.flaws.values() if flaw not in flaws}
    return AgentSituation(
        peer.name, peer.healthy, peer.problems, tuple(sorted(flaws.items())), peer.settings, peer.lost
    )


def missed(everybody: Mapping[int, Peer], speakers: Iterable[tuple[str, Iterable[PeerPlace]]]) -> Iterator[Trouble]:
    """Who of `everybody` (by lease) is not heard any more, by all who say so."""
    said: dict[tuple[str, int, int], list[str]] = {}
    for speaker, places in speakers:
        for place in places:
            for code, leases in (("unheard", place.silent), ("mute", place.mute)):
                for lease in leases:
                    said.setdefault((code, lease, place.version), []).append(speaker)
    for (code, lease, version), by in sorted(said.items()):
        if lease in everybody:
            where = f"{_VIPS_LINK} (IPv{version})"
            yield Trouble(code, everybody[lease].name, link=where, detail=f"by {listed(sorted(set(by)))}")


def unseen_trouble(owner: KeyValue | None, vip: str, seen: Unseen | None) -> Iterator[Trouble]:
    """Its owner, who can't see it, and everybody else say it in the same words."""
    if owner is not None and seen is not None:
        sees = "sees" if len(seen.by) == 1 else "see"
        detail = f"it is {seen.what}, as {listed(seen.by)} {sees} it"
        yield Trouble("unseen", name_of(owner), (vip,), detail=detail)


def told_unfit(why: str | None) -> str:
    """What keeps a candidate from being fit (`fitness.py`), as the end of a sentence about it; empty: nothing does."""
    if why is None or why == SETTLING:
        return ""
    if why in (NO_AGENT, NOT_KNOWN):
        return "runs no sharedip agent" if why == NO_AGENT else f"is {why}"
    return f"can't serve there ({flaw_words(why)})" if flaw_words(why) else f"is {why}"


def _about(node: str, vip: str = "") -> Callable[..., Trouble]:
    def about(code: str, **fields: str) -> Trouble:
        return Trouble(code, node, (vip,) if vip else (), **fields)  # type: ignore[arg-type]

    return about


_UNTOLD = (
    "etcd does not tell this user who leads it (Status is refused)",
    "run a release of etcd that lets every user ask, or give this one etcd's root role (docs/etcd.md)",
)
"""Why, and what to do."""


def _beside_leader(names: list[str]) -> tuple[str, str]:
    """Why, and what to do."""
    return (
        f"{listed(names)} runs beside etcd's leader, and would fall with it",
        "run a third agent, or move etcd's leader (`etcdctl move-leader`, or etcd.moveLeader on its node)",
    )
