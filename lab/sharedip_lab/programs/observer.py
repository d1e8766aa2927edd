"""The outside observer: every node's addresses from the kernel, every claim to a VIP on the wire. A process of its own.

Role: `python -m sharedip_lab.programs.observer JSON` prints one JSON line per batch of facts. Every `ask_s`, and
whenever a node gets a VIP, it asks who has it.
Must never: decide anything, or ask an agent. Counterpart: `observe/feeds.py`, which reads the lines.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from typing import Any

from sharedip_lab.observe.address_events import AddressWatch
from sharedip_lab.observe.wire import Wire
from sharedip_lab.world import frames
from sharedip_lab.world.real_time import keep_time
from sharedip_lab.world.topology import FIRST, SECOND, Segment, segment_of

SWEEP_S = 1.0
"""How often the addresses are listed outright, to prove that no event was missed."""


def main(argument: str) -> None:
    """Observe until standard input closes (the lab has ended) or the pipe breaks. A line on it is a new `ask_s`."""
    told = json.loads(argument)
    nodes = {int(index): (name, namespace) for index, name, namespace in told["nodes"]}
    vips, ask_s = set(told["vips"]), float(told["ask_s"])
    watch = AddressWatch(told["bridge_namespace"], nodes, vips)
    wires = [_wire(told, segment, vips) for segment in (FIRST, SECOND) if segment.bridge in told["segments"]]
    doors = [door.socket for wire in wires for door in wire.doors]
    heard = [watch.events, *(wire.socket for wire in wires), *doors, sys.stdin]
    keep_time()
    ask_at = sweep_at = flush_at = time.monotonic()
    while True:
        now = time.monotonic()
        wakes = min(sweep_at, flush_at, ask_at) if ask_s else min(sweep_at, flush_at)
        ready, _, _ = select.select(heard, [], [], max(0.0, wakes - now))
        watch.read()
        for wire in wires:
            wire.read()
            wire.listen_at_doors()
        if sys.stdin in ready:
            orders = os.read(sys.stdin.fileno(), 4096).split()
            if not orders:
                return
            ask_s = float(orders[-1])
            ask_at = time.monotonic()
        now = time.monotonic()
        # A node that gets the address is the moment to see whether another one still serves it.
        given = {fact[-1] for fact in watch.facts if fact[0] == "added"}
        if ask_s and (now >= ask_at or given):
            for wire in wires:
                wire.ask(wire.vips if now >= ask_at else wire.vips & given)
            ask_at = max(ask_at + ask_s, now) if now >= ask_at else ask_at
        if now >= sweep_at:
            watch.sweep()
            sweep_at = now + SWEEP_S
        if now >= flush_at or watch.facts:
            said = [fact for wire in wires for fact in wire.facts]
            line = {"now": now, "lost": watch.lost, "facts": [*watch.facts, *said]}
            watch.facts.clear()
            for wire in wires:
                wire.facts.clear()
            print(json.dumps(line), flush=True)
            flush_at = now + 0.02


def _wire(told: dict[str, Any], segment: Segment, vips: set[str]) -> Wire:
    hosts = [(name, frames.mac_bytes(mac), port) for name, mac, port in told["segments"][segment.bridge]]
    return Wire(
        told["bridge_namespace"],
        {mac: name for name, mac, _ in hosts},
        [(port, mac) for _, mac, port in hosts],
        {vip for vip in vips if segment_of(vip) is segment},
        segment,
    )


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.argv[1])
