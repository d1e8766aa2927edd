"""A flood against one node, from a namespace of the lab, at a rate: `flood.py KIND RATE SECONDS ARGUMENTS...`.

Role: `datagrams HOST...` (garbage, and our form for nobody's lease), `frames LINK VIP` (claims by invented MACs),
`connections HOST PORT` (opened, one byte, left). Says at the end how many it has sent.
Must never: leave the namespace that it is started in. Counterpart: `scenarios/floods.py`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from ipaddress import ip_address

PORT = 9470
OPEN_MAX = 200
STEP_S = 0.002


def main() -> None:
    """Flood until the time is over."""
    kind, rate, seconds, *rest = sys.argv[1:]
    sent = at_rate(KINDS[kind](rest), float(rate), float(seconds))
    print(f"{kind}: {sent} in {seconds} s", flush=True)


def at_rate(send: Callable[[int], None], rate: float, seconds: float) -> int:
    """As many as the rate says, or as this machine can."""
    begin, sent = time.monotonic(), 0
    while (gone := time.monotonic() - begin) < seconds:
        due = int(gone * rate)
        if sent >= due:
            time.sleep(STEP_S)
            continue
        for _ in range(min(due - sent, 500)):
            with contextlib.suppress(OSError):  # a full queue is a flood's own affair
                send(sent)
            sent += 1
    return sent


def datagrams(hosts: list[str]) -> Callable[[int], None]:
    """To each of these agents in turn."""
    channels = [socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) for host in hosts]
    for channel, host in zip(channels, hosts, strict=True):
        channel.connect((host, PORT))
    bodies = (os.urandom(32), os.urandom(1302), b"SIP2\x01\x01" + os.urandom(48))

    def send(number: int) -> None:
        channels[number % len(channels)].send(bodies[number % len(bodies)])

    return send


def frames(words: list[str]) -> Callable[[int], None]:
    """ARP replies to everybody, each from another MAC."""
    link, vip = words
    channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    channel.bind((link, 0))
    address, everybody = ip_address(vip).packed, b"\xff" * 6

    def send(number: int) -> None:
        mac = b"\x02\x66" + (number % 60_000).to_bytes(4)
        head = everybody + mac + b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02"
        channel.send(head + mac + address + everybody + address)

    return send


def connections(words: list[str]) -> Callable[[int], None]:
    """Opened, begun, and left open until there are many."""
    opened: deque[socket.socket] = deque()

    def send(_: int) -> None:
        made = socket.socket(socket.AF_INET6 if ":" in words[0] else socket.AF_INET)
        made.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            made.connect((words[0], int(words[1])))
        opened.append(made)
        if len(opened) > OPEN_MAX:
            oldest = opened.popleft()
            with contextlib.suppress(OSError):
                oldest.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 8)
            oldest.close()

    return send


KINDS: dict[str, Callable[[list[str]], Callable[[int], None]]] = {
    "datagrams": datagrams,
    "frames": frames,
    "connections": connections,
}

if __name__ == "__main__":
    main()
