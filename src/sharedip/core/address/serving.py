"""Can this node serve a VIP on its link, as far as its own side tells?

"Link up" is not enough: where frames arrive at another device, where the link asks for no neighbours, or where the node
has no way to the VIP's neighbours, it would be the owner of a silent address. Each flaw has a fixed code, which agents
publish, and a sentence for people that says what to do; `check`, status and log say the same one.

Must never: call "cannot tell" a flaw (law 4), or decide who owns anything. Counterparts: `own_addresses.py` and
`links.py` (what is known), `node.py` and `cli/checks.py` (which ask).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sharedip.core.address.own_addresses import OwnAddress
from sharedip.core.model import Instant, IPAddress, IPNetwork, LinkState, Vip

_TAKES_THE_FRAMES = {
    "bridge": ("bridge-port", "bridge"),
    "bond": ("bond-port", "bond"),
    "team": ("team-port", "team"),
    "openvswitch": ("ovs-port", "Open vSwitch bridge"),
}
"""Kinds of masters at which a port's frames arrive, with our code and word for each. A `vrf` leaves them where they
are; of other kinds nothing is known, which is no flaw."""

NO_ARP = "no-arp"
NO_IPV6 = "no-ipv6"
NO_ADDRESS = "no-address"
UNMUTABLE_COPY = "unmutable-copy"
DEAF_PORTS = frozenset(code for code, _ in _TAKES_THE_FRAMES.values())
DEAF = DEAF_PORTS | {NO_ARP, NO_IPV6}
"""With one of these nobody is heard who answers for the VIP: silence on the link tells nothing."""

GRACE_S = 0.3
"""A DHCP client or a network manager takes an address off and puts it back within this; the first facts of a start come
one by one."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why the node can't serve: `code` for other agents, what is `wrong` and the `remedy` for people."""

    code: str
    wrong: str
    remedy: str

    @property
    def text(self) -> str:
        """Both in one sentence."""
        return f"{self.wrong}: {self.remedy}"


def flaw_of(
    vip: Vip,
    link: LinkState | None,
    own: Sequence[OwnAddress],
    on_link: Iterable[IPNetwork] | None,
    *,
    has_unmutable_copy: bool = False,
) -> Flaw | None:
    """What keeps this node from serving the VIP; None if nothing does, or nobody can tell.

    `own`: the node's own addresses on the link, without any VIP. `on_link`: the networks that are on it by the routes;
    None while they have not been read. `has_unmutable_copy`: the VIP stands on this node by somebody else's doing, and
    no fence mutes it.
    """
    if link is None:
        return None
    return (
        _flaw_of_link(vip, link)
        or _flaw_of_addresses(vip, own, on_link)
        or (_copy(vip) if has_unmutable_copy else None)
    )


def _flaw_of_link(vip: Vip, link: LinkState) -> Flaw | None:
    known = _TAKES_THE_FRAMES.get(link.master_kind) if link.master else None
    if known is not None:
        code, word = known
        return Flaw(code, f"{vip.link} is a port of the {word} {link.master}", f"write link: {link.master}")
    if not link.has_arp:
        remedy = f"ip link set {link.names[0]} arp on, or write another link"
        return Flaw(NO_ARP, f"{vip.link} neither asks for neighbours nor answers them (NOARP)", remedy)
    if vip.address.version == 6 and not link.has_ipv6:
        wrong = f"IPv6 is off on {vip.link} (disable_ipv6, or an MTU below 1280)"
        return Flaw(NO_IPV6, wrong, "switch it on there")
    return None


def _flaw_of_addresses(vip: Vip, own: Sequence[OwnAddress], on_link: Iterable[IPNetwork] | None) -> Flaw | None:
    """An address whose network holds the VIP will do, or any of the family with an on-link route that does."""
    family = [each for each in own if each.address.version == vip.address.version]
    if any(each.holds(vip.address) for each in family):
        return None
    kind = f"IPv{vip.address.version}"
    if not family:
        return Flaw(
            NO_ADDRESS, f"{vip.link} has no {kind} address of its own", f"give it one whose network holds {vip}"
        )
    if on_link is None or any(vip.address in network for network in on_link if network.version == vip.address.version):
        return None
    wrong = f"{vip.link} has no {kind} address whose network holds {vip}"
    return Flaw(NO_ADDRESS, wrong, "give it one, or an on-link route")


def _copy(vip: Vip) -> Flaw:
    wrong = f"a copy of {vip} stands on this node that is not sharedip's, and no fence can mute it"
    return Flaw(UNMUTABLE_COPY, wrong, "take it off, or install nftables")


@dataclass(slots=True)
class _Seen:
    """What was found last of one VIP, and what counts."""

    found: Flaw | None = None
    found_at: Instant = 0.0
    counts: Flaw | None = None


class Flaws:
    """The flaws that count, one for each VIP at most: a flaw counts when it has lasted for `GRACE_S`, and ends at once.

    Invariant: what counts changes only in `note` (it ends, or its words change) and in `settle` (it begins).
    """

    def __init__(self) -> None:
        self._seen: dict[IPAddress, _Seen] = {}
        self._doubtful: set[IPAddress] = set()
        """Those with a flaw that does not count yet: every turn asks for their deadlines, and a node has many VIPs."""

    def note(self, address: IPAddress, flaw: Flaw | None, now: Instant) -> bool:
        """What `flaw_of` says of this VIP now. True: what counts has changed."""
        seen = self._seen.setdefault(address, _Seen(found_at=now))
        if (flaw is None) is not (seen.found is None):
            seen.found_at = now
        seen.found = flaw
        if flaw is not None and seen.counts is None:
            self._doubtful.add(address)
        else:
            self._doubtful.discard(address)
        if seen.counts is None or seen.counts == flaw:
            return False
        seen.counts = flaw  # one flaw after another leaves no moment in which the node could serve
        return True

    def forget(self, address: IPAddress) -> None:
        """The VIP is no longer this node's concern."""
        self._seen.pop(address, None)
        self._doubtful.discard(address)

    def of(self, address: IPAddress) -> Flaw | None:
        """The flaw that counts."""
        seen = self._seen.get(address)
        return None if seen is None else seen.counts

    def is_doubtful(self, address: IPAddress) -> bool:
        """A flaw has been found that does not count yet: no time to begin anything."""
        return address in self._doubtful

    def settle(self, now: Instant) -> set[IPAddress]:
        """Apply what is due by now. Returns the VIPs of which something counts now."""
        begun = {address for address in self._doubtful if now >= _due(self._seen[address])}
        self._doubtful -= begun
        for address in begun:
            self._seen[address].counts = self._seen[address].found
        return begun

    def next_deadline(self) -> Instant | None:
        """When `settle` has something to do."""
        return min((_due(self._seen[address]) for address in self._doubtful), default=None)


def _due(seen: _Seen) -> Instant:
    return seen.found_at + GRACE_S
