"""A TLS server with /readyz, such as an API server is for a health check and for its clients. A process of its own.

Role: `python -m sharedip_lab.programs.apiserver JSON` prints `listening` and serves until it is told to end. What is
asked for without /readyz is answered with the server's name. Only the standard library, nothing of the agent's.
Must never: keep a connection from being accepted while others are slow. Counterpart: `observe/service.py`.

JSON: `name`, `port`, `certificate` (PEM with its key), `control` (a file), `delay_s`; `client_ca` if clients must
show a certificate. The control file says how it is, from the next request on:

  ok          everything is answered with 200
  not ready   /readyz with 500, everything else is served
  broken      everything is answered with 500
  slow 3.5    as ok, but each answer comes after so many seconds

SIGKILL is its death, SIGSTOP and SIGCONT its freeze. SIGTERM is an orderly end as an API server's with
`--shutdown-delay-duration`: /readyz fails at once, requests are served for `delay_s` more, then it stops to listen,
finishes what has begun, and closes what is kept open.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HANDSHAKE_S = 10.0
FINISH_S = 10.0
"""What has begun may take so long after the end of the delay."""


class Server(ThreadingHTTPServer):
    """Invariant: `busy` requests have begun and are not answered; `open` are the connections whose thread lives."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    address_family = socket.AF_INET6

    def __init__(self, told: dict[str, Any]) -> None:
        self.name = str(told["name"])
        self.control = Path(told["control"])
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(told["certificate"])
        if told.get("client_ca"):
            self.context.load_verify_locations(told["client_ca"])
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.is_ending = False
        self.is_closing = False
        self.lock = threading.Lock()
        self.busy = 0
        self.open: set[socket.socket] = set()
        super().__init__(("::", int(told["port"])), Handler)

    def server_bind(self) -> None:
        """Both families on one port; nobody asks DNS for our name, as HTTPServer's own would."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """One connection, in a thread of its own."""
        request.settimeout(HANDSHAKE_S)
        with contextlib.suppress(OSError):
            secured = self.context.wrap_socket(request, server_side=True)
            secured.settimeout(None)
            with self.lock:
                self.open.add(secured)
            try:
                Handler(secured, client_address, self)
            finally:
                with self.lock:
                    self.open.discard(secured)
                with contextlib.suppress(OSError):
                    secured.shutdown(socket.SHUT_RDWR)
                secured.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients come and go."""

    def mode(self) -> str:
        """What the control file says."""
        with contextlib.suppress(OSError):
            return self.control.read_text(encoding="utf-8").strip()
        return "ok"

    def end(self, delay_s: float) -> None:
        """In order; called in a thread."""
        self.is_ending = True
        time.sleep(delay_s)
        self.is_closing = True
        self.shutdown()
        self.server_close()
        finish_at = time.monotonic() + FINISH_S
        while self.busy and time.monotonic() < finish_at:
            time.sleep(0.01)
        with self.lock:
            for each in self.open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        os._exit(0)  # the other threads wait for clients that have nothing to say


class Handler(BaseHTTPRequestHandler):
    """The requests of one connection, one after the other."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:  # http.server calls it so
        """Answer one request."""
        with self.server.lock:
            self.server.busy += 1
        try:
            self._answer()
        finally:
            with self.server.lock:
                self.server.busy -= 1

    def _answer(self) -> None:
        mode = self.server.mode()
        if mode.startswith("slow"):
            time.sleep(float(mode.split()[1]))
        about_us = self.path.startswith(("/readyz", "/livez", "/healthz"))
        fails = mode == "broken" or (about_us and (mode == "not ready" or self.server.is_ending))
        why = "shutdown" if self.server.is_ending else "etcd"
        body = f"[-]{why} failed: reason withheld\n" if fails else "ok" if about_us else self.server.name
        self.send_response(500 if fails else 200)
        self.send_header("Content-Length", str(len(body)))
        if self.server.is_closing:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def main(argument: str) -> None:
    """Serve until the end."""
    told = json.loads(argument)
    server = Server(told)

    def begin_the_end(*_: object) -> None:
        if not server.is_ending:
            threading.Thread(target=server.end, args=(float(told["delay_s"]),)).start()

    signal.signal(signal.SIGTERM, begin_the_end)
    print("listening", flush=True)
    server.serve_forever(poll_interval=0.05)
    threading.Event().wait()  # `end` ends the process


if __name__ == "__main__":
    main(sys.argv[1])
