"""The client of the service behind a VIP: a new TLS connection and one request every so often. A process of its own.

Role: `python -m sharedip_lab.programs.caller JSON` prints for each request when it began, when it ended, and how.
Must never: reuse a connection, or try again: a request that fails is a fact. Certificates are not its business.
Counterparts: `apiserver.py` on the nodes, `faults/service.py` in the lab.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import ssl
import sys
import threading
import time
from typing import Any

from sharedip_lab.world.namespaces import inside

TIMEOUT_S = 3.0
FLUSH_S = 0.05


def call(told: dict[str, Any], context: ssl.SSLContext, ended: queue.Queue[tuple[float, float, bool, str]]) -> None:
    """One request: an answer of 200 within the timeout is good."""
    began, good, how = time.monotonic(), False, ""
    try:
        # A thread enters the namespace alone; its socket stays there.
        with inside(told["namespace"]):
            connection = http.client.HTTPSConnection(told["vip"], told["port"], timeout=TIMEOUT_S, context=context)
            connection.connect()
        with contextlib.closing(connection):
            connection.request("GET", told["path"], headers={"Connection": "close"})
            answer = connection.getresponse()
            answer.read()
            good, how = answer.status == 200, str(answer.status)
    except (OSError, http.client.HTTPException) as error:
        how = type(error).__name__
    ended.put((began, time.monotonic(), good, how))


def _wait_for_end(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


def main(argument: str) -> None:
    """Call until standard input closes."""
    told = json.loads(argument)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    ended: queue.Queue[tuple[float, float, bool, str]] = queue.Queue()
    over = threading.Event()
    threading.Thread(target=_wait_for_end, args=(over,), name="end", daemon=True).start()
    next_at = flush_at = time.monotonic()
    print(json.dumps({"now": next_at, "facts": []}), flush=True)
    while not over.is_set():
        now = time.monotonic()
        if now >= next_at:
            next_at = max(next_at + told["interval_s"], now)
            threading.Thread(target=call, args=(told, context, ended), daemon=True).start()
        if now >= flush_at:
            flush_at, facts = now + FLUSH_S, []
            while not ended.empty():
                facts.append(ended.get())
            print(json.dumps({"now": now, "facts": facts}), flush=True)
        over.wait(max(0.0, min(next_at, flush_at) - time.monotonic()))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.argv[1])
