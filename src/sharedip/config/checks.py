"""Checks over several values: VIPs among each other, and VIPs against the addresses and links of the node.

Role: everything that no single field can know. Must never: look at the machine; the caller brings the links along.
Counterparts: `load.py` (at load time, against the addresses that a Talos document names), `cli/` and `agent/`
(`check_against_links`, with what the kernel shows).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sharedip.config.model import Config, HttpCheck, IPInterface, LinkFacts, NodeAddress, TcpCheck
from sharedip.config.problems import Findings, Place, Problem
from sharedip.config.values import address_of
from sharedip.core.model import IPAddress, Vip

VIPS_MAX = 4096


@dataclass(frozen=True, slots=True)
class PlacedVip:
    """A VIP with the place of its address."""

    vip: Vip
    place: Place


def unique_vips(placed: Sequence[PlacedVip], findings: Findings) -> list[PlacedVip]:
    """Report every VIP that stands twice, with both places, and return the others."""
    first: dict[IPAddress, PlacedVip] = {}
    for one in placed:
        earlier = first.setdefault(one.vip.address, one)
        if earlier is one:
            continue
        where = "on this link" if earlier.vip.link == one.vip.link else f"on the link {earlier.vip.link}"
        findings.problem(
            one.place, f"the VIP {one.vip} is already defined at {earlier.place}, {where}", "keep one of the two"
        )
    if len(first) > VIPS_MAX:
        beyond = list(first.values())[VIPS_MAX]
        findings.problem(
            beyond.place, f"these are more than {VIPS_MAX} VIPs", "share them among several groups of nodes"
        )
    return list(first.values())


def check_against_documents(
    placed: Sequence[PlacedVip], node_addresses: Sequence[NodeAddress], findings: Findings
) -> None:
    """Check VIPs against the addresses that a Talos machine configuration gives to the node and its links."""
    for one in placed:
        own = next((known for known in node_addresses if known.address.ip == one.vip.address), None)
        if own is not None:
            findings.problem(one.place, *_own_address(one.vip, f"at {own.place}"))
            continue
        on_link = [known for known in node_addresses if known.link == one.vip.link]
        fault = _fault_in_subnets(one.vip, [known.address for known in on_link])
        # With DHCP the link may have more subnets than the document knows of, and so may one without any address.
        if fault is not None and (
            fault.certain
            or not any(known.dhcp and known.address.version == one.vip.address.version for known in on_link)
        ):
            findings.problem(one.place, fault.message, fault.remedy)


def check_against_links(config: Config, links: Sequence[LinkFacts]) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Compare the VIPs with the node's links: (errors, warnings). What may still come is only a warning; of an address
    that is still to come `addresses_to_come` speaks.

    An error that `may_pass` is one of this moment: an address of the node that comes or goes mends it.
    """
    findings = Findings()
    standing: dict[IPAddress, list[tuple[LinkFacts, IPInterface]]] = {}
    for link in links:
        for address in link.addresses if link.names else ():
            standing.setdefault(address.ip, []).append((link, address))
    by_name = {name: link for link in links for name in link.names}
    for vip, place in zip(config.vips, config.vip_places, strict=True):
        if _is_own_address(vip, place, standing.get(vip.address, ()), findings):
            continue
        on = by_name.get(vip.link)
        if on is None:
            findings.notice(place, f"this node has no link {vip.link}", _where_the_link_is(vip, links))
            continue
        fault = _fault_in_subnets(vip, on.addresses)
        if fault is not None and (fault.certain or not on.reaches(vip.address)):
            findings.problem(place, fault.message, fault.remedy, may_pass=not fault.certain)
    _warn_of_checks_through(config, findings)
    return tuple(findings.problems), tuple(findings.notices)


def addresses_to_come(config: Config, links: Sequence[LinkFacts]) -> tuple[Problem, ...]:
    """A warning for each VIP of which the addresses of its link do not tell whether it fits."""
    findings = Findings()
    by_name = {name: link for link in links for name in link.names}
    for vip, place in zip(config.vips, config.vip_places, strict=True):
        on = by_name.get(vip.link)
        if on is None or _subnets(vip, on.addresses) or on.reaches(vip.address):
            continue
        if any(own.ip == vip.address for own in on.addresses):
            continue  # an error already
        findings.notice(
            place,
            f"{vip.link} has no IPv{vip.address.version} subnet yet, so nobody can tell whether {vip} fits",
            "give the node an address of its own on the link, or wait for DHCP",
        )
    return tuple(findings.notices)


