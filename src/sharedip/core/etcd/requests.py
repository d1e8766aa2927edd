"""What is under way with etcd: which request is for what, and what was known when it was sent.

Must never: send anything. Counterpart: `session.py`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto


class RequestKind(Enum):
    """What a request is for."""

    GRANT = auto()
    REGISTER = auto()
    KEEPALIVE = auto()
    PROOF = auto()
    READ = auto()
    PUBLISH = auto()
    REVOKE = auto()
    CAMPAIGN = auto()
    RELEASE = auto()
    """The deletion of a key alone."""
    FAREWELL = auto()
    """The same, with the record of the release."""
    RECORD = auto()
    EXECUTE = auto()
    EVICT = auto()
    DESIGNATE = auto()
    WITHDRAW = auto()
    DEPOSE = auto()
    FATE = auto()
    """The record of a deposition, behind it."""
    MEMBER = auto()
    MEMBERS = auto()
    MOVE_LEADER = auto()
    SHORTEST = auto()
    """The shortest lease that etcd grants. It carries no key, and is left to expire."""
    ORPHAN = auto()
    FORMER_SELF = auto()


PUTS = frozenset(
    {
        RequestKind.GRANT,
        RequestKind.REGISTER,
        RequestKind.PUBLISH,
        RequestKind.CAMPAIGN,
        RequestKind.FAREWELL,
        RequestKind.RECORD,
        RequestKind.DESIGNATE,
        RequestKind.FATE,
    }
)
"""What a full etcd refuses. Whatever frees, deposes or releases is none of them: it deletes."""

DELETES = frozenset({RequestKind.RELEASE, RequestKind.EXECUTE, RequestKind.WITHDRAW, RequestKind.DEPOSE})
"""What a full etcd takes (one before 3.4.22 and 3.5.7 only while its database is smaller than the quota)."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """Why a request was sent, whose answer it brings, and what was known when it was sent.

    A linearizable answer that is older than `revision` or `raft_term` comes from a stale member.
    """

    kind: RequestKind
    lease: int | None
    revision: int
    raft_term: int


class Requests:
    """Invariant: every request that was begun and not ended is in `_purposes`, and counted under its kind."""

    def __init__(self) -> None:
        self._purposes: dict[int, Purpose] = {}
        self._under_way: Counter[RequestKind] = Counter()
        self._last = 0

    def next_number(self) -> int:
        """A number that no request or watch has used."""
        self._last += 1
        return self._last

    def begin(self, purpose: Purpose) -> int:
        """A request leaves. Returns its number."""
        number = self.next_number()
        self._purposes[number] = purpose
        self._under_way[purpose.kind] += 1
        return number

    def end(self, number: int) -> Purpose | None:
        """Its answer came. Returns why it was sent; None if it is not awaited any more."""
        purpose = self._purposes.pop(number, None)
        if purpose is not None:
            self._under_way[purpose.kind] -= 1
        return purpose

    def is_pending(self, kind: RequestKind) -> bool:
        """Whether a request of this kind is under way."""
        return self._under_way[kind] > 0

    def forget_lease(self) -> None:
        """Forget everything that was sent on the lease."""
        self._purposes = {number: each for number, each in self._purposes.items() if each.lease is None}
        self._under_way = Counter(each.kind for each in self._purposes.values())
