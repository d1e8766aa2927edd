"""All that is written for one base: what may differ between its core and today's, each with its reason.

The base's words are the neutral ones. A name that is another one today is a normalisation; something that a node does
otherwise, on purpose, is a behaviour, and the base is made to do it too before it plays. A difference that no entry
names is a finding. A run prints which normalisations it met: one that no run meets is to be deleted.
Counterparts: `neutral.py` applies the names, `base.py` the behaviours, `shadow.py` what the base asks to be woken for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

BASE = "1aeb2db"
"""The last commit before the inside of the core was rebuilt."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A message, value or enum with another name today. `sets`: fields of the base's that the new name says already."""

    today: str
    base: str
    why: str
    sets: dict[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a kind (by its base name) with another name today."""

    kind: str
    today: str
    base: str
    why: str


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an enum (by its base name) with another name today."""

    kind: str
    today: str
    base: str
    why: str


@dataclass(frozen=True, slots=True)
class Default:
    """A field of a kind (by its base name) that one of the two may lack: with this value it says nothing."""

    kind: str
    field: str
    value: object
    why: str


Normalisation = Kind | Field | Member | Default


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the base is made to do as today's core does it: text that stands once in a file of its package, replaced."""

    file: str
    base: str
    today: str
    why: str


NORMALISATIONS: tuple[Normalisation, ...] = (
    Kind("OpenGate", "OpenFence", "the nftables element of an address is its gate; the fence is both kinds together"),
    Kind("CloseGate", "CloseFence", "as OpenGate"),
    Kind("GateOpened", "FenceOpened", "as OpenGate"),
    Kind("GateClosed", "FenceClosed", "as OpenGate"),
    Kind("GateRefused", "FenceRefused", "as OpenGate"),
    Kind(
        "AnnounceOnceHeld",
        "Announce",
        "a frame that waits for the kernel is an order of its own",
        {"once_held": True, "asks": False},
    ),
    Default("Announce", "once_held", False, "AnnounceOnceHeld says it by its name"),
    Default("Announce", "asks", True, "an announcement that is repeated asks as well"),
)

_MAY_BE_OPEN = (
    "an opening that is refused after a closing was ordered behind it may have been done: the gate counts as open until"
    " its end; the base forgot that it had been asked for"
)
_HAS_ITS_EPOCH = 'the warning "gave the address up" names the epoch that it is about; the base had forgotten it by then'

_AT_THE_END = (
    "what is due on a lease is ordered at the end of the turn, and so not at all if the lease is lost in that turn; the"
    " base opened a watch, and closed it at once"
)
_DOUBT = "        if not self.leadership.is_known_for(self.raft_term):\n            self.leadership.doubt()\n"

_LOOKS_AGAIN = (
    "who waits again, its address removed, looks at once at what is in its way as well; the base looked at the queue"
    " alone, and at the rest with the next fact"
)

_ALL_IS_KNOWN = (
    "what follows of a right that ended, or moved, is ordered when all that the turn brings is recorded: no closing of"
    " a gate that has closed by itself meanwhile, no lifetime by the lease where the same read shows a witness"
)

_NEWER_SAVE = (
    "a refusal that comes late says nothing of the state file that was ordered since; the base paused all the same"
)

_ASKS_ANOTHER = (
    "where our own member knows no leader, or is behind, another one is asked who leads; the base never asked anybody"
    " else"
)

_OPENING_UNANSWERED = (
    "a gate whose first opening is unanswered closes right behind the removal; the base took it for closed already"
)

_REORDERS_LATER = (
    "the node's own address that comes while an order about the VIP is under way is put before it afterwards; the base"
    " forgot it"
)

BEHAVIOURS: tuple[Behaviour, ...] = (
    Behaviour(
        "core/ownership.py",
        "        self._remove_at = now\n        self.advance(now)\n",
        "        self._remove_at = now\n",
        _ALL_IS_KNOWN,
    ),
    Behaviour(
        "core/ownership.py",
        "        self._gate_at = now\n        self.advance(now)\n        return True\n\n    def lease_extended",
        "        self._gate_at = now\n        return True\n\n    def lease_extended",
        _ALL_IS_KNOWN,
    ),
    Behaviour(
        "core/candidacy.py",
        "                    self._enter(Phase.WAITING, now)\n                    self._advance_waiting(now)\n",
        "                    self._enter(Phase.WAITING, now)\n                    self.advance(now)\n",
        _LOOKS_AGAIN,
    ),
    Behaviour(
        "core/candidacy.py",
        "            if self.ownership.is_clear:\n                self._enter(Phase.WAITING, now)\n"
        "                self._advance_waiting(now)\n",
        "            if self.ownership.is_clear:\n                self._enter(Phase.WAITING, now)\n"
        "                self.advance(now)\n",
        _LOOKS_AGAIN,
    ),
    Behaviour(
        "core/candidacy.py",
        "                self.ownership.stop_probing()\n                self._enter(Phase.WAITING, now)\n"
        "                return\n",
        "                self.ownership.stop_probing()\n                self._enter(Phase.WAITING, now)\n"
        "                self.advance(now)\n                return\n",
        "who has probed, and whose right has become too short meanwhile, asks for a fresh proof at once; the base"
        " waited for the next fact",
    ),
    Behaviour(
        "core/session.py",
        "            self._listener.keys_proved(event.sent_at, now)\n        self.advance(now)\n",
        "            self._listener.keys_proved(event.sent_at, now)\n" + _DOUBT,
        _AT_THE_END,
    ),
    Behaviour(
        "core/session.py",
        "            self._tell_vips(event, now)\n        self.advance(now)\n\n    def member_read",
        "            self._tell_vips(event, now)\n" + _DOUBT + "\n    def member_read",
        _AT_THE_END,
    ),
    Behaviour(
        "core/node.py",
        "        for key in changed:\n            designated",
        "        for key in sorted(changed):\n            designated",
        "what a picture brings is looked at in the order of its keys; the base's order hung on the hash seed",
    ),
    Behaviour(
        "core/ownership.py",
        "            self._gate_ordered = NEVER\n            self._gate_asked.append(_Asked.CLOSE)\n",
        "            if _Asked.OPEN not in self._gate_asked:\n                self._gate_ordered = NEVER\n"
        "            self._gate_asked.append(_Asked.CLOSE)\n",
        _MAY_BE_OPEN,
    ),
    Behaviour(
        "core/candidacy.py",
        "        self._is_asking = False\n        self.epoch = None\n",
        "        self._is_asking = False\n        epoch, self.epoch = self.epoch, None\n",
        _HAS_ITS_EPOCH,
    ),
    Behaviour(
        "core/candidacy.py",
        '"gave the address up", reason, self.epoch, now)',
        '"gave the address up", reason, epoch, now)',
        _HAS_ITS_EPOCH,
    ),
    Behaviour(
        "core/candidacy.py",
        "        was = self.phase\n        self.epoch = None\n",
        "        was = self.phase\n        epoch, self.epoch = self.epoch, None\n",
        _HAS_ITS_EPOCH,
    ),
    Behaviour(
        "core/candidacy.py",
        '"gave the address up", "its election key was deleted", self.epoch, now)',
        '"gave the address up", "its election key was deleted", epoch, now)',
        _HAS_ITS_EPOCH,
    ),
    Behaviour(
        "core/session.py",
        "        self._read_wanted = True\n        self.advance(now)\n",
        "        self._read_wanted = True\n",
        "a read that several VIPs want in one turn is ordered once, at its end; the base ordered one for the first of"
        " them and another one, when that was answered, for the others",
    ),
    Behaviour(
        "core/session.py",
        "            self._renew_at = now\n            self.advance(now)\n",
        "            self._renew_at = now\n",
        "the keepalive that a lapse asks for leaves at the end of the turn, to the endpoint that is asked by then; the"
        " base sent it before the fact of that turn, which may be that this endpoint is gone",
    ),
    Behaviour(
        "core/session.py",
        "        if changed:\n            self._listener.keys_changed(changed, now)\n",
        "        key = self.registry.get(self.own_record.key)\n"
        "        is_lost = self._adopting and (key is None or key.lease != self.lease)\n"
        "        if changed and (is_lost or (not whether_registered and self.own_record.key in changed)):\n"
        "            self._look_at_name(key, now)\n"
        "            if self.lease is None:\n                return\n"
        "        if changed:\n            self._listener.keys_changed(changed, now)\n",
        "who has lost its name together with an election key registers before it campaigns, and who finds that a former"
        " run has lost it says nothing of what that lease's picture shows; the base told the VIPs before it had looked"
        " at the name",
    ),
    # What follows was mended after the core had been rebuilt, and found equal: faults that the base has as well.
    Behaviour(
        "core/node.py",
        "            self._saved, self._save_again_at = None, now + SAVE_RETRY_S\n",
        "            if event.number == self._save_number:\n"
        "                self._saved, self._save_again_at = None, now + SAVE_RETRY_S\n",
        _NEWER_SAVE,
    ),
    Behaviour(
        "core/leadership.py",
        "        self._ask_elsewhere = False\n        if event.endpoint",
        "        if event.endpoint",
        _ASKS_ANOTHER,
    ),
    Behaviour(
        "core/leadership.py",
        "            self.retry_at = now + RETRY_S\n            return False\n",
        "            self.failed(now, elsewhere=True)\n            return False\n        self._ask_elsewhere = False\n",
        _ASKS_ANOTHER,
    ),
    Behaviour(
        "core/session.py",
        "self.leadership.failed(now, elsewhere=False)",
        "self.leadership.failed(now, elsewhere=purpose is not None)",
        _ASKS_ANOTHER,
    ),
    Behaviour(
        "core/ownership.py",
        "            and self._gate_until == NEVER\n        )",
        "            and self._gate_until == NEVER\n            and not self._gate_asked\n        )",
        _OPENING_UNANSWERED,
    ),
    Behaviour(
        "core/ownership.py",
        "        elif self._gate_until > NEVER and _Asked.CLOSE not",
        "        elif (self._gate_until > NEVER or self._gate_asked) and _Asked.CLOSE not",
        _OPENING_UNANSWERED,
    ),
    Behaviour(
        "core/ownership.py",
        "        if self._gate_until == NEVER or _Asked.CLOSE in",
        "        if (self._gate_until == NEVER and not self._gate_asked) or _Asked.CLOSE in",
        _OPENING_UNANSWERED,
    ),
    Behaviour(
        "core/ownership.py",
        "    def reorder(self, now: Instant) -> None:\n",
        "    _reorder_wanted = False\n\n    def reorder(self, now: Instant) -> None:\n"
        "        self._reorder_wanted = self.tenure is Tenure.HOLDING\n\n"
        "    def _reorder(self, now: Instant) -> None:\n        self._reorder_wanted = False\n",
        _REORDERS_LATER,
    ),
    Behaviour(
        "core/ownership.py",
        "        announces = False\n        if not self._hold_pending and now >= self._hold_at:\n",
        "        announces = False\n"
        "        if self._reorder_wanted and not self._hold_pending and self.presence is Presence.PRESENT:\n"
        "            self._reorder(now)\n        if not self._hold_pending and now >= self._hold_at:\n",
        _REORDERS_LATER,
    ),
    Behaviour(
        "core/ownership.py",
        "        self._gone_meanwhile = False\n        self.refusals = 0\n        self._hold_at",
        "        self._gone_meanwhile = self._reorder_wanted = False\n        self.refusals = 0\n        self._hold_at",
        _REORDERS_LATER,
    ),
    Behaviour(
        "core/node.py",
        "                    candidacy.ownership.reorder(now)\n",
        "                    candidacy.ownership.reorder(now)\n                    self._touched.add(candidacy)\n",
        _REORDERS_LATER,
    ),
    Behaviour(
        "core/node.py",
        "candidacy.ownership.presence is Presence.PRESENT",
        "candidacy.ownership.presence is not Presence.ABSENT",
        _REORDERS_LATER,
    ),
    Behaviour(
        "core/candidacy.py",
        "        self.chronicle.another_took(",
        "        if own is not None and self.phase is Phase.OWNING:\n            return\n"
        "        self.chronicle.another_took(",
        "who has taken the address by a word does not tell afterwards, as a change, how its former owner had got it",
    ),
    Behaviour(
        "core/candidacy.py",
        "        return self.ownership.lease_extended(now)\n",
        "        may_take = self.phase is Phase.WAITING and self.words.any()\n"
        "        return self.ownership.lease_extended(now) or may_take\n",
        "a word that was heard when the right was too short counts as soon as a renewal has made it long enough",
    ),
)


def needed_at(node: Any) -> float:
    """When the base's machine has something to do next.

    `next_deadline` may be earlier: it has the deadline of a VIP as it was when the VIP was last looked at.
    """
    parts = (each.next_deadline() for each in (node.session, node.links, node.designations, node.watchfulness))
    vips = (each.next_deadline() for each in node._all())
    own = [node.standing.next_deadline(), node._save_again_at, float("inf") if node.is_over else node._stop_until]
    return float(min(*own, *(at for at in (*parts, *vips) if at is not None)))
