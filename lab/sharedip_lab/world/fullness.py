"""An etcd whose space is used up: reads, keepalives and deletes go on, and every write is refused (NOSPACE).

Role: fill it, and make room in it again, as an operator would (etcd docs, "Maintenance": space quota).
Must never: touch a key that it has not written. Counterpart: `etcd.py`, whose members have a small quota for it.
"""

from __future__ import annotations

import base64
import os
import time

from sharedip_lab.world.etcd import EtcdCluster
from sharedip_lab.world.namespaces import LabError

SMALL_BYTES = 20_000_000
"""`--quota-backend-bytes` of an etcd that is to be filled: some twenty of these values."""
FILLER, FILLER_BYTES = b"sharedip-lab/filler/", 1_000_000
FULL_S, ROOM_S = 20.0, 30.0
"""How long filling an etcd may take, and making room in it."""
ANSWER_S = 5.0


def fill(etcd: EtcdCluster) -> None:
    """Write large values until an alarm is raised: from then on every write is refused ("database space exceeded").

    Releases before 3.4.22 and 3.5.7 refuse deletions as well while the database is larger than its quota, which it is
    or is not as the last commit fell (docs/etcd.md): there some room is made, and the alarm left on.
    """
    value, deadline, number = _base64(os.urandom(FILLER_BYTES)), time.monotonic() + FULL_S, 0
    while not etcd.alarms():
        if time.monotonic() > deadline:
            raise LabError(f"etcd is not full after {FULL_S:.0f} s")
        number += 1
        etcd.ask("/v3/kv/put", {"key": _base64(FILLER + str(number).encode()), "value": value}, ANSWER_S)
    if refuses_deletions(next(iter(etcd.members.values())).binary.version):
        _empty(etcd, time.monotonic() + ROOM_S)


def refuses_deletions(version: str) -> bool:
    """Whether this release, once its database is larger than the quota, refuses even what only deletes."""
    major, minor, patch = (int(part) for part in version.split("-", maxsplit=1)[0].split("."))
    return major == 3 and patch < {4: 22, 5: 7}.get(minor, 0)


def make_room(etcd: EtcdCluster) -> None:
    """Delete what `fill` has written, give the space back on every member, end the alarm."""
    deadline = time.monotonic() + ROOM_S
    _empty(etcd, deadline)
    while raised := etcd.alarms():
        if time.monotonic() > deadline:
            raise LabError(f"etcd's alarm did not end within {ROOM_S:.0f} s: {raised}")
        for alarm in raised:
            etcd.ask("/v3/maintenance/alarm", {**alarm, "action": "DEACTIVATE"}, ANSWER_S)


def _empty(etcd: EtcdCluster, deadline: float) -> None:
    everything = {"key": _base64(FILLER), "range_end": _base64(FILLER[:-1] + bytes([FILLER[-1] + 1]))}
    while (said := etcd.ask("/v3/kv/deleterange", everything, ANSWER_S)) is None:
        if time.monotonic() > deadline:
            raise LabError(f"etcd has deleted nothing within {ROOM_S:.0f} s")
    etcd.ask("/v3/kv/compaction", {"revision": said["header"]["revision"], "physical": True}, ANSWER_S)
    for member in etcd.members.values():
        member.post("/v3/maintenance/defragment", {}, timeout_s=2 * ANSWER_S)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
