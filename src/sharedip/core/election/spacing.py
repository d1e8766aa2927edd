"""Moves for a check that is slow come ever further apart while they repeat.

Role: for each health check, when the addresses of this node may next leave it because that check is slow, and which
nodes have just failed it. An overload wanders with the address: a move that brings it back is worse than none.
Must never: space moves for what is dead, but for where they lead. Counterparts: `core/health.py` (tells slow from
dead), `fitness.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sharedip.core.model import NEVER, Instant

FIRST_S = 10.0
LONGEST_S = 300.0
"""The time between two moves for one check: doubled with each, up to this."""
FORGOTTEN_S = 600.0
"""Without a move for this long the next one is a first one."""
TOGETHER_S = 1.0
"""All VIPs of a node leave for one verdict: what follows within this is the same move."""


@dataclass(slots=True)
class _Moves:
    """One check. `count` moves in a row; the last one began at `last_at`."""

    count: int = 0
    last_at: Instant = NEVER
    is_ours: bool = False
    """The last one led away from this node; else it brought the address here."""
    failed_at: dict[str, Instant] = field(default_factory=dict)
    """Node → when it last failed this check."""

    @property
    def wait_s(self) -> float:
        """From the last move to the next one."""
        return 0.0 if not self.count else float(min(LONGEST_S, FIRST_S * 2 ** min(self.count - 1, 16)))

    @property
    def free_at(self) -> Instant:
        return self.last_at + self.wait_s

    def ends_at(self) -> list[Instant]:
        """When something of it is to be forgotten."""
        marks = [*self.failed_at.values(), *([self.last_at] if self.count else [])]
        return [mark + FORGOTTEN_S for mark in marks]

    def forget(self, now: Instant) -> None:
        if now >= self.last_at + FORGOTTEN_S:
            self.count = 0
        self.failed_at = {node: at for node, at in self.failed_at.items() if now < at + FORGOTTEN_S}

    def is_same_move(self, now: Instant) -> bool:
        return self.is_ours and now < self.last_at + TOGETHER_S


class Spacing:
    """Invariant: a check in `_waiting` has an entry in `_moves`, whose wait is shorter than its memory.

    On the way out: `may_move`, then `moved`, and `count` goes with the address. On the way in: `take_over`. `settle` at
    `next_deadline` tells which checks may move again, and forgets.
    """

    def __init__(self) -> None:
        self._moves: dict[str, _Moves] = {}
        self._waiting: set[str] = set()
        """The checks of which nobody has been told yet that they may move again."""

    def may_move(self, check: str, now: Instant) -> bool:
        """Whether addresses may leave this node because the check is slow."""
        moves = self._moves.get(check)
        return moves is None or now >= moves.free_at or moves.is_same_move(now)

    def may_move_to(self, check: str, node: str, now: Instant) -> bool:
        """Whether one may go there because the check fails here, slow or dead: not while the node has failed it within
        the time that a slow move has to wait.
        """
        moves = self._moves.get(check)
        if moves is None:
            return True
        return now >= moves.failed_at.get(node, NEVER) + max(FIRST_S, moves.wait_s)

    def moved(self, check: str, now: Instant) -> None:
        """An address leaves this node because the check is slow: the first one of a move counts."""
        moves = self._of(check, now)
        if moves.is_same_move(now):
            return
        moves.count, moves.last_at, moves.is_ours = moves.count + 1, now, True
        self._waiting.add(check)

    def failed(self, check: str, node: str, now: Instant) -> None:
        """That node fails the check."""
        self._of(check, now).failed_at[node] = now

    def count(self, check: str) -> int:
        """How many moves in a row there were for the check, to be handed on with the address; as of the last `moved`,
        `take_over` or `settle`.
        """
        moves = self._moves.get(check)
        return 0 if moves is None else moves.count

    def take_over(self, check: str, count: int, now: Instant) -> None:
        """An address came here because another node was slow, after so many moves in a row, that one included."""
        if count <= 0:
            return
        moves = self._of(check, now)
        moves.count, moves.last_at, moves.is_ours = max(moves.count, count), now, False
        self._waiting.add(check)

    def settle(self, now: Instant) -> set[str]:
        """Forget what is over. Returns the checks that may move again since the last call."""
        free = {check for check in self._waiting if now >= self._moves[check].free_at}
        self._waiting -= free
        for check, moves in list(self._moves.items()):
            moves.forget(now)
            if not moves.ends_at():
                del self._moves[check]
        return free

    def next_deadline(self) -> Instant:
        """When `settle` has something to do; infinity if never."""
        if not self._moves:
            return float("inf")
        waits = [self._moves[check].free_at for check in self._waiting]
        ends = [end for moves in self._moves.values() for end in moves.ends_at()]
        return min([*waits, *ends], default=float("inf"))

    def _of(self, check: str, now: Instant) -> _Moves:
        moves = self._moves.setdefault(check, _Moves())
        moves.forget(now)
        return moves
