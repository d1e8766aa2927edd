"""One HTTP/1.1 connection with a limit on everything.

Role: h11 over asyncio's streams: requests in, responses out, one after the other.
Must never: hold memory that a peer chooses, wait for a peer without a deadline, or raise for what a peer sends.
Counterpart: `routes.py` answers the requests.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

import h11

from sharedip.adapters.api.rendering import json_bytes
from sharedip.adapters.api.turns import Turns

HEADER_BYTES_MAX = 16 * 1024
BODY_BYTES_MAX = 64 * 1024
IDLE_S = 10.0
"""A whole request, head and body, has to arrive within this time, however the bytes are dripped (slowloris)."""
WRITE_S = 5.0
"""A peer has to take an answer within this time, or each piece of a stream: a renewed one is kept for each of them."""
LINGER_S = 0.5
LINGER_BYTES_MAX = 256 * 1024
"""Of what is still said after the last answer. Unread, it would make the kernel reset the connection, and take what the
peer has not read yet away from it."""
REQUESTS_MAX = 1000
"""On one connection; then it is closed, so that none lives for ever."""
REASON_CHARS_MAX = 200
"""Of a refusal: h11 quotes what it could not read, all of it."""
_READ_BYTES = 4096
_PIECE_BYTES = 32 * 1024

_SECURITY = (
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cache-Control", b"no-store"),
)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """`path` is decoded and without its query; `host` as the client has it, empty if it names none."""

    method: str
    path: str
    body: bytes
    host: str = ""


@dataclass(slots=True)
class HttpResponse:
    """`body` is sent with its length; `stream` instead of it in pieces as they come, until it or the peer ends."""

    status: int
    content_type: str
    body: bytes = b""
    stream: AsyncGenerator[bytes, None] | None = None
    headers: Sequence[tuple[bytes, bytes]] = field(default_factory=tuple)


def json_line(document: object) -> bytes:
    """Write the document on one line, with its end."""
    return json_bytes(document) + b"\n"


def json_response(status: int, document: object) -> HttpResponse:
    """Answer with a JSON document and a line break, for people with curl."""
    return HttpResponse(status, "application/json", json_line(document))


def text_response(status: int, text: str) -> HttpResponse:
    """Answer with one line of text."""
    return HttpResponse(status, "text/plain; charset=utf-8", text.encode("utf-8", "replace") + b"\n")


class PeerGoneError(Exception):
    """The peer closed, sent nonsense or was too slow; the connection is of no further use."""


class Connection:
    """Steps: `open`; `request` and `respond` in turn until `request` gives None or PeerGoneError comes; `close`."""

    def __init__(self, channel: socket.socket, turns: Turns, idle_s: float = IDLE_S) -> None:
        self._channel = channel
        self._turns = turns
        self._idle_s = idle_s
        self.waits_since: float | None = time.monotonic()
        """Since when it has waited for a whole request; None while one is being answered."""
        self._reader = asyncio.StreamReader(_READ_BYTES)
        self._writer: asyncio.StreamWriter | None = None
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADER_BYTES_MAX)
        self._requests = 0

    async def open(self) -> None:
        """Begin to listen to it. Raises PeerGoneError."""
        loop, protocol = asyncio.get_running_loop(), asyncio.StreamReaderProtocol(self._reader)
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, self._channel)
        except OSError as error:
            raise PeerGoneError from error
        self._writer = asyncio.StreamWriter(transport, protocol, self._reader, loop)
        # drain() then means "the kernel has taken it all", and `close` cuts nobody's answer short.
        transport.set_write_buffer_limits(high=0)

    async def request(self) -> HttpRequest | None:
        """Wait for the next request; None when the connection is over in order. Answers nonsense itself."""
        if self._requests and not self._ready_for_next():
            await self._linger()
            return None
        self._requests += 1
        self.waits_since = time.monotonic()
        try:
            async with asyncio.timeout(self._idle_s):
                request = await self._read_request()
        except TimeoutError:
            if self._h11.their_state is h11.SEND_BODY or self._h11.trailing_data[0]:
                await self._refuse(408, f"the request took longer than {self._idle_s:g} s")
            raise PeerGoneError from None
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint, str(error))
            await self._linger()
            raise PeerGoneError from error
        except OSError as error:
            raise PeerGoneError from error
        self.waits_since = None
        return request

    async def respond(self, response: HttpResponse, *, head_only: bool = False, is_last: bool = False) -> None:
        """Answer the request that `request` gave. Raises PeerGoneError.

        Who has sent the next request already (pipelining) gets no answer to it on this connection (RFC 9112, 9.3.2).
        """
        is_last = is_last or bool(self._h11.trailing_data[0])
        try:
            if response.stream is not None:
                await self._send(response, head_only=head_only, last=is_last)
                return
            async with asyncio.timeout(WRITE_S):
                await self._turns.mine()
                await self._send(response, head_only=head_only, last=is_last)
        except (TimeoutError, OSError) as error:
            raise PeerGoneError from error

    def close(self) -> None:
        """Drop the connection. What the kernel has taken is still delivered; nothing waits for the peer."""
        if self._writer is None:
            self._channel.close()
        elif self._writer.transport.get_write_buffer_size():
            self._writer.transport.abort()
        else:
            self._writer.close()

    async def _linger(self) -> None:
        """Let the peer end what it is saying, as far as it is known to be speaking still."""
        if self._writer is None or not (
            self._h11.trailing_data[0] or self._h11.their_state in {h11.SEND_BODY, h11.ERROR}
        ):
            return
        self.waits_since, heard = time.monotonic(), 0
        try:
            async with asyncio.timeout(LINGER_S):
                self._writer.write_eof()
                while heard < LINGER_BYTES_MAX and (data := await self._reader.read(_READ_BYTES)):
                    heard += len(data)
                    await self._turns.mine()
        except (TimeoutError, OSError):
            return

    def _ready_for_next(self) -> bool:
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True

    async def _read_request(self) -> HttpRequest | None:
        head: h11.Request | None = None
        body = bytearray()
        while True:
            await self._turns.mine()
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                if self._h11.they_are_waiting_for_100_continue:
                    await self._write(self._h11.send(h11.InformationalResponse(status_code=100, headers=[])))
                self._h11.receive_data(await self._reader.read(_READ_BYTES))
            elif isinstance(event, h11.Request):
                head = event
                if _declared_length(event) > BODY_BYTES_MAX:
                    raise h11.RemoteProtocolError(f"a body may have {BODY_BYTES_MAX} bytes", error_status_hint=413)
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > BODY_BYTES_MAX:
                    raise h11.RemoteProtocolError(f"a body may have {BODY_BYTES_MAX} bytes", error_status_hint=413)
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                return HttpRequest(head.method.decode("ascii"), _path_of(head.target), bytes(body), _host_of(head))
            else:  # ConnectionClosed, or PAUSED after an upgrade request, which nobody here grants
                return None

    async def _refuse(self, status: int, why: str) -> None:
        if self._h11.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        try:
            await self._send(text_response(status, why[:REASON_CHARS_MAX]), head_only=False, last=True)
        except (TimeoutError, OSError, h11.LocalProtocolError):
            return  # the peer is gone, which is what is about to be said anyway

    async def _send(self, response: HttpResponse, *, head_only: bool, last: bool = False) -> None:
        headers = [
            (b"Content-Type", response.content_type.encode("ascii")),
            *_SECURITY,
            *response.headers,
        ]
        if response.stream is None:
            headers.append((b"Content-Length", str(len(response.body)).encode("ascii")))
        if last or response.stream is not None or self._requests >= REQUESTS_MAX:
            headers.append((b"Connection", b"close"))
        reason = HTTPStatus(response.status).phrase.encode("ascii")
        await self._write(self._h11.send(h11.Response(status_code=response.status, headers=headers, reason=reason)))
        if not head_only:
            # In pieces: a slow reader of a large status costs one piece of buffer, and is noticed at each.
            for start in range(0, len(response.body), _PIECE_BYTES):
                await self._turns.mine()
                await self._write(self._h11.send(h11.Data(data=response.body[start : start + _PIECE_BYTES])))
            if response.stream is not None:
                await self._send_stream(response.stream)
        await self._write(self._h11.send(h11.EndOfMessage()))

    async def _send_stream(self, stream: AsyncGenerator[bytes, None]) -> None:
        """Send pieces until the stream ends, and leave at once when the peer does."""
        # The peer has nothing more to say: any end of reading is its end.
        leaving = asyncio.ensure_future(self._reader.read(1))
        piece: asyncio.Future[bytes] | None = None
        try:
            while True:
                piece = asyncio.ensure_future(anext(stream, b""))
                await asyncio.wait({piece, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if leaving.done():
                    raise BrokenPipeError
                data = piece.result()
                if not data:
                    return
                await self._write(self._h11.send(h11.Data(data=data)))
        finally:
            # Safe at any point: both only wait, and nothing of theirs is used any more.
            pending = [task for task in (leaving, piece) if task is not None]
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            await stream.aclose()

    async def _write(self, data: bytes | None) -> None:
        if data and self._writer is not None:
            self._writer.write(data)
            async with asyncio.timeout(WRITE_S):
                await self._writer.drain()


def _declared_length(request: h11.Request) -> int:
    for name, value in request.headers:
        if name == b"content-length":
            return int(value)  # h11 has checked that it is a number
    return 0


def _host_of(request: h11.Request) -> str:
    return next((value.decode("ascii", "replace") for name, value in request.headers if name == b"host"), "")


def _path_of(target: bytes) -> str:
    """The path of an origin-form or absolute-form target (RFC 9112, 3.2)."""
    try:
        return unquote(urlsplit(target.decode("ascii", "replace")).path) or "/"
    except ValueError:  # such as an unclosed bracket in an absolute form
        return ""
