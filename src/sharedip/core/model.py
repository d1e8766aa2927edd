"""The values that the core reasons about: addresses, links, keys, settings.

Role: frozen facts without behaviour that touches the world. Every layer may import this module.
Must never: read a clock, open a socket, or depend on an adapter.

Units: an instant is a `float` of seconds on CLOCK_BOOTTIME, its name ends in `_at`, `_until` or is `not_after`/`now`;
a duration carries its unit as the last word of its name (`ttl_s`, `timeout_s`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
REVISION_MAX = 2**62
"""A million writes a second for a hundred thousand years: what is larger is nonsense, and fits into no datagram."""
Instant = float
"""Seconds on CLOCK_BOOTTIME."""
NEVER: Instant = float("-inf")
"""Before every other instant: the time of what never happened, the end of what was never granted."""
UNKNOWN: Instant = float("inf")
"""After every other instant: until when something of a former run may last. It is never over, and never tight."""


Client = bytes
"""The far end of a TCP connection on a VIP, in network order: the port here, the port there, the address there. Nothing
else is kept of it: thousands are compared and sent.
"""
CLIENT_BYTES = {4: 8, 6: 20}
"""By IP version."""
CLIENTS_MAX = 4096
"""Of one node: beyond those, connections are counted and not told to others."""


@dataclass(frozen=True, slots=True, order=True)
class Vip:
    """A shared address and the link that carries it on the owner. `link` is a name or an altname."""

    address: IPAddress
    link: str

    @property
    def host_prefix_length(self) -> int:
        """32 or 128: a wider one can take the host's own address along when it is removed."""
        return self.address.max_prefixlen

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class LinkState:
    """What the kernel says of one link. `names` holds the name first, then every altname."""

    index: int
    names: tuple[str, ...]
    mac: bytes
    running: bool
    """Administratively up and with carrier (IFF_UP and IFF_LOWER_UP)."""
    master: str = ""
    """The bridge, bond or team that this link is a port of: frames arrive there. Empty: it is nobody's port."""
    master_kind: str = ""
    """What the kernel calls that master: `bridge`, `bond`, `team`, `openvswitch`, `vrf` …; empty: not known."""
    has_arp: bool = True
    """Neighbours are asked for on it (IFF_NOARP is not set)."""
    has_ipv6: bool = True
    """The kernel has IPv6 on it: neither `disable_ipv6` nor an MTU below 1280 takes it away."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One etcd key as a linearizable read or a watch shows it. `lease` is 0 for none."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease: int


@dataclass(frozen=True, slots=True)
class KeyChange:
    """One change from a watch at `revision`: `after` is None when the key was deleted or its lease expired."""

    key: str
    after: KeyValue | None
    revision: int


class GuardTarget(Enum):
    """Which revision of a key a guard looks at."""

    CREATE = "create_revision"
    MOD = "mod_revision"


@dataclass(frozen=True, slots=True)
class Guard:
    """Holds when the key's revision equals `revision`; 0 means that the key does not exist."""

    key: str
    target: GuardTarget
    revision: int


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key that hangs on `lease`."""

    key: str
    value: bytes
    lease: int


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete one key."""

    key: str


@dataclass(frozen=True, slots=True)
class Get:
    """Read one key, or with `prefix` all keys that begin with it, inside a transaction."""

    key: str
    prefix: bool = False


Operation = Put | Delete | Get


class Failure(Enum):
    """Why a request brought no answer that counts. Every one of them is weather, never a verdict on the keys."""

    TIMEOUT = "no answer in time"
    UNAVAILABLE = "endpoint unavailable"
    NO_LEADER = "etcd has no leader"
    LEASE_NOT_FOUND = "lease not found"
    COMPACTED = "revision compacted"
    UNAUTHENTICATED = "etcd refused the credentials"
    REFUSED = "etcd refused the request"
    FULL = "etcd takes no writes: its database is full"
    NONSENSE = "etcd answered nonsense"


class FenceKind(Enum):
    """What removes or mutes the address when the agent can't act."""

    LIFETIME = "lifetime"
    NFTABLES = "nftables"


class Hook(Enum):
    """The moments at which the operator's own program is run."""

    ACQUIRE = "onAcquire"
    """Before an address goes up on this node. It may refuse."""
    RELEASE = "onRelease"
    """Before an address goes, if somebody has asked for that."""
    CHANGE = "onChange"
    """After an address has another owner, on whichever node."""


class ConflictPolicy(Enum):
    """What an owner does when a stranger claims its address on the segment."""

    DEFEND = "defend"
    YIELD = "yield"
