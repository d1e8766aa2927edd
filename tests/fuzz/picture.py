"""Which keys an answer of etcd shows: the judge's reading of the law.

A read of differences shows, together with the picture that it was asked for on, as many keys as it says there are; if
it does not, it shows nothing. Must never: share a line with the core's own way of doing it. Counterpart: `stage.py`.
"""

from __future__ import annotations

from sharedip.core.etcd.keys import Registry
from sharedip.core.messages import KeysRead, Transact, TransactionDone
from sharedip.core.model import Get, KeyValue


class Readings:
    """Invariant: `_whole` has the transactions under way that read everything."""

    def __init__(self) -> None:
        self._whole: set[int] = set()

    def ordered(self, order: Transact) -> None:
        """Remember which transactions read everything: others show nothing about a queue."""
        if any(isinstance(each, Get) and each.prefix for each in (*order.then, *order.otherwise)):
            self._whole.add(order.request)

    def shown(self, answer: KeysRead | TransactionDone, picture: Registry) -> list[KeyValue]:
        """All keys that the answer shows, on the picture that the core had before it; none where it can't be told."""
        if isinstance(answer, TransactionDone):
            is_whole = answer.request in self._whole
            self._whole.discard(answer.request)
            return list(answer.keys) if is_whole else []
        if answer.after == 0:
            return list(answer.keys)
        known = {key.key: key for key in picture.under("")}
        if answer.revision < picture.revision:  # what stands now and was there by then stood then
            return [key for key in known.values() if key.create_revision <= answer.revision]
        together = known | {key.key: key for key in answer.keys if key.mod_revision > picture.revision}
        return list(together.values()) if len(together) == answer.count else []
