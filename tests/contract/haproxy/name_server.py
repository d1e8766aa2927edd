"""A name server that knows one address for every name (RFC 1035), until it falls silent."""

from __future__ import annotations

import socket
import struct
import threading

_A = 1
_NAME_AT_12 = b"\xc0\x0c"
"""A pointer to the question's name (4.1.4)."""


class NameServer:
    """On a UDP port of its own. `asked` counts questions, answered or not."""

    def __init__(self) -> None:
        self.silent = False
        self.asked = 0
        self._channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._channel.bind(("127.0.0.1", 0))
        self.port: int = self._channel.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            question, asker = self._channel.recvfrom(4096)
            self.asked += 1
            if self.silent:
                continue
            end = question.index(b"\0", 12) + 5
            (kind,) = struct.unpack("!H", question[end - 4 : end - 2])
            answers = 1 if kind == _A else 0
            reply = question[:2] + struct.pack("!HHHHH", 0x8180, 1, answers, 0, 0) + question[12:end]
            if answers:
                reply += _NAME_AT_12 + struct.pack("!HHIH", _A, 1, 1, 4) + socket.inet_aton("127.0.0.1")
            self._channel.sendto(reply, asker)
