"""What the session returns for a fact from etcd: the news for the rest of the node.

Role: the vocabulary between `session.py`, which returns these, and `node.py`, which applies them in their order when
the session has taken the whole fact in. A lost lease is always the only news: nothing else that the fact brought is
true any more.
Must never: carry behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass

from sharedip.core.etcd.batches import GuardedWrite, Outcome
from sharedip.core.messages import RequestFailed, TransactionDone
from sharedip.core.model import Instant


@dataclass(frozen=True, slots=True)
class LeaseRenewed:
    """The right on the lease got longer."""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The lease and every key on it are gone."""

    reason: str


@dataclass(frozen=True, slots=True)
class Registered:
    """The agent's name is ours: campaigns may begin."""


@dataclass(frozen=True, slots=True)
class PictureChanged:
    """The registry changed under these keys.

    `adopting`: this is the first picture of a lease that a former run left: keys on it are the former run's.
    """

    keys: set[str]
    adopting: bool


@dataclass(frozen=True, slots=True)
class PictureProved:
    """The registry is what a linearizable read has just shown; it was sent on our lease at `sent_at`."""

    sent_at: Instant


@dataclass(frozen=True, slots=True)
class WriteAnswered:
    """A VIP's write has an outcome, or failed without one."""

    write: GuardedWrite
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class DesignationAnswered:
    """A designation's transaction has an outcome, or failed without one."""

    request: int
    answer: TransactionDone | RequestFailed


@dataclass(frozen=True, slots=True)
class DepositionAnswered:
    """A deposition's transaction has an outcome, or failed without one. The picture shows it, or will."""

    request: int
    succeeded: bool = False


@dataclass(frozen=True, slots=True)
class MembersTold:
    """Which members of etcd have a vote."""

    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LeaderMoveAnswered:
    """etcd was asked which members it has, and failed, or to let another one lead."""

    failure: RequestFailed | None


@dataclass(frozen=True, slots=True)
class LeaderChanged:
    """It became known who leads etcd, or which member is ours."""


@dataclass(frozen=True, slots=True)
class WritesTaken:
    """etcd takes writes again, after a time in which its database was full."""


@dataclass(frozen=True, slots=True)
class WriteTried:
    """The write that was asked for to see whether etcd takes any has an outcome, or failed without one."""


News = (
    LeaseRenewed
    | LeaseLost
    | Registered
    | PictureChanged
    | PictureProved
    | WriteAnswered
    | DesignationAnswered
    | DepositionAnswered
    | LeaderChanged
    | MembersTold
    | LeaderMoveAnswered
    | WritesTaken
    | WriteTried
)
