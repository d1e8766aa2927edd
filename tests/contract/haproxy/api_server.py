"""What stands for a Kubernetes API server: TLS, `/readyz`, and connections that stay open."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from enum import Enum


class Mood(Enum):
    """How it answers `/readyz`."""

    READY = "200 OK"
    SICK = "500 Internal Server Error"
    FROZEN = ""
    """It accepts connections, as the kernel of a stopped process does, and says nothing."""


class ApiServer:
    """One on a port of its own. `greeting` is what each client is told that says its name, so that it is known."""

    def __init__(self, name: str, context: ssl.SSLContext) -> None:
        self.name = name
        self.mood = Mood.READY
        self.checks = 0
        """How often it was asked for /readyz."""
        self._context = context
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Die as a killed process does: its kernel resets what stands."""
        with contextlib.suppress(OSError):  # closed already
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.close()

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(raw)
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        if self._is_frozen():
            return
        with contextlib.suppress(OSError):
            channel = self._context.wrap_socket(raw, server_side=True)
            self._open.append(channel)
            while asked := channel.recv(4096):
                if self._is_frozen():
                    continue
                if asked.startswith(b"GET /readyz HTTP/1.1"):
                    self.checks += 1
                    channel.sendall(f"HTTP/1.1 {self.mood.value}\r\nContent-Length: 0\r\n\r\n".encode())
                else:
                    channel.sendall(self.name.encode())

    def _is_frozen(self) -> bool:
        return self.mood is Mood.FROZEN
