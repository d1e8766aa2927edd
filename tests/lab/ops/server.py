"""A server that misbehaves as a file tells it to: `python server.py PORT MODE_FILE [CERTIFICATE]`.

Modes: `ok` answers 200 to everything, `hang` accepts and never answers, `500` and `401` answer so, `flap` answers 200
and 500 in turn. SIGHUP: it restarts in place, and refuses for 30 ms. A process of its own, without anything of ours:
what a probe meets here is a real socket and real TLS.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from types import FrameType

AWAY_S = 0.03


class RestartError(Exception):
    """SIGHUP has come."""


held: list[socket.socket] = []
turns = [0]


def serve(plain: socket.socket, context: ssl.SSLContext | None, mode: str) -> None:
    """One connection."""
    if mode == "hang":
        held.append(plain)
        return
    with contextlib.suppress(OSError):
        plain.settimeout(5.0)
        sock = plain if context is None else context.wrap_socket(plain, server_side=True)
        with sock:
            while b"\r\n\r\n" not in sock.recv(65536):
                pass
            turns[0] += 1
            code = "200" if mode == "ok" or (mode == "flap" and turns[0] % 2) else "500" if mode == "flap" else mode
            body = b"ok" if code == "200" else b"[-]etcd failed: reason withheld\n"
            sock.sendall(b"HTTP/1.1 %s X\r\nContent-Length: %d\r\n\r\n%s" % (code.encode(), len(body), body))


def restart(_: int, __: FrameType | None) -> None:
    """Leave the loop that accepts."""
    raise RestartError


def main(port: str, mode_file: str, certificate: str = "") -> None:
    """Listen until killed."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    signal.signal(signal.SIGHUP, restart)
    while True:
        with contextlib.suppress(RestartError), socket.create_server(("127.0.0.1", int(port)), backlog=64) as listener:
            print("listening", flush=True)
            while True:
                plain, _ = listener.accept()
                mode = Path(mode_file).read_text()
                threading.Thread(target=serve, args=(plain, context, mode), daemon=True).start()
        time.sleep(AWAY_S)


if __name__ == "__main__":
    main(*sys.argv[1:4])
