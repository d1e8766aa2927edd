"""What the documents say, as one frozen value.

Role: the vocabulary between the documents and the agent. Must never: read a file or know YAML.
Counterparts: `load.py` makes a `Config`, `agent/` and `cli/` consume it.

A duration is in seconds (`_s`), an instant never occurs here. Places take no part in comparison: a `Config` equals
another when the agent would behave alike, so that a reload sees only what really changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

from sharedip.config.problems import Place
from sharedip.core.model import ConflictPolicy, IPAddress, IPNetwork, LinkState, Vip

IPInterface = IPv4Interface | IPv6Interface

LEASE_TTL_S_MIN = 3
"""An address lifetime is whole seconds and ends up to 1 s late, so a renewal needs 2 s of right; of a lease of 2 s at
most 1.9 s are left (ttl - 0.1 % - 0.1 s). 3 s leave 2.9 s, and renewals every ttl/6 keep it above 2 s."""
LEASE_TTL_S_MAX = 600
"""With the plain lease this is how long clients wait after a crash: ten minutes is surely a slip of the pen."""
WINDOW_S_MIN = 0.1
"""Heartbeats go out every fifth of it. What a fence may be late by (`GATE_SLACK_S_MIN`, 15 ms) is as long for every
window, and below this little would be left of it; and at 20 ms between beats a quiet host's scheduler keeps time."""
WINDOW_S_MIN_LIFETIME = 2.1
"""The lifetime fence cannot cut sooner than 2 s after a renewal (whole seconds, up to 1 s late), plus the margin."""
WINDOW_S_DEFAULT = 1.0


def reloadable(name: str) -> Mapping[str, object]:
    """About a field that may change while the agent runs: its name in the documents."""
    return {"name": name, "reloadable": True}


def at_start(name: str) -> Mapping[str, object]:
    """About a field that can only change with a restart (which keeps the address): its name in the documents."""
    return {"name": name, "reloadable": False}


class WitnessChoice(Enum):
    """Whether a peer may depose an owner that has gone silent."""

    AUTO = "auto"
    OFF = "off"


class FenceChoice(Enum):
    """What removes or mutes the address when the agent can't act. `AUTO` takes nftables where the kernel has it."""

    AUTO = "auto"
    NFTABLES = "nftables"
    LIFETIME = "lifetime"


@dataclass(frozen=True, slots=True)
class EtcdUrl:
    """Where one etcd member listens. `host` is a name or an address, without brackets."""

    tls: bool
    host: str
    port: int

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{join_host_port(self.host, self.port)}"


@dataclass(frozen=True, slots=True)
class EtcdConfig:
    """How to reach etcd. With https endpoints and no files, look with `certificates.find_client_certificates`."""

    endpoints: tuple[EtcdUrl, ...]
    ca_file: Path | None
    cert_file: Path | None
    key_file: Path | None
    username: str | None
    password_file: Path | None
    key_prefix: str
    request_timeout_s: float
    move_leader: bool = False
    """Whether an owner may ask etcd to lead from another node's member."""


