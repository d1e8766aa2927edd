"""The agent's own key in etcd: its name, how peers reach it, how it is doing. Written only on change.

Must never: send anything itself; `session.py` does. Counterparts: `agent_records.py` (the others' records) and
`former_self.py` (recognises its own).
"""

from __future__ import annotations

from sharedip.core.etcd.keys import Layout, Registry, write_record
from sharedip.core.identity import Identity
from sharedip.core.model import NEVER, Guard, GuardTarget, Instant, KeyValue, Put

RETRY_S = 1.0


class OwnRecord:
    """Invariant: etcd has `value` under our key and lease, or a write of it is wanted."""

    def __init__(self, layout: Layout, node_name: str, version: str, identity: Identity) -> None:
        self.name = node_name
        self.key = layout.agent(node_name)
        self.advertise: str | None = None
        """Where peers reach us."""
        self.is_here = False
        """Whether the kernel shows that address on this node."""
        self.content: dict[str, object] = {}
        self._fixed = {
            "node": node_name,
            "version": version,
            "machine": identity.machine,
            "kernel": identity.kernel,
        }
        self._written: tuple[dict[str, object], str | None, bool, bytes] | None = None
        self._published_at_revision = 0
        self._publish_at: Instant = NEVER

    def value(self) -> bytes:
        """The record's bytes. Asked for at every turn, so encoded again only when the content changed."""
        if self._written is None or self._written[:3] != (self.content, self.advertise, self.is_here):
            address = {"peer": self.advertise, "peerIsLocal": self.is_here}
            text = write_record({**self.content, **self._fixed, **address})
            self._written = (self.content, self.advertise, self.is_here, text)
        return self._written[3]

    def registration(self, lease: int) -> tuple[Guard, Put]:
        """The write that claims the name, unless it is taken."""
        return Guard(self.key, GuardTarget.CREATE, 0), Put(self.key, self.value(), lease)

    def publication(
        self, registry: Registry, lease: int, now: Instant, *, in_any_case: bool = False
    ) -> tuple[Guard, Put] | None:
        """The write that updates our record; None if it is up to date, or may be already. `in_any_case`: it is written
        as it is, to see whether etcd takes writes.
        """
        value, own = self.value(), self._stands_in(registry, lease)
        if own is None or (own.value == value and not in_any_case):
            return None
        if now < self._publish_at or registry.revision < self._published_at_revision:
            return None  # what the registry shows may be older than what we wrote
        return Guard(self.key, GuardTarget.CREATE, own.create_revision), Put(self.key, value, lease)

    def _stands_in(self, registry: Registry, lease: int) -> KeyValue | None:
        """Our record, if the key has one and it is ours: judged by the lease, never by the name."""
        key = registry.get(self.key)
        return key if key is not None and key.lease == lease else None

    def published(self, revision: int) -> None:
        """The write was applied, or refused by its guard, at this revision."""
        self._published_at_revision = revision

    def failed(self, now: Instant) -> None:
        """Whether it was written is unknown: write it again a little later."""
        self._publish_at = now + RETRY_S

    def forget(self) -> None:
        """The lease is gone, and the key with it."""
        self._published_at_revision = 0
