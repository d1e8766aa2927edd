"""What can go wrong between a request and its answer, in the core's words and in an operator's.

Role: turns grpclib's, h2's, the TLS library's and the kernel's errors into one `EtcdError` with a `Failure` for the
core and a text for a human at 3 a.m. Must never: swallow a bug of ours; only what a peer or the network can cause is
listed here. Counterpart: etcd's api/v3rpc/rpctypes/error.go, where the texts compared below come from.
"""

from __future__ import annotations

import os
import ssl

from google.protobuf.message import DecodeError
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.exceptions import H2Error

from sharedip.core.model import Failure

DETAIL_CHARS_MAX = 300
"""A peer's own words in a detail are cut here: a log line is no place for a megabyte."""


class EtcdError(Exception):
    """A request brought no answer that counts. `token_refused`: a fresh token may help."""

    def __init__(self, failure: Failure, text: str, *, token_refused: bool = False) -> None:
        super().__init__(text)
        self.failure = failure
        self.text = text
        self.token_refused = token_refused


class ConnectionLostError(StreamTerminatedError):
    """The connection ended under a request. A StreamTerminatedError, so that grpclib prefers a status already here."""

    def __init__(self, failure: Failure, text: str) -> None:
        super().__init__(text)
        self.failure = failure
        self.text = text


def nonsense(text: str) -> EtcdError:
    """An answer that no etcd gives."""
    return EtcdError(Failure.NONSENSE, text)


PEER_FAULTS: tuple[type[Exception], ...] = (
    EtcdError,
    GRPCError,
    StreamTerminatedError,
    H2Error,
    OSError,  # refused, reset, unreachable, name not found; ssl.SSLError and TimeoutError are among its children
)
"""What the network and the peer can cause."""

BROKEN_PROTOCOL: tuple[type[Exception], ...] = (
    AssertionError,  # "Received less data than expected": a message cut short
    NotImplementedError,  # an event of HTTP/2 that grpclib doesn't know
    KeyError,  # headers without :status
    ValueError,  # metadata that is not base64 or not text
    DecodeError,  # a message that is not protobuf
)
"""What grpclib raises from inside itself when a peer breaks HTTP/2 or gRPC. Caught around grpclib's own code only
(`channel.py`): anywhere else they are bugs of ours."""


def broken_protocol(error: Exception) -> EtcdError:
    """Name an error of BROKEN_PROTOCOL."""
    return nonsense(f"the peer breaks the protocol ({type(error).__name__}: {_quoted(str(error))})")


def explain(error: Exception, waited: str) -> EtcdError:
    """Name an error of PEER_FAULTS. `waited` completes "timed out …", such as "after 1 s while connecting"."""
    match error:
        case EtcdError():
            named = error
        case ConnectionLostError():
            named = EtcdError(error.failure, error.text)
        case StreamTerminatedError():
            named = EtcdError(Failure.UNAVAILABLE, f"the stream ended: {_quoted(str(error))}")
        case GRPCError():
            named = _explain_status(error.status, error.message or "", waited)
        case TimeoutError() if error.errno is None:  # with an errno it is the kernel's ETIMEDOUT
            named = EtcdError(Failure.TIMEOUT, f"timed out {waited}")
        case ssl.SSLError():
            named = EtcdError(*explain_tls(error))
        case OSError():
            named = EtcdError(Failure.UNAVAILABLE, explain_os(error))
        case _:
            named = broken_protocol(error)
    return named


def explain_os(error: OSError) -> str:
    """Say what the kernel or the resolver said, in its own words, without Python's decoration."""
    if error.errno is None or error.errno <= 0:  # several addresses tried; or a resolver's error, which counts down
        return _quoted(error.strerror or str(error)) or type(error).__name__
    return os.strerror(error.errno).lower()


_CERTIFICATE_HINTS = {
    # X509_V_ERR_*, openssl/include/openssl/x509_vfy.h
    9: "it is not valid yet: look at this node's clock",
    10: "it has expired",
    18: "it is self-signed and caFile does not hold it",
    19: "caFile does not hold the CA that signed it",
    20: "caFile does not hold the CA that signed it",
    21: "caFile does not hold the CA that signed it",
    62: "it is not for this host name",
    64: "it is not for this IP address",
}
_NOT_TLS = (
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
    "UNKNOWN_PROTOCOL",
)


