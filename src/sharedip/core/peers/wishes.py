"""What a person asks of the node, `move` and `drain`: whether it is granted, and with which words it is refused.

Both are worth nothing in an etcd that takes no writes: who has given an address away could not queue again, and nobody
would hear of the drain. That etcd is full shows by a write alone, so one is made first, while the address stands where
it is; what it shows counts, and where it shows nothing, what was known before.
Role: what waits for that write, and the answers. Must never: give an address up itself; `Candidacy.leave` does.
Counterparts: `session.py` (`try_write`), `agent/operator.py` (the requests).
"""

from __future__ import annotations

from collections.abc import Iterable

from sharedip.core.election.candidacy import Candidacy, Phase
from sharedip.core.election.fitness import Fitness
from sharedip.core.election.living import Living
from sharedip.core.etcd.session import Session
from sharedip.core.history import name_of
from sharedip.core.messages import AnswerOperator, DrainRequested, MoveRequested
from sharedip.core.model import Instant

WRITE_WITHIN_S = 1.0
"""So long a wish waits for the write. One that stalls says nothing about etcd's space."""
NO_WRITES = (
    "etcd takes no writes, for its database is full: this node could not queue again, and nobody would hear of it; "
    "make room there (compact, defragment, `etcdctl alarm disarm`) and ask again"
)
"""Why nothing is moved at a person's wish: each move would burn a spare."""


class Wishes:
    """Invariant: what waits does so for one write, sent no earlier than the wish was made or in flight by then."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: list[MoveRequested | DrainRequested] = []
        self._until: Instant = float("inf")

    def waits(self, wish: MoveRequested | DrainRequested, now: Instant) -> bool:
        """Make the write that it waits for. False: none can be made, and what is known must do."""
        if not self._session.try_write(now):
            return False
        if not self.is_waiting:
            self._until = now + WRITE_WITHIN_S
        self._waiting.append(wish)
        return True

    @property
    def is_waiting(self) -> bool:
        """Whether anything waits for a write."""
        return bool(self._waiting)

    def take(self) -> list[MoveRequested | DrainRequested]:
        """Those that waited: the write has an outcome, or has taken too long."""
        taken, self._waiting, self._until = self._waiting, [], float("inf")
        return taken

    def next_deadline(self) -> Instant:
        """When the write has taken too long; infinity while nothing waits."""
        return self._until


def move(
    candidacy: Candidacy | None, event: MoveRequested, own_name: str, fitness: Fitness, living: Living, now: Instant
) -> AnswerOperator:
    """Hand the address over to the successor, or to `event.to`; or say why not."""
    if candidacy is None:
        return AnswerOperator(event.ticket, accepted=False, text=f"{event.address} is not configured here")
    refusal = why_not(candidacy, event, own_name, fitness, living, now)
    if refusal is not None:
        return AnswerOperator(event.ticket, accepted=False, text=refusal)
    target = f" to {event.to}" if event.to else ""
    candidacy.leave(f"moved{target} by the operator", now, to=event.to, is_wish=True, may_stay=True)
    return AnswerOperator(event.ticket, accepted=True, text=f"handing {event.address} over{target}")


def answer_drain(
    candidacies: Iterable[Candidacy],
    event: DrainRequested,
    own_name: str,
    living: Living,
    now: Instant,
    *,
    was: bool,
) -> AnswerOperator:
    """What a drain, or its end, will do. Without a fit candidate that is heard the addresses stay: none moves among
    unfit nodes, or into silence.
    """
    verb = "drained" if event.drained else "undrained"
    text = f"{own_name} is {verb}" + (" already" if was == event.drained else "")
    everyone = list(candidacies)
    stays = [str(each.vip) for each in everyone if each.phase is Phase.OWNING]
    sound_behind = any(living.may_take(key, each.vip, now) for each in everyone for key in each.queue()[1:])
    if event.drained and stays and not sound_behind:
        text += f"; {', '.join(stays)} stay until another node is sound"
    return AnswerOperator(event.ticket, accepted=True, text=text)


def why_not(
    candidacy: Candidacy, event: MoveRequested, own_name: str, fitness: Fitness, living: Living, now: Instant
) -> str | None:
    """Why the address can't be handed over as asked; None if it can."""
    if candidacy.phase is not Phase.OWNING:
        owner = candidacy.owner
        where = f"; {name_of(owner)} owns it: run the command there" if owner else ""
        return f"this node does not own {event.address}{where}"
    others = {name_of(key): key for key in candidacy.others()}
    if event.to is None:
        if not others:
            return f"no other candidate for {event.address}: it would be left without an owner"
        flaws = {name: fitness.why_unfit(key, candidacy.vip) for name, key in others.items()}
        if None not in flaws.values():
            told = ", ".join(f"{name} is {what}" for name, what in sorted(flaws.items()))
            return f"no other candidate for {event.address} is healthy and undrained: {told}"
        fit = {name: living.why_silent(others[name], now) for name, what in flaws.items() if what is None}
        if None not in fit.values():
            told = ", ".join(f"{name} {what}" for name, what in sorted(fit.items()))
            return f"no other candidate for {event.address} is heard: {told}"
        return None
    if event.to == own_name:
        return f"{event.to} owns {event.address} already"
    if event.to not in others:
        known = ", ".join(sorted(others)) or "none but this node"
        return f"{event.to!r} is not a candidate for {event.address} (candidates: {known})"
    what = fitness.why_unfit(others[event.to], candidacy.vip)
    if what is not None:
        return f"{event.to} is {what}: it would give {event.address} away again"
    silent = living.why_silent(others[event.to], now)
    return None if silent is None else f"{event.to} {silent}: it could not take {event.address}"