def copied_names(config: Config) -> tuple[Problem, ...]:
    """A warning for each link whose name looks copied from `ip link`; where the links are not known."""
    findings = Findings()
    for vip, place in zip(config.vips, config.vip_places, strict=True):
        meant, at, _ = vip.link.partition("@")
        if meant and at:
            findings.notice(place, f"{vip.link} looks copied from `ip link`", _without_the_other_end(meant))
    return tuple(findings.notices)


def _without_the_other_end(meant: str) -> str:
    return f"write link: {meant}; what `ip link` shows behind the @ is the other end"


def _where_the_link_is(vip: Vip, links: Sequence[LinkFacts]) -> str:
    meant, at, _ = vip.link.partition("@")
    if at and any(meant in known.names for known in links):
        return _without_the_other_end(meant)
    here = _listed(known.names[0] for known in links if known.names)
    return f"the VIP {vip} waits until it appears; links here: {here}"


def _warn_of_checks_through(config: Config, findings: Findings) -> None:
    """A health check that asks a VIP asks its owner, which is another node most of the time."""
    places = {vip.address: place for vip, place in zip(config.vips, config.vip_places, strict=True)}
    for check in config.health_checks:
        host = check.url.host if isinstance(check, HttpCheck) else check.host if isinstance(check, TcpCheck) else ""
        address = address_of(host)
        if address in places:
            findings.notice(
                places[address],
                f"the health check {check.name} asks the VIP {address}, and so its owner instead of this node",
                "let it ask 127.0.0.1, ::1 or the node's own address",
            )


def _is_own_address(
    vip: Vip, place: Place, standing: Iterable[tuple[LinkFacts, IPInterface]], findings: Findings
) -> bool:
    """Whether the VIP is an address by which the node itself is known; a copy of it elsewhere is only worth knowing.

    A host address on another link than the VIP's is such a copy: kube-proxy in IPVS mode and the real servers of an
    LVS have the VIP so on every node, and no neighbour is meant to hear of it.
    """
    copies = []
    for link, address in standing:
        is_host_address = address.network.prefixlen == address.max_prefixlen
        if is_host_address and vip.link not in link.names:
            copies.append(link.names[0])
            continue
        message, remedy = _own_address(vip, f"on {link.names[0]}")
        if is_host_address:
            remedy += f"; if another program left it there: ip address del {address} dev {link.names[0]}"
        findings.problem(place, message, remedy, may_pass=is_host_address and vip.address in link.passing)
        return True
    if copies:
        findings.notice(
            place,
            f"{vip} stands on {_listed(copies)} as well, and sharedip did not put it there",
            "nothing to do where kube-proxy (IPVS) or LVS keeps it there; else take it off",
        )
    return False


@dataclass(frozen=True, slots=True)
class _Fault:
    """`certain`: no further subnet on the link would heal it."""

    message: str
    remedy: str
    certain: bool


def _own_address(vip: Vip, where: str) -> tuple[str, str]:
    return (
        f"{vip} is the node's own address {where}",
        "choose an address that no machine has; a VIP moves, a node's address must stay",
    )


def _fault_in_subnets(vip: Vip, addresses: Iterable[IPInterface]) -> _Fault | None:
    """What is wrong with the VIP, given the addresses of its link; None when nothing is, or nothing is known."""
    subnets = _subnets(vip, addresses)
    choose = "choose an unused address of the subnet"
    for subnet in subnets:
        # Point-to-point subnets (RFC 3021, RFC 6164) use both of their addresses.
        if vip.address not in subnet.network or subnet.network.num_addresses <= 2:
            continue
        if vip.address == subnet.network.network_address:
            kind = "network address" if vip.address.version == 4 else "router anycast address (RFC 4291, 2.6.1)"
            return _Fault(f"{vip} is the {kind} of {subnet.network}", choose, certain=True)
        if vip.address.version == 4 and vip.address == subnet.network.broadcast_address:
            return _Fault(f"{vip} is the broadcast address of {subnet.network}", choose, certain=True)
    if subnets and not any(vip.address in subnet.network for subnet in subnets):
        known = _listed(str(subnet.network) for subnet in subnets)
        return _Fault(
            f"{vip} is in no subnet of {vip.link} ({known}): its neighbours would not look for it there",
            "choose an unused address of a subnet there, or another link",
            certain=False,
        )
    return None


def _subnets(vip: Vip, addresses: Iterable[IPInterface]) -> list[IPInterface]:
    """The addresses that put a subnet of the VIP's family on the link; host addresses and fe80::/64 do not."""
    return [
        address
        for address in addresses
        if address.version == vip.address.version
        and address.network.prefixlen < address.max_prefixlen
        and not (address.version == 6 and address.is_link_local)
    ]


def _listed(words: Iterable[str]) -> str:
    unique = list(dict.fromkeys(words))
    return ", ".join(unique[:8]) + (", …" if len(unique) > 8 else "") if unique else "none"