@dataclass(frozen=True, slots=True)
class FailoverConfig:
    """How fast a silent owner is replaced, and what keeps it from being a second owner."""

    witness: WitnessChoice = field(metadata=reloadable("failover.witness"))
    window_s: float = field(metadata=reloadable("failover.window"))
    fence: FenceChoice = field(metadata=at_start("failover.fence"))


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """Where agents talk to each other (UDP). `advertise` is None for "the node's address on the VIP's link"."""

    listen_host: str = field(metadata=at_start("peer.listen"))
    listen_port: int = field(metadata=at_start("peer.listen"))
    advertise: IPAddress | None = field(metadata=reloadable("peer.advertise"))
    reach: tuple[IPAddress, ...] = field(default=(), metadata=reloadable("peer.reach"))
    """Who answers on the segment while it is whole; empty: the next hops on the VIPs' links."""


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """Where metrics, health and the status page are served (TCP)."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """An http or https URL, taken apart. `target` is path and query, and begins with a slash."""

    tls: bool
    host: str
    port: int
    target: str

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{join_host_port(self.host, self.port)}{self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What every health check has."""

    name: str
    interval_s: float
    timeout_s: float
    failure_threshold: int
    success_threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheck(Check):
    """Healthy when the URL answers with a status from 200 to 299; a redirect is not followed."""

    url: HttpUrl
    ca_file: Path | None
    cert_file: Path | None
    key_file: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpCheck(Check):
    """Healthy when a connection can be opened."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecCheck(Check):
    """Healthy when the command ends with 0 in time. `command[0]` is an absolute path; there is no shell."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeApiServerCheck(Check):
    """The API server of this node, by `/readyz`; `certificates.find_api_server` says with which certificates.

    `port` is None for the one that its own configuration names. `by_default` says where the control plane was found for
    which the check is on though no document names it; else it is empty. `beginning_s`: for so long nothing is said of
    it while it has never passed.
    """

    port: int | None
    by_default: str = field(default="", compare=False)
    beginning_s: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class HookConfig:
    """A program of the operator's. `command[0]` is an absolute path; there is no shell."""

    command: tuple[str, ...]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class HooksConfig:
    """What is run before an address goes up, before it goes, and after its owner has changed."""

    on_acquire: HookConfig | None = field(default=None, metadata=reloadable("hooks.onAcquire"))
    on_release: HookConfig | None = field(default=None, metadata=reloadable("hooks.onRelease"))
    on_change: HookConfig | None = field(default=None, metadata=reloadable("hooks.onChange"))


HealthCheck = HttpCheck | TcpCheck | ExecCheck | KubeApiServerCheck


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """An address that a Talos machine configuration gives to the node itself. `dhcp`: the link may get more."""

    link: str
    address: IPInterface
    dhcp: bool
    place: Place = field(compare=False)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the documents say. `vip_places` runs in step with `vips`.

    Each field says whether it may change while the agent runs; a section without a word of its own leaves that to its
    fields. What a reload refuses and what it says is derived from that (`agent/reload.py`), in this order.
    """

    vips: tuple[Vip, ...] = field(metadata=reloadable("vips"))
    vip_places: tuple[Place, ...] = field(compare=False)
    node_name: str = field(metadata=at_start("nodeName"))
    state_dir: Path = field(metadata=at_start("stateDir"))
    etcd: EtcdConfig = field(metadata=at_start("etcd"))
    lease_ttl_s: int = field(metadata=at_start("lease.ttl"))
    health_checks: tuple[HealthCheck, ...] = field(metadata=reloadable("healthChecks"))
    failover: FailoverConfig
    conflict_policy: ConflictPolicy = field(metadata=reloadable("conflict.policy"))
    peer: PeerConfig
    api: ApiConfig | None = field(metadata=at_start("api"))
    hooks: HooksConfig = HooksConfig()
    node_addresses: tuple[NodeAddress, ...] = field(default=(), metadata=reloadable("machine.network"))
    leaves_checks_open: bool = field(default=False, metadata=reloadable("healthChecks"))
    """No document says which health checks there are, not even that there are none (`healthChecks: []`)."""


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """A link of this node as the kernel shows it: the name and every altname, and the node's own addresses.

    Whoever makes it leaves out addresses that this program added (its IFA_PROTO tag, or its record): a VIP that this
    node owns right now is not "a node's own address".
    """

    names: tuple[str, ...]
    addresses: tuple[IPInterface, ...]
    passing: frozenset[IPAddress] = frozenset()
    """Of these, host addresses whose lifetime ends: a run whose tag and record are lost may have left them."""
    state: LinkState | None = None
    """What else the kernel says of the link; None where nobody has asked."""
    on_link: tuple[IPNetwork, ...] | None = None
    """The networks that are on the link by its routes; None where they are not known."""
    leased: tuple[IPInterface, ...] = ()
    """Of the addresses, those with a subnet whose lifetime ends: somebody hands addresses of that subnet out (IPv4:
    DHCP), or the link makes its own of a router's prefix (IPv6)."""

    def reaches(self, address: IPAddress) -> bool:
        """Whether a route says that the address is on this link, and the node has an address to ask from there."""
        has_family = any(own.version == address.version and own.ip != address for own in self.addresses)
        networks = (each for each in self.on_link or () if each.version == address.version)
        return has_family and any(address in network for network in networks)


def join_host_port(host: str, port: int) -> str:
    """Write host and port as RFC 3986 wants it: brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
