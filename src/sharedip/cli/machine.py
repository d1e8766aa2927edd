"""Asks the world for `sharedip check` and `sharedip status --cluster`.

Role: thin glue between the adapters and frozen facts. Must never: judge, write to etcd but for one lease that it
revokes, or leave anything changed on this node (gate and tags show themselves on a table and an address of their own,
for milliseconds). Counterparts: `checks.py`, `cluster.py`, `adapters/etcd`, `adapters/kernel`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

from sharedip.adapters.clock import Clock
from sharedip.adapters.etcd import (
    Credentials,
    EtcdClient,
    EtcdError,
    MemberSurvey,
    describe_tls,
    inspect_tls,
    measure_ttl_floor,
    survey,
)
from sharedip.adapters.kernel import Deadman, Fence, Netlink, Segment, why_no_deadman
from sharedip.adapters.probes.runner import probe_for
from sharedip.adapters.state import StateDirectory
from sharedip.agent.documents import is_ours, link_facts, recorded
from sharedip.agent.settings import find_tls_files, locate_api_server
from sharedip.cli.capabilities import missing_capabilities
from sharedip.cli.clocks import read_chrony
from sharedip.cli.facts import EtcdFacts, MachineFacts, Member
from sharedip.config.model import Config, HealthCheck
from sharedip.config.model import Fence as FenceChoice
from sharedip.core.etcd.keys import Layout, queues_in, read_record
from sharedip.core.messages import ForeignClaim, KeysRead, Probe, ReadKeys, RequestFailed
from sharedip.core.model import IPAddress, KeyValue, LinkState, Vip

TIMEOUT_S_MIN = 3.0
"""A person waits gladly a little longer than the agent can."""
PROBES = 3
PROBE_SPACING_S = 0.2
"""Shorter than RFC 5227's 1 to 2 s: the agent probes as fast before it claims, and a person waits for this."""


def look(config: Config) -> MachineFacts:
    """Look at everything once; takes a few seconds at the most."""
    return asyncio.run(_look(config))


def cluster_view(config: Config) -> dict[str, Any]:
    """What etcd says of every node and VIP. `error` says why there is nothing else."""
    return asyncio.run(_cluster_view(config))


def _credentials(config: Config) -> Credentials | None:
    if config.etcd.username is None or config.etcd.password_file is None:
        return None
    return Credentials(config.etcd.username, config.etcd.password_file)


async def _look(config: Config) -> MachineFacts:
    clock, timer_error = Clock(), why_no_deadman()
    deadman = Deadman(only_looks=True)
    etcd = await _look_at_etcd(config)
    netlink = Netlink(lambda _: None, clock.now, deadman)
    try:
        netlink.snapshot()
        links = netlink.links()
        missing = tuple(missing_capabilities())
        fence = Fence(clock.now, deadman, table="sharedip_check")  # the running agent has the other name
        nftables_error = (
            fence.available() if missing or config.failover.fence is FenceChoice.LIFETIME else fence.prove()
        )
        fence.close()
        former = recorded(StateDirectory(config.state_dir))
        held = frozenset(each.address for each in netlink.view.addresses.values() if is_ours(each, former))
        answers, error = await _probe(config.vips, netlink, deadman, etcd.owners, held)
        return MachineFacts(
            links=link_facts(netlink.view, former),
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
            timer_error=timer_error,
            gate_families=fence.families,
            gate_lacks=fence.missing,
            tags_stick=netlink.prove_tags(),
        )
    finally:
        netlink.close()


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


async def _look_at_etcd(config: Config) -> EtcdFacts:
    (files, _), clock = find_tls_files(config), Clock()
    credentials = _credentials(config)
    timeout_s = max(TIMEOUT_S_MIN, config.etcd.request_timeout_s)
    members = await survey([str(e) for e in config.etcd.endpoints], files, credentials, timeout_s, clock)
    floor_s, owners, error = None, None, "no endpoint answers"
    for member in members:
        if member.reachable and not member.learner:
            try:
                floor_s = await measure_ttl_floor(member.endpoint, files, credentials, timeout_s, clock)
            except EtcdError as failure:
                error = failure.text
                continue
            keys = await _read_all(config, member.endpoint)
            owners = None if isinstance(keys, str) else _owners(config, keys.keys)
            error = keys if isinstance(keys, str) else ""
            break
    return EtcdFacts(
        members=tuple(_member(member) for member in members),
        tls_problems=tuple(inspect_tls(files)) if files else (),
        tls_files=tuple(describe_tls(files)) if files else (),
        ttl_floor_s=floor_s,
        owners=owners,
        error=error,
    )


def _member(found: MemberSurvey) -> Member:
    return Member(
        endpoint=found.endpoint,
        reachable=found.reachable,
        version=found.version,
        leader=found.leader_id != 0 and found.leader_id == found.member_id,
        has_leader=found.leader_id != 0,
        learner=found.learner,
        rtt_s=found.rtt_s,
        alarms=found.alarms,
        error=found.error.removeprefix(f"{found.endpoint}: "),
    )


