"""Keeps etcd's leader off an owner's node, where the documents ask for that: one death is then never both.

A crash of an owner's node takes a window; where etcd's leader dies with it, etcd elects first, a second or two at its
defaults. So an owner whose own member leads asks it, when all has been quiet for a while, to hand the leadership to a
member whose node owns no VIP: best to one beside which no agent runs, then to one that is no witness's.

Safety hangs on none of this: leaders change all the time. Must never: ask while anything moves, or twice within
`EVERY_S`; or move the leader to an owner's node, from where it would be moved again. Counterparts: `session.py` (sends
it), `choose.py` (who watches, by where the leader is).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from sharedip.core.election.candidacy import Candidacy, Phase
from sharedip.core.etcd.agent_records import Peers
from sharedip.core.etcd.news import LeaderMoveAnswered, MembersTold
from sharedip.core.etcd.session import Session
from sharedip.core.messages import Command, Level, Report, RequestFailed
from sharedip.core.model import NEVER, Failure, Instant
from sharedip.core.segment.voices import Voices

QUIET_S = 10.0
"""Longer than anything takes to settle: a start, a takeover, an election, a candidate that steps back (5 s)."""
EVERY_S = 600.0
AT_REST = frozenset({Phase.OWNING, Phase.WAITING})


class LeaderAway:
    """Invariant: while `_quiet_since` is an instant, our node has had the leader and an owner since then, at rest."""

    def __init__(self, session: Session, peers: Peers, voices: Voices, out: Callable[[Command], None]) -> None:
        self._session = session
        self._peers = peers
        self._voices = voices
        self._out = out
        self._quiet_since: Instant | None = None
        self._asked_at: Instant = NEVER
        self._target: int | None = None
        self._refused: set[int] = set()
        """Members that did not take it over when they were asked to."""

    def next_deadline(self) -> Instant:
        """When to ask; infinity while there is no reason."""
        return float("inf") if self._quiet_since is None else self._due_at(self._quiet_since)

    def advance(self, candidacies: Collection[Candidacy], now: Instant, *, wanted: bool) -> None:
        """Look whether it is quiet, and ask which members there are when it has been for long enough."""
        if not wanted or not self._is_quiet(candidacies, now):
            self._quiet_since = None
            return
        if self._quiet_since is None:
            self._quiet_since = now
        if now >= self._due_at(self._quiet_since):
            self._asked_at = now
            self._session.read_members()

    def told(self, news: MembersTold | LeaderMoveAnswered, candidacies: Collection[Candidacy], now: Instant) -> None:
        """Which members have a vote; if it is quiet no more, or none fits, nothing follows. Or what came of asking."""
        if isinstance(news, LeaderMoveAnswered):
            self._answered(news.failure)
            return
        if self._quiet_since is None or not self._is_quiet(candidacies, now):
            return
        self._target = self._best(news.members, candidacies, now)
        if self._target is not None:
            self._session.move_leader(self._target)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _answered(self, failure: RequestFailed | None) -> None:
        """The leader has moved, or has not, as far as is known."""
        target, self._target = self._target, None
        if failure is None:
            if target is None:
                return
            self._refused.clear()
            self._out(Report(Level.INFO, f"moved etcd's leader to member {target:x}", reason="this node owns a VIP"))
            return
        if target is not None:
            self._refused.add(target)
        needs_root = failure.failure in (Failure.REFUSED, Failure.UNAUTHENTICATED)
        hint = (
            "; with etcd's authentication on, etcd.moveLeader needs a user that has the role root" if needs_root else ""
        )
        text = f"etcd's leader stays on this node, which owns a VIP: {failure.detail or failure.failure.value}{hint}"
        self._out(Report(Level.WARNING, text, reason=f"asked again in {EVERY_S / 60:.0f} minutes"))

    def _due_at(self, quiet_since: Instant) -> Instant:
        return max(quiet_since + QUIET_S, self._asked_at + EVERY_S)

    def _is_quiet(self, candidacies: Collection[Candidacy], now: Instant) -> bool:
        """Whether our member leads, we own a VIP, nothing moves, and etcd is well."""
        led_by, session = self._session.raft_leader, self._session
        if led_by.leader_id is None or led_by.leader_id != led_by.member_id:
            return False
        if session.space.is_full or not session.is_well(now):
            return False
        if any(each.phase not in AT_REST or (each.bid is not None and each.bid.departure) for each in candidacies):
            return False
        return any(each.phase is Phase.OWNING for each in candidacies)

    def _best(self, members: tuple[int, ...], candidacies: Collection[Candidacy], now: Instant) -> int | None:
        """Where the leader is best: nobody's member, then that of one who is last to be asked for an address."""
        firsts = [queue[0].lease for each in candidacies if (queue := each.queue())]
        nexts = [queue[1].lease for each in candidacies if len(queue := each.queue()) > 1]
        agents = {peer.member: peer.lease for peer in self._peers.all() if peer.member is not None}
        ranked: list[tuple[bool, int, int]] = []
        for member in members:
            lease = agents.get(member)
            if member == self._session.raft_leader.member_id:
                continue
            if lease is not None and (lease in firsts or not self._voices.is_speaking(lease, now)):
                continue
            ranked.append((member in self._refused, 0 if lease is None else 1 + nexts.count(lease), member))
        return min(ranked)[2] if ranked else None
