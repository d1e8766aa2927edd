"""What idle clients saw of a fault: after how long each heard that its server was gone, and was served again.

Role: start `programs/idle.py`, keep its facts. Must never: interpret more than a difference of two instants.
Counterparts: `scenarios/waiting.py` and the lab's tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from sharedip_lab.observe.feeds import Feed


@dataclass(frozen=True)
class IdleKind:
    """So many clients that say nothing; or, with `ping_s`, something after so long, and wait `patience_s` for more.

    With `query_s` each asks something whose answer takes so long, again and again.
    """

    name: str
    count: int
    ping_s: float = 0.0
    patience_s: float = 0.0
    query_s: float = 0.0


class Ended(NamedTuple):
    """One connection's end, as its client noticed it."""

    at: float
    how: str
    vip: str
    kind: str


class IdleClients:
    """Connections to each VIP from a namespace, begun when it is made."""

    def __init__(self, namespace: str, vips: Sequence[str], kinds: Sequence[IdleKind]) -> None:
        told = {"namespace": namespace, "vips": list(vips), "kinds": [asdict(kind) for kind in kinds]}
        self.standing: dict[str, int] = {}
        """How many stand on each VIP, as they said last."""
        self.ended: list[Ended] = []
        self.served: list[Ended] = []
        """`how` is who serves."""
        self.heard_until = 0.0
        self._feed = Feed("idle", told, self._take)
        self._feed.start()

    def close(self) -> None:
        """End them."""
        self._feed.stop()

    def _take(self, line: dict[str, Any]) -> None:
        for word, *rest in line["facts"]:
            (self.ended if word == "ended" else self.served).append(Ended(*rest))
        self.standing, self.heard_until = line["standing"], line["now"]
