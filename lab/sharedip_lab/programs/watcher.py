"""Clients that are silent, as a watch of Kubernetes is: sessions that stand, and when each hears that it is over.

Role: `python -m sharedip_lab.programs.watcher JSON` opens `count` TLS sessions at an address, asks each who answers,
and then waits for its end without saying anything more. A line when one stands, one when it is over; a new one follows.
Must never: send anything on a session that stands: who sends finds out by itself. Counterpart: `observe/service.py`.

JSON: `vip`, `port`, `count`. It ends when standard input closes.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import sys
import threading
import time
from typing import Any

CONNECT_S = 5.0
AGAIN_S = 0.1


class Watcher:
    """Invariant: a line whole, whichever thread writes it."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.place = str(told["vip"]), int(told["port"])
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.lock = threading.Lock()

    def tell(self, number: int, by: str, begun: float, ended: float | None) -> None:
        """One line."""
        said = {"number": number, "by": by, "begun": begun, "ended": ended}
        with self.lock, contextlib.suppress(BrokenPipeError):
            print(json.dumps(said), flush=True)

    def watch(self, number: int) -> None:
        """One session after another."""
        while True:
            with contextlib.suppress(OSError):
                self._one(number)
            time.sleep(AGAIN_S)

    def _one(self, number: int) -> None:
        with socket.create_connection(self.place, CONNECT_S) as raw, self.context.wrap_socket(raw) as session:
            session.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            by = session.recv(4096).decode("utf-8", "replace").rpartition("\r\n\r\n")[2]
            if not by:
                by = session.recv(256).decode("utf-8", "replace")
            session.settimeout(None)
            begun = time.monotonic()
            self.tell(number, by, begun, None)
            with contextlib.suppress(OSError):
                session.recv(1)
            self.tell(number, by, begun, time.monotonic())


def main(argument: str) -> None:
    """Watch until standard input closes."""
    told = json.loads(argument)
    watcher = Watcher(told)
    for number in range(int(told["count"])):
        threading.Thread(target=watcher.watch, args=(number,), daemon=True).start()
    sys.stdin.read()
    os._exit(0)  # the others wait for what may never come


if __name__ == "__main__":
    main(sys.argv[1])