async def _read_all(config: Config, endpoint: str) -> KeysRead | str:
    """Read all keys under our prefix, linearizably; or the reason why not."""
    answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    timeout_s = max(TIMEOUT_S_MIN, config.etcd.request_timeout_s)
    client = EtcdClient(
        [endpoint],
        tls=find_tls_files(config)[0],
        credentials=_credentials(config),
        clock=Clock(),
        emit=lambda fact: None if answer.done() else answer.set_result(fact),
    )
    try:
        client.perform(ReadKeys(1, 0, Layout(config.etcd.key_prefix).root, timeout_s))
        fact = await answer  # the client answers each order within its deadline, whatever happens
    finally:
        await client.close()
    if isinstance(fact, KeysRead):
        return fact
    assert isinstance(fact, RequestFailed)
    return fact.detail


def _owners(config: Config, keys: tuple[KeyValue, ...]) -> dict[IPAddress, str]:
    layout = Layout(config.etcd.key_prefix)
    queues = queues_in(layout, keys)
    return {vip.address: _name(queues[vip.address][0]) for vip in config.vips if vip.address in queues}


def _name(key: KeyValue) -> str:
    return key.value.decode("utf-8", "replace")


async def _cluster_view(config: Config) -> dict[str, Any]:
    timeout_s = max(TIMEOUT_S_MIN, config.etcd.request_timeout_s)
    urls = [str(endpoint) for endpoint in config.etcd.endpoints]
    members = await survey(urls, find_tls_files(config)[0], _credentials(config), timeout_s, Clock())
    view: dict[str, Any] = {
        "key_prefix": config.etcd.key_prefix,
        "error": "no etcd endpoint answers: " + "; ".join(m.error for m in members),
        "revision": None,
        "members": [_member_view(member) for member in members],
        "nodes": [],
        "vips": [],
    }
    for member in members:
        if not member.reachable or member.learner:
            continue
        keys = await _read_all(config, member.endpoint)
        if isinstance(keys, str):
            view["error"] = keys
            continue
        return {**view, "error": "", "revision": keys.revision, **records_view(config.etcd.key_prefix, keys.keys)}
    return view


def _member_view(found: MemberSurvey) -> dict[str, Any]:
    member = _member(found)
    return {
        "endpoint": member.endpoint,
        "reachable": member.reachable,
        "version": member.version,
        "leader": member.leader,
        "learner": member.learner,
        "rtt_ms": round(member.rtt_s * 1000, 1) if member.reachable else None,
        "alarms": list(member.alarms),
        "error": member.error,
    }


def records_view(key_prefix: str, keys: tuple[KeyValue, ...]) -> dict[str, Any]:
    """Nodes and VIPs as the keys show them. Field by field: those of older agents carry secrets."""
    layout = Layout(key_prefix)
    by_key = {key.key: key for key in keys}
    addresses = {address for key in by_key if (address := layout.election_of(key)) is not None}
    addresses |= {address for key in by_key if (address := layout.owner_of(key)) is not None}
    nodes = []
    for name, key in sorted(by_key.items()):
        if name.startswith(layout.agent("")):
            record = read_record(key) or {}
            healthy = record.get("healthy")
            nodes.append(
                {
                    "node": name.removeprefix(layout.agent("")),
                    "healthy": healthy if isinstance(healthy, bool) else None,
                    "drained": record.get("drained") is True,
                    "version": _text(record.get("version")),
                    "peer": _text(record.get("peer")),
                    "member": _text(record.get("member")),
                }
            )
    vips = []
    queues = queues_in(layout, keys)
    for address in sorted(addresses, key=lambda one: (one.version, int(one))):
        queue = queues.get(address, [])
        record = read_record(by_key.get(layout.owner(address))) or {}
        epoch = queue[0].create_revision if queue else None
        vips.append(
            {
                "address": str(address),
                "owner": _name(queue[0]) if queue else None,
                "epoch": epoch,
                "queue": [_name(key) for key in queue[1:]],
                "witnesses": _witnesses(by_key.get(layout.witness(address)), queue),
                # A record of a former owner says nothing of this one.
                "reason": str(record.get("reason", "")) if epoch is not None and record.get("epoch") == epoch else "",
            }
        )
    return {"nodes": nodes, "vips": vips}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _witnesses(key: KeyValue | None, queue: Sequence[KeyValue]) -> list[str]:
    """Candidates that the designation names by their leases; a former owner's designation means nothing."""
    record = read_record(key) or {}
    leases = record.get("witnesses")
    if not queue or record.get("epoch") != queue[0].create_revision or not isinstance(leases, list):
        return []
    return [_name(candidate) for candidate in queue if f"{candidate.lease:x}" in leases]
