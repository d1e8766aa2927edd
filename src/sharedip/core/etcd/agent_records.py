"""The other agents, as their records in etcd show them: how to reach them, on whose member they run, who answers.

Must never: send anything, or trust a name; a peer is known by its lease, and what it says by the secret that goes with
the public value on that lease.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address

from sharedip.core.etcd.keys import Registry, read_record
from sharedip.core.identity import PUBLIC_BYTES, Identity
from sharedip.core.keeping import NOTHING_MEASURED, Measured, read_measured
from sharedip.core.model import NEVER, Instant, IPAddress, KeyValue
from sharedip.core.problems import read_published
from sharedip.core.settings import SharedSettings, read_shared_settings

MACS_MAX = 64
MAC_BYTES = 6
PLACES_MAX = 16
PEERS_MAX = 256
"""More of either is no record of ours."""
FLAW_CHARACTERS_MAX = 40
ASK_CHARACTERS_MAX = 128
ASKS_MAX = 64
CODES_MAX = 64
WALL_MS_MAX = 1 << 60
"""More is no time, and no float's either."""
LOST_MAX = 16

HEARD_WINDOWS = 2.5
HEARD_S_MAX = 5.0
"""Each candidate is pinged about once in a window, and one ping may be lost. An older answer tells nothing."""


@dataclass(frozen=True, slots=True)
class PeerPlace:
    """One link and family of another agent's node, as its record has it: where its hellos come from."""

    version: int
    """4 or 6."""
    address: IPAddress
    """The link's own address of that family."""
    mac: bytes
    vips: frozenset[str] | None
    """The VIPs that the link carries, as text; None: all of the agent's."""
    heard: frozenset[int]
    """Leases of the agents that it hears there, two-way."""
    silent: frozenset[int]
    """Those that it has heard there, and hears no more, by no means."""
    mute: frozenset[int]
    """Those whose node answers there, but whose hellos do not arrive."""
    gateway: bool | None
    """Whether the next hop, or what `peer.reach` names, answers there; None: there is none, or it was not asked."""
    flaw: str
    """Why the node can't serve there, a fixed code (`core/address/serving.py`); empty: it can."""

    def carries(self, vip: IPAddress) -> bool:
        """Whether this is where that VIP would be."""
        return self.version == vip.version and (self.vips is None or str(vip) in self.vips)


@dataclass(frozen=True, slots=True)
class Peer:
    """An agent that is registered in etcd. `member` is the id of the etcd member on its node, None without one."""

    lease: int
    name: str
    host: str | None
    port: int
    member: int | None
    public: bytes | None
    """The public value by which secrets are agreed; None for an agent of an old version: it is never believed."""
    macs: frozenset[bytes] = frozenset()
    """MACs of the links that carry VIPs on its node."""
    places: tuple[PeerPlace, ...] | None = None
    """None: an agent of an older version, which says no hello: silence tells nothing of it (law 4)."""
    drained: bool | None = None
    healthy: bool | None = None
    """None: not known; so of a record that says nothing of either."""
    revision: int = 0
    """Mod revision of its record."""
    asks: tuple[str, ...] = ()
    """As an owner: what a better candidate must assent to (`core/election/assent.py`)."""
    answers: Mapping[int, int] = field(default_factory=dict)
    """Lease of an owner that asks → the revision of its record that this agent assents to."""
    flaws: Mapping[str, str] = field(default_factory=dict)
    """VIP → why this node had better not have it, a fixed code."""
    failing: tuple[str, ...] = ()
    """The names of its health checks that fail."""
    moves: Mapping[str, int] = field(default_factory=dict)
    """Health check → how often in a row addresses have moved for its slowness (`core/election/spacing.py`)."""
    unseen: Mapping[str, str] = field(default_factory=dict)
    """VIP → what is wrong with it on the wire, as this agent sees its owner (`core/segment/visibility.py`)."""
    problems: tuple[tuple[str, str], ...] = ()
    """What is wrong with it: fixed codes (`core/problems.py`), each with a VIP or nothing."""
    settings: SharedSettings | None = None
    """None: it does not say."""
    lost: tuple[str, ...] = ()
    """The nodes whose agents it has seen die."""
    kernel: str = ""
    """What names the boot of its machine; empty: it does not say."""
    wall_ahead_s: float | None = None
    """What its wall clock shows beyond the clock of its hellos; None: it does not say."""
    measured: Measured = NOTHING_MEASURED
    """How late it was, and how long its witnesses took to answer, in the last day."""

    @property
    def misses(self) -> frozenset[int]:
        """Leases of the agents whose hellos it has stopped hearing on some link: it lives, whoever misses *its*."""
        return frozenset().union(*(place.silent | place.mute for place in self.places or ()))

    def place_of(self, vip: IPAddress) -> PeerPlace | None:
        """Where it would have that VIP."""
        return next((place for place in self.places or () if place.carries(vip)), None)


