"""One GET on a connection of its own: healthy is 2xx with a whole answer in time, and nothing else.

Role: what a load balancer's check would see. Must never: wait beyond the timeout, keep more than a little of what the
server sends, follow a redirect, or raise for anything that a server does. Counterpart: `core/health.py` judges.

A new connection each time: a server that no longer accepts any is dead for clients, however well an old one still
works.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import h11

from sharedip.adapters.probes.probe import ProbeResult, Url, seconds, short
from sharedip.adapters.probes.tls import ContextCache, FilesUnusableError, TlsTerms

BODY_BYTES_MAX = 64 * 1024
"""/readyz?verbose of an API server is under 4 KiB; who sends more does not answer a health check."""
HEADER_BYTES_MAX = 16 * 1024
_READ_BYTES = 4096


class HttpProbe:
    """`terms` are None for plain http."""

    def __init__(self, url: Url, terms: TlsTerms | None, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._terms = terms
        self._contexts = ContextCache(terms) if terms is not None else None

    async def probe(self) -> ProbeResult:
        """Look once."""
        try:
            return await self._look()
        except FilesUnusableError as error:
            reason = str(error)
        except ssl.SSLCertVerificationError as error:
            reason = f"certificate refused: {error.verify_message}"
        except ssl.SSLError as error:
            reason = f"TLS failed: {error.reason or error}"
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
        except h11.RemoteProtocolError as error:
            reason = f"no HTTP: {error}"
        return ProbeResult(healthy=False, detail=short(reason))

    async def _look(self) -> ProbeResult:
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = await self._connect()
                return await self._exchange(reader, writer)
        except TimeoutError:
            progress = "no connection" if writer is None else "connected, but no whole answer"
            return ProbeResult(healthy=False, detail=f"{progress} in {seconds(self._timeout_s)}")
        finally:
            if writer is not None:
                # Not close(): that would wait for a TLS goodbye from a server which may be hanging.
                writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._contexts is None or self._terms is None:
            return await asyncio.open_connection(self._url.host, self._url.port, limit=BODY_BYTES_MAX)
        return await asyncio.open_connection(
            self._url.host,
            self._url.port,
            limit=BODY_BYTES_MAX,
            ssl=self._contexts.get(),
            server_hostname=self._terms.server_name,
        )

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> ProbeResult:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADER_BYTES_MAX)
        host = f"[{self._url.host}]" if ":" in self._url.host else self._url.host
        headers = [("Host", f"{host}:{self._url.port}"), ("User-Agent", "sharedip"), ("Accept", "*/*")]
        request = h11.Request(method="GET", target=self._url.target, headers=[*headers, ("Connection", "close")])
        writer.write((connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b""))
        await writer.drain()
        status, body = 0, bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(_READ_BYTES))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > BODY_BYTES_MAX:
                    return ProbeResult(
                        healthy=False, detail=f"answered {status} with more than {BODY_BYTES_MAX >> 10} KiB"
                    )
            elif isinstance(event, h11.EndOfMessage):
                return _verdict(status, bytes(body))
            # Informational responses (1xx) say nothing yet.


def _verdict(status: int, body: bytes) -> ProbeResult:
    if 200 <= status < 300:
        return ProbeResult(healthy=True, detail=f"answered {status}")
    said = ""
    with contextlib.suppress(StopIteration):
        lines = [line for line in body.decode("utf-8", "replace").splitlines() if line.strip()]
        # An API server lists every check of its own; those that fail begin with "[-]".
        said = next(line for line in [*(line for line in lines if line.startswith("[-]")), *lines[:1]])
    return ProbeResult(healthy=False, detail=short(f"answered {status}" + (f": {said}" if said else "")))
