"""What the session answers to a fact from etcd: what has come of it for the rest of the node.

Role: the vocabulary between `session.py`, which returns these, and `node.py`, which applies them in their order when
the session has taken the fact in whole. A lease that is lost is the only news: nothing else that the fact brought is
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
    """The right on the lease reaches further."""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """The lease and every key on it are gone."""

    reason: str


@dataclass(frozen=True, slots=True)
class Registered:
    """The agent's name is ours: campaigns may begin."""


@dataclass(frozen=True, slots=True)
class PictureChanged:
    """The registry shows something new under these keys.

    `adopting`: the first picture of a lease that a former run has left: what it shows as ours is the former run's.
    """

    keys: set[str]
    adopting: bool


@dataclass(frozen=True, slots=True)
class PictureProved:
    """The registry is what a linearizable read has just shown that was sent with our lease, at `sent_at`."""

    sent_at: Instant


@dataclass(frozen=True, slots=True)
class WriteAnswered:
    """What a VIP asked for has an outcome, or none."""

    write: GuardedWrite
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class DesignationAnswered:
    """A designation's transaction has an outcome, or none."""

    request: int
    answer: TransactionDone | RequestFailed


@dataclass(frozen=True, slots=True)
class DepositionAnswered:
    """A deposition's transaction has an outcome, or none. If it holds, the picture shows it."""

    request: int


@dataclass(frozen=True, slots=True)
class LeaderChanged:
    """Who leads etcd, or which member is ours, is known anew."""


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
)
