"""Ports that programs of other people are told to listen on.

Role: numbers below the kernel's range of ephemeral ports. A client that asks an ephemeral port of this machine until
its server is there may be given that very port for its own end: it is then connected to itself, hears its own request,
and the server finds its port taken. Must never: be used where the test can bind port 0 itself.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket

FIRST, LAST = 10240, 32000
"""Above what Debian's services listen on, below what `net.ipv4.ip_local_port_range` begins with, 32768
(Documentation/networking/ip-sysctl.rst)."""
_chooser = random.Random(os.getpid() ^ random.SystemRandom().getrandbits(32))


def free_ports(count: int) -> list[int]:
    """So many ports of the loopback, one after the other, that nobody listens on.

    Another run that looks in the same moment may still choose the same: with twenty thousand to choose from, rarely.
    """
    while True:
        first = _chooser.randrange(FIRST, LAST - count)
        ports = list(range(first, first + count))
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in ports:
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return ports
