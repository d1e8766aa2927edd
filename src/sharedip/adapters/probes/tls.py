"""TLS for probes: whom to trust, and as whom to come.

Role: an `ssl.SSLContext` from PEM files, made anew when a file changes, because kubeadm and k3s renew certificates
under a running agent. Must never: ask a terminal for a password, or trust anybody when the CA can't be read.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path


class FilesUnusableError(Exception):
    """A file is missing or holds no usable certificate or key; the text names it."""


@dataclass(frozen=True, slots=True)
class TlsTerms:
    """Without `ca_file` the system's CAs are trusted. `server_name` is whom the certificate must name."""

    server_name: str
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    verify: bool = True


class ContextCache:
    """Invariant: the context that `get` gives was made from the files as they are now (by size and time of change)."""

    def __init__(self, terms: TlsTerms) -> None:
        self._terms = terms
        self._stamp: tuple[tuple[int, int], ...] | None = None
        self._context: ssl.SSLContext | None = None

    def get(self) -> ssl.SSLContext:
        """Give the context. Raises FilesUnusableError."""
        files = [f for f in (self._terms.ca_file, self._terms.cert_file, self._terms.key_file) if f is not None]
        stamp = tuple(_stamp(file) for file in files)
        if self._context is None or stamp != self._stamp:
            self._context, self._stamp = _make(self._terms), stamp
        return self._context


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError as error:
        raise FilesUnusableError(f"cannot read {file}: {error.strerror}") from error
    return status.st_mtime_ns, status.st_size


def _make(terms: TlsTerms) -> ssl.SSLContext:
    # Not create_default_context: from Python 3.13 on it refuses CAs without keyUsage, which kubeadm-like tools make.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False  # as etcd's own context, and as Go
    if not terms.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif terms.ca_file is not None:
        try:
            context.load_verify_locations(cafile=terms.ca_file)
        except (ssl.SSLError, OSError) as error:
            raise FilesUnusableError(f"{terms.ca_file} holds no CA certificate") from error
    else:
        context.load_default_certs()
    if terms.cert_file is not None:
        try:
            # An encrypted key would make OpenSSL ask the terminal, and the agent would wait for ever.
            context.load_cert_chain(terms.cert_file, terms.key_file, password=lambda: "")
        except (ssl.SSLError, OSError) as error:
            raise FilesUnusableError(f"no usable certificate and key: {terms.cert_file}, {terms.key_file}") from error
    return context
