"""Whose lease stands in etcd under our name: a former run's of this very agent, or another agent's?

Law: a lease is called our former self's, and may be revoked, only if its record names our own peer address, and either
this kernel (then a former run of ours put addresses up here, for the address to which peers write is ours now) or
this machine under another kernel (then that kernel is gone, and every address with it; the address must be on a link
of this node). A clone shares machine id and host name, so the second is believed only after a silence: nothing on that
lease is written, and nothing arrives from it, for a window. If it cannot be told, it is another agent.

Must never: revoke anything; `session.py` does, when the node has seen that nothing of it stands on this kernel.
Counterparts: `own_record.py` (what a run says about itself), `identity.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sharedip.core.etcd.own_record import OwnRecord
from sharedip.core.identity import Identity
from sharedip.core.model import NEVER, Instant, KeyValue

SILENCE_S_MIN = 1.0
"""At the shortest windows an owner's heartbeats come every 20 ms, but a waiting candidate sends nothing by itself."""
LIVES_ON_TTLS = 2.0
"""A lease that still stands this many TTLs after we found it is being renewed."""


class FormerSelf:
    """Invariant: `lease` is one that stands under our name, is not ours, and was a former run's as far as we know."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self.lease: int | None = None
        self.is_on_this_kernel = False
        self._shown: frozenset[tuple[str, int]] = frozenset()
        self._found: tuple[int, Instant] = (0, NEVER)
        self._quiet_since: Instant = NEVER

    def look(
        self,
        name: KeyValue,
        record: dict[str, Any],
        keys: Iterable[KeyValue],
        own: OwnRecord,
        ttl_s: float,
        now: Instant,
    ) -> bool:
        """Whether the lease under our name is a former run's, by what a linearizable read has just shown.

        `name` is the key that has our name, `record` its content, `keys` are all keys; `ttl_s` is the TTL of our own
        leases.
        """
        if self._found[0] != name.lease:
            self._found = (name.lease, now)
        kernel, machine = record.get("kernel"), record.get("machine")
        is_here = bool(self._identity.kernel) and kernel == self._identity.kernel
        is_other_boot = (
            own.is_here  # else a clone whose documents were copied with the address would not be reported
            and record.get("peerIsLocal") is True  # else it is that clone, and this node has the address
            and self._identity.machine is not None
            and machine == self._identity.machine
            and bool(self._identity.kernel)
            and isinstance(kernel, str)
            and kernel not in ("", self._identity.kernel)
        )
        lives_on = now - self._found[1] > LIVES_ON_TTLS * ttl_s
        is_at_our_address = own.advertise is not None and record.get("peer") == own.advertise
        if lives_on or not is_at_our_address or not (is_here or is_other_boot):
            self.forget()
            return False
        # A deletion by others, such as a deposition, is no sign of its life.
        shown = frozenset((key.key, key.mod_revision) for key in keys if key.lease == name.lease)
        if self.lease != name.lease or not shown <= self._shown:
            self._quiet_since = now
        self.lease, self.is_on_this_kernel, self._shown = name.lease, is_here, shown
        return True

    def heard(self, sender: int, answered: int | None, now: Instant) -> None:
        """A datagram arrived that claims to be from the lease `sender`, and to answer a beat of the lease `answered`.

        If one of them is that lease, the silence starts again, authentic or not: a forger can delay us until the lease
        ends by itself, no longer.
        """
        if self.lease is not None and self.lease in (sender, answered):
            self._quiet_since = now

    def silent_at(self, window_s: float | None) -> Instant:
        """When it will have been silent for long enough, if it stays silent."""
        if self.is_on_this_kernel:
            return NEVER
        return self._quiet_since + max(window_s or 0.0, SILENCE_S_MIN)

    def forget(self) -> None:
        """No former run has our name. When a lease was first found stays known."""
        self.lease = None
        self._shown = frozenset()
