"""etcd's key space as the core's requests see it: the one interpreter of guards, operations and leases in the tests.

Role: answers every request as a linearizable store does at this instant, and keeps what each revision changed.
Must never: know members, delays, losses or lies, or read a clock: those are layers above it.
Counterparts: `tests/contract/etcd/test_model.py` holds it to real etcd; `tests/stages/harness.py`,
`tests/fuzz/liar.py` and `tests/simulation/etcd.py` stand on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import assert_never

from sharedip.core.messages import (
    GrantLease,
    KeepaliveConfirmed,
    KeepLeaseAlive,
    KeysRead,
    LeaderMoved,
    LeaseGranted,
    LeaseRevoked,
    MemberRead,
    MembersRead,
    MoveLeader,
    ReadKeys,
    ReadMember,
    ReadMembers,
    RequestFailed,
    RevokeLease,
    Transact,
    TransactionDone,
)
from sharedip.core.model import Delete, Failure, Get, Guard, GuardTarget, KeyChange, KeyValue, Operation, Put

StoreRequest = GrantLease | KeepLeaseAlive | ReadKeys | Transact | RevokeLease
"""What the key space answers; who is whose leader only a member can say."""

Request = StoreRequest | ReadMember | ReadMembers | MoveLeader
StoreAnswer = LeaseGranted | KeepaliveConfirmed | KeysRead | TransactionDone | LeaseRevoked | RequestFailed
Answer = StoreAnswer | MemberRead | MembersRead | LeaderMoved

OTHERS_TTL_S = 15
"""Of a lease that is named here first by somebody else's key."""


class LeaseNotFoundError(LookupError):
    """A key was to hang on a lease that is not there; nothing was written."""


@dataclass(slots=True)
class Lease:
    """Ends at `expires_at`, if its driver looks at clocks, and takes its keys along."""

    ttl_s: int
    expires_at: float
    keys: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Commit:
    """What one revision changed, in order; `removed` has the deleted keys as they stood."""

    revision: int
    changes: tuple[KeyChange, ...]
    removed: tuple[KeyValue, ...]


def may_put(request: StoreRequest) -> bool:
    """Whether a full etcd refuses it: a grant, and a transaction with a put in either branch (server/etcdserver/
    quota.go, `costTxn`), whose guards it does not look at.
    """
    operations = (*request.then, *request.otherwise) if isinstance(request, Transact) else ()
    return isinstance(request, GrantLease) or any(isinstance(each, Put) for each in operations)


def never(_ttl_s: int) -> float:
    """Leases end when somebody ends them."""
    return float("inf")


