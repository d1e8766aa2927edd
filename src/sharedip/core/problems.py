"""What is wrong and still holds: one function from a situation to problems, with one sentence for each code.

Red means red: whoever shows or tells a problem (status, the cluster's view, the page, `/readyz`, the metric, the log)
has it from here, in these words; whoever publishes one publishes its code alone, never text, and each reader makes the
words of it. "Nothing is wrong" may be said only where this yields nothing.

Must never: decide anything, or make a problem of what can't be told without saying that it can't (law 4). What a person
has done on purpose (drained) is no problem. Counterparts: `outlook.py` (the situation of a node), `cli/cluster_view.py`
(the same, from etcd alone), `alarms.py` (since when; the log; what is published).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import ip_address
from typing import TYPE_CHECKING

from sharedip.core.model import Instant
from sharedip.core.settings import SharedSettings

if TYPE_CHECKING:
    from sharedip.core.status import ProblemView

VIPS_NAMED_MAX = 5
PUBLISHED_MAX = 64
"""So many of one agent are read, and written."""
EXPIRY_S = 14 * 86400.0
"""A certificate that ends within two weeks is a problem: `check` says so as early (adapters/etcd/tls.py)."""


@dataclass(frozen=True, slots=True)
class _Words:
    """`{vips}`, `{is}`, `{has}`, `{node}` and `{link}` are filled in. `ended`: what is so when it is over, if that is
    more than "no longer so"; `{after}` is filled in there. Only what is `public` is published.
    """

    sentence: str
    remedy: str = ""
    ended: str = ""
    public: bool = False


_WORDS: dict[str, _Words] = {
    # of a VIP
    "down": _Words("{vips} {is} DOWN", "", "{vips} {is} up again", public=True),
    "uncertain": _Words("whether {vips} {is} up can't be told"),
    "owner-silent": _Words(
        "{node}, which has {vips}, is silent", "look at that node: is its agent running, and is it reached?"
    ),
    "no-witness": _Words(
        "{vips} {has} no witness", "", "{vips} {has} a witness again: a crash of {node} takes {after}"
    ),
    "slow-witness": _Words(
        "{vips} {has} only a slow witness", "", "{vips} {has} a fast witness again: a crash of {node} takes {after}"
    ),
    "nobody-next": _Words("nobody is next for {vips}: if {node} dies, nobody has it", "start an agent on another node"),
    "nobody-sound": _Words("no sound node is next for {vips}, if {node} dies", "mend one of them"),
    "stranger": _Words(
        "{vips} {is} also claimed by a stranger on the segment",
        "find that machine and take the address from it",
        public=True,
    ),
    "contested": _Words(
        "{vips} {is} used by another node as well, though {node} comes first in etcd",
        "it took it by a word that was never said; look who may read the state directory, and restart that agent",
        public=True,
    ),
    "stray": _Words(
        "{vips} {is} on {node} by another hand than sharedip's",
        "take it off (`ip address del`), or clients may meet two owners",
        public=True,
    ),
    "fought-over": _Words(
        "{vips} {is} taken off {node} by another program again and again, and put back each time",
        "tell it to keep addresses that are not its own",
        public=True,
    ),
    "unseen": _Words(
        "{vips} {is} not answered for on the wire, though {node} answers for itself",
        "clients do not reach it; allow the address at that node's port (spoof guard, port security, allowed address "
        "pairs), and look for proxy ARP",
        "{vips} {is} answered for again on the wire",
    ),
    "link-missing": _Words(
        "{node} has no link for {vips}",
        "it is not a candidate until the link appears, or the documents name another",
        public=True,
    ),
    "link-down": _Words(
        "the link of {vips} is down on {node}", "it is not a candidate until the link is up", public=True
    ),
    "hook-failed": _Words(
        "a hook of {node} failed for {vips}",
        "run it by hand with the words of docs/hooks.md; onAcquire keeps the node from having the address",
        public=True,
    ),
    # of a node
    "name-taken": _Words("another agent runs under the name {node}", "give each node its own nodeName"),
    "etcd-away": _Words(
        "etcd is not reachable from {node}", "it can take nothing until etcd answers: look at etcd, and the way to it"
    ),
    "etcd-full": _Words(
        "etcd takes no writes: its database is full (NOSPACE); owners stay and a dead one is replaced, but no node can "
        "queue anew or become a witness, and `move` and `drain` refuse",
        "compact, defragment, `etcdctl alarm disarm`",
    ),
    "etcd-member": _Words("a member of etcd is not well", "look at that member"),
    "window-grown": _Words(
        "{node} did not keep the window of its witness: a longer one is in force for an hour",
        "give the machine more CPU, or set failover.window to what it can keep",
        "the window of {node} is as configured again",
        public=True,
    ),
    "unsaved": _Words(
        "{node} can't save its state: its agent starts afresh when it is restarted",
        "make room in its stateDir, and see that it may be written",
        public=True,
    ),
    "documents": _Words(
        "the documents on {node} are refused, and it runs on the former ones",
        "mend them, try `sharedip check`, and reload",
        "the documents on {node} are sound again",
        public=True,
    ),
    "unkept": _Words(
        "{node} can't keep a copy of its documents: it would not start with broken ones",
        "let the agent's own user alone write to /var/lib/sharedip (as a pod: mount it)",
        public=True,
    ),
    "certificate": _Words(
        "a certificate with which {node} asks etcd ends within two weeks",
        "renew it (kubeadm certs renew …); the file is read again by itself",
        public=True,
    ),
    "certificate-expired": _Words(
        "a certificate with which {node} asks etcd has expired",
        "renew it (kubeadm certs renew …): etcd's next restart ends the connections that still stand",
        public=True,
    ),
    "unhealthy": _Words(
        "{node} is unhealthy", "it gives its VIPs to a healthy node if there is one", "{node} is healthy again"
    ),
    "unfit": _Words("{node} can't serve VIPs on {link}", "", "{node} can serve VIPs on {link} again"),
    "clock-rate": _Words(
        "the clock of {node} runs at another rate: one owner is promised while two clocks differ by 0.1 % at most",
        "look at its time daemon (chrony, ntpd: `sharedip check` there) and at the hypervisor's clock; if all other "
        "nodes are named, look at this one",
        "the clock of {node} runs as this node's again",
    ),
    "unheard": _Words(
        "{node} is no longer heard on {link}",
        "look at its agent, the ports and the switch between",
        "{node} is heard again on {link}",
    ),
    "mute": _Words(
        "{node} answers on {link}, but no datagram of its agent is received",
        "is its agent running, and UDP port 9470 open both ways? Nothing moves for that",
        "datagrams of {node} arrive again on {link}",
    ),
    "lost": _Words(
        "the agent of {node} died, and has not come back",
        "start it there; if that node is gone on purpose, this ends a day after its agent was seen last",
        "the agent of {node} is back",
    ),
    "unreached": _Words(
        "{node} has no address at which peers reach it: it can neither be a witness nor have one",
        "let peer.listen be an address, of the family that the nodes have, or set peer.advertise",
        public=True,
    ),
    "clock": _Words(
        "the clock of {node} is not that of the others",
        "let all nodes follow one source of time (chrony): certificates and logs go by it, addresses do not",
        "the clock of {node} agrees with the others' again",
    ),
    "settings-differ": _Words("settings differ between nodes", "write the same on every node, and reload"),
}
"""Every code that there is, in the order in which they are shown: what is dark, then what may be, then the rest."""

_RANK = {code: number for number, code in enumerate(_WORDS)}

_FLAWS = {
    "bridge-port": "its link is a port of a bridge",
    "bond-port": "its link is a port of a bond",
    "team-port": "its link is a port of a team",
    "ovs-port": "its link is a port of an Open vSwitch bridge",
    "no-arp": "its link neither asks for neighbours nor answers them",
    "no-ipv6": "IPv6 is off on its link",
    "no-address": "its link has no address whose network holds the VIP",
    "unmutable-copy": "a copy of the VIP is on it that no fence can mute",
    "isolated": "it is not heard there, and others are",
    "refused": "its kernel has just refused the address",
}
"""What another agent's published flaw means. `settling` and `yielded` pass by themselves, and are none."""


