"""How often nodes ask for neighbours on each segment: ARP requests and neighbour solicitations, second by second.

Role: `python -m sharedip_lab.programs.listener JSON` prints one JSON line a second: on which bridge how many questions
were sent by nodes for an address of a node, the gateway or a VIP. A kernel's own questions for such are among them;
the probe that goes with each announcement of an address, by who announces it, is not.
Must never: send a frame. Counterpart: `bench/rest.py`.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import time

from sharedip_lab.observe.wire import Wire
from sharedip_lab.world import frames
from sharedip_lab.world.namespaces import inside
from sharedip_lab.world.topology import FIRST, SECOND

OWN_PROBE_S = 0.5
"""The probe comes in the same moment as its announcement; a thousand of them take a while."""


def main(argument: str) -> None:
    """Listen until standard input closes."""
    told = json.loads(argument)
    askers = {frames.mac_bytes(mac) for mac in told["macs"]}
    sockets: dict[socket.socket, str] = {}
    with inside(told["bridge_namespace"]):
        for segment in (FIRST, SECOND):
            if segment.bridge in told["bridges"]:
                sock = Wire.open_socket(segment.bridge, segment)
                Wire.hear_everything(sock, segment)
                sockets[sock] = segment.bridge
    others = {str(address) for address in told["not_counted"]}
    announced: dict[tuple[bytes, frames.IPAddress], float] = {}
    counts = dict.fromkeys(sockets.values(), 0)
    tell_at = time.monotonic() + 1.0
    print(json.dumps({"now": time.monotonic(), "facts": [], "asks": {}}), flush=True)
    while True:
        ready, _, _ = select.select([*sockets, sys.stdin], [], [], max(0.0, tell_at - time.monotonic()))
        if sys.stdin in ready:
            return
        for sock, bridge in sockets.items():
            with contextlib.suppress(OSError):
                while True:
                    frame = sock.recv(2048)
                    source, claim, asked = frame[6:12], frames.read_claim(frame), frames.read_question(frame)
                    if claim is not None and claim.announced:
                        announced[source, claim.address] = time.monotonic()
                    if source not in askers or asked is None or str(asked) in others:
                        continue
                    if time.monotonic() - announced.get((source, asked), 0.0) > OWN_PROBE_S:
                        counts[bridge] += 1
        now = time.monotonic()
        if now >= tell_at:
            print(json.dumps({"now": now, "facts": [], "asks": counts}), flush=True)
            counts = dict.fromkeys(counts, 0)
            tell_at += 1.0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.argv[1])
