"""The client: numbered UDP probes to every VIP, and one open TCP connection. A process of its own.

Role: `python -m sharedip_lab.programs.client JSON` prints when which node answered, and what became of the connection.
Must never: know anything of the cluster but the VIPs.
Counterparts: `echo.py` on the nodes, `observe/feeds.py` in the lab.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import sys
import time
from ipaddress import ip_address
from typing import Any

from sharedip_lab.world.namespaces import inside
from sharedip_lab.world.real_time import keep_time
from sharedip_lab.world.topology import ECHO_PORT

FLUSH_S = 0.05
TALK_S = 0.1
"""How often the TCP connection says something."""
HANG_S = 1.0
"""A connection that has not answered for this long hangs."""
MISSED_S = 0.3
"""A probe that was not answered for this long is missed: longer than any queue on this one machine."""
_PROBE = struct.Struct("!Q")


class Probes:
    """UDP probes to one VIP; never connected, so that one error does not stop the next probe."""

    def __init__(self, namespace: str, vip: str) -> None:
        self.vip = vip
        self.sent = 0
        self.answered = 0
        family = socket.AF_INET if ip_address(vip).version == 4 else socket.AF_INET6
        with inside(namespace):
            self.socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.settimeout(0)
        self.facts: list[list[Any]] = []
        self.open: dict[int, float] = {}
        """Probes that may still be answered, oldest first, and when they were sent."""

    def send(self, now: float) -> None:
        """One probe; nobody there to send to is the same as no answer."""
        self.sent += 1
        self.open[self.sent] = now
        with contextlib.suppress(OSError):
            self.socket.sendto(_PROBE.pack(self.sent), (self.vip, ECHO_PORT))

    def read(self) -> None:
        """Take in every answer that waits."""
        while True:
            try:
                data, peer = self.socket.recvfrom(64)
            except BlockingIOError:
                return
            except OSError:
                continue
            if peer[0] == self.vip and len(data) > _PROBE.size:
                self.answered += 1
                (number,) = _PROBE.unpack_from(data)
                self.open.pop(number, None)
                self.facts.append(["probe", time.monotonic(), data[_PROBE.size :].decode(), self.vip])

    def give_up(self, now: float) -> None:
        """Name the probes that nobody has answered in time."""
        for number, sent_at in list(self.open.items()):
            if sent_at > now - MISSED_S:
                return
            del self.open[number]
            self.facts.append(["missed", sent_at, "", self.vip])


class Connection:
    """One TCP connection to one VIP, opened again whenever it ends. Does a change of owner reset it or let it hang?"""

    def __init__(self, namespace: str, vip: str) -> None:
        self.namespace = namespace
        self.vip = vip
        self.socket: socket.socket | None = None
        self.open = False
        self.hung = False
        self.heard_at = 0.0
        self.next_at = 0.0
        self.facts: list[list[Any]] = []

    def _say(self, what: str) -> None:
        self.facts.append(["connection", time.monotonic(), what, self.vip])

    def turn(self, now: float) -> None:
        """Read, notice, speak; called on every tick."""
        if self.socket is None:
            if now >= self.next_at:
                self._connect(now)
            return
        try:
            data = self.socket.recv(256)
        except BlockingIOError:
            self._wait(now)
            return
        except OSError as error:
            self._end("reset" if isinstance(error, ConnectionResetError) else "failed", now)
            return
        if not data:
            self._end("closed", now)
            return
        if not self.open or self.hung:
            self._say("open" if not self.open else "answers again")
        self.open, self.hung, self.heard_at = True, False, now

    def _wait(self, now: float) -> None:
        silent_s = now - self.heard_at
        if not self.open and silent_s > HANG_S:
            self._end("", now)
        elif self.open and silent_s > HANG_S and not self.hung:
            self.hung = True
            self._say("hangs")
        elif self.hung and silent_s > 10 * HANG_S:
            self._end("given up", now)
        elif self.socket is not None and now >= self.next_at:
            self.next_at = now + TALK_S
            with contextlib.suppress(OSError):
                self.socket.send(b".")

    def _connect(self, now: float) -> None:
        self.next_at = now + TALK_S
        family = socket.AF_INET if ip_address(self.vip).version == 4 else socket.AF_INET6
        with inside(self.namespace):
            self.socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.socket.settimeout(0)
        with contextlib.suppress(OSError):
            self.socket.connect((self.vip, ECHO_PORT))
        self.open, self.hung, self.heard_at, self.next_at = False, False, now, now + 0.02

    def _end(self, why: str, now: float) -> None:
        if self.open and why:
            self._say(why)
        if self.socket is not None:
            self.socket.close()
        self.socket, self.open, self.hung, self.next_at = None, False, False, now + TALK_S


def main(argument: str) -> None:
    """Probe until standard input closes."""
    told = json.loads(argument)
    interval_s = float(told["interval_s"])
    probes = [Probes(told["namespace"], vip) for vip in told["vips"]]
    connections = [Connection(told["namespace"], vip) for vip in told["vips"]]
    keep_time()
    probe_at = flush_at = turn_at = time.monotonic()
    sockets = [probe.socket for probe in probes]
    while True:
        wakes = min(probe_at, flush_at, turn_at)
        ready, _, _ = select.select([*sockets, sys.stdin], [], [], max(0.0, wakes - time.monotonic()))
        for probe in probes:
            probe.read()
        if sys.stdin in ready:
            return
        now = time.monotonic()
        if now >= probe_at:
            for probe in probes:
                probe.send(now)
            # A late tick is not made up for: a burst would claim more answers than time has passed.
            probe_at = max(probe_at + interval_s, now)
        if now >= turn_at:
            for connection in connections:
                connection.turn(now)
            turn_at = now + 0.01
        if now >= flush_at:
            for probe in probes:
                probe.give_up(now)
            batches = [source.facts for source in probes] + [source.facts for source in connections]
            facts = [fact for batch in batches for fact in batch]
            for batch in batches:
                batch.clear()
            counts = {probe.vip: [probe.sent, probe.answered] for probe in probes}
            print(json.dumps({"now": now, "judged": now - MISSED_S, "facts": facts, "counts": counts}), flush=True)
            flush_at = now + FLUSH_S


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.argv[1])
