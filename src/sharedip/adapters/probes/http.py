"""One GET: healthy is 2xx with a whole answer in time, and nothing else.

Role: what a load balancer's check would see. Must never: wait beyond the timeout, keep more than a little of what the
server sends, follow a redirect, or raise for anything that a server does. Counterpart: `core/health.py` judges.

A server that keeps connections is asked over a kept one: no handshakes, and its death shows at once. But a server that
no longer accepts any is dead for clients, however well an old one still works: so none is kept for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable

import h11

from sharedip.adapters.probes.dial import dial, why
from sharedip.adapters.probes.probe import Closings, ProbeResult, Url, seconds, short
from sharedip.adapters.probes.tls import ContextCache, FilesUnusableError, TlsTerms

BODY_BYTES_MAX = 64 * 1024
"""/readyz?verbose of an API server is under 4 KiB; who sends more does not answer a health check."""
HEADER_BYTES_MAX = 16 * 1024
_READ_BYTES = 4096
KEPT_S_MAX = 30.0
"""Then a new connection shows whether the server still accepts any, and what its certificate is by now."""


class _Line:
    """One connection, and what h11 knows of it. `abort` at the end, whatever happens."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.state = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADER_BYTES_MAX)
        self.opened_at = time.monotonic()
        self.answers = 0
        self.watch: asyncio.Task[None] | None = None

    def abort(self) -> None:
        """Not close(): that would wait for a TLS goodbye from a server which may be hanging."""
        if self.watch is not None:
            self.watch.cancel()
        self.writer.transport.abort()

    @property
    def is_old(self) -> bool:
        return time.monotonic() - self.opened_at > KEPT_S_MAX


class _Look:
    """How far one look has come, for the words about a time-out."""

    connected = False


_Looking = Callable[[_Look], Awaitable[ProbeResult]]


