"""Which TCP connections stand on the addresses of this owner, by looks at the kernel's table that are apart.

Role: orders the looks, and remembers since when each connection is seen. A short one is over before anybody has to be
told of it, so only those count that were seen by each look for `OLD_AFTER_S`.
Must never: let clients decide how much of this agent's time they get (law 11): beyond `CLIENTS_MAX` they are counted
alone, and a look that takes long is followed by a longer pause. Counterparts: `telling.py`;
`adapters/kernel/clients.py`, which looks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from sharedip.core.messages import ClientsRead, Command, Level, ReadClients, Report
from sharedip.core.model import CLIENTS_MAX, NEVER, Client, Instant, IPAddress

LOOK_EVERY_S = 5.0
OLD_AFTER_S = 10.0
"""Clients that come and go within that, as those of most requests do, are no news for others."""

LOOK_SHARE = 0.002
"""Of a core, at most: so long is the pause after a look, by the time that it took."""

UNANSWERED_S = 60.0
"""A kernel that did not tell is asked again after this; so is one whose answer got lost."""


class StandingClients:
    """Invariant: what `of` returns was seen by the last look, and by each one of the last `OLD_AFTER_S`."""

    def __init__(self, out: Callable[[Command], None]) -> None:
        self._out = out
        self._since: dict[tuple[IPAddress, Client], Instant] = {}
        self._old: dict[IPAddress, frozenset[Client]] = {}
        self._number = 0
        self._began_at: Instant | None = None
        """When the look began that is under way; None: none is."""
        self._found: list[tuple[IPAddress, Client]] = []
        self.due_at: Instant = NEVER
        """When to look next."""
        self._owned: tuple[IPAddress, ...] = ()
        self.left_out = 0
        """Connections beyond those that are told, by the last look."""
        self._has_told = False

    def of(self, address: IPAddress) -> frozenset[Client]:
        """The clients of this address that others should know of."""
        return self._old.get(address, frozenset())

    def advance(self, owned: Collection[IPAddress], now: Instant) -> None:
        """Look when it is due. `owned`: the addresses that stand here by our own right."""
        if now < self.due_at:
            return
        self._owned = tuple(owned)
        self._keep(frozenset(self._owned))
        self.due_at = now + LOOK_EVERY_S
        if self._owned:
            self.due_at = now + UNANSWERED_S
            self._number += 1
            self._began_at, self._found = now, []
            self._out(ReadClients(self._number, self._owned))

    def next_deadline(self) -> Instant:
        """When the next look is due; infinity while nothing is owned: any later turn will do to find that changed."""
        return self.due_at if self._owned else float("inf")

    def read(self, event: ClientsRead, now: Instant) -> bool:
        """A part of the kernel's answer. True: it was the last one, and what stands is known anew."""
        if event.number != self._number or self._began_at is None:
            return False  # of a look that was given up
        self._found += event.found[: CLIENTS_MAX - len(self._found)]
        if not event.is_last:
            return False
        began_at, self._began_at = self._began_at, None
        found, self._found = self._found, []
        if event.failure or not self._owned:
            return False
        self.due_at = now + max(LOOK_EVERY_S, event.took_s / LOOK_SHARE)
        since, owned = self._since, frozenset(self._owned)
        self._since = {key: since.get(key, began_at) for key in found if key[0] in owned}
        self._sort(began_at)
        self._note_left_out(event.left_out)
        return True

    def _sort(self, began_at: Instant) -> None:
        old: dict[IPAddress, set[Client]] = {}
        for (address, client), since in self._since.items():
            if since <= began_at - OLD_AFTER_S:
                old.setdefault(address, set()).add(client)
        self._old = {address: frozenset(clients) for address, clients in old.items()}

    def _keep(self, owned: frozenset[IPAddress]) -> None:
        """What is not ours any more has no clients; if it is again, it begins anew."""
        self._since = {key: since for key, since in self._since.items() if key[0] in owned}
        self._old = {address: clients for address, clients in self._old.items() if address in owned}
        if not owned:
            self.left_out = 0

    def _note_left_out(self, count: int) -> None:
        self.left_out = count
        if count and not self._has_told:
            text = f"{count} connections of clients more than are told to others: those wait for their own time-outs"
            self._out(Report(Level.INFO, text, reason=f"the limit is {CLIENTS_MAX}; said once"))
            self._has_told = True
