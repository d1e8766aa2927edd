"""A client that asks for the MAC: "who has the VIP?", all the time, and who says so. A process of its own.

Role: `python -m sharedip_lab.programs.asker JSON` asks by ARP or neighbour solicitation from a host of its own on the
segment, and prints every answer and every announcement with the MAC that it names and the kernel's own instant.
Must never: know anything of the cluster but the VIPs and whose MAC is whose, or decide anything.
Counterparts: `observe/overlaps.py`, which judges; `client.py`, which sends to the address and lets the kernel ask.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import time
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from sharedip_lab.observe.wire import SO_TIMESTAMPNS, Wire
from sharedip_lab.world import frames
from sharedip_lab.world.namespaces import inside
from sharedip_lab.world.real_time import keep_time
from sharedip_lab.world.topology import LINK

FLUSH_S = 0.05
SETTLED_S = 0.05
"""What was received before so long ago has been read by now."""


class Asker:
    """One packet socket on the host's link."""

    def __init__(self, namespace: str, host: tuple[str, str, str], names: dict[bytes, str], vips: set[str]) -> None:
        mac, address4, address6 = host
        self.mac = frames.mac_bytes(mac)
        self.names = names
        self.vips = vips
        self.questions = [self._question(ip_address(vip), address4, address6) for vip in sorted(vips)]
        self.facts: list[list[Any]] = []
        with inside(namespace):
            self.socket = Wire.open_socket(LINK)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def _question(self, vip: frames.IPAddress, address4: str, address6: str) -> bytes:
        if isinstance(vip, IPv4Address):
            return frames.arp_request(self.mac, IPv4Address(address4), vip)
        return frames.neighbour_solicitation(self.mac, IPv6Address(address6), vip)

    def ask(self) -> None:
        """Who has it? A full queue loses the question, which is no answer."""
        for question in self.questions:
            with contextlib.suppress(OSError):
                self.socket.send(question)

    def read(self) -> None:
        """Take in every claim that waits."""
        for at, frame in Wire.stamped(self.socket):
            claim = frames.read_claim(frame)
            if claim is not None and str(claim.address) in self.vips:
                who = self.names.get(claim.mac, frames.mac_text(claim.mac))
                self.facts.append(["named", at, who, str(claim.address)])


def main(argument: str) -> None:
    """Ask until standard input closes."""
    told = json.loads(argument)
    names = {frames.mac_bytes(mac): name for name, mac in told["nodes"]}
    asker = Asker(told["namespace"], tuple(told["host"]), names, set(told["vips"]))
    interval_s = float(told["interval_s"])
    keep_time()
    ask_at = flush_at = time.monotonic()
    while True:
        wakes = min(ask_at, flush_at)
        ready, _, _ = select.select([asker.socket, sys.stdin], [], [], max(0.0, wakes - time.monotonic()))
        asker.read()
        if sys.stdin in ready:
            return
        now = time.monotonic()
        if now >= ask_at:
            asker.ask()
            ask_at = max(ask_at + interval_s, now)
        if now >= flush_at:
            print(json.dumps({"now": now, "judged": now - SETTLED_S, "facts": asker.facts}), flush=True)
            asker.facts.clear()
            flush_at = now + FLUSH_S


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.argv[1])
