"""Gives an address to the next candidate: whether it may be, what is saved and whom to ping before, whom to tell after.

The order of steps (docs/safety.md, "Resigned"), for one epoch:
1. `begins`: the epoch is noted, and this turn's state file goes before its removals: after them clients would wait for
   the file. The successor is pinged at the same time, so that it is awake, with warm caches, when the release comes.
2. The kernel confirms the removal (`ownership.py`), and the disk the file (`resigned.py`).
3. `is_due`: every candidate is told, for the successor may have died in the same second. `depart` sends the release.

Must never: tell a release before the kernel has confirmed the removal (law 3) and the file is saved (law 8). A release
is a resignation: the candidate that hears it may take the address at once, by safety (4).
Counterparts: `candidacy.py` (which gives up), `words.py` (what the receiver makes of it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sharedip.core.election.candidacy import Candidacy, GivesUp, Phase, WordDue
from sharedip.core.election.fitness import Fitness
from sharedip.core.election.living import Living
from sharedip.core.election.resigned import ResignedEpochs
from sharedip.core.etcd.agent_records import Peers
from sharedip.core.etcd.session import Session
from sharedip.core.history import name_of
from sharedip.core.messages import AnswerOperator, Command, DrainRequested, MoveRequested, SendDatagram
from sharedip.core.model import Instant, Vip
from sharedip.core.peers.owner import Designations
from sharedip.core.segment.wire import RELEASES_MAX, DatagramKind, Released, seal

NO_WRITES = (
    "etcd takes no writes, for its database is full: this node could not queue again, and nobody would hear of it; "
    "make room there (compact, defragment, `etcdctl alarm disarm`) and ask again"
)
"""Why nothing is moved at a person's wish: each move would burn a spare."""


class Handover:
    """Invariant: an address that waits in `_releases` is off our links, and its epoch saved as given up."""

    def __init__(
        self,
        session: Session,
        peers: Peers,
        resigned: ResignedEpochs,
        designations: Designations,
        out: Callable[[Command], None],
    ) -> None:
        self._session = session
        self._peers = peers
        self._resigned = resigned
        self._designations = designations
        self._out = out
        self._releases: dict[int, list[Released]] = {}
        self._woken: set[int] = set()
        self.goes_before_removals = False
        """Whether this turn's state must be on disk before an address is removed."""

    def begins(self, answer: GivesUp, now: Instant) -> None:
        """An epoch will be given up, whatever comes in between: it is saved first, and the successor is pinged."""
        self.goes_before_removals = True
        if answer.successor is not None and answer.successor not in self._woken:
            self._woken.add(answer.successor)
            self._designations.ping_now(answer.successor, now)

    def is_due(self, vip: Vip, word: WordDue) -> None:
        """The address is off the link, and no later run can come back to this epoch: tell every candidate. A lost
        release costs a round trip to etcd.
        """
        # Law 8. A later run that relied on this epoch, while another node takes the address, would be a second owner.
        assert self._resigned.is_saved(vip, word.epoch), "a word that is not saved is not said"
        for lease in word.candidates:
            self._releases.setdefault(lease, []).append(Released(word.epoch, vip.address, word.reason))

    @property
    def has_word(self) -> bool:
        """Whether a release waits to be sent."""
        return bool(self._releases)

    def depart(self) -> None:
        """Send this turn's releases, one datagram for each peer."""
        releases, self._releases = self._releases, {}
        lease = self._session.lease
        for receiver, entries in releases.items():
            peer, secret = self._peers.by_lease(receiver), self._peers.secret_with(receiver)
            if lease is None or peer is None or peer.host is None or secret is None:
                continue
            for start in range(0, len(entries), RELEASES_MAX):
                datagram = seal(DatagramKind.RELEASE, lease, receiver, entries[start : start + RELEASES_MAX], secret)
                self._out(SendDatagram(peer.host, peer.port, datagram))

    def turn_is_over(self) -> None:
        """The turn's orders have left."""
        self.goes_before_removals = False
        self._woken.clear()

    def lease_lost(self) -> None:
        """Other nodes may own the addresses already: nothing goes before the removals."""
        self.goes_before_removals = False


# -- what the operator asks for ---------------------------------------------------------------------------------------


def move(
    candidacy: Candidacy | None, event: MoveRequested, own_name: str, fitness: Fitness, living: Living, now: Instant
) -> AnswerOperator:
    """Hand the address over to the successor, or to `event.to`; or say why not."""
    if candidacy is None:
        return AnswerOperator(event.ticket, accepted=False, text=f"{event.address} is not configured here")
    refusal = _why_not(candidacy, event, own_name, fitness, living, now)
    if refusal is not None:
        return AnswerOperator(event.ticket, accepted=False, text=refusal)
    target = f" to {event.to}" if event.to else ""
    candidacy.leave(f"moved{target} by the operator", now, to=event.to)
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


def _why_not(
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
        return f"{event.to!r} is no candidate for {event.address} (candidates: {known})"
    what = fitness.why_unfit(others[event.to], candidacy.vip)
    if what is not None:
        return f"{event.to} is {what}: it would give {event.address} away again"
    silent = living.why_silent(others[event.to], now)
    return None if silent is None else f"{event.to} {silent}: it could not take {event.address}"
