"""Inspects this node, its links and etcd for `sharedip check`.

Role: thin glue between the adapters and frozen facts. Must never: judge, write to etcd but for one lease that it
revokes, or leave anything changed on this node (gate and tags show themselves on a table and an address of their own,
for milliseconds). Counterparts: `checks.py` (judges), `etcd_survey.py` (asks etcd), `adapters/kernel`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

from sharedip.adapters.clock import Clock
from sharedip.adapters.kernel import Deadman, Fence, Netlink, Segment, why_no_deadman
from sharedip.adapters.probes.runner import probe_for
from sharedip.adapters.state import StateDirectory
from sharedip.agent.documents import is_ours, link_facts, networks_of, recorded
from sharedip.agent.settings import hook_commands, locate_api_server
from sharedip.cli.agent_client import AgentClient, UnreachableError
from sharedip.cli.capabilities import missing_capabilities
from sharedip.cli.clocks import read_chrony
from sharedip.cli.etcd_survey import survey_etcd
from sharedip.cli.facts import MachineFacts, Neighbour
from sharedip.cli.programs import why_not_runnable
from sharedip.cli.segment import to_ask
from sharedip.cli.trials import loose_files, taken_ports, why_unreached
from sharedip.config.model import Config, FenceChoice, HealthCheck
from sharedip.core.messages import AskNeighbour, ForeignClaim, NeighbourAnswered, Probe
from sharedip.core.model import IPAddress, LinkState, Vip

PROBES = 3
PROBE_SPACING_S = 0.2
"""Shorter than RFC 5227's 1 to 2 s: the agent probes as fast before it claims, and a person waits for this."""


def inspect(config: Config) -> MachineFacts:
    """Look at everything once; takes a few seconds at the most. The agent's default checks are tried as well, if the
    documents have been given them (`agent/settings.py`, `with_default_checks`).
    """
    return asyncio.run(_inspect(config))


async def _inspect(config: Config) -> MachineFacts:
    clock, timer_error = Clock(), why_no_deadman()
    deadman = Deadman(only_looks=True)
    netlink = Netlink(lambda _: None, clock.now, deadman)
    try:
        netlink.snapshot()
        own = [each.address for each in netlink.view.addresses.values()]
        etcd = await survey_etcd(config, own)
        links = netlink.links()
        missing = tuple(missing_capabilities())
        fence = Fence(clock.now, deadman, table="sharedip_check")  # the running agent has the other name
        nftables_error = (
            fence.available() if missing or config.failover.fence is FenceChoice.LIFETIME else fence.prove()
        )
        fence.close()
        former = recorded(StateDirectory(config.state_dir))
        held = frozenset(each.address for each in netlink.view.addresses.values() if is_ours(each, former))
        neighbours = to_ask(config, etcd.records)
        answers, error = await _probe(config.vips, netlink, deadman, etcd.owners, held)
        return MachineFacts(
            links=link_facts(netlink.view, former, networks_of(config, netlink)),
            links_up=frozenset(name for link in links if link.running for name in link.names),
            held_here=held,
            sources={vip.link: _sources(netlink, vip.link) for vip in config.vips},
            answers=answers,
            answers_error=error,
            nftables_error=nftables_error,
            etcd=etcd,
            api_server_files=locate_api_server() is not None,
            probed=await _try_checks(config.health_checks),
            chrony=read_chrony(),
            missing_capabilities=missing,
            gateways=_gateways(config, netlink),
            timer_error=timer_error,
            gate_families=fence.families,
            gate_lacks=fence.missing,
            tags_stick=netlink.prove_tags(),
            neighbours=neighbours,
            heard=None if answers is None else await _hear(config, neighbours, netlink, deadman),
            programs={
                Path(command[0]): why_not_runnable(Path(command[0])) for command in hook_commands(config).values()
            },
            taken_ports=() if _agent_runs(config) else taken_ports(config),
            unreached=why_unreached(config, netlink.view),
            loose_files=loose_files(config),
        )
    finally:
        netlink.close()


def _agent_runs(config: Config) -> bool:
    """Whether the ports may be this node's agent's own."""
    try:
        AgentClient(config.state_dir).status()
    except UnreachableError:
        return False
    return True


async def _try_checks(checks: Sequence[HealthCheck]) -> dict[str, tuple[bool, str]]:
    """Try each health check once, all at the same time, as the agent would."""
    probes = [probe_for(check, locate_api_server) for check in checks]
    outcomes = await asyncio.gather(*(probe.probe() for probe in probes))
    return {check.name: (found.healthy, found.detail) for check, found in zip(checks, outcomes, strict=True)}


