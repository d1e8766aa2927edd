"""TLS to etcd: the context of a connection, and what `sharedip check` says about the files.

Role: reads the PEM files anew at every connect, because kubeadm and others replace them under a running agent.
Must never: ask for a pass phrase on a terminal, or be stricter than Go's TLS, which etcd itself and kubeadm's
certificates are made for: `ssl.create_default_context` refuses CAs without keyUsage from Python 3.13 on.
"""

from __future__ import annotations

import base64
import binascii
import re
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sharedip.adapters.etcd.failures import EtcdError, explain_os
from sharedip.adapters.etcd.options import TlsFiles
from sharedip.core.model import Failure

if TYPE_CHECKING:
    from pathlib import Path

EXPIRY_WARNING = timedelta(days=14)
"""kubeadm's certificates last a year and are renewed with every upgrade: two weeks are time to act."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)


def client_context(files: TlsFiles | None) -> ssl.SSLContext:
    """A context that verifies etcd's certificate. Raises EtcdError that names the file at fault."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    # As Go does: a certificate names its host among its alternative names, or not at all.
    context.hostname_checks_common_name = False
    # As Go does: whatever caFile holds is an anchor, an intermediate CA too.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _load_ca(context, files)
    _load_client_certificate(context, files)
    return context


def _load_ca(context: ssl.SSLContext, files: TlsFiles | None) -> None:
    if files is None or files.ca_file is None:
        context.load_default_certs()
        return
    _readable(files.ca_file)
    try:
        context.load_verify_locations(files.ca_file)
    except ssl.SSLError as error:
        raise _broken(files.ca_file, f"holds no CA certificate ({error.reason or error})") from None


def _load_client_certificate(context: ssl.SSLContext, files: TlsFiles | None) -> None:
    if files is None or files.cert_file is None:
        return
    _readable(files.cert_file)
    if files.key_file is not None:
        _readable(files.key_file)
    try:
        # An encrypted key without this password would make OpenSSL ask on the terminal, and wait there.
        context.load_cert_chain(files.cert_file, files.key_file, password="")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        if "KEY_VALUES_MISMATCH" in reason:
            raise _broken(files.key_file or files.cert_file, f"is not the key of {files.cert_file}") from None
        key = f" or {files.key_file}" if files.key_file is not None else ""
        raise _broken(files.cert_file, f"{key.strip()} can't be loaded ({reason})".strip()) from None


def _readable(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _broken(path, explain_os(error)) from None


def _broken(path: Path, what: str) -> EtcdError:
    return EtcdError(Failure.UNAVAILABLE, f"{path}: {what}")


# ---------------------------------------------------------------------------------------------------------------------
# For `sharedip check`


def inspect_tls(files: TlsFiles, today: datetime | None = None) -> list[str]:
    """Every problem of the files, one line each: unreadable, no match, expired or about to expire. Empty: all good."""
    today = today or datetime.now(UTC)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    problems: list[str] = []
    for load in (_load_ca, _load_client_certificate):
        try:
            load(context, files)
        except EtcdError as error:
            problems.append(error.text)
    if files.key_file is not None and files.cert_file is None:
        problems.append(f"{files.key_file}: a key without its certificate")
    for path, since, until in _validities(files):
        if today < since:
            problems.append(f"{path}: not valid before {_date(since)}; look at this node's clock")
        elif until <= today:
            problems.append(f"{path}: expired on {_date(until)}")
        elif until - today < EXPIRY_WARNING:
            problems.append(f"{path}: expires on {_date(until)}, in {(until - today).days} days")
    return problems


def describe_tls(files: TlsFiles) -> list[str]:
    """One line per certificate that can be read: its file and until when it is valid."""
    return [f"{path}: valid until {_date(until)}" for path, _, until in _validities(files)]


def first_to_end(files: TlsFiles, now: datetime | None = None) -> tuple[Path, float] | None:
    """The certificate among them that ends first, and in how many seconds; None where none can be read."""
    ends = [(until, path) for path, _, until in _validities(files)]
    if not ends:
        return None
    until, path = min(ends)
    return path, (until - (now or datetime.now(UTC))).total_seconds()


def _date(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"


def _validities(files: TlsFiles) -> list[tuple[Path, datetime, datetime]]:
    found: list[tuple[Path, datetime, datetime]] = []
    for path in (files.ca_file, files.cert_file):
        if path is None:
            continue
        try:
            text = path.read_bytes()
        except OSError:
            continue  # already among the problems
        for block in _PEM.findall(text):
            try:
                found.append((path, *validity(base64.b64decode(block))))
            except (binascii.Error, ValueError, IndexError):
                continue  # OpenSSL has the better words, and they are among the problems
    return found


def validity(der: bytes) -> tuple[datetime, datetime]:
    """The validity of an X.509 certificate. Raises ValueError or IndexError if it is none.

    RFC 5280, 4.1: Certificate { TBSCertificate { [0] version, serial, signature, issuer, validity { from, to } … } … }.
    The standard library reads these fields only from a live connection.
    """
    certificate, _ = _element(der, 0x30)
    body, _ = _element(certificate, 0x30)
    if body[0] == 0xA0:
        _, body = _element(body, 0xA0)
    for tag in (0x02, 0x30, 0x30):
        _, body = _element(body, tag)
    times, _ = _element(body, 0x30)
    since, times = _time(times)
    until, _ = _time(times)
    return since, until


def _element(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """Content of the first DER element and what follows it (X.690, 8.1)."""
    if data[0] != tag:
        raise ValueError(f"tag {data[0]:#x} instead of {tag:#x}")
    length, start = data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start])
    if start + length > len(data):
        raise ValueError("cut short")
    return data[start : start + length], data[start + length :]


def _time(data: bytes) -> tuple[datetime, bytes]:
    """UTCTime until 2049, GeneralizedTime from then on (RFC 5280, 4.1.2.5)."""
    if data[0] == 0x17:
        content, rest = _element(data, 0x17)
        century = "20" if int(content[:2]) < 50 else "19"
        text = century + content.decode("ascii")
    else:
        content, rest = _element(data, 0x18)
        text = content.decode("ascii")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC), rest
