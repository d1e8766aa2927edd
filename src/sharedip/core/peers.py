"""The other agents, as their records in etcd show them: how to reach them, on whose member they run, who answers.

Must never: send anything, or trust a name; a peer is known by its lease.
"""

from __future__ import annotations

from dataclasses import dataclass

from sharedip.core.keys import Registry, read_record
from sharedip.core.model import Instant, KeyValue

NEVER: Instant = float("-inf")
MACS_MAX = 64
SECRET_BYTES_MIN = 16
SECRET_BYTES_MAX = 64


@dataclass(frozen=True, slots=True)
class Peer:
    """An agent that is registered in etcd. `member` is the id of the etcd member on its node, None without one."""

    lease: int
    name: str
    host: str | None
    port: int
    member: int | None
    secret: bytes | None
    macs: frozenset[bytes] = frozenset()
    """Of the links that carry VIPs on its node."""


class Peers:
    """Invariant: the peers are exactly the agents' records of `registry` at its last change."""

    def __init__(self) -> None:
        self._by_lease: dict[int, Peer] = {}
        self._answered_at: dict[int, Instant] = {}
        self._in_touch_at: dict[int, Instant] = {}

    def refresh(self, registry: Registry) -> None:
        """Read the agents' records anew."""
        prefix = registry.layout.agent("")
        found: dict[int, Peer] = {}
        for key in registry.under(prefix):
            peer = _read_peer(key, key.key[len(prefix) :])
            if peer is not None:
                found[peer.lease] = peer
        self._by_lease = found
        self._answered_at = {lease: at for lease, at in self._answered_at.items() if lease in found}
        self._in_touch_at = {lease: at for lease, at in self._in_touch_at.items() if lease in found}

    def has_mac(self, mac: bytes) -> bool:
        """Whether a node of the cluster says that it is its own."""
        return any(mac in peer.macs for peer in self._by_lease.values())

    def by_lease(self, lease: int) -> Peer | None:
        """The agent with this lease."""
        return self._by_lease.get(lease)

    def of(self, candidate: KeyValue) -> Peer | None:
        """The agent behind a candidate; None for a plain candidate of etcd's recipe."""
        return self._by_lease.get(candidate.lease)

    def name_of(self, lease: int) -> str:
        """For show."""
        peer = self._by_lease.get(lease)
        return f"lease {lease:x}" if peer is None else peer.name

    def answered(self, lease: int, now: Instant) -> bool:
        """The peer answered a beat or a greeting just now. True when it had been silent."""
        was = self._answered_at.get(lease)
        self._answered_at[lease] = now
        return was is None

    def greeted(self, lease: int, now: Instant) -> bool:
        """The peer answered a greeting just now, so it has etcd's word for its lease. True when it had been silent."""
        self._in_touch_at[lease] = now
        return self.answered(lease, now)

    def silent(self, lease: int) -> None:
        """The peer did not answer: it counts as out of reach until it answers a greeting."""
        self._answered_at.pop(lease, None)
        self._in_touch_at.pop(lease, None)

    def in_touch_at(self, lease: int) -> Instant:
        """When it answered a greeting last."""
        return self._in_touch_at.get(lease, NEVER)

    def is_reachable(self, lease: int) -> bool:
        """Whether it answered, and has not been found silent since."""
        return lease in self._answered_at


def _read_peer(key: KeyValue, name: str) -> Peer | None:
    record = read_record(key)
    if record is None or key.lease == 0:
        return None
    host, port = split_address(record.get("peer"))
    member, secret = _hexadecimal(record.get("member")), _secret(record.get("secret"))
    return Peer(key.lease, name, host, port, member, secret, _macs(record.get("macs")))


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


def _macs(value: object) -> frozenset[bytes]:
    try:
        return (
            frozenset(bytes.fromhex(str(mac)) for mac in value[:MACS_MAX]) if isinstance(value, list) else frozenset()
        )
    except ValueError:
        return frozenset()


def _secret(value: object) -> bytes | None:
    try:
        secret = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return None
    return secret if SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX else None