def _sources(netlink: Netlink, name: str) -> tuple[IPAddress, ...]:
    link = netlink.find_link(name)
    if link is None:
        return ()
    found = (netlink.source_address_for(link.index, family) for family in (4, 6))
    return tuple(address for address in found if address is not None)


def _gateways(config: Config, netlink: Netlink) -> dict[tuple[str, int], tuple[IPAddress, ...]]:
    """The next hops on the VIPs' links, as the agent would ask them (`core/segment/hearing.py`)."""
    found: dict[tuple[str, int], tuple[IPAddress, ...]] = {}
    for name, family in dict.fromkeys((vip.link, vip.address.version) for vip in config.vips):
        link = netlink.find_link(name)
        around = None if link is None else netlink.surroundings_of(link.index)
        if around is not None:
            found[name, family] = tuple(each for each in around.gateways if each.version == family)
    return found


async def _probe(
    vips: Sequence[Vip],
    netlink: Netlink,
    deadman: Deadman,
    owners: dict[IPAddress, str] | None,
    held: frozenset[IPAddress],
) -> tuple[dict[Vip, tuple[bytes, ...]] | None, str]:
    """Hear who answers for the VIPs that are not on this node.

    Where nobody owns one, by the probe that the agent sends before a claim. An owner would take that for a stranger's
    claim and raise the alarm, so where there is one, or may be, this node's kernel is made to look for a neighbour.
    """
    heard: list[ForeignClaim] = []
    loop = asyncio.get_running_loop()
    segment = Segment(
        lambda fact: heard.append(fact) if isinstance(fact, ForeignClaim) else None,
        Clock().now,
        deadman,
        add_reader=loop.add_reader,
        remove_reader=loop.remove_reader,
        is_own_mac=netlink.is_own_mac,
    )
    asked = 0
    try:
        for name in {vip.link for vip in vips}:
            link = netlink.find_link(name)
            if link is not None and link.running:
                segment.watch_link(link, [vip for vip in vips if vip.link == name])
        for _ in range(PROBES):
            for vip in vips:
                if owners is not None and vip.address not in owners and vip.address not in held:
                    segment.perform(Probe(vip))
                elif vip.address not in held:
                    netlink.forget_neighbour(vip)
                    asked += _seek_neighbour(vip, netlink.find_link(vip.link))
            await asyncio.sleep(PROBE_SPACING_S)
    except PermissionError:
        return None, "this user may not listen on the link; run as root"
    finally:
        segment.close()
    if not segment.sent + asked and not {vip.address for vip in vips} <= held:
        return None, "nobody could be asked: no link of a VIP is up"
    macs = {vip: tuple(dict.fromkeys(claim.mac for claim in heard if claim.vip == vip)) for vip in vips}
    return {vip: found for vip, found in macs.items() if found}, ""


async def _hear(
    config: Config, neighbours: Sequence[Neighbour], netlink: Netlink, deadman: Deadman
) -> dict[Neighbour, tuple[bytes, ...]]:
    """Ask for the other agents' own addresses on the VIPs' links, as their agents ask each other."""
    answered: list[NeighbourAnswered] = []
    loop = asyncio.get_running_loop()
    segment = Segment(
        lambda fact: answered.append(fact) if isinstance(fact, NeighbourAnswered) else None,
        Clock().now,
        deadman,
        add_reader=loop.add_reader,
        remove_reader=loop.remove_reader,
        is_own_mac=netlink.is_own_mac,
    )
    asked = dict[Neighbour, tuple[LinkState, IPAddress]]()
    for each in neighbours:
        link = netlink.find_link(each.link)
        source = None if link is None else netlink.source_address_for(link.index, each.address.version)
        if link is not None and link.running and source is not None:
            asked[each] = link, source
    try:
        for link in {link.index: link for link, _ in asked.values()}.values():
            segment.watch_link(link, [vip for vip in config.vips if vip.link in link.names])
        for _ in range(PROBES if asked else 0):
            for each, (link, source) in asked.items():
                segment.perform(AskNeighbour(link.index, source, each.address))
            await asyncio.sleep(PROBE_SPACING_S)
    finally:
        segment.close()
    return {
        each: tuple(dict.fromkeys(fact.mac for fact in answered if (fact.index, fact.address) == (at, each.address)))
        for each, at in ((each, link.index) for each, (link, _) in asked.items())
    }


def _seek_neighbour(vip: Vip, link: LinkState | None) -> int:
    """Make the kernel resolve the address on the link, by an empty datagram to the discard port (RFC 863)."""
    if link is None or not link.running:
        return 0
    family = socket.AF_INET if vip.address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
        try:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.names[0].encode() + b"\0")
            channel.sendto(b"", (str(vip.address), 9))
        except OSError:  # no address or route of this family on the link yet: nobody can be asked
            return 0
    return 1
