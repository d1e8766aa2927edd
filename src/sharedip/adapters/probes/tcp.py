"""A connection that opens in time is healthy; it is kept open until the next one, so that its end is noticed.

Must never: wait beyond the timeout, keep two connections for longer than that takes, or send anything.
Counterpart: `core/health.py` judges.
"""

from __future__ import annotations

import asyncio
import socket

from sharedip.adapters.probes.dial import dial, why
from sharedip.adapters.probes.probe import Closings, ProbeResult, seconds, short

SAID_BYTES_MAX = 64 * 1024
"""Greetings are under 1 KiB."""


class TcpProbe:
    """Asks the kernel of the other side only: a server that accepts and then hangs passes; http would see it.

    Invariant: the loop reads `_kept`, if there is one; what a server says on it is dropped.
    """

    def __init__(self, host: str, port: int, timeout_s: float, closings: Closings | None = None) -> None:
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._closings = closings or Closings()
        self._kept: socket.socket | None = None
        self._heard = 0

    async def probe(self) -> ProbeResult:
        """Look once, and keep what was opened."""
        opened = await self._open()
        self.close()
        if isinstance(opened, ProbeResult):
            return opened
        self._kept, self._heard = opened, 0
        asyncio.get_running_loop().add_reader(opened.fileno(), self._read, opened)
        return _ACCEPTS

    async def probe_apart(self) -> ProbeResult:
        """Look once, and keep nothing."""
        opened = await self._open()
        if isinstance(opened, ProbeResult):
            return opened
        opened.close()
        return _ACCEPTS

    def close(self) -> None:
        """Keep no connection any more."""
        kept, self._kept = self._kept, None
        if kept is not None:
            asyncio.get_running_loop().remove_reader(kept.fileno())
            kept.close()

    async def _open(self) -> socket.socket | ProbeResult:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await dial(self._host, self._port)
        except TimeoutError:
            return ProbeResult(healthy=False, detail=f"no connection in {seconds(self._timeout_s)}")
        except OSError as error:
            detail = short(why(error, self._host, self._port))
            return ProbeResult(healthy=False, detail=detail, refused=isinstance(error, ConnectionRefusedError))

    def _read(self, sock: socket.socket) -> None:
        try:
            said = sock.recv(SAID_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        self._heard += len(said)
        if not said:
            self.close()
            self._closings.tell(answers=1)
        elif self._heard > SAID_BYTES_MAX:
            self.close()  # who says so much waits for nobody to listen


_ACCEPTS = ProbeResult(healthy=True, detail="accepts connections")
