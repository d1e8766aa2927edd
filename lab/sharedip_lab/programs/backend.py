"""The backends behind translated VIPs: they answer a datagram at once, and again and again for a while after.

Role: `python -m sharedip_lab.programs.backend JSON` opens a socket in every backend's namespace. What comes long after
the question shows whether the node in front still lets answers out.
Must never: answer with another name than the one of the node in front. Counterpart: `faults/translation.py`.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import time

from sharedip_lab.world.namespaces import inside
from sharedip_lab.world.real_time import keep_time
from sharedip_lab.world.topology import ECHO_PORT

AGAIN_S = 0.02
GOES_ON_S = 4.0
"""Longer than a fence stays open, shorter than the next fault."""
FLUSH_S = 0.05
AGAIN = bytes(8)
"""The number of no probe."""


class Backend:
    """One namespace. `peers` has who asked, and until when it is answered."""

    def __init__(self, name: str, namespace: str) -> None:
        self.name = name
        self.tag = name.encode()
        with inside(namespace):
            self.socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.settimeout(0)
        self.socket.bind(("::", ECHO_PORT))
        self.peers: dict[tuple[str, int], float] = {}
        self.has_served = False

    def read(self, now: float) -> None:
        """Answer what waits."""
        while True:
            try:
                data, peer = self.socket.recvfrom(64)
            except OSError:
                return
            self.peers[peer[:2]] = now + GOES_ON_S
            # The observer's datagrams come from the echo's own port: they are no client's.
            self.has_served = self.has_served or peer[1] != ECHO_PORT
            self._send(data[:8] + self.tag, peer[:2])

    def again(self, now: float) -> None:
        """Answer everybody once more who has asked a short while ago."""
        for peer, until in list(self.peers.items()):
            if now >= until:
                del self.peers[peer]
            else:
                self._send(AGAIN + self.tag, peer)

    def _send(self, data: bytes, peer: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):
            self.socket.sendto(data, peer)


def main(argument: str) -> None:
    """Answer until standard input closes."""
    told = json.loads(argument)
    backends = [Backend(name, namespace) for name, namespace in told["nodes"]]
    keep_time()
    again_at = flush_at = time.monotonic()
    while True:
        wakes = min(again_at, flush_at)
        heard = [*(one.socket for one in backends), sys.stdin]
        ready, _, _ = select.select(heard, [], [], max(0.0, wakes - time.monotonic()))
        if sys.stdin in ready:
            return
        now = time.monotonic()
        for one in backends:
            one.read(now)
        if now >= again_at:
            for one in backends:
                one.again(now)
            again_at = now + AGAIN_S
        if now >= flush_at:
            print(json.dumps({"now": now, "served": [one.name for one in backends if one.has_served]}), flush=True)
            flush_at = now + FLUSH_S


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.argv[1])
