"""Where our keys stand in etcd, and the picture of those that we have seen.

Role: the layout of etcd's own election recipe (etcd client/v3/concurrency/election.go: `<prefix>/<lease id, hex>`), the
records beside it, and `Registry`, the picture of all keys under one prefix at one revision. Claims and proofs are
judged by that picture, so it must be the very state of that revision (docs/safety.md, "What the read brings").
Must never: decide who owns what; that is `candidacy.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from sharedip.core.messages import KeysRead
from sharedip.core.model import NEVER, Instant, IPAddress, KeyChange, KeyValue

ADDRESS_CHARACTERS_MAX = 64
EVERYTHING_EVERY_S = 30.0
"""Reads bring what has changed since our picture, and prove by a count that nothing is missing. Any error that is
left in a picture lasts no longer than this."""
RECORD_BYTES_MAX = 64 * 1024
"""A record of ours is some hundred bytes; anything larger is not ours."""


class Layout:
    """Names of keys under one `keyPrefix`. The election keys are those of etcd's recipe and of Talos."""

    def __init__(self, key_prefix: str) -> None:
        self.root = f"{key_prefix}:vip:"
        """Everything that the agent reads and watches."""
        self.elections = f"{self.root}election:"
        self._agents = f"{self.root}agent:"
        self._owners = f"{self.root}owner:"
        self._witnesses = f"{self.root}witness:"
        self._wishes = f"{self.root}wish:"

    def election(self, address: IPAddress) -> str:
        """The election's prefix as `etcdctl elect` takes it."""
        return f"{self.elections}{address}"

    def candidate(self, address: IPAddress, lease: int) -> str:
        """A candidate's key: the lease is what tells candidates apart, never the name in the value."""
        return f"{self.election(address)}/{lease:x}"

    def agent(self, node_name: str) -> str:
        """One key per agent, so that two agents with one name find each other."""
        return f"{self._agents}{node_name}"

    def owner(self, address: IPAddress) -> str:
        """The owner's record: how it got the address, and whether it released it in order."""
        return f"{self._owners}{address}"

    def witness(self, address: IPAddress) -> str:
        """The owner's designation; not under the election prefix, where everything counts as a candidate."""
        return f"{self._witnesses}{address}"

    def wish(self, node_name: str) -> str:
        """What a person asks of that node from another one (`core/peers/posted.py`)."""
        return f"{self._wishes}{node_name}"

    def election_of(self, key: str) -> IPAddress | None:
        """The address whose election the key belongs to."""
        return self._address(key, self.elections, "/")

    def owner_of(self, key: str) -> IPAddress | None:
        """The address that the owner record is about."""
        return self._address(key, self._owners, None)

    def witness_of(self, key: str) -> IPAddress | None:
        """The address that the designation is about."""
        return self._address(key, self._witnesses, None)

    @staticmethod
    def _address(key: str, prefix: str, end: str | None) -> IPAddress | None:
        if not key.startswith(prefix):
            return None
        text = key[len(prefix) :]
        if end is not None:
            text, found, _ = text.partition(end)
            if not found:
                return None
        return _parse_address(text) if len(text) <= ADDRESS_CHARACTERS_MAX else None


@lru_cache(maxsize=8192)
def _parse_address(text: str) -> IPAddress | None:
    """Cached: the same thousand addresses come with every read.

    `config/values.py` has the same lines: by the import law neither may import the other.
    """
    try:
        return ip_address(text)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Release:
    """An owner's word that the address was off its link before its key went. `to` names the intended successor;
    `is_untold`: its clients have not heard of it.
    """

    epoch: int
    to: str | None
    reason: str
    is_untold: bool = False


