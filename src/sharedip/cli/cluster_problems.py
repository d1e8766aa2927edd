"""What is wrong in the cluster, by etcd alone: the situations that `core/problems.py` judges, made of the keys.

Must never: find words of its own, or tell more than etcd does: who is heard, the agents write there themselves.
Counterparts: `cluster_view.py` (reads etcd), `core/outlook.py` (the same for an agent, which knows more).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from sharedip.config.model import Config, WitnessChoice
from sharedip.core.election.fitness import why_unfit
from sharedip.core.etcd.agent_records import Peer, read_agents
from sharedip.core.etcd.keys import Layout, Registry, read_record
from sharedip.core.history import name_of
from sharedip.core.model import IPAddress, KeyValue
from sharedip.core.outlook import agent_situation, missed, read_designation, told_unfit, unseen_trouble
from sharedip.core.problems import Standing, Trouble, VipSituation, grouped, problems
from sharedip.core.segment.visibility import unseen_by
from sharedip.core.settings import takeover_s

HERE = "here"
"""Who speaks, in the words about etcd."""


def problems_of(config: Config, keys: tuple[KeyValue, ...], revision: int) -> list[Trouble]:
    """Everything that etcd shows to be wrong, the gravest first."""
    registry = Registry(Layout(config.etcd.key_prefix))
    registry.apply_snapshot(keys, revision)
    agents = read_agents(registry)
    vips = [_vip(config, registry, agents, address) for address in _addresses(config, registry, keys)]
    situations = [agent_situation(agents[lease]) for lease in agents]
    places = [(agents[lease].name, agents[lease].places or ()) for lease in agents]
    own = [*missed(agents, places), *_unseen(registry, agents, [each.address for each in vips])]
    return grouped(problems(own, vips, situations))


def problems_of_members(members: list[Mapping[str, Any]]) -> Iterator[Trouble]:
    """What etcd's members say of themselves, or do not."""
    for member in members:
        if not member["reachable"]:
            yield Trouble("etcd-member", link=member["endpoint"], detail=f"{member['endpoint']}: {member['error']}")
        for alarm in member["alarms"]:
            if "NOSPACE" in alarm:  # etcd's text: `memberID:… alarm:NOSPACE ` (v3rpc/maintenance.go)
                yield Trouble("etcd-full")
            else:
                yield Trouble(
                    "etcd-member", link=member["endpoint"], detail=f"{member['endpoint']} says {alarm.strip()}"
                )


def unreachable(config: Config, error: str) -> Trouble:
    """No member answers, or none lets us read."""
    tried = ", ".join(str(each) for each in config.etcd.endpoints)
    return Trouble("etcd-away", HERE, detail=f"{error}; tried {tried}")


def _unseen(registry: Registry, agents: Mapping[int, Peer], addresses: list[str]) -> Iterator[Trouble]:
    """What its owner's peers see to be wrong with an address on the wire."""
    speakers = [(peer.name, peer.unseen) for peer in agents.values()]
    for address in addresses:
        queue = registry.candidates(ip_address(address))
        yield from unseen_trouble(queue[0] if queue else None, address, unseen_by(address, speakers))


def _addresses(config: Config, registry: Registry, keys: tuple[KeyValue, ...]) -> list[IPAddress]:
    """Those of the documents, and those that etcd knows."""
    layout = registry.layout
    found = {vip.address for vip in config.vips}
    for each in keys:
        address = layout.election_of(each.key) or layout.owner_of(each.key)
        if address is not None:
            found.add(address)
    return sorted(found, key=lambda address: (address.version, int(address)))


def _vip(config: Config, registry: Registry, agents: Mapping[int, Peer], address: IPAddress) -> VipSituation:
    queue = registry.candidates(address)
    if not queue:
        who = "no agent is registered" if not agents else "no agent stands for it"
        return VipSituation(str(address), "", Standing.DOWN, f"nobody stands in its election; {who}")
    first, owner = queue[0], agents.get(queue[0].lease)
    standing, why = _standing(registry, first, owner, address)
    is_watched, crash_s, whole_s = _protection(config, registry, agents, first, address)
    return VipSituation(
        address=str(address),
        first=name_of(first),
        standing=standing,
        why=why,
        behind=tuple((name_of(key), told_unfit(why_unfit(agents.get(key.lease), address))) for key in queue[1:]),
        is_watched=is_watched,
        crash_s=crash_s,
        whole_s=whole_s,
    )


def _standing(registry: Registry, first: KeyValue, owner: Peer | None, address: IPAddress) -> tuple[Standing, str]:
    name = name_of(first)
    if owner is None:
        return Standing.UNKNOWN, f"{name}, which comes first, is not a sharedip agent, and does not say"
    if ("down", str(address)) in owner.problems:
        return Standing.DOWN, f"so says {name}, which comes first"
    record = read_record(registry.get(registry.layout.owner(address))) or {}
    if record.get("epoch") == first.create_revision and "released" not in record and "fate" not in record:
        return Standing.UP, ""
    return Standing.DOWN, f"{name} comes first, and has not said that the address stands there"


def _protection(
    config: Config, registry: Registry, agents: Mapping[int, Peer], first: KeyValue, address: IPAddress
) -> tuple[bool, float | None, float | None]:
    owner = agents.get(first.lease)
    if owner is None:
        return False, None, None
    said = owner.settings
    own_s = config.failover.window_s if config.failover.witness is WitnessChoice.AUTO else 0.0
    window_s, ttl_s = (own_s, config.lease_ttl_s) if said is None else (said.window_ms / 1000, said.ttl_s)
    if not window_s:
        return False, None, None
    key = registry.get(registry.layout.witness(address))
    designated = None if key is None else read_designation(key)
    slow_s = None
    if designated is not None and designated.epoch == first.create_revision:
        slow_s = designated.window_s if any(lease in agents for lease in designated.leases) else None
    return slow_s is not None, takeover_s(slow_s, ttl_s), takeover_s(window_s, ttl_s)
