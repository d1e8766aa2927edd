"""The service behind the VIP: every node answers UDP and TCP with its name. One process for all nodes.

What begins with a question mark on a connection is answered after so many seconds, as a database's long query is.

Role: `python -m sharedip_lab.programs.echo JSON` opens sockets in every node's namespace and answers from the address
asked.
Must never: answer from another address than the one asked: an answer proves that the node had the VIP at that moment.
Counterpart: `client.py`.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import resource
import selectors
import socket
import struct
import sys
import time
from typing import Any

from sharedip_lab.world.namespaces import inside
from sharedip_lab.world.real_time import keep_time
from sharedip_lab.world.topology import ECHO_PORT

IP_PKTINFO = 8  # linux/in.h; Python names it from 3.12 on
_numbers = itertools.count()


def _udp(namespace: str, family: socket.AddressFamily) -> socket.socket:
    with inside(namespace):
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    sock.settimeout(0)
    sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", ECHO_PORT))  # noqa: S104 - in a namespace of the lab
    return sock


def _tcp(namespace: str) -> socket.socket:
    with inside(namespace):
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.settimeout(0)
    sock.bind(("::", ECHO_PORT))
    sock.listen(4096)
    return sock


def _answer(sock: socket.socket, name: bytes) -> None:
    """Answer every probe that waits; the kernel refuses a source address that has gone meanwhile."""
    while True:
        try:
            data, controls, _, peer = sock.recvmsg(64, 64)
        except OSError:
            return
        with contextlib.suppress(OSError):
            sock.sendmsg([data[:8] + name], [_from_same(*control) for control in controls], 0, peer)


def _from_same(level: int, kind: int, value: bytes) -> tuple[int, int, bytes]:
    """The packet information as it came in, turned into "send from there" (ip(7): ipi_spec_dst; RFC 3542)."""
    if level == socket.IPPROTO_IPV6:
        return level, kind, value[:16] + struct.pack("=I", 0)
    _, _, destination = struct.unpack("=I4s4s", value[:12])
    return level, kind, struct.pack("=I4s4s", 0, destination, bytes(4))


Owed = list[tuple[float, int, socket.socket, bytes]]
"""A heap of answers: when, a number that makes it unique, to whom, what."""


def _serve(selector: selectors.BaseSelector, sock: socket.socket, name: bytes, owed: Owed) -> None:
    """Answer what a connection sends with the name; close it when the other end does or the kernel resets it."""
    try:
        data = sock.recv(64)
        if data.startswith(b"?"):
            heapq.heappush(owed, (time.monotonic() + float(data[1:]), next(_numbers), sock, name))
            return
        if data:
            sock.send(name)
            return
    except BlockingIOError:
        return
    except OSError:
        pass
    selector.unregister(sock)
    sock.close()


def _pay(owed: Owed) -> None:
    """Answer whoever has waited for long enough; a connection that was closed meanwhile takes no answer."""
    while owed and owed[0][0] <= time.monotonic():
        _, _, sock, name = heapq.heappop(owed)
        with contextlib.suppress(OSError):
            sock.send(name)


def main(argument: str) -> None:
    """Answer until standard input closes."""
    told: dict[str, Any] = json.loads(argument)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a thousand idle clients
    selector = selectors.DefaultSelector()
    for name, namespace in told["nodes"]:
        tag = name.encode()
        selector.register(_udp(namespace, socket.AF_INET), selectors.EVENT_READ, ("udp", tag))
        selector.register(_udp(namespace, socket.AF_INET6), selectors.EVENT_READ, ("udp", tag))
        selector.register(_tcp(namespace), selectors.EVENT_READ, ("listen", tag))
    selector.register(sys.stdin, selectors.EVENT_READ, ("end", b""))
    keep_time()
    owed: Owed = []
    print(json.dumps({"now": 0.0, "facts": []}), flush=True)
    while True:
        events = selector.select(max(0.0, owed[0][0] - time.monotonic()) if owed else None)
        _pay(owed)
        for key, _ in events:
            kind, tag = key.data
            if kind == "end":
                return
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if kind == "udp":
                _answer(sock, tag)
            elif kind == "listen":
                with contextlib.suppress(OSError):
                    accepted, _ = sock.accept()
                    accepted.settimeout(0)
                    selector.register(accepted, selectors.EVENT_READ, ("connection", tag))
            else:
                _serve(selector, sock, tag, owed)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.argv[1])
