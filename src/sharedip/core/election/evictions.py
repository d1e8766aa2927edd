"""The owner takes dead and unsound candidates of one VIP out of the succession, where they stand before a sound one.

Law 13: no order of succession waits for somebody's lease. The rules that keep it safe (docs/safety.md, "Evictions"):
only the owner does it, by a transaction that tests its own epoch and theirs, of keys behind its own alone, before its
word and never after; an evicted key gets no word of this epoch; and no run of this agent forgets that (`evicted.py`).
The agent whose key has gone queues again, at the end.

Must never: judge who lives; that is `living.py`. Counterpart: `candidacy.py`, which says when we are the owner.
"""

from __future__ import annotations

from collections.abc import Iterable

from sharedip.core.election.evicted import EvictedKeys
from sharedip.core.election.living import Living
from sharedip.core.etcd.batches import GuardedWrite, Outcome
from sharedip.core.etcd.requests import RequestKind
from sharedip.core.etcd.session import Session
from sharedip.core.messages import RequestFailed
from sharedip.core.model import Delete, Guard, GuardTarget, Instant, KeyValue, Vip

RETRY_S = 0.2


class Evictions:
    """Invariant: a request under way is about a key that is noted and saved as evicted by the epoch that it tests."""

    def __init__(self, vip: Vip, session: Session, evicted: EvictedKeys, living: Living) -> None:
        self._vip = vip
        self._session = session
        self._evicted = evicted
        self._living = living
        self._under_way: set[int] = set()
        self._again_at: dict[int, Instant] = {}

    def remaining(self, keys: Iterable[KeyValue], epoch: int) -> list[KeyValue]:
        """The keys that this epoch of ours has not evicted: only they get a word, or count as a successor."""
        evicted = self._evicted.of(self._vip, epoch)
        return [key for key in keys if key.create_revision not in evicted]

    def note_due(self, queue: list[KeyValue], epoch: int, now: Instant, *, hurried: bool) -> None:
        """Note as evicted whoever stands behind us and before a sound one, and should not.

        To be called by the owner whose key comes first in this picture, before it says a word.
        """
        assert queue[0].create_revision == epoch, "only the owner evicts, and nobody before itself"
        behind = self.remaining(queue[1:], epoch)
        sound = [number for number, key in enumerate(behind) if self._living.is_sound(key, self._vip, now)]
        for key in behind[: sound[-1]] if sound else ():
            why = self._living.why_out(key, self._vip, now, hurried=hurried)
            # Who leaves past it can't wait for its turn: that is no churn, for owners do not leave every second.
            if why is not None and (hurried or self._living.may_evict(key, self._vip, now)):
                self._evicted.note(self._vip, epoch, key.create_revision)
                self._living.evicts(key, self._vip, why, now)

    def standing(self, queue: list[KeyValue], epoch: int) -> list[KeyValue]:
        """The evicted keys that etcd still shows."""
        evicted = self._evicted.of(self._vip, epoch)
        return [key for key in queue if key.create_revision in evicted] if evicted else []

    def order_due(self, queue: list[KeyValue], own_key: str, epoch: int, now: Instant) -> None:
        """Ask etcd to delete every key that is noted, still stands, and is on our disk as evicted."""
        for key in self.standing(queue, epoch):
            number = key.create_revision
            if number in self._under_way or now < self._again_at.get(number, now):
                continue
            if not self._evicted.is_saved(self._vip, epoch, number):
                continue  # safety (7): what cannot be saved is not sent, for a later run would tell it a word
            self._under_way.add(number)
            # safety (8): by their epoch, never by the key's name alone, for their next key may have had our word; and
            # by ours, for whoever has the address by then may be that very candidate.
            guards = Guard(own_key, GuardTarget.CREATE, epoch), Guard(key.key, GuardTarget.CREATE, number)
            self._session.transact(GuardedWrite(RequestKind.EVICT, self._vip, guards, (Delete(key.key),)))

    def answered(self, write: GuardedWrite, answer: Outcome, now: Instant) -> bool:
        """A request has an outcome, or failed without one. False: our own key stood no more."""
        own, theirs = write.guards
        self._under_way.discard(theirs.revision)
        self._again_at = {number: at for number, at in self._again_at.items() if at > now}
        self._again_at[theirs.revision] = now + RETRY_S
        if isinstance(answer, RequestFailed) or answer.succeeded:
            return True
        return any(key.key == own.key and key.create_revision == own.revision for key in answer.keys)

    def pictured(self, queue: list[KeyValue], epoch: int) -> None:
        """A picture that is no older than our own key: what it does not show is gone for good."""
        self._evicted.standing(self._vip, epoch, frozenset(key.create_revision for key in queue))

    def end(self) -> None:
        """The bid is over."""
        self._under_way.clear()
        self._again_at.clear()
        self._evicted.forget(self._vip)

    def next_deadline(self, queue: list[KeyValue], epoch: int) -> Instant | None:
        """When a request that failed is due again; None: there is none."""
        standing = {key.create_revision for key in self.standing(queue, epoch)} - self._under_way
        return min((at for number, at in self._again_at.items() if number in standing), default=None)
