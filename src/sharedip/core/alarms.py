"""Since when something is wrong, what the log hears of it, and what others hear in etcd.

The log: once when a problem has lasted for a moment, once when it is over. The record: the codes of this node's own
problems, changed at most once in `PUBLISH_EVERY_S`, for each write wakes every node.

Must never: decide anything, or ask for a turn of its own: it looks when there is one anyhow, which is every two seconds
at the latest (`session.py` renews, `hearing.py` greets). No look is about more than `VIPS_AT_ONCE` VIPs, however many
there are. Counterparts: `outlook.py` (the situation), `problems.py` (the words), `node.py` (which asks).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sharedip.core.election.candidacy import Candidacy
from sharedip.core.etcd.agent_records import Peers
from sharedip.core.messages import Command, Level, Report
from sharedip.core.model import NEVER, Instant
from sharedip.core.outlook import Outlook
from sharedip.core.problems import Trouble, VipSituation, at_most, grouped, of_vip, problems, to_publish
from sharedip.core.steps import Steps, to_the_end

LOOK_EVERY_S = 1.0
EARLY_S = 0.2
"""It goes with turns that come anyway, at least once a second: never is one made for it."""
LOST_FOR_S = 86400.0
"""So long an agent that died is missed: one that was ended in order is not, and a node may be gone for good."""
LOST_MAX = 16
NEXT_PART_S = 0.25
"""At least, between the looks at the parts of many VIPs: each costs milliseconds, and beats alone are five turns a
second.
"""
VIPS_AT_ONCE = 50
PUBLISH_EVERY_S = 5.0
PUBLISHED_AFTER_S = 2.0
"""What is over by then was a change, and no state to write down."""
TOLD_AFTER_S = 3.0
"""A change of owner, a join or a restart of an agent is over by then: that is no problem to wake anybody for."""
DOWN_TOLD_AFTER_S = 1.5
"""A handover or a takeover by a witness is over by then."""

_TOLD_BY_THEIR_PART = frozenset(
    ["lost", "name-taken", "etcd-away", "etcd-full", "stranger", "contested", "stray", "unseen"]
)
"""What the part that finds it out logs itself, at once."""
_TOLD_BY_THEIR_PART_HERE = frozenset(["unsaved", "fought-over", "hook-failed", "window-grown"])
"""The same, where it is this node's own."""

_PROTECTION = frozenset(
    ["owner-silent", "nobody-sound", "unhealthy", "unfit", "unheard", "mute", "link-missing", "link-down"]
)
"""What makes protection shrink without saying by how much: the log does."""

_Key = tuple[str, str, str]
"""Code, node and link: what makes two problems one story."""


