"""Writes of many VIPs at one instant travel together: a thousand campaigns are a dozen transactions.

Role: gathers the writes of one turn, puts as many into one transaction as etcd takes, and gives each its own outcome.
Must never: send a write whose outcome is not known yet a second time, call a write refused because its neighbour's
guard failed, or hold one back for longer than the transaction that it waits for.
Counterparts: `candidacy.py` (writes), `session.py` (carries transactions).

A transaction holds only if all its guards do. Where one fails, its answer shows every guarded key as it was at that
revision: the writes whose own guard failed are told so, and the others, of which nothing was applied, go again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sharedip.core.etcd.requests import RequestKind
from sharedip.core.messages import RequestFailed, TransactionDone
from sharedip.core.model import Failure, Get, Guard, GuardTarget, IPAddress, KeyValue, Operation, Vip

OPERATIONS_MAX = 120
"""etcd takes 128 guards and 128 operations in a transaction by default (--max-txn-ops)."""

PATIENT = frozenset({RequestKind.RECORD})
"""These can wait: while one such transaction is under way the next ones gather."""

Outcome = TransactionDone | RequestFailed


@dataclass(frozen=True, slots=True)
class GuardedWrite:
    """One VIP's part: if its guards hold, `then`."""

    kind: RequestKind
    vip: Vip
    guards: tuple[Guard, ...]
    then: tuple[Operation, ...]

    @property
    def size(self) -> int:
        """How much room it takes in a transaction, whose guards and operations etcd counts apart."""
        return max(len(self.guards), len(self.then))

    def holds(self, found: dict[str, KeyValue]) -> bool:
        """Whether its guards held, as the answer shows their keys."""
        return all(_holds(guard, found.get(guard.key)) for guard in self.guards)


@dataclass(frozen=True, slots=True)
class Batch:
    """Guarded writes of one kind that travel in one transaction."""

    writes: tuple[GuardedWrite, ...]

    @property
    def kind(self) -> RequestKind:
        """The kind of all of them."""
        return self.writes[0].kind

    @property
    def guards(self) -> tuple[Guard, ...]:
        """The guards: all must hold."""
        return tuple(guard for write in self.writes for guard in write.guards)

    @property
    def then(self) -> tuple[Operation, ...]:
        """The operations if they do."""
        return tuple(operation for write in self.writes for operation in write.then)

    @property
    def otherwise(self) -> tuple[Operation, ...]:
        """The operations if one does not: read every guarded key."""
        return tuple(Get(guard.key) for guard in self.guards)


class WriteBatcher:
    """Invariant: every write waits, or is in exactly one transaction under way, and gets exactly one outcome."""

    def __init__(self) -> None:
        self._operations_max = OPERATIONS_MAX
        self._waiting: dict[RequestKind, list[GuardedWrite]] = {}
        self._under_way: dict[int, tuple[GuardedWrite, ...]] = {}

    def add(self, write: GuardedWrite) -> None:
        """Take it along with the next batch."""
        self._waiting.setdefault(write.kind, []).append(write)

    def flush(self) -> list[Batch]:
        """The batches to send at the end of a turn; the caller tells `sent` the number of each."""
        if not self._waiting:
            return []
        busy = {writes[0].kind for writes in self._under_way.values()} & PATIENT
        kinds = [kind for kind in self._waiting if kind not in busy]  # in their order, not a set's
        return [Batch(part) for kind in kinds for part in _parts(self._waiting.pop(kind), self._operations_max)]

    def sent(self, batch: Batch, request: int) -> None:
        """The batch is under way."""
        self._under_way[request] = batch.writes

    def answered(self, request: int, outcome: Outcome) -> list[tuple[GuardedWrite, Outcome]]:
        """The transaction's outcome as each write's own; empty if the batch is not awaited any more."""
        writes = self._under_way.pop(request, ())
        if isinstance(outcome, RequestFailed) and outcome.failure is Failure.REFUSED and len(writes) > 1:
            # This etcd takes fewer operations, or refuses one of them (a permission): smaller batches show which.
            self._operations_max = max(1, sum(write.size for write in writes) // 2)
            for write in writes:
                self.add(write)
            return []
        if isinstance(outcome, RequestFailed) or outcome.succeeded:
            if isinstance(outcome, TransactionDone):
                self._operations_max = min(OPERATIONS_MAX, 2 * self._operations_max)
            return [(write, outcome) for write in writes]
        found = {key.key: key for key in outcome.keys}
        unaffected = [write for write in writes if len(writes) > 1 and write.holds(found)]
        if len(unaffected) == len(writes):
            nonsense = RequestFailed(request, outcome.endpoint, Failure.NONSENSE, "refused, though every guard holds")
            return [(write, nonsense) for write in writes]
        for write in unaffected:  # another one's guard failed: nothing of this was applied
            self.add(write)
        failed = [write for write in writes if write not in unaffected]
        return [(write, replace(outcome, keys=_only(write, found))) for write in failed]

    def forget(self) -> None:
        """The lease is gone, and with it every key that the writes are about."""
        self._waiting.clear()
        self._under_way.clear()
        self._operations_max = OPERATIONS_MAX


def _parts(writes: list[GuardedWrite], operations_max: int) -> Iterator[tuple[GuardedWrite, ...]]:
    """As many writes in each as etcd takes; no key twice, which etcd refuses."""
    part: dict[IPAddress, GuardedWrite] = {}
    operations = 0
    for write in writes:
        if part and (operations + write.size > operations_max or write.vip.address in part):
            yield tuple(part.values())
            part, operations = {}, 0
        part[write.vip.address] = write
        operations += write.size
    yield tuple(part.values())


def _only(write: GuardedWrite, found: dict[str, KeyValue]) -> tuple[KeyValue, ...]:
    return tuple(found[guard.key] for guard in write.guards if guard.key in found)


def _holds(guard: Guard, key: KeyValue | None) -> bool:
    if key is None:
        return guard.revision == 0
    return guard.revision == (key.create_revision if guard.target is GuardTarget.CREATE else key.mod_revision)