class Peers:
    """Invariant: the peers are exactly the agents' records of `registry` at its last change, and what is remembered of
    one was said under the public value that stands there now.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._secrets: dict[bytes, bytes | None] = {}
        """Public value → secret: agreeing costs a hundred times what a datagram may."""
        self._by_lease: dict[int, Peer] = {}
        self._read: dict[str, tuple[KeyValue, Peer | None]] = {}
        """Each record with what was made of it: of many, one at a time changes."""
        self._answered_at: dict[int, Instant] = {}
        self._in_touch_at: dict[int, Instant] = {}
        self._proved_at: dict[int, Instant] = {}
        self._pinged: dict[int, int] = {}
        self._cards: tuple[int | None, frozenset[bytes]] | None = None
        self._silent: set[int] = set()
        """Found silent as a witness, and no answer since."""

    def refresh(self, registry: Registry) -> None:
        """Read the agents' records again."""
        prefix = registry.layout.agent("")
        found: dict[int, Peer] = {}
        read, self._read = self._read, {}
        for key in registry.under(prefix):
            before = read.get(key.key)
            peer = before[1] if before and before[0] == key else _read_peer(key, key.key[len(prefix) :])
            self._read[key.key] = key, peer
            if peer is not None:
                found[peer.lease] = peer
        known, self._by_lease = self._by_lease, found
        self._cards = None
        for lease, peer in known.items():
            if lease not in found or found[lease].public != peer.public:
                for memory in (self._answered_at, self._in_touch_at, self._proved_at, self._pinged):
                    memory.pop(lease, None)
                self._silent.discard(lease)
        values = {peer.public for peer in found.values()}
        self._secrets = {value: secret for value, secret in self._secrets.items() if value in values}

    def has_mac(self, mac: bytes) -> bool:
        """Whether a node of the cluster publishes this MAC as its own."""
        return any(mac in peer.macs for peer in self._by_lease.values())

    def cards_of_others(self, own_lease: int | None) -> frozenset[bytes]:
        """The MACs that the other nodes publish, and we do not; kept ready, for it is asked for at every turn."""
        if self._cards is None or self._cards[0] != own_lease:
            own = self._by_lease.get(own_lease or 0)
            others = {mac for peer in self._by_lease.values() if peer is not own for mac in peer.macs}
            others = {mac for mac in others if len(mac) == MAC_BYTES}
            self._cards = own_lease, frozenset(others - (own.macs if own else frozenset()))
        return self._cards[1]

    def all(self) -> Iterable[Peer]:
        """Every agent that is registered, ourselves included."""
        return self._by_lease.values()

    def by_lease(self, lease: int) -> Peer | None:
        """The agent with this lease."""
        return self._by_lease.get(lease)

    def secret_with(self, lease: int) -> bytes | None:
        """The secret that authenticates datagrams between us and this agent; None: there is none."""
        peer = self._by_lease.get(lease)
        if peer is None or peer.public is None:
            return None
        if peer.public not in self._secrets:
            self._secrets[peer.public] = self._identity.secret_with(peer.public)
        return self._secrets[peer.public]

    def of(self, candidate: KeyValue) -> Peer | None:
        """The agent behind a candidate; None for a plain candidate of etcd's recipe."""
        return self._by_lease.get(candidate.lease)

    def name_of(self, lease: int) -> str:
        """The node's name, for people."""
        peer = self._by_lease.get(lease)
        return f"lease {lease:x}" if peer is None else peer.name

    def answered(self, lease: int, now: Instant) -> bool:
        """The peer answered a heartbeat or a ping just now. True when it had been silent."""
        was = self._answered_at.get(lease)
        self._answered_at[lease] = now
        self._silent.discard(lease)
        return was is None

    def ponged(self, lease: int, proved_at: Instant, now: Instant) -> bool:
        """The peer answered a ping just now, so etcd has proved its lease: the proving request left at `proved_at` or
        later. True when it had been silent.
        """
        self._in_touch_at[lease] = now
        self._proved_at[lease] = max(proved_at, self._proved_at.get(lease, NEVER))
        return self.answered(lease, now)

    def is_new_ping(self, lease: int, sequence: int) -> bool:
        """Whether this ping is new and no replay; it counts as answered from now on."""
        if sequence <= self._pinged.get(lease, -1):
            return False
        self._pinged[lease] = sequence
        return True

    def silent(self, lease: int) -> None:
        """The peer did not answer: it counts as unreachable until it answers a ping."""
        self._answered_at.pop(lease, None)
        self._in_touch_at.pop(lease, None)
        if lease in self._by_lease:
            self._silent.add(lease)

    def is_silent(self, lease: int) -> bool:
        """Whether it was found silent, and has not answered since: hearing it by chance does not end that."""
        return lease in self._silent

    def in_touch_at(self, lease: int) -> Instant:
        """When it last answered a ping."""
        return self._in_touch_at.get(lease, NEVER)

    def proved_at(self, lease: int) -> Instant:
        """A request that proved its lease left at this instant or later; the latest that we know."""
        return self._proved_at.get(lease, NEVER)

    def is_reachable(self, lease: int) -> bool:
        """Whether it answered, and has not been found silent since."""
        return lease in self._answered_at

    def can_succeed(self, lease: int, failing_since: Instant | None, window_s: float | None, now: Instant) -> bool:
        """Whether that agent has answered a ping lately, and etcd has proved its lease since etcd failed us, at
        `failing_since`; None: etcd has not failed us.

        An older proof may be void: an etcd that is away for all nodes leaves us all at once. Law 4: if that can't be
        told, the address stays for as long as the right lasts.
        """
        if window_s is None or failing_since is None or self.proved_at(lease) <= failing_since:
            return False
        return now - self.in_touch_at(lease) <= min(HEARD_WINDOWS * window_s, HEARD_S_MAX)


