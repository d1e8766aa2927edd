"""The observer of many VIPs: who holds which, and every frame about any of them. A process of its own.

Role: `python -m sharedip_lab.programs.census JSON` prints one JSON line per batch: address events of all nodes in the
kernel's own order, and announcements and probes with the kernel's own instants. It asks nobody anything, so that a
thousand VIPs cost it nothing while they rest.
Must never: decide anything, or send. Counterpart: `observe/many_vips.py`, which adds it up.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import sys
import time
from ipaddress import IPv4Address
from itertools import islice
from typing import Any

from sharedip_lab.observe.address_events import AddressWatch
from sharedip_lab.observe.wire import SO_TIMESTAMPNS, Wire
from sharedip_lab.world import frames
from sharedip_lab.world.namespaces import inside
from sharedip_lab.world.real_time import keep_time
from sharedip_lab.world.topology import SEGMENT_BRIDGE

QUIET_S = 0.5
"""The addresses are listed outright only when nothing has happened for this long: a listing takes its time."""
SWEEP_S = 5.0
FLUSH_S = 0.05
BATCH = 2000
"""So many frames are taken in before the address events have their turn again."""
_ARP = struct.Struct("!HHBBH6s4s6s4s")


class Traffic:
    """Announcements and probes on the segment, each with the instant at which the bridge handled it."""

    def __init__(self, bridge_namespace: str, names: dict[bytes, str], vips: set[str]) -> None:
        self.names = names
        self.wanted = {IPv4Address(vip).packed for vip in vips if ":" not in vip}
        self.vips = vips
        self.facts: list[list[Any]] = []
        with inside(bridge_namespace):
            self.socket = Wire.open_socket(SEGMENT_BRIDGE)
            Wire.hear_everything(self.socket)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def read(self) -> None:
        """Take in what waits, up to a batch."""
        for at, frame in islice(Wire.stamped(self.socket), BATCH):
            kind = self.kind(frame)
            if kind is not None:
                self.facts.append([kind, at, self.names[frame[6:12]], ""])

    def kind(self, frame: bytes) -> str | None:
        """What a node says of a VIP unasked: that it has it, or whether anybody has it."""
        if frame[6:12] not in self.names:
            return None
        if frame[12:14] == b"\x08\x06" and len(frame) >= 14 + _ARP.size:
            _, _, _, _, _, _, sender, _, target = _ARP.unpack_from(frame, 14)
            if target not in self.wanted:
                return None
            return "announced" if sender == target else "probed" if sender == bytes(4) else None
        claim = frames.read_claim(frame)
        return "announced" if claim is not None and claim.announced and str(claim.address) in self.vips else None


def main(argument: str) -> None:
    """Observe until standard input closes."""
    told = json.loads(argument)
    nodes = {int(index): (name, namespace) for index, name, namespace, _ in told["nodes"]}
    names = {frames.mac_bytes(mac): name for _, name, _, mac in told["nodes"]}
    vips = set(told["vips"])
    watch = AddressWatch(told["bridge_namespace"], nodes, vips)
    traffic = Traffic(told["bridge_namespace"], names, vips)
    keep_time()
    flush_at = sweep_at = quiet_since = time.monotonic()
    while True:
        heard = [watch.events, traffic.socket, sys.stdin]
        ready, _, _ = select.select(heard, [], [], max(0.0, flush_at - time.monotonic()))
        watch.read()
        traffic.read()
        if sys.stdin in ready:
            return
        now = time.monotonic()
        if watch.facts or traffic.facts:
            quiet_since = now
        elif now >= sweep_at and now - quiet_since > QUIET_S:
            watch.sweep()
            sweep_at = now + SWEEP_S
        if now >= flush_at:
            print(json.dumps({"now": now, "lost": watch.lost, "facts": [*watch.facts, *traffic.facts]}), flush=True)
            watch.facts.clear()
            traffic.facts.clear()
            flush_at = now + FLUSH_S


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.argv[1])
