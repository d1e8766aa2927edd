"""grpclib's channel, with limits: one HTTP/2 connection to one endpoint.

Role: connects (TLS files read each time), bounds every message, keeps a broken or malicious peer's mess inside
this connection, tells why a connection was lost, and can be dropped at once.
Must never: reconnect after a request has left, or leave a socket lingering: a frozen peer reads nothing any more, so
a polite close would wait for ever. Counterpart: `endpoint.py`.

It leans on parts of grpclib 0.4 that are private there (the version is pinned below 0.5, the unit tests hold it).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeVar, cast

from grpclib.client import Channel, Handler, Stream
from grpclib.config import Configuration
from grpclib.encoding.proto import ProtoCodec
from grpclib.metadata import Deadline
from grpclib.protocol import H2Protocol
from h2.config import H2Configuration
from h2.events import ConnectionTerminated
from h2.exceptions import H2Error, ProtocolError
from multidict import MultiDict

from sharedip.adapters.etcd.failures import (
    BROKEN_PROTOCOL,
    ConnectionLostError,
    broken_protocol,
    explain_os,
    explain_tls,
    nonsense,
)
from sharedip.adapters.etcd.methods import Method, Reply, Request
from sharedip.adapters.etcd.tls import client_context
from sharedip.core.model import Failure

if TYPE_CHECKING:
    from types import TracebackType

    from grpclib.metadata import _Metadata

    from sharedip.adapters.etcd.options import Address, TlsFiles

MESSAGE_BYTES_MAX = 16 * 2**20
"""A thousand VIPs with five candidates each are about 2 MiB of keys. etcd itself takes requests up to 1.5 MiB."""
WINDOW_BYTES = 2**20
"""What a peer may send before we have read it, per stream and per connection."""
UNREAD_BYTES_MAX = 4 * 2**20
"""Our requests have 1.5 MiB at most (etcd's limit). A PING or a SETTINGS is answered at once, whether anybody reads it
or not: a peer that sends them without reading must not fill our memory (CVE-2019-9512, CVE-2019-9515)."""
NEXT_ADDRESS_AFTER_S = 0.1
"""A name may have several addresses. The next one is tried so long after one that says nothing, beside it: all of the
request's time would else go by at the first (RFC 8305 section 5: 100 ms at least, 2 s at most)."""
FIRST_ANSWER_SHARE = 0.3
"""Of a request's time, and at least of a second: within it a machine that is up has answered the first packet of a
connection, for its kernel does, however busy etcd is. Linux sends a lost one again after 1 s (TCP_TIMEOUT_INIT,
net/tcp.h), when a usual request has been given up anyway; the next endpoint is asked 0.7 s earlier, which counts when
this one has died with etcd's leader."""
TLS_SHUTDOWN_S = 0.2
"""How long a TLS goodbye may take where we close in peace; a dropped connection says none."""

_FRAME_HEADER_BYTES = 9
_FRAME_TYPE, _SETTINGS = 3, 4
_TLS_ALERT = b"\x15\x03"
_AFTER_GOAWAY = "in state ConnectionState.CLOSED"
"""How h2 refuses a frame that came in one read with the GOAWAY before it; the event of that GOAWAY is lost then. An
etcd that shuts down sends GOAWAY and PING together (grpc-go, http2_server.go, outgoingGoAwayHandler). We close a
connection at the first error of any other kind, so nothing else meets this state."""

_Sent = TypeVar("_Sent")
_Received = TypeVar("_Received")


class BoundedStream(Stream[_Sent, _Received]):
    """grpclib's client stream that reads no message beyond the limit (grpclib has none) and none that is compressed."""

    async def recv_message(self) -> _Received | None:
        """The next message, or None at the end. Raises EtcdError where the peer breaks the protocol."""
        try:
            return await self._recv_bounded()
        except BROKEN_PROTOCOL as error:
            raise broken_protocol(error) from error

    async def _recv_bounded(self) -> _Received | None:
        if not self._recv_initial_metadata_done:
            await self.recv_initial_metadata()
        with self._wrapper:
            prefix = await self._stream.recv_data(5)
            if not prefix:
                return None
            # gRPC over HTTP/2, "Length-Prefixed-Message": a compressed flag and a length before every message.
            compressed, length = struct.unpack(">BI", prefix)
            if compressed:
                raise nonsense("a compressed message, though we accept none")
            if length > MESSAGE_BYTES_MAX:
                raise nonsense(f"a message of {length} bytes; {MESSAGE_BYTES_MAX} are the limit")
            body = await self._stream.recv_data(length)
        return cast("_Received", self._codec.decode(body, self._recv_type))

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(exc_type, exc_val, exc_tb)  # reads the trailers when the body went well
        except BROKEN_PROTOCOL as error:
            raise broken_protocol(error) from error


class _Connection(H2Protocol):
    """grpclib's connection that survives what it doesn't know, and says why it ended."""

    transport: asyncio.Transport
    loss: ConnectionLostError | None = None
    _preface = b""

    def __init__(self, config: Configuration, h2_config: H2Configuration, *, tls: bool) -> None:
        super().__init__(Handler(), config, h2_config)
        self._tls = tls
        self.greeted = asyncio.Event()
        """The server has sent its SETTINGS, or the connection has ended."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self.connection.is_closing():
            return  # decrypted data can still arrive after a close
        if len(self._preface) < _FRAME_HEADER_BYTES:
            self._preface += data[: _FRAME_HEADER_BYTES - len(self._preface)]
            if not _may_begin_http2(self._preface):
                tls = self._preface.startswith(_TLS_ALERT)
                hint = "TLS is; is it https:// instead of http://?" if tls else f"it begins with {self._preface!r}"
                self.end(Failure.NONSENSE, f"no HTTP/2 is spoken there ({hint})")
                return
            if len(self._preface) == _FRAME_HEADER_BYTES:
                self.greeted.set()
        try:
            events = self.connection.feed(data)
            self.connection.flush()
            for event in events:
                if isinstance(event, ConnectionTerminated):
                    self.end(Failure.UNAVAILABLE, f"etcd closed the connection (GOAWAY, error code {event.error_code})")
                # Unknown frames are to be ignored (RFC 9113, 5.5); grpclib raises on their events.
                elif not self.connection.is_closing() and type(event) in self.processor.processors:
                    self.processor.process(event)
            if not self.connection.is_closing():
                self.connection.flush()
                if self.transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
                    self.end(Failure.NONSENSE, "the peer reads nothing and goes on asking for answers")
        except (H2Error, ValueError, KeyError, NotImplementedError) as error:
            if isinstance(error, ProtocolError) and _AFTER_GOAWAY in str(error):
                self.end(Failure.UNAVAILABLE, "etcd closed the connection (GOAWAY)")
                return
            # ValueError: headers that are not ASCII. Out of this method an error would end in asyncio's log.
            self.end(Failure.NONSENSE, f"no HTTP/2 is spoken there ({type(error).__name__}: {str(error)[:100]})")

    def connection_lost(self, exc: BaseException | None) -> None:
        if isinstance(exc, ssl.SSLError):
            self.end(*explain_tls(exc))
        else:
            reason = explain_os(exc) if isinstance(exc, OSError) else "closed by the other side"
            self.end(Failure.UNAVAILABLE, f"connection lost: {reason}{self._hint_before_greeting}")

    @property
    def _hint_before_greeting(self) -> str:
        """What is likely wrong when a server hangs up without a word."""
        if self.greeted.is_set():
            return ""
        if self._tls:
            return " before it said anything; does it want another client certificate?"
        return " before it said anything; is it https:// instead of http://?"

    def end(self, failure: Failure, text: str) -> None:
        """Fail what is under way, and leave no socket behind. The first reason counts."""
        if self.loss is not None:
            return
        self.loss = ConnectionLostError(failure, text)
        self.greeted.set()
        # Before grpclib closes it: a TLS transport of asyncio's that is lost, or closed twice, has nothing left to
        # abort, and raises AttributeError (so has Debian 12's CPython, 3.11.2).
        self.transport.abort()
        streams = list(self.processor.streams.values())
        self.processor.close(text)
        for stream in streams:
            if stream.wrapper is not None:
                stream.wrapper.cancel(self.loss)  # replaces the plain reason that `close` has just given


def _may_begin_http2(preface: bytes) -> bool:
    """A server begins with a SETTINGS frame (RFC 9113, 3.4).

    h2 would take what else arrives for the length of a huge frame, and wait for it until the deadline.
    """
    return len(preface) <= _FRAME_TYPE or preface[_FRAME_TYPE] == _SETTINGS


def _is_name(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return False


class EtcdChannel(Channel):
    """One endpoint's channel. `request` and everything behind it is grpclib's."""

    def __init__(self, address: Address, tls: TlsFiles | None) -> None:
        config = Configuration(http2_connection_window_size=WINDOW_BYTES, http2_stream_window_size=WINDOW_BYTES)
        super().__init__(address.host, address.port, codec=ProtoCodec(), config=config)
        self._address = address
        self._tls_files = tls
        self._scheme = "https" if address.tls else "http"
        self._is_name = _is_name(address.host)
        self._first_answer_s = FIRST_ANSWER_SHARE

    def use_tls(self, files: TlsFiles) -> None:
        """From the next connection on."""
        self._tls_files = files

    async def connect(self, timeout_s: float) -> None:
        """Connect unless connected, for a request that may take so long. Raises what the kernel, the resolver or TLS
        say.
        """
        self._first_answer_s = FIRST_ANSWER_SHARE * max(1.0, timeout_s)
        await self.__connect__()

    async def __connect__(self) -> H2Protocol:
        protocol = await super().__connect__()
        if isinstance(protocol, _Connection) and protocol.loss is not None:
            # Lost between the handshake and now: grpclib would trip over the missing transport.
            raise protocol.loss
        return protocol

    async def _create_connection(self) -> H2Protocol:
        context = client_context(self._tls_files) if self._address.tls else None
        if self._is_name:
            where: dict[str, Any] = {
                "host": self._host,
                "port": self._port,
                "happy_eyeballs_delay": NEXT_ADDRESS_AFTER_S,
            }
        else:
            where = {"sock": await self._reach(), "server_hostname": self._host if context else None}
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self._config, self._h2_config, tls=self._address.tls),
                **where,
                ssl=context,
                ssl_shutdown_timeout=TLS_SHUTDOWN_S if context else None,
            )
        except ConnectionResetError as error:
            if context is None:
                raise
            # A peer that hangs up in the handshake, as a plaintext etcd does: asyncio's word for it has no errno, and
            # the kernel's comes first where the peer had not read what we said.
            how = "closed by the other side" if error.errno is None else explain_os(error)
            text = f"{how} in the TLS handshake; is it http:// instead of https://?"
            raise ConnectionLostError(Failure.UNAVAILABLE, text) from None
        # With TLS 1.3 a server judges the client's certificate after the client's handshake is over. A request written
        # before the server has spoken could meet a closed socket, and the alert that says why would never be read.
        try:
            await connection.greeted.wait()
        finally:
            if not connection.greeted.is_set():
                connection.transport.abort()
        return connection

    async def _reach(self) -> socket.socket:
        """The machine at an address; names are asyncio's to resolve. Raises OSError, ConnectionLostError."""
        found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        family, kind, protocol, _, address = found[0]
        reached = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        within_s = self._first_answer_s
        try:
            async with asyncio.timeout(within_s):
                await asyncio.get_running_loop().sock_connect(reached, address)
        except TimeoutError as error:
            reached.close()
            if error.errno is not None:  # the kernel's own
                raise
            text = f"no answer to a connection within {within_s:g} s"
            raise ConnectionLostError(Failure.TIMEOUT, text) from None
        except BaseException:
            reached.close()
            raise
        return reached

    def stream(
        self, method: Method[Request, Reply], metadata: dict[str, str], timeout_s: float | None
    ) -> BoundedStream[Request, Reply]:
        """A call that is not yet sent. `timeout_s` bounds all of it and is told to etcd (grpc-timeout)."""
        return BoundedStream(
            self,
            method.path,
            cast("_Metadata", MultiDict(metadata)),
            method.cardinality,
            method.request,
            method.reply,
            codec=self._codec,
            status_details_codec=None,
            dispatch=self.__dispatch__,
            deadline=None if timeout_s is None else Deadline.from_timeout(timeout_s),
        )

    def drop(self, text: str) -> None:
        """End the connection now; the next call makes a new one."""
        protocol: H2Protocol | None = self._protocol
        if isinstance(protocol, _Connection):
            protocol.end(Failure.UNAVAILABLE, text)
            del self._protocol  # back to the class's None, as grpclib's own close() does
