"""Until when a node may use an address: deadlines, some of them shared by many addresses (law 5; docs/safety.md, "The
right").

Must never: know where a deadline comes from, or what ends the use of the address. Counterparts: `session.py` and
`peers/owner.py`, which move deadlines; `ownership.py`, which keeps within them.
"""

from __future__ import annotations

from sharedip.core.model import NEVER, Instant


class Deadline:
    """One instant that may bind many rights at once; moving it moves every right that shares it."""

    __slots__ = ("until",)

    def __init__(self, until: Instant = NEVER) -> None:
        self.until = until


class Right:
    """Until when the owner may use the address: a set of deadlines, the earliest counts; without any, never."""

    def __init__(self) -> None:
        self._deadlines: dict[str, Deadline] = {}

    def set(self, name: str, until: Instant) -> None:
        """Put a deadline in place of the one of that name."""
        self._deadlines[name] = Deadline(until)

    def share(self, name: str, deadline: Deadline) -> None:
        """The same, with a deadline that others share."""
        self._deadlines[name] = deadline

    def get(self, name: str) -> Instant:
        """One deadline; never, if it is not set."""
        deadline = self._deadlines.get(name)
        return NEVER if deadline is None else deadline.until

    def drop(self, name: str) -> None:
        """Remove a deadline."""
        self._deadlines.pop(name, None)

    @property
    def until(self) -> Instant:
        """The earliest deadline. Asked for many times a second for each address: hence no generator."""
        earliest = None
        for deadline in self._deadlines.values():
            if earliest is None or deadline.until < earliest:
                earliest = deadline.until
        return NEVER if earliest is None else earliest