class Registry:
    """All keys under the root at one revision.

    Invariant: `revision` never goes back, and every key is as it was at `revision`. Snapshots older than what a watch
    has shown are refused; changes apply in the order in which the watch delivers them.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.revision = 0
        self._keys: dict[str, KeyValue] = {}
        self._elections: dict[IPAddress, dict[str, KeyValue]] = {}
        self._queues: dict[IPAddress, list[KeyValue]] = {}
        self.releases: dict[IPAddress, Release] = {}
        self._written_until = 0
        """The newest revision of a write of ours: an older picture is none to claim by."""
        self._wants_everything = False
        self._everything_at: Instant = NEVER

    def written(self, revision: int) -> None:
        """A write of ours was applied at this revision."""
        self._written_until = max(self._written_until, revision)

    def read_after(self, now: Instant) -> int:
        """The revision after which the next read asks: that of our picture; now and then 0, for everything."""
        if not self._wants_everything and now < self._everything_at:
            return self.revision
        self._everything_at = now + EVERYTHING_EVERY_S
        return 0

    def take_read(self, event: KeysRead, lease: int) -> tuple[set[str] | None, bool | None]:
        """Bring the picture to the read's revision, if it is older.

        Returns which keys differ (None: the read can't be used as a picture), and whether it showed a key on our lease
        (None: can't tell).
        """
        # The watch, or a write of ours, may have been faster than this read: it is a proof, but no picture.
        is_picture = event.revision >= max(self.revision, self._written_until)
        if event.after == 0:
            self._wants_everything = False
            shows_us = any(key.lease == lease for key in event.keys)
            return self.apply_snapshot(event.keys, event.revision) if is_picture else None, shows_us
        if event.revision < self.revision:
            # A key present now and created before that revision was present at it: enough for a proof (safety (3)).
            return None, self.has_key_of(lease, event.revision)
        fresh = self.difference(event.keys, event.count)
        if fresh is None:
            self._wants_everything = True
            return None, None
        shows_us = self.has_key_of(lease, event.revision, fresh)
        return self.apply_difference(fresh, event.revision) if is_picture else None, shows_us

    def apply_snapshot(self, keys: tuple[KeyValue, ...], revision: int) -> set[str] | None:
        """Take over a linearizable read. Returns the keys that differ, or None when the read is older than we are."""
        if revision < self.revision:
            return None
        self.revision = revision
        seen = {key.key: key for key in keys}
        if seen == self._keys:
            return set()
        changed = {name for name, key in seen.items() if self._keys.get(name) != key}
        changed |= self._keys.keys() - seen.keys()
        for name in changed:
            self._set(name, seen.get(name))
        return changed

    def difference(self, keys: tuple[KeyValue, ...], count: int) -> list[KeyValue] | None:
        """What is new in a linearizable read, if it asked after a revision that we had reached by then, and is not
        older than our picture now. None when something is missing in it or in our picture: then it shows nothing.

        Why a count is enough: a key that stands at the read's revision was either modified after ours, and is in
        `keys`, or stands unmodified in our picture. So picture and `keys` together hold all of them, and if they are
        as many as there are, they hold no other. A deletion that the watch has not told makes them too many: then
        nothing counts (law 4), and the next read brings everything.
        """
        fresh = [key for key in keys if key.mod_revision > self.revision]
        if len(self._keys) + sum(key.key not in self._keys for key in fresh) != count:
            return None
        return fresh

    def apply_difference(self, fresh: list[KeyValue], revision: int) -> set[str]:
        """Take over what `difference` gave. Returns the keys that differ."""
        assert revision >= self.revision
        self.revision = revision
        for key in fresh:
            self._set(key.key, key)
        return {key.key for key in fresh}

    def has_key_of(self, lease: int | None, revision: int, fresh: list[KeyValue] | None = None) -> bool:
        """Whether a key on this lease stands that was created by then, with what is fresh put in place.

        safety (3): a key that was created later says nothing of the lease at that revision.
        """
        newer = {key.key for key in fresh or ()}
        return any(key.lease == lease for key in fresh or ()) or any(
            key.lease == lease and key.create_revision <= revision and key.key not in newer
            for key in self._keys.values()
        )

    def apply_changes(self, changes: tuple[KeyChange, ...], revision: int) -> set[str]:
        """Take over changes from a watch. Returns the keys that differ."""
        changed: set[str] = set()
        known_until = self.revision
        for change in changes:
            if change.revision <= known_until:
                continue  # a snapshot was faster than the watch, and is newer
            self._set(change.key, change.after)
            changed.add(change.key)
        self.revision = max(self.revision, revision)
        return changed

    def get(self, key: str) -> KeyValue | None:
        """The key, or None."""
        return self._keys.get(key)

    def under(self, prefix: str) -> list[KeyValue]:
        """Every key that begins with the prefix."""
        return [key for name, key in self._keys.items() if name.startswith(prefix)]

    def candidates(self, address: IPAddress) -> list[KeyValue]:
        """The election's queue; its first is the owner (lowest create revision)."""
        queue = self._queues.get(address)
        if queue is None:
            queue = sorted(self._elections.get(address, {}).values(), key=_create_revision)
            if queue:
                self._queues[address] = queue
        return queue

    def _set(self, name: str, key: KeyValue | None) -> None:
        if key is None:
            self._keys.pop(name, None)
        else:
            self._keys[name] = key
        address = self.layout.election_of(name)
        if address is None:
            self._note_release(name, key)
            return
        queue = self._elections.setdefault(address, {})
        self._queues.pop(address, None)
        if key is not None:
            queue[name] = key
            return
        queue.pop(name, None)
        if not queue:  # no candidate waits: a release to a successor is void
            del self._elections[address]
            self.releases.pop(address, None)

    def _note_release(self, name: str, key: KeyValue | None) -> None:
        """Remember an orderly release longer than its record lives: revoking the lease deletes the record at once."""
        address = self.layout.owner_of(name)
        record = read_record(key) if address is not None else None
        if address is None or record is None or record.get("released") is not True:
            return
        epoch, to = record.get("epoch"), record.get("to")
        if isinstance(epoch, int):
            named, reason = to if isinstance(to, str) else None, str(record.get("reason", ""))
            self.releases[address] = Release(epoch, named, reason, record.get("untold") is True)


def _create_revision(key: KeyValue) -> int:
    return key.create_revision


def queues_in(layout: Layout, keys: tuple[KeyValue, ...]) -> dict[IPAddress, list[KeyValue]]:
    """The queue of every election as a single read shows it."""
    queues: dict[IPAddress, list[KeyValue]] = {}
    for key in keys:
        address = layout.election_of(key.key)
        if address is not None:
            queues.setdefault(address, []).append(key)
    for queue in queues.values():
        queue.sort(key=_create_revision)
    return queues


def write_record(fields: dict[str, Any]) -> bytes:
    """A record's bytes: JSON with sorted keys, so that equal records are equal bytes and cost no write."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def read_record(key: KeyValue | None) -> dict[str, Any] | None:
    """The content of a record; None for a missing key, and for a value that is no record."""
    if key is None or len(key.value) > RECORD_BYTES_MAX:
        return None
    try:
        fields = json.loads(key.value)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None
