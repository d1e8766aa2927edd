"""Is a node fit to have addresses, so that clients reach an API server behind them? Ours, and each of the others.

Must never: take an address away for a health that nobody knows. Counterparts: `health.py` (one check's verdict),
`candidacy.py` (which asks).
"""

from __future__ import annotations

from dataclasses import dataclass

from sharedip.core.keys import read_record
from sharedip.core.model import KeyValue
from sharedip.core.session import Session


@dataclass(slots=True)
class Health:
    """The sum of this node's checks; None while no check has spoken yet."""

    healthy: bool | None
    detail: str


class Soundness:
    """A node is sound when its agent says that it is healthy and not drained."""

    def __init__(self, session: Session, *, has_checks: bool) -> None:
        self._session = session
        self.drained = False
        self.health = Health(healthy=None if has_checks else True, detail="")

    def blemish(self) -> str | None:
        """Why another node should rather get the addresses."""
        if self.health.healthy is None and not self.drained:
            return "not known to be healthy yet"
        return self.known_blemish()

    def known_blemish(self) -> str | None:
        """Why another node should rather have the addresses that this one has: "cannot tell" is no reason."""
        if self.drained:
            return "drained"
        if self.health.healthy is False:
            return f"unhealthy ({self.health.detail or 'no check passes'})"
        return None

    def of(self, candidate: KeyValue) -> bool:
        """Whether the other candidate's node is sound."""
        return self.flaw(candidate) is None

    def flaw(self, candidate: KeyValue) -> str | None:
        """What keeps the other candidate from being sound; None if nothing does."""
        name = candidate.value.decode("utf-8", "replace")
        key = self._session.registry.get(self._session.layout.agent(name))
        record = read_record(key)
        if key is None or record is None or key.lease != candidate.lease:
            return "no sharedip agent"
        if record.get("drained") is not False:
            return "drained"
        healthy = record.get("healthy")
        if healthy is not True:
            return "unhealthy" if healthy is False else "not known to be healthy yet"
        return None
