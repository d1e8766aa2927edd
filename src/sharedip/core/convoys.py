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
    """One VIP's part: if its guard holds, `then`."""

    kind: Kind
    vip: Vip
    guard: Guard
    then: tuple[Operation, ...]


class Convoys:
    """Invariant: every wish is either waiting or in exactly one transaction under way, and gets exactly one outcome."""

    def __init__(self, send: Send) -> None:
        """`send` starts a transaction and returns its request number."""
        self._send = send
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
        for kind in list(self._waiting.keys() - busy):
            for wishes in _parts(self._waiting.pop(kind)):
                request = self._send(
                    kind,
                    tuple(wish.guard for wish in wishes),
                    tuple(operation for wish in wishes for operation in wish.then),
                    tuple(Get(wish.guard.key) for wish in wishes),
                )
                self._under_way[request] = wishes

    def answered(self, request: int, outcome: Outcome) -> list[tuple[Wish, Outcome]]:
        """The transaction's outcome as each wish's own; empty if nobody waits for it any more."""
        wishes = self._under_way.pop(request, ())
        if isinstance(outcome, RequestFailed) or outcome.succeeded:
            return [(wish, outcome) for wish in wishes]
        found = {key.key: key for key in outcome.keys}
        innocent = [wish for wish in wishes if len(wishes) > 1 and _holds(wish.guard, found.get(wish.guard.key))]
        if len(innocent) == len(wishes):
            failed = RequestFailed(request, outcome.endpoint, Failure.NONSENSE, "refused, though every guard holds")
            return [(wish, failed) for wish in wishes]
        for wish in innocent:  # another one's guard failed: nothing of this was applied
            self.add(wish)
        guilty = [wish for wish in wishes if wish not in innocent]
        return [(wish, replace(outcome, keys=_only(found.get(wish.guard.key)))) for wish in guilty]

    def forget(self) -> None:
        """The lease is gone, and with it every key that the wishes are about."""
        self._waiting.clear()
        self._under_way.clear()


def _parts(wishes: list[Wish]) -> Iterator[tuple[Wish, ...]]:
    """As many in each as etcd takes; no key twice, which etcd refuses."""
    part: dict[IPAddress, Wish] = {}
    operations = 0
    for wish in wishes:
        if part and (operations + len(wish.then) > OPERATIONS_MAX or wish.vip.address in part):
            yield tuple(part.values())
            part, operations = {}, 0
        part[wish.vip.address] = wish
        operations += len(wish.then)
    yield tuple(part.values())


def _only(key: KeyValue | None) -> tuple[KeyValue, ...]:
    return () if key is None else (key,)


def _holds(guard: Guard, key: KeyValue | None) -> bool:
    assert guard.target is GuardTarget.CREATE, "an election's guards look at the create revision"
    return guard.revision == (0 if key is None else key.create_revision)