def explain_tls(error: ssl.SSLError) -> tuple[Failure, str]:
    """Name a TLS failure. An alert about a certificate is etcd's word on ours."""
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = _CERTIFICATE_HINTS.get(error.verify_code)
        reason = error.verify_message or str(error)
        return Failure.UNAVAILABLE, f"etcd's certificate is not accepted: {f'{hint} ({reason})' if hint else reason}"
    reason = getattr(error, "reason", None) or str(error)
    if any(sign in reason for sign in _NOT_TLS):
        return Failure.UNAVAILABLE, f"no TLS is spoken there; is it http:// instead of https://? ({reason})"
    if "ALERT" in reason and any(sign in reason for sign in ("CERT", "UNKNOWN_CA", "ACCESS_DENIED")):
        return Failure.UNAUTHENTICATED, f"etcd refused the client certificate ({reason})"
    return Failure.UNAVAILABLE, f"TLS failed ({reason})"


_BY_STATUS = {
    Status.CANCELLED: Failure.UNAVAILABLE,
    Status.UNKNOWN: Failure.UNAVAILABLE,  # also "lease: not a primary lessor": no leader to ask, for now
    Status.INVALID_ARGUMENT: Failure.REFUSED,
    Status.DEADLINE_EXCEEDED: Failure.TIMEOUT,
    Status.NOT_FOUND: Failure.REFUSED,
    Status.ALREADY_EXISTS: Failure.REFUSED,
    Status.PERMISSION_DENIED: Failure.REFUSED,
    Status.RESOURCE_EXHAUSTED: Failure.REFUSED,
    Status.FAILED_PRECONDITION: Failure.REFUSED,
    Status.ABORTED: Failure.UNAVAILABLE,
    Status.OUT_OF_RANGE: Failure.REFUSED,
    Status.UNIMPLEMENTED: Failure.NONSENSE,
    Status.INTERNAL: Failure.UNAVAILABLE,
    Status.UNAVAILABLE: Failure.UNAVAILABLE,
    Status.DATA_LOSS: Failure.UNAVAILABLE,  # "corrupt cluster": this member takes no more part
    Status.UNAUTHENTICATED: Failure.UNAUTHENTICATED,
}
_BY_TEXT = (
    ("requested lease not found", Failure.LEASE_NOT_FOUND),
    ("has been compacted", Failure.COMPACTED),
    ("no leader", Failure.NO_LEADER),
    ("not leader", Failure.NO_LEADER),
    ("leader changed", Failure.NO_LEADER),
    ("too many requests", Failure.UNAVAILABLE),
    ("database space exceeded", Failure.FULL),  # NOSPACE: it reads, deletes and renews leases, and puts nothing
)
_TOKEN_SIGNS = (
    "invalid auth token",  # expired, or the member that knew it was restarted
    "auth store is old",  # the user or its roles have changed since
    "revision in header is old",  # the same in 3.4, which sends it as Unknown
    "user name is empty",  # authentication was switched on after we had been told that it is off
)
_GRPCLIB_WORDS = ("Missing content-type", "Invalid content-type", "Missing grpc-status", "Invalid grpc-status")
"""grpclib reports a peer that breaks gRPC as a status of its own making (client.py, _raise_for_*)."""


def refuses_token(text: str) -> bool:
    """Whether etcd's words mean that another token may do."""
    return any(sign in text for sign in _TOKEN_SIGNS)


def _explain_status(status: Status, message: str, waited: str) -> EtcdError:
    text = _quoted(message) or status.name
    if message.startswith(_GRPCLIB_WORDS):
        return nonsense(f"no gRPC is spoken there ({text})")
    if status is Status.UNIMPLEMENTED:
        return nonsense(f"gRPC is spoken there, but not etcd's ({text})")
    if status is Status.DEADLINE_EXCEEDED:
        return EtcdError(Failure.TIMEOUT, f"timed out {waited} ({text})")
    if refuses_token(message):
        return EtcdError(Failure.UNAUTHENTICATED, text, token_refused=True)
    return EtcdError(failure_in(message) or _BY_STATUS[status], text, token_refused=status is Status.UNAUTHENTICATED)


def failure_in(text: str) -> Failure | None:
    """The failure that etcd's own words name, whatever the status code beside them."""
    return next((failure for sign, failure in _BY_TEXT if sign in text), None)


def _quoted(text: str) -> str:
    """A peer's words, printable and bounded."""
    printable = "".join(c if c.isprintable() else "?" for c in text[: DETAIL_CHARS_MAX + 1])
    return printable if len(printable) <= DETAIL_CHARS_MAX else printable[:DETAIL_CHARS_MAX] + "…"
