"""What `sharedip check` found out about this machine, before anybody judges it.

Role: frozen values between `inspection.py` (asks the world) and `checks.py` (judges). Must never: hold behaviour.
"None" means that it could not be found out; the reason stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from sharedip.config.model import LinkFacts
from sharedip.core.etcd.agent_records import Peer
from sharedip.core.model import IPAddress, Vip


class Severity(Enum):
    """How bad a finding is."""

    OK = "ok"
    NOT_YET = "not yet"
    """What the agent waits for by itself: no mistake."""
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `remedy` is what to do; empty when nothing is."""

    level: Severity
    subject: str
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """What one etcd endpoint said of itself; all but the first and last mean nothing when it is not `reachable`, or has
    an `error` all the same: then it refuses this user the question.
    """

    endpoint: str
    reachable: bool
    version: str = ""
    leader: bool = False
    has_leader: bool = False
    learner: bool = False
    rtt_s: float = 0.0
    alarms: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another agent's node, as its record has it: its address where a VIP of ours is, and the MACs of its links."""

    node: str
    link: str
    """Of this node."""
    address: IPAddress
    macs: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class EtcdFacts:
    """`ttl_floor_s` is the shortest lease that this etcd grants."""

    members: tuple[Member, ...]
    tls_problems: tuple[str, ...]
    tls_files: tuple[str, ...]
    ttl_floor_s: int | None
    owners: dict[IPAddress, str] | None
    """VIP → the node that etcd takes for its owner; VIPs without a candidate are not in it."""
    error: str
    """Why `ttl_floor_s` or `owners` is None."""
    agents: int | None = None
    """How many agents are registered; None when the keys could not be read."""
    records: tuple[Peer, ...] = ()
    """What they say of themselves."""
    refused: str = ""
    """Why the agent could not read and write under its prefix; empty: it can, or nothing answers at all."""
    namesake: str = ""
    """Where another machine's agent with this node's name is, `host:port`; empty: none is registered."""
    reads_elsewhere: bool | None = None
    """Whether what we show etcd may read keys that are none of the agents'; None: it did not say."""


@dataclass(frozen=True, slots=True)
class Chrony:
    """What chrony's configuration says. `error` says why `slew_ppm` may not be all of it; else it is empty."""

    file: Path
    slew_ppm: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """One look at this node and its surroundings."""

    links: tuple[LinkFacts, ...]
    links_up: frozenset[str]
    """Names and altnames of links with carrier."""
    held_here: frozenset[IPAddress]
    """VIPs that the agent of this node has on a link right now."""
    sources: dict[str, tuple[IPAddress, ...]]
    """Link → what the kernel writes as source of the node's own traffic out of it."""
    answers: dict[Vip, tuple[bytes, ...]] | None
    """VIP → MACs of others that answered a probe for it."""
    answers_error: str
    nftables_error: str | None
    """Why there is no nftables fence; None when there is one."""
    etcd: EtcdFacts
    api_server_files: bool
    """Whether certificates of kubeadm, k3s or RKE2 for the API server are on this node."""
    probed: dict[str, tuple[bool, str]]
    """Health check → whether it passed when it was tried once, and what it said."""
    chrony: Chrony | None
    """What chrony's configuration allows; None where there is none."""
    gateways: dict[tuple[str, int], tuple[IPAddress, ...]] = field(default_factory=dict)
    """Link and family → the next hops there, the default route's first; what the kernel did not tell is left out."""
    missing_capabilities: tuple[str, ...] = ()
    """What this process lacks to look at all of it."""
    timer_error: str | None = None
    """Why a timer of the kernel would not kill the agent here; None when it would."""
    gate_families: tuple[str, ...] = ()
    """For which kinds of addresses the gate was seen to close."""
    gate_lacks: tuple[str, ...] = ()
    """What this kernel's rules can't stop, in words."""
    neighbours: tuple[Neighbour, ...] = ()
    """Who was asked for on the VIPs' links."""
    heard: dict[Neighbour, tuple[bytes, ...]] | None = None
    """Which MACs answered for each; None where nobody could be asked."""
    programs: dict[Path, str | None] = field(default_factory=dict)
    """Each program of a hook, and why it could not be started; None if nothing is known against it."""
    taken_ports: tuple[str, ...] = ()
    """What the agent would listen on, and why it can't; nothing while it runs."""
    unreached: str = ""
    """Why no peer could reach the agent of this node."""
    loose_files: tuple[str, ...] = ()
    """Which secrets and places are open to others."""
    tags_stick: bool | None = None
    """Whether the kernel keeps our tag on addresses."""