def read_agents(registry: Registry) -> dict[int, Peer]:
    """Every agent's record in this picture, by lease."""
    prefix = registry.layout.agent("")
    found = (_read_peer(key, key.key[len(prefix) :]) for key in registry.under(prefix))
    return {peer.lease: peer for peer in found if peer is not None}


def _read_peer(key: KeyValue, name: str) -> Peer | None:
    record = read_record(key)
    if record is None or key.lease == 0:
        return None
    host, port = split_address(record.get("peer"))
    member, public = _hexadecimal(record.get("member")), _public(record.get("public"))
    return Peer(
        key.lease,
        name,
        host,
        port,
        member,
        public,
        _macs(record.get("macs")),
        _places(record.get("places")),
        _truth(record.get("drained")),
        _truth(record.get("healthy")),
        key.mod_revision,
        _texts(record.get("asks")),
        _answers(record.get("answers")),
        _codes(record.get("flaws")),
        _texts(record.get("failing")),
        _counts(record.get("moves")),
        _codes(record.get("unseen")),
        read_published(record.get("problems")),
        read_shared_settings(record.get("settings")),
        _texts(record.get("lost"))[:LOST_MAX],
        str(record.get("kernel") or "")[:ASK_CHARACTERS_MAX],
        _milliseconds(record.get("wallMs")),
        read_measured(record.get("lateMs"), record.get("answerMs")),
    )


def split_address(text: object) -> tuple[str | None, int]:
    """`192.0.2.1:9470` or `[2001:db8::1]:9470` into host and port; (None, 0) for anything else."""
    if not isinstance(text, str) or len(text) > 128:
        return None, 0
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        return None, 0
    return host.strip("[]"), int(port)


def _hexadecimal(value: object) -> int | None:
    try:
        return int(value, 16) if isinstance(value, str) else None
    except ValueError:
        return None


def _milliseconds(value: object) -> float | None:
    is_sane = isinstance(value, int) and not isinstance(value, bool) and abs(value) < WALL_MS_MAX
    return value / 1000 if isinstance(value, int) and is_sane else None


def _macs(value: object) -> frozenset[bytes]:
    if not isinstance(value, list):
        return frozenset()
    try:
        return frozenset(bytes.fromhex(str(mac)) for mac in value[:MACS_MAX])
    except ValueError:
        return frozenset()


def _places(value: object) -> tuple[PeerPlace, ...] | None:
    if not isinstance(value, list) or len(value) > PLACES_MAX:
        return None
    try:
        return tuple(_place(fields) for fields in value)
    except (ValueError, KeyError, TypeError):
        return None


def _place(fields: object) -> PeerPlace:
    if not isinstance(fields, dict):
        raise TypeError
    address, vips, gateway = ip_address(str(fields["address"])), fields["vips"], fields["gateway"]
    return PeerPlace(
        version=address.version,
        address=address,
        mac=bytes.fromhex(str(fields["mac"])),
        vips=None if vips is None else frozenset(str(vip) for vip in vips),
        heard=_leases(fields["heard"]),
        silent=_leases(fields["silent"]),
        mute=_leases(fields["mute"]),
        gateway=gateway if isinstance(gateway, bool) else None,
        flaw=str(fields["flaw"])[:FLAW_CHARACTERS_MAX],
    )


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(str(text)[:ASK_CHARACTERS_MAX] for text in value[:ASKS_MAX])


def _answers(value: object) -> dict[int, int]:
    if not isinstance(value, dict) or len(value) > PEERS_MAX:
        return {}
    try:
        return {int(lease, 16): revision for lease, revision in value.items() if isinstance(revision, int)}
    except ValueError:
        return {}


def _counts(value: object) -> dict[str, int]:
    if not isinstance(value, dict) or len(value) > CODES_MAX:
        return {}
    return {str(name)[:ASK_CHARACTERS_MAX]: count for name, count in value.items() if isinstance(count, int)}


def _codes(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > CODES_MAX:
        return {}
    return {str(vip): str(code)[:FLAW_CHARACTERS_MAX] for vip, code in value.items()}


def _leases(value: object) -> frozenset[int]:
    if not isinstance(value, list) or len(value) > PEERS_MAX:
        raise TypeError
    return frozenset(int(str(lease), 16) for lease in value)


def _public(value: object) -> bytes | None:
    try:
        public = bytes.fromhex(value) if isinstance(value, str) and len(value) == 2 * PUBLIC_BYTES else b""
    except ValueError:
        return None
    return public if len(public) == PUBLIC_BYTES else None
