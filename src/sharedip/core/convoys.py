"""What many VIPs ask of etcd at one instant travels together: a thousand campaigns are a dozen transactions.

Role: gathers the wishes of one turn, sends as many in one transaction as etcd takes, and gives each its own outcome.
Must never: send a wish whose outcome is not known yet a second time, call a wish refused because its neighbour's guard
failed, or hold one back for longer than the transaction that it waits for.
Counterparts: `candidacy.py` (wishes), `session.py` (carries transactions).

A transaction holds only if all its guards do. Where one fails, its answer shows every guarded key as it was at that
revision: who failed is told so, and the others, of whom nothing was applied, go again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from sharedip.core.messages import RequestFailed, TransactionDone
from sharedip.core.model import Failure, Get, Guard, GuardTarget, IPAddress, KeyValue, Operation, Vip
from sharedip.core.requests import Kind

OPERATIONS_MAX = 120
"""etcd takes 128 guards and 128 operations in a transaction by default (--max-txn-ops)."""

PATIENT = frozenset({Kind.RECORD})
"""Nobody waits for these: while one such transaction is under way the next ones gather."""

Outcome = TransactionDone | RequestFailed
Send = Callable[[Kind, tuple[Guard, ...], tuple[Operation, ...], tuple[Operation, ...]], int]


@dataclass(frozen=True, slots=True)
class Wish:
    """One VIP's part: if its guards hold, `then`."""

    kind: Kind
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


class Convoys:
    """Invariant: every wish is either waiting or in exactly one transaction under way, and gets exactly one outcome."""

    def __init__(self, send: Send) -> None:
        """`send` starts a transaction and returns its request number."""
        self._send = send
        self._operations_max = OPERATIONS_MAX
        self._waiting: dict[Kind, list[Wish]] = {}
        self._under_way: dict[int, tuple[Wish, ...]] = {}

    def add(self, wish: Wish) -> None:
        """Take it along with the next departure."""
        self._waiting.setdefault(wish.kind, []).append(wish)

    def depart(self) -> None:
        """Send whatever waits, at the end of a turn."""
        if not self._waiting:
            return
        busy = {wishes[0].kind for wishes in self._under_way.values()} & PATIENT
        for kind in [kind for kind in self._waiting if kind not in busy]:  # in their order, not a set's
            for wishes in _parts(self._waiting.pop(kind), self._operations_max):
                request = self._send(
                    kind,
                    tuple(guard for wish in wishes for guard in wish.guards),
                    tuple(operation for wish in wishes for operation in wish.then),
                    tuple(Get(guard.key) for wish in wishes for guard in wish.guards),
                )
                self._under_way[request] = wishes

    def answered(self, request: int, outcome: Outcome) -> list[tuple[Wish, Outcome]]:
        """The transaction's outcome as each wish's own; empty if nobody waits for it any more."""
        wishes = self._under_way.pop(request, ())
        if isinstance(outcome, RequestFailed) and outcome.failure is Failure.REFUSED and len(wishes) > 1:
            # This etcd takes fewer operations, or refuses one of them (a permission): smaller ones show which.
            self._operations_max = max(1, sum(wish.size for wish in wishes) // 2)
            for wish in wishes:
                self.add(wish)
            return []
        if isinstance(outcome, RequestFailed) or outcome.succeeded:
            if isinstance(outcome, TransactionDone):
                self._operations_max = min(OPERATIONS_MAX, 2 * self._operations_max)
            return [(wish, outcome) for wish in wishes]
        found = {key.key: key for key in outcome.keys}
        innocent = [wish for wish in wishes if len(wishes) > 1 and wish.holds(found)]
        if len(innocent) == len(wishes):
            failed = RequestFailed(request, outcome.endpoint, Failure.NONSENSE, "refused, though every guard holds")
            return [(wish, failed) for wish in wishes]
        for wish in innocent:  # another one's guard failed: nothing of this was applied
            self.add(wish)
        guilty = [wish for wish in wishes if wish not in innocent]
        return [(wish, replace(outcome, keys=_only(wish, found))) for wish in guilty]

    def forget(self) -> None:
        """The lease is gone, and with it every key that the wishes are about."""
        self._waiting.clear()
        self._under_way.clear()
        self._operations_max = OPERATIONS_MAX


def _parts(wishes: list[Wish], operations_max: int) -> Iterator[tuple[Wish, ...]]:
    """As many in each as etcd takes; no key twice, which etcd refuses."""
    part: dict[IPAddress, Wish] = {}
    operations = 0
    for wish in wishes:
        if part and (operations + wish.size > operations_max or wish.vip.address in part):
            yield tuple(part.values())
            part, operations = {}, 0
        part[wish.vip.address] = wish
        operations += wish.size
    yield tuple(part.values())


def _only(wish: Wish, found: dict[str, KeyValue]) -> tuple[KeyValue, ...]:
    return tuple(found[guard.key] for guard in wish.guards if guard.key in found)


def _holds(guard: Guard, key: KeyValue | None) -> bool:
    assert guard.target is GuardTarget.CREATE, "an election's guards look at the create revision"
    return guard.revision == (0 if key is None else key.create_revision)
