"""One etcd endpoint: its connection, its token, and how a call is made there.

Role: connects, authenticates, reads the clock, calls; the caller's deadline covers it all. Must never: repeat a
request, but once with a new token when etcd refused the old one (etcd looks at the token before it does anything).
Counterparts: `client.py` and `survey.py` call it, `channel.py` carries it.

Invariant of `sent_at`: it is read after the connection stands and before the first byte of the request is written;
a repeated request has one of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sharedip.adapters.etcd import answers
from sharedip.adapters.etcd import rpc_pb2 as pb
from sharedip.adapters.etcd.channel import EtcdChannel
from sharedip.adapters.etcd.failures import PEER_FAULTS, EtcdError, explain, explain_os, nonsense
from sharedip.adapters.etcd.methods import AUTHENTICATE, Method, Reply, Request
from sharedip.adapters.etcd.options import Credentials, HasNow, TlsFiles, parse_endpoint
from sharedip.core.model import Failure, Instant

if TYPE_CHECKING:
    from sharedip.adapters.etcd.channel import BoundedStream

PASSWORD_BYTES_MAX = 4096
_AUTH_IS_OFF = ""
"""The token of an etcd that has authentication switched off."""


@dataclass(frozen=True, slots=True)
class RequestDeadline:
    """Until when an order may take. `at` is the event loop's time, `timeout_s` what the order said."""

    at: float
    timeout_s: float

    @classmethod
    def after(cls, timeout_s: float) -> RequestDeadline:
        """A deadline that begins now."""
        return cls(asyncio.get_running_loop().time() + timeout_s, timeout_s)

    @property
    def remaining_s(self) -> float:
        """Never negative: grpclib takes 0 as "expired"."""
        return max(0.0, self.at - asyncio.get_running_loop().time())


class Endpoint:
    """One endpoint. Make it inside a running event loop."""

    def __init__(self, url: str, tls: TlsFiles | None, credentials: Credentials | None, clock: HasNow) -> None:
        self.url = url
        self._channel = EtcdChannel(parse_endpoint(url), tls)
        self._credentials = credentials
        self._clock = clock
        self._token: str | None = None
        self._authenticating = asyncio.Lock()

    async def call(
        self, method: Method[Request, Reply], request: Request, deadline: RequestDeadline
    ) -> tuple[Reply, Instant]:
        """One request, one reply, and the instant before the request left. Raises EtcdError."""
        token = await self.token(deadline)
        try:
            return await self._attempt(method, request, deadline, token)
        except EtcdError as error:
            if not self.may_renew(error):
                raise
        token = await self.renew_token(token, deadline)
        return await self._attempt(method, request, deadline, token)

    def may_renew(self, error: EtcdError) -> bool:
        """Whether another token may change the answer."""
        return error.token_refused and self._credentials is not None

    async def token(self, deadline: RequestDeadline) -> str | None:
        """The token at hand, or a new one; None without credentials. Raises EtcdError."""
        if self._credentials is None or self._token is not None:
            return self._token
        return await self.renew_token(None, deadline)

    async def renew_token(self, refused: str | None, deadline: RequestDeadline) -> str:
        """A token other than `refused`. Requests that were refused together share one authentication."""
        with self.translated(deadline, "for another request's authentication"):
            async with asyncio.timeout_at(deadline.at):
                await self._authenticating.acquire()
        try:
            if self._token is None or self._token == refused:
                self._token = None
                self._token = await self._authenticate(deadline)
            return self._token
        finally:
            self._authenticating.release()

    async def connect(self, deadline: RequestDeadline) -> None:
        """Connect unless connected. Raises EtcdError."""
        with self.translated(deadline, "while connecting"):
            async with asyncio.timeout_at(deadline.at):
                await self._channel.connect(deadline.timeout_s)

    def stream(
        self, method: Method[Request, Reply], token: str | None, timeout_s: float | None, **metadata: str
    ) -> BoundedStream[Request, Reply]:
        """A call that is not yet sent; use it inside `translated`."""
        if token:
            metadata["token"] = token  # rpctypes.TokenFieldNameGRPC
        return self._channel.stream(method, metadata, timeout_s)

    @contextmanager
    def translated(self, deadline: RequestDeadline, waiting: str) -> Iterator[None]:
        """Around calls into the network: what can go wrong there leaves as EtcdError, with the endpoint's name."""
        try:
            yield
        except PEER_FAULTS as error:
            reason = explain(error, f"after {deadline.timeout_s:g} s {waiting}")
            if reason.text.startswith(self.url):
                raise reason from error
            raise EtcdError(reason.failure, f"{self.url}: {reason.text}", token_refused=reason.token_refused) from error

    def use_tls(self, files: TlsFiles) -> None:
        """From the next connection on."""
        self._channel.use_tls(files)

    def drop(self, text: str) -> None:
        """End the connection now: what is under way on it fails, the next call connects again."""
        self._channel.drop(text)

    async def _attempt(
        self, method: Method[Request, Reply], request: Request, deadline: RequestDeadline, token: str | None
    ) -> tuple[Reply, Instant]:
        await self.connect(deadline)
        sent_at = self._clock.now()
        with self.translated(deadline, "waiting for the answer"):
            async with self.stream(method, token, deadline.remaining_s) as stream:
                await stream.send_message(request, end=True)
                reply = await stream.recv_message()
            if reply is None:
                raise nonsense("an answer without a message")
        return reply, sent_at

    async def _authenticate(self, deadline: RequestDeadline) -> str:
        assert self._credentials is not None
        name, password = self._credentials.username, self._read_password(self._credentials)
        request = pb.AuthenticateRequest(name=name, password=password)
        try:
            reply, _ = await self._attempt(AUTHENTICATE, request, deadline, token=None)
        except EtcdError as error:
            if "authentication is not enabled" in error.text:
                return _AUTH_IS_OFF
            if error.failure is Failure.REFUSED:
                raise EtcdError(Failure.UNAUTHENTICATED, f"{error.text} (user {name})") from None
            raise
        with self.translated(deadline, "waiting for a token"):
            return answers.token(reply)

    def _read_password(self, credentials: Credentials) -> str:
        path = credentials.password_file
        try:
            with path.open("rb") as file:
                raw = file.read(PASSWORD_BYTES_MAX + 1)
            if len(raw) > PASSWORD_BYTES_MAX:
                raise EtcdError(Failure.UNAVAILABLE, f"{path}: longer than any password")
            return raw.decode().removesuffix("\n").removesuffix("\r")
        except OSError as error:
            raise EtcdError(Failure.UNAVAILABLE, f"{path}: {explain_os(error)}") from None
        except UnicodeDecodeError:
            raise EtcdError(Failure.UNAVAILABLE, f"{path}: a password is UTF-8 text, this is not") from None
