"""What the etcd adapter is told about how to reach etcd.

Role: frozen values and the reading of an endpoint's URL. Must never: open a file; the files named here are read anew
at every connect and every authentication, because kubeadm and secret stores replace them under a running agent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pathlib import Path

PORT_DEFAULT = 2379
"""IANA's port for etcd clients."""


class HasNow(Protocol):
    """A clock; `adapters/clock.py` has the real one."""

    def now(self) -> float:
        """Seconds on CLOCK_BOOTTIME."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. Without `ca_file` the system's CAs are trusted; a client certificate needs its key."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """An etcd user. The password is the file's content without its last line break."""

    username: str
    password_file: Path


@dataclass(frozen=True, slots=True)
class Address:
    """Where an endpoint listens."""

    host: str
    port: int
    tls: bool


def parse_endpoint(url: str) -> Address:
    """Read `http://host:port` or `https://host:port`. Raises ValueError with what is wrong about it."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"{url}: an etcd endpoint begins with http:// or https://")
    if not parts.hostname:
        raise ValueError(f"{url}: an etcd endpoint needs a host")
    if parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{url}: an etcd endpoint is a scheme, a host and a port, nothing more")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{url}: {error}") from None
    return Address(parts.hostname, PORT_DEFAULT if port is None else port, parts.scheme == "https")
