"""One connection, opened and dropped: healthy when it opens in time.

Must never: wait beyond the timeout, or leave the connection open. Counterpart: `core/health.py` judges.
"""

from __future__ import annotations

import asyncio

from sharedip.adapters.probes.probe import ProbeResult, seconds, short


class TcpProbe:
    """Asks the kernel of the other side only: a server that accepts and then hangs passes; http would see it."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self._host = host
        self._port = port
        self._timeout_s = timeout_s

    async def probe(self) -> ProbeResult:
        """Look once."""
        try:
            async with asyncio.timeout(self._timeout_s):
                _, writer = await asyncio.open_connection(self._host, self._port)
        except TimeoutError:
            return ProbeResult(healthy=False, detail=f"no connection in {seconds(self._timeout_s)}")
        except OSError as error:
            return ProbeResult(healthy=False, detail=short(error.strerror or str(error)))
        writer.transport.abort()
        return ProbeResult(healthy=True, detail="accepts connections")
