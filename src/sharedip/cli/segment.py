"""Whether the other agents' nodes are on the segment of this one, as they answer when they are asked there.

Role: whom to ask, by the agents' records; and what follows from who answered. Pure. Must never: call silence of a node
whose agent has just died an error. Counterparts: `inspection.py` (asks), `checks.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sharedip.cli.facts import Finding, MachineFacts, Neighbour, Severity
from sharedip.config.model import Config
from sharedip.core.etcd.agent_records import Peer

ASKED_MAX = 64
"""Neighbours that are asked for (`adapters/kernel/questions.py` has no more open on one link)."""


def to_ask(config: Config, agents: Sequence[Peer]) -> tuple[Neighbour, ...]:
    """The addresses that other agents have where this node's VIPs are."""
    found = []
    for agent in agents:
        if agent.name == config.node_name:
            continue
        for vip in config.vips:
            place = agent.place_of(vip.address)
            if place is not None:
                found.append(Neighbour(agent.name, vip.link, place.address, agent.macs))
    return tuple(dict.fromkeys(found))[:ASKED_MAX]


def check_segment(config: Config, machine: MachineFacts) -> Iterator[Finding]:
    """Who of the others was heard on the VIPs' links."""
    if machine.heard is None:
        return  # the reason stands among the findings on conflicts
    mute = [agent.name for agent in machine.etcd.records if agent.name != config.node_name and agent.places is None]
    for name in mute:
        text = (
            f"{name} does not say which addresses it has on the VIPs' links: whether it is on this segment is not known"
        )
        yield Finding(Severity.WARNING, "segment", text, "upgrade its agent")
    for each in machine.neighbours:
        macs = machine.heard.get(each)
        told = f"{each.node} ({each.address})"
        strange = [mac for mac in macs or () if mac not in each.macs]
        if macs is None:
            text = f"{told} could not be asked for on {each.link}"
            yield Finding(
                Severity.WARNING, "segment", text, f"{each.link} has to be up, with an address of that family"
            )
        elif macs and not strange:
            yield Finding(Severity.OK, "segment", f"{told} answers on {each.link}")
        elif strange:
            yield Finding(
                Severity.WARNING,
                "segment",
                f"{strange[0].hex(':')} answers on {each.link} for {told}, and is none of its links",
                "a router answers in its place (proxy ARP), or two machines have that address: the nodes must share "
                "one layer-2 network",
            )
        else:
            yield Finding(
                Severity.WARNING,
                "segment",
                f"{told} does not answer on {each.link}",
                "is that node up, and its link in the same layer-2 network (VLAN, switch)? A VIP can't move to another",
            )