class HttpProbe:
    """`terms` are None for plain http.

    Invariant: `_kept` is idle, both sides may go on with it, and a task waits for its end; or it is None.
    """

    def __init__(self, url: Url, terms: TlsTerms | None, timeout_s: float, closings: Closings | None = None) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._terms = terms
        self._contexts = ContextCache(terms) if terms is not None else None
        self._closings = closings or Closings()
        self._kept: _Line | None = None

    async def probe(self) -> ProbeResult:
        """Look once, over the kept connection if there is a good one; keep what can be kept."""
        return await self._bounded(self._look)

    async def probe_apart(self) -> ProbeResult:
        """Look once over a connection of its own, and keep nothing."""
        return await self._bounded(self._look_apart)

    def close(self) -> None:
        """Keep no connection any more."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.abort()

    async def _bounded(self, look: _Looking) -> ProbeResult:
        so_far = _Look()
        refused = broken = False
        try:
            async with asyncio.timeout(self._timeout_s):
                return await look(so_far)
        except TimeoutError:
            reason = "connected, but no whole answer" if so_far.connected else "no connection"
            return ProbeResult(healthy=False, detail=f"{reason} in {seconds(self._timeout_s)}")
        except FilesUnusableError as error:
            reason = str(error)
        except ssl.SSLCertVerificationError as error:
            reason = f"certificate refused: {error.verify_message}"
        except ssl.SSLError as error:
            reason = f"TLS failed: {error.reason or error}"
        except OSError as error:
            reason = why(error, self._url.host, self._url.port)
            refused, broken = isinstance(error, ConnectionRefusedError), isinstance(error, ConnectionError)
        except h11.RemoteProtocolError as error:
            reason = f"no HTTP: {error}"
        return ProbeResult(healthy=False, detail=short(reason), refused=refused, broken=broken and not refused)

    async def _look(self, so_far: _Look) -> ProbeResult:
        kept, self._kept = self._kept, None
        if kept is not None:
            result = await self._ask_again(kept, so_far)
            if result is not None:
                return result
        connection = await self._connect(so_far)
        try:
            result = await self._exchange(connection)
        except BaseException:
            connection.abort()
            raise
        self._keep(connection)
        return result

    async def _ask_again(self, kept: _Line, so_far: _Look) -> ProbeResult | None:
        """Ask over the kept connection. None if it must not or cannot be used any more: then a new one has to tell."""
        so_far.connected = True
        try:
            if kept.watch is not None:
                kept.watch.cancel()
                await asyncio.wait([kept.watch])
            if kept.is_old or kept.reader.at_eof():
                kept.abort()
                return None
            result = await self._exchange(kept)
        except (ConnectionError, h11.RemoteProtocolError, ssl.SSLError):
            # It ended just as we asked, by an idle time-out of the server's, say: that tells nothing.
            kept.abort()
            so_far.connected = False
            return None
        except BaseException:
            kept.abort()
            raise
        self._keep(kept)
        return result

    async def _look_apart(self, so_far: _Look) -> ProbeResult:
        connection = await self._connect(so_far)
        try:
            return await self._exchange(connection, is_last=True)
        finally:
            connection.abort()

    async def _connect(self, so_far: _Look) -> _Line:
        context = self._contexts.get() if self._contexts is not None else None
        name = self._terms.server_name if self._terms is not None else None
        sock = await dial(self._url.host, self._url.port)
        so_far.connected = context is None
        # The transport that this makes closes the socket, when the handshake fails or is cancelled as well.
        reader, writer = await asyncio.open_connection(
            sock=sock, limit=BODY_BYTES_MAX, ssl=context, server_hostname=name
        )
        so_far.connected = True
        return _Line(reader, writer)

    async def _exchange(self, connection: _Line, *, is_last: bool = False) -> ProbeResult:
        """Raises ConnectionError if the other side ends the connection before the answer has begun."""
        state = connection.state
        host = f"[{self._url.host}]" if ":" in self._url.host else self._url.host
        headers = [("Host", f"{host}:{self._url.port}"), ("User-Agent", "sharedip"), ("Accept", "*/*")]
        headers += [("Connection", "close")] if is_last else []
        request = h11.Request(method="GET", target=self._url.target, headers=headers)
        connection.writer.write((state.send(request) or b"") + (state.send(h11.EndOfMessage()) or b""))
        await connection.writer.drain()
        status, body = 0, bytearray()
        while True:
            event = state.next_event()
            if event is h11.NEED_DATA:
                data = await connection.reader.read(_READ_BYTES)
                if not data and not status:
                    raise ConnectionResetError("the connection was closed or reset before an answer")
                state.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > BODY_BYTES_MAX:
                    return ProbeResult(
                        healthy=False, detail=f"answered {status} with more than {BODY_BYTES_MAX >> 10} KiB"
                    )
            elif isinstance(event, h11.EndOfMessage):
                connection.answers += 1
                return _verdict(status, bytes(body))
            # Informational responses (1xx) say nothing yet.

    def _keep(self, connection: _Line) -> None:
        """For the next probe, if both sides have finished and neither wants to end it."""
        state = connection.state
        if state.our_state is not h11.DONE or state.their_state is not h11.DONE or state.trailing_data[0]:
            connection.abort()
            return
        state.start_next_cycle()
        self._kept = connection
        connection.watch = asyncio.create_task(self._wait_for_the_end(connection))

    async def _wait_for_the_end(self, connection: _Line) -> None:
        """Nothing is asked, so whatever comes is the end, or the announcement of one (408, a TLS goodbye)."""
        with contextlib.suppress(OSError):
            await connection.reader.read(1)
        connection.watch = None
        if self._kept is connection:
            self._kept = None
            connection.abort()
            self._closings.tell(connection.answers)


def _verdict(status: int, body: bytes) -> ProbeResult:
    if 200 <= status < 300:
        return ProbeResult(healthy=True, detail=f"answered {status}")
    said = ""
    with contextlib.suppress(StopIteration):
        lines = [line for line in body.decode("utf-8", "replace").splitlines() if line.strip()]
        # An API server lists every check of its own; those that fail begin with "[-]".
        said = next(line for line in [*(line for line in lines if line.startswith("[-]")), *lines[:1]])
    detail = short(f"answered {status}" + (f": {said}" if said else ""))
    return ProbeResult(healthy=False, detail=detail, denied=status in {401, 403})
