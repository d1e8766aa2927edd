"""Idle clients: many TCP connections to the VIPs that say nothing, and when each finds out that its server is gone.

Role: `python -m sharedip_lab.programs.idle JSON` opens them, prints when one ended and how, and when it was served
again. Those that `ping` say something after so long a silence, and give it so long, as an HTTP/2 client of Kubernetes
does; those that have a `query` wait for its answer, as a database's client does; the others say nothing, as SSH.
Must never: know anything of the cluster but the VIPs. Counterparts: `echo.py` on the nodes, `observe/crowd.py`.
"""

from __future__ import annotations

import contextlib
import json
import resource
import selectors
import socket
import sys
import time
from ipaddress import ip_address
from typing import Any

from sharedip_lab.world.namespaces import inside
from sharedip_lab.world.real_time import keep_time
from sharedip_lab.world.topology import ECHO_PORT

FLUSH_S = 0.05
AGAIN_S = 0.05
"""Whoever lost its connection tries again after this."""
OPENING_S = 1.0
BURST = 50
"""New connections in one round."""


class Client:
    """One connection, opened again whenever it ends. `served_by`: who answered its first word."""

    def __init__(self, vip: str, kind: str, ping_s: float, patience_s: float, query_s: float) -> None:
        self.vip, self.kind = vip, kind
        self.ping_s, self.patience_s, self.query_s = ping_s, patience_s, query_s
        self.socket: socket.socket | None = None
        self.served_by = ""
        self.heard_at = 0.0
        self.pinged_at = 0.0
        self.next_at = 0.0

    def open(self, namespace: str, now: float) -> socket.socket:
        """Begin."""
        family = socket.AF_INET if ip_address(self.vip).version == 4 else socket.AF_INET6
        with inside(namespace):
            self.socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.socket.settimeout(0)
        with contextlib.suppress(OSError):
            self.socket.connect((self.vip, ECHO_PORT))
        self.served_by, self.heard_at, self.pinged_at = "", now, 0.0
        return self.socket

    def hear(self, now: float) -> str:
        """What there is to read. Returns how the connection ended, if it has."""
        assert self.socket is not None
        try:
            data = self.socket.recv(256)
        except BlockingIOError:
            return ""
        except OSError as error:
            return "reset" if isinstance(error, ConnectionResetError) else "failed"
        if not data:
            return "closed"
        self.served_by, self.heard_at, self.pinged_at = data.decode(), now, 0.0
        if self.query_s:
            with contextlib.suppress(OSError):
                self.socket.send(f"?{self.query_s}".encode())
        return ""

    def due(self, now: float) -> str:
        """Time has passed. Returns how the connection ended, if that ends it."""
        if not self.served_by:
            return "not opened" if now - self.heard_at > OPENING_S else ""
        if not self.ping_s:
            return ""
        if self.pinged_at and now - self.pinged_at > self.patience_s:
            return "ping not answered"
        if not self.pinged_at and now - self.heard_at > self.ping_s:
            self.pinged_at = now
            with contextlib.suppress(OSError):
                assert self.socket is not None
                self.socket.send(b".")
        return ""


class Crowd:
    """All of them."""

    def __init__(self, namespace: str, clients: list[Client]) -> None:
        self._namespace = namespace
        self._clients = clients
        self.selector = selectors.DefaultSelector()
        self.facts: list[list[Any]] = []

    def turn(self, now: float) -> None:
        """Open what is closed, and look who has waited for long enough."""
        opened = 0
        for client in self._clients:
            if client.socket is not None:
                self._end(client, client.due(now), now)
            elif now >= client.next_at and opened < BURST:
                opened += 1
                opening = client.open(self._namespace, now)
                self.selector.register(opening, selectors.EVENT_READ | selectors.EVENT_WRITE, client)

    def ready(self, client: Client, events: int, now: float) -> None:
        """The kernel has something to say about one of them."""
        if client.socket is None:
            return
        if events & selectors.EVENT_WRITE:
            self.selector.modify(client.socket, selectors.EVENT_READ, client)
            with contextlib.suppress(OSError):
                client.socket.send(b".")
        if events & selectors.EVENT_READ:
            was = client.served_by
            self._end(client, client.hear(now), now)
            if client.served_by and client.served_by != was:
                self.facts.append(["served", now, client.served_by, client.vip, client.kind])

    def _end(self, client: Client, how: str, now: float) -> None:
        if not how or client.socket is None:
            return
        if client.served_by:
            self.facts.append(["ended", now, how, client.vip, client.kind])
        self.selector.unregister(client.socket)
        client.socket.close()
        client.socket, client.served_by, client.next_at = None, "", now + AGAIN_S

    def standing(self) -> dict[str, int]:
        """How many stand on each VIP."""
        counts: dict[str, int] = {}
        for client in self._clients:
            counts[client.vip] = counts.get(client.vip, 0) + bool(client.served_by)
        return counts


def main(argument: str) -> None:
    """Wait until standard input closes."""
    told = json.loads(argument)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    clients = [
        Client(vip, kind["name"], kind["ping_s"], kind["patience_s"], kind["query_s"])
        for vip in told["vips"]
        for kind in told["kinds"]
        for _ in range(kind["count"])
    ]
    crowd = Crowd(told["namespace"], clients)
    crowd.selector.register(sys.stdin, selectors.EVENT_READ, None)
    keep_time()
    flush_at = turn_at = time.monotonic()
    while True:
        for key, events in crowd.selector.select(max(0.0, min(flush_at, turn_at) - time.monotonic())):
            if key.data is None:
                return
            crowd.ready(key.data, events, time.monotonic())
        now = time.monotonic()
        if now >= turn_at:
            crowd.turn(now)
            turn_at = now + 0.02
        if now >= flush_at:
            print(json.dumps({"now": now, "facts": crowd.facts, "standing": crowd.standing()}), flush=True)
            crowd.facts.clear()
            flush_at = now + FLUSH_S


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.argv[1])
