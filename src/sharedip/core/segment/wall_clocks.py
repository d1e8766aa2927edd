"""Wall clocks that are not like the others': nothing here goes by them, but certificates, logs and etcd's warnings do.

A record says what its machine's wall clock shows beyond the clock of its hellos, which only a step changes; the hellos
say what that clock shows beyond ours (`clocks.py`). Both together are the other's wall clock, within the delay of a
hello. Must never: change a deadline (law 5). Counterpart: `outlook.py`, which says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

APART_S = 1.0
"""From there on etcd warns of two of its members, too (server/etcdserver/api/rafthttp/probing_status.go)."""
STEP_S = 0.25
"""Less is the time between two readings of clocks on a busy machine."""


def is_step(known_s: float | None, read_s: float) -> bool:
    """Whether what a wall clock shows beyond the clock of instants has changed."""
    return known_s is None or abs(read_s - known_s) >= STEP_S


def apart(shown_s: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Whose clock is apart from most, and by how much (ahead: positive). Of two that differ nobody can tell which is
    wrong: both are.
    """
    order, is_pair = sorted(shown_s.values()), len(shown_s) == 2
    middle_s = (order[(len(order) - 1) // 2] + order[len(order) // 2]) / 2
    for name, each_s in sorted(shown_s.items()):
        apart_s = (each_s - middle_s) * (2 if is_pair else 1)
        if abs(apart_s) >= APART_S:
            yield name, apart_s
