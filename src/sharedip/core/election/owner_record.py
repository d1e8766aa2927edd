"""The owner's record in etcd: how it got the address; and what the record of the owner before it says.

Role: every node tells a change of owner in the same words, and a claimer learns whether the former owner released in
order. Must never: carry anything that safety depends on. Counterparts: `candidacy.py` (when), `history.py` (the words).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sharedip.core.etcd.batches import GuardedWrite, Outcome
from sharedip.core.etcd.keys import Release, read_record, write_record
from sharedip.core.etcd.requests import RequestKind
from sharedip.core.etcd.session import Session
from sharedip.core.history import REASON_MAX, handed_over, name_of
from sharedip.core.messages import RequestFailed
from sharedip.core.model import NEVER, Guard, GuardTarget, Instant, KeyValue, Put, Vip

RETRY_S = 2.0


@dataclass(frozen=True, slots=True)
class Farewell:
    """What a leaver says. `unasked`: its release is all that the next one needs; `to` is who is meant to have it;
    `is_untold`: its resets did not reach its clients.
    """

    unasked: bool
    reason: str
    to: str | None
    is_untold: bool


class OwnerRecord:
    """Invariant: while `_is_wanted`, the record in etcd is not about our epoch, as far as we know."""

    def __init__(self, vip: Vip, node_name: str, session: Session) -> None:
        self._vip = vip
        self._node_name = node_name
        self._session = session
        self.key = session.layout.owner(vip.address)
        self._is_wanted = False
        self._is_pending = False
        self._at: Instant = NEVER
        self._recorded_at = 0
        self._fate: tuple[int, str] | None = None
        """How the owner of this epoch ended, of whom we know it ourselves."""
        self._farewell: tuple[int, str] | None = None
        """The last owner of whom the record has said that it let go in order, by its epoch, and why."""

    # -- as the owner -------------------------------------------------------------------------------------------------

    def want(self) -> None:
        """We own the address by a new epoch: write it down."""
        self._is_wanted = True

    def end(self) -> None:
        """The epoch is over."""
        self._is_wanted = self._is_pending = False

    def check(self, epoch: int) -> None:
        """A former owner may write its last record after our first: the record must be the owner's."""
        if self._is_pending or self._session.registry.revision < self._recorded_at:
            return
        record = self.read()
        if record is None or record.get("epoch") != epoch:
            self._is_wanted = True

    def write_if_due(self, key: str, epoch: int, former: KeyValue | None, reason: str, now: Instant) -> None:
        """Write how we got the address, so that every node can show the same words."""
        lease = self._session.lease
        if not self._is_wanted or self._is_pending or now < self._at or lease is None or self._session.space.is_full:
            return
        self._is_wanted, self._is_pending = False, True
        record = {
            "node": self._node_name,
            "epoch": epoch,
            "former": None if former is None else former.create_revision,
            "reason": reason,
        }
        put = Put(self.key, write_record(record), lease)
        guard = Guard(key, GuardTarget.CREATE, epoch)
        self._session.transact(GuardedWrite(RequestKind.RECORD, self._vip, (guard,), (put,)))

    def farewell(self, epoch: int, told: Farewell, lease: int) -> Put:
        """What says that the address was off the link before the key went (law 3): the next one takes it unasked."""
        record: dict[str, object] = {
            "node": self._node_name,
            "epoch": epoch,
            "released": told.unasked,
            "reason": told.reason,
            "to": told.to,
        }
        if told.is_untold:
            record["untold"] = True
        return Put(self.key, write_record(record), lease)

    def deposed(self, key: str, epoch: int, name: str, fate: str) -> None:
        """We have deposed the owner of this epoch. Tell everybody why, unless a newer owner has written already."""
        self._fate = epoch, fate
        lease, known = self._session.lease, self._session.registry.get(self.key)
        if lease is None:
            return
        put = Put(self.key, write_record({"node": name, "epoch": epoch, "fate": fate}), lease)
        guards = (
            Guard(key, GuardTarget.CREATE, 0),
            Guard(self.key, GuardTarget.MOD, 0 if known is None else known.mod_revision),
        )
        self._session.transact(GuardedWrite(RequestKind.FATE, self._vip, guards, (put,)))

    def answered(self, answer: Outcome, now: Instant, *, is_owner: bool) -> None:
        """It is written, or refused by its guard; if that is unknown, it is written again a little later."""
        self._is_pending = False
        if isinstance(answer, RequestFailed):
            self._is_wanted = is_owner
            self._at = now + RETRY_S
        else:
            self._recorded_at = answer.revision

    def next_deadline(self) -> Instant | None:
        """When there is something to write; None: nothing to write."""
        return self._at if self._is_wanted and not self._is_pending and not self._session.space.is_full else None

    # -- as the next one ----------------------------------------------------------------------------------------------

    def read(self) -> dict[str, Any] | None:
        """The record in etcd."""
        return read_record(self._session.registry.get(self.key))

    def note_farewell(self, record: dict[str, Any] | None) -> None:
        """Remember for people that an owner let go in order: the record goes with its lease, and a release that nobody
        waited for is void as a release, and true all the same.
        """
        if record is not None and "released" in record and isinstance(record.get("epoch"), int):
            self._farewell = record["epoch"], str(record.get("reason", ""))[:REASON_MAX]

    def release_of(self, former: KeyValue | None) -> Release | None:
        """The orderly release of this former owner, or of one after it."""
        release = self._session.registry.releases.get(self._vip.address)
        if former is None or release is None or release.epoch < former.create_revision:
            return None
        return release

    def fate_of(self, former: KeyValue | None) -> str:
        """How a former owner ended on whose release alone nobody may take the address, in the words of who knows."""
        if former is None:
            return "it had no owner"
        if self._fate is not None and self._fate[0] == former.create_revision:
            return self._fate[1]
        record = self.read()
        if record is not None and record.get("epoch") == former.create_revision and isinstance(record.get("fate"), str):
            return str(record["fate"])[:REASON_MAX]
        if self._farewell is not None and self._farewell[0] == former.create_revision:
            return handed_over(former, self._farewell[1])
        return f"{name_of(former)} lost its key"
