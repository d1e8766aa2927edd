"""Wishes that are posted in etcd: what a person asks of this node from another one, and the answer in our record.

A wish is bound twice to what its author saw, when it is posted and again here: to the run of the agent (the create
revision of its record) and, for a move, to the owner's epoch. It hangs on its author's lease, so that none is found
later by a run that it was not meant for. Whoever may write under the prefix may post one: it gives no power that
deleting a key does not.
Role: from keys to requests. Must never: grant one; `wishes.py` says what is granted. Counterparts: `cli/posting.py`
(the author), `node.py`.
"""

from __future__ import annotations

from ipaddress import ip_address

from sharedip.core.etcd.keys import read_record
from sharedip.core.etcd.session import Session
from sharedip.core.messages import AnswerOperator, DrainRequested, MoveRequested

NAME_CHARACTERS_MAX = 253
TEXT_CHARACTERS_MAX = 500


class Posted:
    """Invariant: each wish is handed out at most once; `answer` is about the one that stands in etcd."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._seen = 0
        """Mod revision of the newest wish that was looked at."""
        self._epochs: dict[int, int] = {}
        """Ticket of a move → the epoch that it is about."""
        self.answer: dict[str, object] | None = None
        """For our record: the wish (its mod revision), whether it was accepted, and the words."""

    @property
    def key(self) -> str:
        """Where wishes for this node are posted."""
        return self._session.layout.wish(self._session.own_record.name)

    def look(self) -> MoveRequested | DrainRequested | None:
        """What is asked of this run now. Its ticket is negative: no one waits for it on the control socket."""
        registry, lease = self._session.registry, self._session.lease
        wish, own = registry.get(self.key), registry.get(self._session.own_record.key)
        if wish is None:
            self.answer = None
            return None
        if own is None or own.lease != lease or wish.mod_revision <= self._seen or not wish.lease:
            return None
        self._seen = wish.mod_revision
        fields = read_record(wish) or {}
        if fields.get("agent") != own.create_revision:
            return None
        ticket, verb, to = -wish.mod_revision, fields.get("verb"), fields.get("to")
        if verb in ("drain", "undrain"):
            return DrainRequested(ticket, drained=verb == "drain")
        epoch = fields.get("epoch")
        if verb != "move" or not isinstance(epoch, int) or not (to is None or isinstance(to, str)):
            return None
        try:
            address = ip_address(str(fields.get("vip"))[:NAME_CHARACTERS_MAX])
        except ValueError:
            return None
        self._epochs = {ticket: epoch}
        return MoveRequested(ticket, address, None if to is None else to[:NAME_CHARACTERS_MAX])

    def why_late(self, wish: MoveRequested, epoch: int | None) -> str | None:
        """Why a posted move is void: it is about another epoch than the one that this node owns by."""
        if wish.ticket >= 0 or self._epochs.get(wish.ticket) == epoch:
            return None
        return f"{wish.address} has changed hands since it was asked for: ask again"

    def answered(self, answer: AnswerOperator) -> None:
        """What is said in our record until the wish is gone."""
        self.answer = {
            "wish": -answer.ticket,
            "accepted": answer.accepted,
            "text": answer.text[:TEXT_CHARACTERS_MAX],
        }
