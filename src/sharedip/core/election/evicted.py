"""The keys that this node, as the owner, has taken out of the succession, and which of them no later run can forget.

Succession is safe only if no key is both told a word and deleted by the speaker (docs/safety.md, "Evictions"): from the
order on an evicted key gets no word of this epoch, not even from a later run. So the state file has the eviction before
its request leaves: what cannot be saved is not sent.
Must never: send anything. Counterparts: `evictions.py` (which orders), `state.py` (bytes), `resigned.py` (its like).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sharedip.core.model import IPAddress, Vip

EvictedOf = tuple[int, frozenset[int]]
"""An epoch of ours, and the create revisions of the keys that were evicted under it."""


class EvictedKeys:
    """Invariant: what `of` names for an epoch only grows while that epoch's key stands, but for keys that are gone."""

    def __init__(self) -> None:
        self._keys: dict[IPAddress, EvictedOf] = {}
        self._saved: Mapping[IPAddress, EvictedOf] = {}
        self._for_file: tuple[tuple[IPAddress, int, tuple[int, ...]], ...] | None = None

    def restore(self, evicted: Collection[tuple[IPAddress, int, tuple[int, ...]]]) -> None:
        """What the state file of a former run has: this run keeps to it under the same epoch."""
        self._keys = {address: (epoch, frozenset(keys)) for address, epoch, keys in evicted}
        self._saved, self._for_file = dict(self._keys), None

    def of(self, vip: Vip, epoch: int) -> frozenset[int]:
        """The keys, by create revision, that this epoch of ours has evicted."""
        own, keys = self._keys.get(vip.address, (0, frozenset[int]()))
        return keys if own == epoch else frozenset()

    def note(self, vip: Vip, epoch: int, key: int) -> None:
        """That key counts as gone from now on; it is saved with the next orders."""
        self._set(vip.address, (epoch, self.of(vip, epoch) | {key}))

    def is_saved(self, vip: Vip, epoch: int, key: int) -> bool:
        """Whether every later run that stands on this epoch knows of it: only then may the request leave."""
        own, keys = self._saved.get(vip.address, (0, frozenset[int]()))
        return own == epoch and key in keys

    def saved(self, evicted: Collection[tuple[IPAddress, int, tuple[int, ...]]]) -> None:
        """No later run will find anything older than this."""
        self._saved = {address: (epoch, frozenset(keys)) for address, epoch, keys in evicted}

    def standing(self, vip: Vip, epoch: int, keys: frozenset[int]) -> None:
        """These keys stand, by a picture that is newer than the evictions: one that is gone never comes back."""
        evicted = self.of(vip, epoch)
        if evicted - keys:
            self._set(vip.address, (epoch, evicted & keys))

    def forget(self, vip: Vip) -> None:
        """Our key is gone, and with it every power to evict by it."""
        if self._keys.pop(vip.address, None) is not None:
            self._for_file = None

    def clear(self) -> None:
        """The lease is lost, and every epoch on it over."""
        self._keys.clear()
        self._saved, self._for_file = {}, None

    @property
    def for_file(self) -> tuple[tuple[IPAddress, int, tuple[int, ...]], ...]:
        """For the state file; kept ready, for every turn asks for it."""
        if self._for_file is None:
            self._for_file = tuple((each, epoch, tuple(sorted(keys))) for each, (epoch, keys) in self._keys.items())
        return self._for_file

    def _set(self, address: IPAddress, evicted: EvictedOf) -> None:
        self._for_file = None
        if evicted[1]:
            self._keys[address] = evicted
        else:
            self._keys.pop(address, None)