def flaw_words(code: str) -> str:
    """What a published flaw means; empty for what is none."""
    return _FLAWS.get(code, "")


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong. `node`: whose; `vips`: which they are about; `link`: where; each empty if none.

    `detail` is what only some readers know. `after`: what is so when it has ended, for the log.
    """

    code: str
    node: str = ""
    vips: tuple[str, ...] = ()
    link: str = ""
    detail: str = ""
    remedy: str = ""
    after: str = ""
    since: Instant | None = None
    """None: not known."""

    @property
    def text(self) -> str:
        """What is wrong, in a sentence without a way out."""
        return _filled(_WORDS[self.code].sentence, self) + (f": {self.detail}" if self.detail else "")

    @property
    def way_out(self) -> str:
        """What to do; empty where nothing but its end helps."""
        return self.remedy or _WORDS[self.code].remedy

    @property
    def ended(self) -> str:
        """What is so when it is over."""
        words = _WORDS[self.code].ended
        return _filled(words, self) if words else self.no_longer

    @property
    def no_longer(self) -> str:
        """That it is over, and no more."""
        return f"no longer so: {_filled(_WORDS[self.code].sentence, self)}"

    @property
    def is_grave(self) -> bool:
        """Whether clients are without an answer, as far as is known."""
        return self.code in ("down", "unseen")


class Standing(Enum):
    """Whether an address is up."""

    UP = "up"
    DOWN = "down"
    UNKNOWN = "unknown"
    """Law 4: neither of the others."""


@dataclass(frozen=True, slots=True)
class VipSituation:
    """One VIP, as somebody sees it. `first` is who comes first in its election, `behind` who comes next, each with why
    it is not sound (empty: it is). A crash of the owner takes `crash_s`, and would take `whole_s` with a fast witness;
    None: it can't be told; `whole_s` also where nobody wants a witness.
    """

    address: str
    first: str
    standing: Standing
    why: str = ""
    """Why it is down, or can't be told, and who will have it."""
    down_since: Instant | None = None
    silent: bool = False
    """The owner has not been heard for long, and should be."""
    behind: tuple[tuple[str, str], ...] = ()
    is_watched: bool = False
    crash_s: float | None = None
    crash_least_s: float | None = None
    """Seldom sooner."""
    whole_s: float | None = None
    lease_s: float | None = None
    """What a crash takes by the lease alone: of an owner without a witness, or with the next one at once."""
    leads_etcd: bool = False
    """Its node has etcd's leader: when that node dies, etcd elects first."""
    without_etcd_s: float | None = None
    """For how long the owner keeps the address if etcd goes now; None: only it knows."""
    etcd_members: int = 0
    etcd_ends_after: int | None = None
    """The deaths of so many machines, the owner's and then the next one's, leave no majority of those; None: more."""
    why_unwatched: str = ""
    watch_remedy: str = ""