class Alarms:
    """Invariant: `_since` has every problem of the last whole round of looks, `_told` those that the log has."""

    def __init__(self, node_name: str, peers: Peers, outlook: Outlook, out: Callable[[Command], None]) -> None:
        self._node_name = node_name
        self._peers = peers
        self._outlook = outlook
        self._out = out
        self._look_at: Instant | None = None
        """None before the first turn: what stands on this node is told right after the start."""
        self._left: list[Candidacy] = []
        """Of this round, those that have not been looked at."""
        self._found: list[Trouble] = []
        """Of this round."""
        self._crash_s: float | None = None
        """The longest that a crash of an owner takes, of those looked at in this round; None: nobody could tell."""
        self._since: dict[tuple[_Key, str], Instant] = {}
        """Trouble and VIP → when it was first seen."""
        self._told: dict[_Key, Trouble] = {}
        self._names: frozenset[str] | None = None
        """The agents that were registered at the last look."""
        self._missed: frozenset[str] = frozenset()
        """The nodes that were not heard at the last look: whose agent vanishes from etcd out of these, died."""
        self._lost: dict[str, Instant] = {}
        """Whose agent died, and when that was seen."""
        self.published: list[str] = []
        """What the record says."""
        self._said: list[str] = []
        """The same, with whom we miss."""
        self._published_at: Instant = NEVER

    def is_due(self, now: Instant) -> bool:
        """Whether a look is worth a turn that comes anyhow."""
        if self._look_at is None:
            return True
        return now >= (self._look_at if self._left else self._look_at - EARLY_S)

    def look(self, candidacies: Iterable[Candidacy], now: Instant) -> bool:
        """Look at the next few VIPs, if it is time. True: `published` has changed."""
        if self._look_at is None:
            self._look_at = now + LOOK_EVERY_S
        if not self.is_due(now):
            return False
        if not self._left:
            self._left = list(candidacies)
            self._found, self._crash_s = [], None
        part, self._left = self._left[:VIPS_AT_ONCE], self._left[VIPS_AT_ONCE:]
        for each in part:
            self._found += self._outlook.own_of_vip(each, now)
            vip = self._outlook.vip(each, now)
            self._found += of_vip(vip)
            if vip.behind and vip.crash_s is not None:
                self._crash_s = max(vip.crash_s, self._crash_s or 0.0)
        self._look_at = now + (NEXT_PART_S if self._left else LOOK_EVERY_S)
        return False if self._left else self._round_is_over(now)

    def problems(self, candidacies: Sequence[Candidacy], now: Instant) -> list[Trouble]:
        """Everything that is wrong now, the gravest first, each since when."""
        return to_the_end(
            self.problems_in_steps(candidacies, [self._outlook.vip(each, now) for each in candidacies], now)
        )

    def problems_in_steps(
        self, candidacies: Sequence[Candidacy], situations: Iterable[VipSituation], now: Instant
    ) -> Steps[list[Trouble]]:
        """The same, where each VIP has been looked at already."""
        own = [*self._outlook.own(now), *self._losses(now)]
        of_vips: list[Trouble] = []
        for candidacy, situation in zip(candidacies, situations, strict=True):
            own += self._outlook.own_of_vip(candidacy, now)
            of_vips += of_vip(situation)
            yield
        dated: list[Trouble] = []
        for each in self._dated(problems([*own, *of_vips], (), self._outlook.agents()), now):
            dated.append(each)
            yield
        return grouped(dated)

    def down_s(self, vip: VipSituation, now: Instant) -> float:
        """For how long this VIP, which is down, has been."""
        (down,) = self._dated([each for each in of_vip(vip) if each.code == "down"], now)
        return 0.0 if down.since is None else now - down.since

    # -- inside -------------------------------------------------------------------------------------------------------

    def _round_is_over(self, now: Instant) -> bool:
        self._note_the_lost(now)
        own = [*self._outlook.own(now), *self._found, *self._losses(now)]
        self._found = []
        dated = list(self._dated(problems(own, (), self._outlook.agents()), now))
        self._since = dict(_instants(dated))
        self._tell(grouped(dated), now)
        self._tell_agents()
        self._missed = frozenset(each.node for each in dated if each.code in ("unheard", "mute"))
        lasting = (each for each in dated if each.since is not None and now - each.since >= PUBLISHED_AFTER_S)
        mine = to_publish(each for each in lasting if each.node == self._node_name)
        said = [*mine, *self.lost]
        if said == self._said or now < self._published_at + PUBLISH_EVERY_S:
            return False
        self.published, self._said, self._published_at = mine, said, now
        return True

    def _dated(self, found: Iterable[Trouble], now: Instant) -> Iterable[Trouble]:
        for each in found:
            if each.since is None:
                known = (self._since.get((_key(each), vip)) for vip in each.vips or ("",))
                since = min((at for at in known if at is not None), default=now)
                yield _since(each, since)
            else:
                yield each

    def _tell(self, found: list[Trouble], now: Instant) -> None:
        holding: dict[_Key, Trouble] = {}
        for each in found:
            if not self._is_told_here(each):
                continue
            known = self._told.get(_key(each))
            after_s = DOWN_TOLD_AFTER_S if each.is_grave else TOLD_AFTER_S
            if known is None and (each.since is None or now - each.since < after_s):
                continue
            holding[_key(each)] = each if known is None else _since(each, known.since)
            if known is None:
                level = Level.ERROR if each.is_grave else Level.WARNING
                self._out(Report(level, each.text, reason=self._why(each.way_out, each.code)))
        there = {self._node_name, *(peer.name for peer in self._peers.all())}
        for key, each in self._told.items():
            if each.node and not each.vips and each.node not in there:
                continue  # its agent is gone, which is told beside, and has mended nothing
            if key not in holding:
                lasted = "" if each.since is None else f", after {now - each.since:.0f} s"
                self._out(Report(Level.INFO, f"{self._ended(each)}{lasted}", reason=self._why("", each.code)))
        self._told = holding

    def _ended(self, each: Trouble) -> str:
        """What a crash takes is said only if it is so now: an owner that has just come has its witness to name yet."""
        is_so = self._crash_s is not None and at_most(self._crash_s) == each.after
        return each.ended if is_so or not each.after else each.no_longer

    def _is_told_here(self, each: Trouble) -> bool:
        if each.code == "unseen" and each.node == self._node_name:
            return True  # the owner alone can't see it
        if each.code in _TOLD_BY_THEIR_PART:
            return False
        return not (each.code in _TOLD_BY_THEIR_PART_HERE and each.node == self._node_name)

    @property
    def lost(self) -> list[str]:
        """For our record: whose agents this node has seen die."""
        return sorted(self._lost)[:LOST_MAX]

    def _losses(self, now: Instant) -> list[Trouble]:
        there = {peer.name for peer in self._peers.all()}
        self._lost = {name: at for name, at in self._lost.items() if name not in there and now - at < LOST_FOR_S}
        return [Trouble("lost", name, since=at) for name, at in self._lost.items()]

    def _note_the_lost(self, now: Instant) -> None:
        """Whoever is gone, and was not heard before that."""
        if self._outlook.has_picture and self._names is not None:
            there = {peer.name for peer in self._peers.all()}
            self._lost |= dict.fromkeys((self._names - there) & self._missed, now)

    def _tell_agents(self) -> None:
        """Who has come, and who is gone, but for ourselves; without a picture of etcd nobody is."""
        if not self._outlook.has_picture:
            return
        names = frozenset(peer.name for peer in self._peers.all() if peer.name != self._node_name)
        known, self._names = self._names, names
        if known is None:
            return
        count = f"{len(names) + 1} agents" if names else "no other agent"
        for name in sorted(known - names):
            text = f"the agent of {name} is gone from etcd: {count} left"
            self._out(Report(Level.WARNING, text, reason=self._why("")))
        for name in sorted(names - known):
            self._out(Report(Level.INFO, f"the agent of {name} is registered: {count}", reason=self._why("")))

    def _why(self, way_out: str, code: str = "") -> str | None:
        """What to do, and what a crash takes now, where that is about protection and no part of the sentence."""
        parts = [way_out] if way_out else []
        if self._crash_s is not None and (not code or code in _PROTECTION):
            parts.append(f"a crash of an owner takes up to {self._crash_s:.1f} s now")
        return "; ".join(parts) or None


def _key(each: Trouble) -> _Key:
    return each.code, each.node, each.link


def _since(each: Trouble, since: Instant | None) -> Trouble:
    return Trouble(each.code, each.node, each.vips, each.link, each.detail, each.remedy, each.after, since)


def _instants(dated: Iterable[Trouble]) -> Iterable[tuple[tuple[_Key, str], Instant]]:
    for each in dated:
        for vip in each.vips or ("",):
            if each.since is not None:
                yield (_key(each), vip), each.since