class Store:
    """Invariant: `commits` tells every change of `keys`, one revision each, up to `revision`.

    `expiry` says when a lease of so many seconds ends that is granted or renewed now.
    """

    def __init__(
        self,
        *,
        revision: int = 1,
        next_lease: int = 1,
        ttl_floor_s: int = 0,
        expiry: Callable[[int], float] = never,
    ) -> None:
        self.revision = revision
        self.keys: dict[str, KeyValue] = {}
        self.leases: dict[int, Lease] = {}
        self.commits: list[Commit] = []
        self.compacted = 0
        self.next_lease = next_lease
        self.full = False
        """NOSPACE: whatever may put is refused, whether it would or not; the rest goes on."""
        self.refused = 0
        """How often that was."""
        self._ttl_floor_s = ttl_floor_s
        self._expiry = expiry

    # -- requests -----------------------------------------------------------------------------------------------------

    def answer(self, request: StoreRequest, term: int, sent_at: float) -> StoreAnswer:
        """Carry it out at this instant, and say what etcd says."""
        number, endpoint = request.request, request.endpoint
        if self.full and may_put(request):
            self.refused += 1
            return RequestFailed(number, endpoint, Failure.FULL, "etcdserver: mvcc: database space exceeded")
        match request:
            case GrantLease():
                lease = self.grant(request.ttl_s)
                return LeaseGranted(number, endpoint, lease, self.leases[lease].ttl_s, term, sent_at)
            case KeepLeaseAlive():
                alive = self.leases.get(request.lease)
                if alive is None:
                    return RequestFailed(number, endpoint, Failure.LEASE_NOT_FOUND, "requested lease not found")
                alive.expires_at = self._expiry(alive.ttl_s)
                return KeepaliveConfirmed(number, endpoint, request.lease, alive.ttl_s, term, sent_at)
            case ReadKeys():
                keys = self.under(request.prefix)
                fresh = tuple(key for key in keys if key.mod_revision > request.after)
                return KeysRead(number, endpoint, fresh, len(keys), self.revision, term, sent_at, request.after)
            case Transact():
                try:
                    succeeded, found = self.apply(request.guards, request.then, request.otherwise)
                except LeaseNotFoundError:
                    return RequestFailed(number, endpoint, Failure.LEASE_NOT_FOUND, "lease not found")
                return TransactionDone(number, endpoint, succeeded, found, self.revision, term, sent_at)
            case RevokeLease():
                self.end_lease(request.lease)
                return LeaseRevoked(number, endpoint, request.lease)
            case _:
                assert_never(request)

    def apply(
        self, guards: Iterable[Guard], then: tuple[Operation, ...], otherwise: tuple[Operation, ...]
    ) -> tuple[bool, tuple[KeyValue, ...]]:
        """One transaction: whether the guards held, and what its reads found. May raise `LeaseNotFoundError`."""
        succeeded = all(map(self._holds, guards))
        operations = then if succeeded else otherwise
        if any(isinstance(op, Put) and op.lease and op.lease not in self.leases for op in operations):
            raise LeaseNotFoundError
        return succeeded, self._carry_out(operations)

    def under(self, prefix: str = "") -> tuple[KeyValue, ...]:
        """All keys with the prefix, in the order of their names."""
        return tuple(self.keys[name] for name in sorted(self.keys) if name.startswith(prefix))

    # -- what others do -----------------------------------------------------------------------------------------------

    def grant(self, ttl_s: int, lease: int | None = None) -> int:
        """A lease with the next number, or with this one."""
        if lease is None:
            lease, self.next_lease = self.next_lease, self.next_lease + 1
        ttl_s = max(ttl_s, self._ttl_floor_s)
        self.leases[lease] = Lease(ttl_s, self._expiry(ttl_s))
        return lease

    def put(self, key: str, value: bytes, lease: int) -> None:
        """One write by another client, whose lease nobody has named before perhaps."""
        if lease and lease not in self.leases:
            self.grant(OTHERS_TTL_S, lease)
        self._carry_out((Put(key, value, lease),))

    def delete(self, key: str) -> None:
        """One deletion by another client."""
        self._carry_out((Delete(key),))

    def end_lease(self, number: int) -> None:
        """It expired, or somebody revoked it: its keys go in one revision."""
        lease = self.leases.pop(number, None)
        if lease is not None:
            self._carry_out(tuple(Delete(name) for name in sorted(lease.keys)))

    def expired(self, now: float) -> list[int]:
        """The leases whose time has come."""
        return sorted(number for number, lease in self.leases.items() if lease.expires_at <= now)

    # -- history ------------------------------------------------------------------------------------------------------

    def changes_from(self, revision: int, prefix: str = "") -> tuple[KeyChange, ...]:
        """What a watch of the prefix tells from this revision on; a compacted one it can't be asked for."""
        assert revision > self.compacted, "this much of the past is compacted"
        commits: list[Commit] = []
        for commit in reversed(self.commits):
            if commit.revision < revision:
                break
            commits.append(commit)
        return tuple(
            change for commit in reversed(commits) for change in commit.changes if change.key.startswith(prefix)
        )

    def compact(self) -> None:
        """Forget all that has been until now."""
        self.compacted = self.revision
        self.commits.clear()

    # -- guards and operations ----------------------------------------------------------------------------------------

    def _holds(self, guard: Guard) -> bool:
        key = self.keys.get(guard.key)
        if key is None:
            return guard.revision == 0
        return guard.revision == (key.create_revision if guard.target is GuardTarget.CREATE else key.mod_revision)

    def _carry_out(self, operations: tuple[Operation, ...]) -> tuple[KeyValue, ...]:
        revision = self.revision + 1
        changes: list[KeyChange] = []
        removed: list[KeyValue] = []
        found: list[KeyValue] = []
        for op in operations:
            match op:
                case Put():
                    known = self.keys.get(op.key)
                    created = revision if known is None else known.create_revision
                    self._take_off_its_lease(known)
                    key = self.keys[op.key] = KeyValue(op.key, op.value, created, revision, op.lease)
                    if op.lease:
                        self.leases[op.lease].keys.add(op.key)
                    changes.append(KeyChange(op.key, key, revision))
                case Delete():
                    gone = self.keys.pop(op.key, None)
                    self._take_off_its_lease(gone)
                    if gone is not None:
                        removed.append(gone)
                        changes.append(KeyChange(op.key, None, revision))
                case Get():
                    if op.prefix:
                        found += self.under(op.key)
                    elif op.key in self.keys:
                        found.append(self.keys[op.key])
                case _:
                    assert_never(op)
        if changes:
            self.revision = revision
            self.commits.append(Commit(revision, tuple(changes), tuple(removed)))
        return tuple(found)

    def _take_off_its_lease(self, key: KeyValue | None) -> None:
        if key is not None and key.lease in self.leases:
            self.leases[key.lease].keys.discard(key.key)