@dataclass(frozen=True, slots=True)
class AgentSituation:
    """One agent, by what it says of itself. `published`: its codes, each with a VIP or nothing. `flaws`: code of a flaw
    → where.
    """

    node: str
    healthy: bool | None = True
    published: tuple[tuple[str, str], ...] = ()
    flaws: tuple[tuple[str, str], ...] = ()
    settings: SharedSettings | None = None
    """None: it does not say."""
    lost: tuple[str, ...] = ()
    """Whose agents it has seen die."""


def problems(
    own: Iterable[Trouble], vips: Iterable[VipSituation], agents: Collection[AgentSituation]
) -> Iterator[Trouble]:
    """Everything that is wrong. `own` is what the speaker knows of itself; `agents` are those that are registered, the
    speaker among them with its settings alone.
    """
    yield from own
    for vip in vips:
        yield from of_vip(vip)
    there = {agent.node for agent in agents}
    for agent in agents:
        yield from of_agent(agent)
        yield from (Trouble("lost", name) for name in agent.lost if name not in there)
    yield from differing(agents)


def of_vip(vip: VipSituation) -> Iterator[Trouble]:
    """Is it up, is it protected, could it move?"""
    about = Trouble("down", vip.first, (vip.address,))
    if vip.standing is Standing.DOWN:
        yield replace(about, detail=vip.why, since=vip.down_since)
    elif vip.standing is Standing.UNKNOWN:
        yield replace(about, code="uncertain", detail=vip.why)
    sound = [name for name, flaw in vip.behind if not flaw]
    if vip.standing is Standing.UP and vip.silent:
        heir = next(iter([*sound, *(name for name, _ in vip.behind)]), "nobody")
        within = "" if vip.lease_s is None else f" at most {vip.lease_s:.1f} s after its death"
        yield replace(about, code="owner-silent", detail=f"if it is dead, {heir} has it{within}")
    if not vip.first:
        return
    if not vip.behind:
        yield replace(about, code="nobody-next")
    elif not sound:
        told = ", ".join(f"{name} {flaw}" for name, flaw in vip.behind)
        yield replace(about, code="nobody-sound", detail=told)
    if vip.standing is not Standing.UP or vip.crash_s is None or vip.whole_s is None or vip.crash_s <= vip.whole_s:
        return
    crash = f"a crash of {vip.first} takes up to {vip.crash_s:.1f} s instead of {vip.whole_s:.1f} s"
    code = "slow-witness" if vip.is_watched else "no-witness"
    why = f" ({vip.why_unwatched})" if vip.why_unwatched else ""
    yield replace(about, code=code, detail=crash + why, remedy=vip.watch_remedy, after=at_most(vip.whole_s))


