"""A client that makes requests of the service behind the VIP, each on a connection of its own, and counts them.

Role: `python -m sharedip_lab.programs.requester JSON` prints of every request when it began, when it ended, and whether
it was answered with 200, by which server, or why not. What began before an instant and failed is then countable.
Must never: try again, or let one that hangs keep the next from beginning. Counterpart: `observe/service.py`.

JSON: `vip`, `port`, `every_s`, `timeout_s`. It ends when standard input closes, after the last answer.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

AT_ONCE_MAX = 128


class Requester:
    """Invariant: a line for each request that has ended, whole, whichever thread writes it."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.vip = str(told["vip"])
        self.port = int(told["port"])
        self.timeout_s = float(told["timeout_s"])
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE  # which node answers is all that counts here
        self.lock = threading.Lock()

    def ask(self, begun: float) -> None:
        """One request."""
        by, why = "", ""
        connection = http.client.HTTPSConnection(self.vip, self.port, timeout=self.timeout_s, context=self.context)
        try:
            connection.request("GET", "/", headers={"Connection": "close"})
            answer = connection.getresponse()
            body = answer.read(256).decode("utf-8", "replace")
            by, why = (body, "") if answer.status == 200 else ("", f"status {answer.status}")
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
        finally:
            connection.close()
        said = {"begun": begun, "ended": time.monotonic(), "ok": not why, "by": by, "why": why}
        with self.lock, contextlib.suppress(BrokenPipeError):
            print(json.dumps(said), flush=True)


def main(argument: str) -> None:
    """Ask until standard input closes."""
    told = json.loads(argument)
    requester, every_s = Requester(told), float(told["every_s"])
    is_over = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        is_over.set()

    threading.Thread(target=wait, daemon=True).start()
    with ThreadPoolExecutor(AT_ONCE_MAX) as threads:
        next_at = time.monotonic()
        while not is_over.wait(max(0.0, next_at - time.monotonic())):
            now = time.monotonic()
            threads.submit(requester.ask, now)
            # A late tick is not made up for: a burst would count one moment many times.
            next_at = max(next_at + every_s, now)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(sys.argv[1])
