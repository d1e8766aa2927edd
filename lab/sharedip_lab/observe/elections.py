"""What etcd says of an election: who queues, whom the owner has designated, for which window.

Role: read the keys as docs/protocol.md has them. Must never: write one, or ask an agent. Counterpart: `world/etcd.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sharedip_lab.world.etcd import EtcdCluster


@dataclass(frozen=True)
class Designation:
    """What stands beside an election. `witnesses` is empty where nobody is named for the present epoch."""

    witnesses: tuple[str, ...] = ()
    window_s: float = 0.0


def queue(etcd: EtcdCluster, prefix: str, vip: str) -> list[str]:
    """The names of the candidates in the order of their keys; empty when etcd does not answer."""
    entries = etcd.entries(f"{prefix}:vip:election:{vip}/") or {}
    return [name for name, _ in sorted(entries.values(), key=lambda entry: entry[1])]


def designation(etcd: EtcdCluster, prefix: str, owner: str, vip: str) -> Designation:
    """The one that stands, if it is of the owner's present epoch."""
    entries = etcd.entries(f"{prefix}:vip:") or {}
    election = f"{prefix}:vip:election:{vip}/"
    candidates = {key.removeprefix(election): entry for key, entry in entries.items() if key.startswith(election)}
    epochs = [epoch for name, epoch in candidates.values() if name == owner]
    try:
        record = json.loads(entries.get(f"{prefix}:vip:witness:{vip}", ("{}", 0))[0])
    except ValueError:
        return Designation()
    if record.get("epoch") not in epochs:
        return Designation()
    names = tuple(candidates[lease][0] for lease in record.get("witnesses", ()) if lease in candidates)
    return Designation(names, record.get("windowMs", 0) / 1000)
