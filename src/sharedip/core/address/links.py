"""The links of this node, and whether one is fit to carry an address: with hysteresis, so that a flap moves nothing.

Must never: ask the kernel; facts come from the netlink adapter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sharedip.core.model import NEVER, Instant, LinkState

DOWN_GRACE_S = 0.2
"""A carrier that comes back within this never left."""

SETTLE_FIRST_S = 1.0
SETTLE_LONGEST_S = 30.0
"""After it went down, a link must be up for this long, doubled with each flap, before the node ranks with others."""

FLAPS_FORGOTTEN_S = 60.0


@dataclass(slots=True)
class _Fitness:
    """How one link has behaved, by its name."""

    running: bool | None = None
    is_fit: bool = False
    """It is up, but for a flap shorter than the grace."""
    is_steady: bool = False
    """It has been so for long enough."""
    changed_at: Instant = 0.0
    settle_s: float = 0.0
    lost_at: Instant = NEVER


class Links:
    """Invariant: `obstacle(name)` and `is_settling(name)` change only in `settle`.

    Every link is known, for any of them may get an altname; behaviour is remembered only for watched names.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._links: dict[int, LinkState] = {}
        self._fitness: dict[str, _Fitness] = {name: _Fitness() for name in names}

    def watch(self, names: Iterable[str], now: Instant) -> None:
        """Watch these names from now on, and no others."""
        self._fitness = {name: self._fitness.get(name, _Fitness()) for name in names}
        for name in self._fitness:
            self._note(name, now)

    def index_of(self, name: str) -> int | None:
        """The index of the link with this name or altname."""
        link = self.get(name)
        return None if link is None else link.index

    def get(self, name: str) -> LinkState | None:
        """The link with this name or altname."""
        return next((link for link in self._links.values() if name in link.names), None)

    def name_of(self, index: int) -> str:
        """The link's name."""
        link = self._links.get(index)
        return f"link {index}" if link is None else link.names[0]

    def state(self, name: str) -> str:
        """`up`, `down` or `missing`."""
        link = self.get(name)
        if link is None:
            return "missing"
        return "up" if link.running else "down"

    def obstacle(self, name: str) -> str | None:
        """Why the link can't carry an address; None if it can."""
        fitness = self._fitness.get(name)
        if fitness is not None and fitness.is_fit:
            return None
        state = self.state(name)
        return f"link {name} has just come up" if state == "up" else f"link {name} is {state}"

    def is_settling(self, name: str) -> bool:
        """Whether the link has just come back, and may go again: it can carry an address, if no other node can. What
        was not heard on it says nothing yet.
        """
        fitness = self._fitness.get(name)
        return fitness is not None and fitness.is_fit and not fitness.is_steady

    def changed(self, link: LinkState, now: Instant) -> bool:
        """A link appeared or changed. True when its addresses must be announced (carrier back, or another MAC)."""
        before = self._links.get(link.index)
        self._links[link.index] = link
        names = set(link.names) | (set(before.names) if before is not None else set())
        for name in names:
            self._note(name, now)
        return link.running and before is not None and (not before.running or before.mac != link.mac)

    def vanished(self, index: int, now: Instant) -> None:
        """A link is gone."""
        before = self._links.pop(index, None)
        for name in before.names if before is not None else ():
            self._note(name, now)

    def settle(self, now: Instant) -> set[str]:
        """Apply what is due by now. Returns the names that became fit, steady, or unfit."""
        changed = set()
        for name, fitness in self._fitness.items():
            due = self._due(fitness)
            if due is None or now < due:
                continue
            if not fitness.running:
                fitness.is_fit = fitness.is_steady = False
                calm = now - fitness.lost_at > FLAPS_FORGOTTEN_S
                fitness.settle_s = SETTLE_FIRST_S if calm else min(SETTLE_LONGEST_S, fitness.settle_s * 2)
                fitness.lost_at = now
            else:
                fitness.is_fit, fitness.is_steady = True, now >= fitness.changed_at + fitness.settle_s
            changed.add(name)
        return changed

    def next_deadline(self) -> Instant | None:
        """When `settle` has something to do."""
        return min((due for each in self._fitness.values() if (due := self._due(each)) is not None), default=None)

    def _note(self, name: str, now: Instant) -> None:
        running = self.state(name) == "up"
        fitness = self._fitness.get(name)
        if fitness is not None and fitness.running is not running:
            fitness.running = running
            fitness.changed_at = now

    @staticmethod
    def _due(fitness: _Fitness) -> Instant | None:
        if fitness.running and not fitness.is_fit:
            return fitness.changed_at
        if fitness.running and not fitness.is_steady:
            return fitness.changed_at + fitness.settle_s
        if not fitness.running and fitness.is_fit:
            return fitness.changed_at + DOWN_GRACE_S
        return None