def at_most(seconds: float) -> str:
    """For a sentence on how long something takes."""
    return f"up to {seconds:.1f} s"


def of_agent(agent: AgentSituation) -> Iterator[Trouble]:
    """What another agent says of itself, and others say of it."""
    about = Trouble("unhealthy", agent.node)
    if agent.healthy is False:
        yield about
    for code, vip in agent.published:
        if code == "down":
            continue  # said of the VIP, as long as that agent comes first
        yield replace(about, code=code, vips=(vip,) if vip else ())
    for flaw, where in agent.flaws:
        if flaw in _FLAWS:
            yield replace(about, code="unfit", link=where, detail=_FLAWS[flaw])


def differing(agents: Iterable[AgentSituation]) -> Iterator[Trouble]:
    """Settings that differ: then it depends on who owns how fast a failover is. Who does not say is not counted."""
    values: dict[str, dict[str, list[str]]] = {}
    for agent in agents:
        for name, value in agent.settings.shown() if agent.settings is not None else ():
            values.setdefault(name, {}).setdefault(value, []).append(agent.node)
    for name, nodes in sorted(values.items()):
        if len(nodes) > 1:
            told = ", ".join(f"{value} on {listed(sorted(names))}" for value, names in sorted(nodes.items()))
            yield Trouble("settings-differ", link=name, detail=f"{name} is {told}")


def grouped(found: Iterable[Trouble]) -> list[Trouble]:
    """Those that differ in their VIPs alone as one, since the first of them; the gravest first."""
    groups: dict[tuple[str, ...], list[Trouble]] = {}
    for each in found:
        alike = each.code, each.node, each.link, each.detail, each.remedy, each.after
        groups.setdefault(alike, []).append(each)
    merged = [members[0] if len(members) == 1 else _as_one(members) for members in groups.values()]
    return sorted(merged, key=lambda each: _RANK[each.code])


def _as_one(members: list[Trouble]) -> Trouble:
    since = [each.since for each in members if each.since is not None]
    vips = tuple(dict.fromkeys(vip for each in members for vip in each.vips))
    return replace(members[0], vips=vips, since=min(since, default=None))


def to_publish(own: Iterable[Trouble]) -> list[str]:
    """The codes of an agent's own problems, each with its VIP: all that others hear of them."""
    said = {f"{each.code} {vip}".strip() for each in own if _WORDS[each.code].public for vip in each.vips or ("",)}
    return sorted(said)[:PUBLISHED_MAX]


def read_published(value: object) -> tuple[tuple[str, str], ...]:
    """What another agent has published: known codes and well-formed addresses; all else is nothing."""
    if not isinstance(value, list):
        return ()
    found = []
    for each in value[:PUBLISHED_MAX]:
        code, _, vip = str(each)[:128].partition(" ")
        words = _WORDS.get(code)
        if words is None or not words.public or ("{vips}" in words.sentence) is not bool(vip):
            continue
        try:
            found.append((code, str(ip_address(vip)) if vip else ""))
        except ValueError:
            continue
    return tuple(found)


def problem_line(text: str, for_s: float | None, remedy: str) -> str:
    """One line for people: what is wrong, for how long by now, and what to do."""
    lasts = "" if for_s is None else f" (for {_duration(for_s)})"
    return f"{text}{lasts}" + (f"; {remedy}" if remedy else "")


def problem_view(problem: Trouble, now: Instant | None = None) -> ProblemView:
    """The problem as documents have it; `now`: None where no instants are known."""
    return {
        "code": problem.code,
        "node": problem.node,
        "vips": list(problem.vips),
        "link": problem.link,
        "text": problem.text,
        "remedy": problem.way_out,
        "for_s": None if now is None or problem.since is None else max(0.0, now - problem.since),
    }


def _duration(seconds: float) -> str:
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def listed(names: Iterable[str]) -> str:
    """`n1`, `n1 and n2`, `n1, n2 and n3`."""
    every = list(names)
    return every[0] if len(every) == 1 else f"{', '.join(every[:-1])} and {every[-1]}" if every else "nobody"


def _filled(words: str, problem: Trouble) -> str:
    vips, more = list(problem.vips[:VIPS_NAMED_MAX]), len(problem.vips) - VIPS_NAMED_MAX
    return words.format_map(
        {
            "vips": listed([*vips, f"{more} more"] if more > 0 else vips),
            "is": "are" if len(problem.vips) > 1 else "is",
            "has": "have" if len(problem.vips) > 1 else "has",
            "node": problem.node or "nobody",
            "link": problem.link,
            "after": problem.after,
        }
    )
