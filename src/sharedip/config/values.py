"""Text → one value: durations, numbers, addresses, endpoints, names. Each refusal says what to write instead.

Role: the syntax and the absolute bounds of single values. Must never: look at another field (`agent_config.py` and
`checks.py` do) or at the machine. Every function raises only `UnusableError`.
Counterpart: `fields.py` calls them with the text of a field and reports the refusal with its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from ipaddress import IPv6Address, ip_address, ip_interface
from pathlib import Path
from typing import TypeVar

from sharedip.config.model import EtcdUrl, HttpUrl, IPInterface
from sharedip.config.problems import closest, shown
from sharedip.core.model import IPAddress

_E = TypeVar("_E", bound=Enum)

_DURATION = re.compile(r"(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h))", re.ASCII)
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)", re.ASCII)
_NODE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", re.ASCII)
_KEY_PREFIX = re.compile(r"[!-9;-~](?:[!-~]{0,126}[!-9;-~])?", re.ASCII)
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.ASCII | re.DOTALL)

ETCD_CLIENT_PORT = 2379
ALTNAME_BYTES_MAX = 127
"""ALTIFNAMSIZ is 128 with the final zero, linux/if.h; a plain name has IFNAMSIZ - 1 = 15."""
SOCKET_PATH_BYTES_MAX = 107
"""sun_path is 108 with the final zero, unix(7)."""
SOCKET_NAME = "agent.sock"


class UnusableError(Exception):
    """The text is no such value. `message` says why, `remedy` what to write."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def written(duration_s: float) -> str:
    """Write a duration as the documents have it, in the unit that needs no fraction."""
    ms = round(duration_s * 1000)
    if ms % 1000:
        return f"{ms}ms" if ms < 1000 else f"{ms / 1000:g}s"
    return f"{ms // 60_000}m" if ms and ms % 60_000 == 0 else f"{ms // 1000}s"


def duration(shortest_s: float, longest_s: float, *, why_shortest: str = "") -> Callable[[str], float]:
    """Make a reader of durations (`1s`, `300ms`, `1m30s`) between two bounds, in seconds."""

    def read(text: str) -> float:
        seconds = _duration_ms(text) / 1000
        if seconds < shortest_s:
            reason = f": {why_shortest}" if why_shortest else ""
            raise UnusableError(
                f"{shown(text)} is too short{reason}",
                f"write {written(shortest_s)} or more, up to {written(longest_s)}",
            )
        if seconds > longest_s:
            raise UnusableError(f"{shown(text)} is too long", f"write {written(longest_s)} or less")
        return seconds

    return read


def whole_seconds(shortest_s: int, longest_s: int, *, why_shortest: str) -> Callable[[str], int]:
    """Make a reader of durations that come to whole seconds."""
    bounded = duration(shortest_s, longest_s, why_shortest=why_shortest)

    def read(text: str) -> int:
        seconds = bounded(text)
        if seconds != int(seconds):
            raise UnusableError(f"{shown(text)} is not a whole number of seconds", f"write {int(seconds) + 1}s")
        return int(seconds)

    return read


def _duration_ms(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        raise UnusableError(f"{shown(text)} has no unit", f"write {text}s, or {text}ms")
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UnusableError(f"{shown(text)} is not a duration", "write one such as 1s, 300ms or 1m30s")
    total = 0.0
    for number, unit in parts:
        total += float(number) * _UNIT_MS[unit]
    if abs(total - round(total)) > 1e-6:
        raise UnusableError(f"{shown(text)} is finer than a millisecond", "write whole milliseconds")
    return round(total)


def integer(lowest: int, highest: int) -> Callable[[str], int]:
    """Make a reader of decimal numbers between two bounds."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
            raise UnusableError(f"{shown(text)} is not a number", f"write a number from {lowest} to {highest}")
        if not lowest <= int(text) <= highest:
            raise UnusableError(f"{text} is out of bounds", f"write a number from {lowest} to {highest}")
        return int(text)

    return read


def choice(kind: type[_E]) -> Callable[[str], _E]:
    """Make a reader of an enumeration's words."""
    words = [str(member.value) for member in kind]

    def read(text: str) -> _E:
        if text in words:
            return kind(text)
        guess = closest(text, words)
        raise UnusableError(
            f"{shown(text)} is not known here",
            f'did you mean "{guess}"?' if guess else "write " + " or ".join(f'"{word}"' for word in words),
        )

    return read


def true_or_false(text: str) -> bool:
    """Read a switch."""
    if text not in ("true", "false"):
        raise UnusableError(f"{shown(text)} is no switch", "write true or false")
    return text == "true"


def ip_literal(text: str) -> IPAddress:
    """Read an address alone: no prefix length, port, brackets, zone or host name."""
    bare = re.fullmatch(r"(.+?)/[0-9]+", text) or re.fullmatch(r"\[(.+)\](?::[0-9]+)?", text)
    bare = bare or re.fullmatch(r"([0-9.]+):[0-9]+", text)
    if bare is not None and (inner := _address_or_none(bare[1])) is not None:
        extra = "a prefix length" if "/" in text else "brackets or a port"
        raise UnusableError(f"{shown(text)} has {extra}", f"write the address alone: {inner}")
    if "%" in text:
        raise UnusableError(f"{shown(text)} names a zone", "write the address alone; the link has a field of its own")
    address = _address_or_none(text)
    if address is None:
        if re.fullmatch(r"[0-9.]+", text, re.ASCII):
            raise UnusableError(
                f"{shown(text)} is not an IPv4 address", "write four numbers from 0 to 255 without leading zeros"
            )
        if re.fullmatch(r"[A-Za-z0-9._-]+", text, re.ASCII):
            raise UnusableError(f"{shown(text)} is a name, not an address", "write the IP address itself")
        raise UnusableError(f"{shown(text)} is not an IP address", "write one such as 192.168.0.15 or fd00::15")
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise UnusableError(f"{text} is an IPv4 address in IPv6's clothes", f"write {address.ipv4_mapped}")
    return address


def vip_address(text: str) -> IPAddress:
    """Read an address that a VIP can have on some segment, whatever the links are."""
    address = ip_literal(text)
    reason = None
    if address.is_loopback:
        reason = "a loopback address, which no other machine reaches"
    elif address.is_multicast:
        reason = "a multicast address, which many hosts share by design"
    elif address.is_unspecified or (address.version == 4 and int(address) >> 24 == 0):
        reason = "an unspecified address"
    elif address.version == 6 and address.is_link_local:
        reason = "a link-local address, which clients can use only with a zone"
    elif address.version == 4 and int(address) == 0xFFFFFFFF:
        reason = "the broadcast address"
    elif address.is_reserved:
        reason = "in a range that is reserved by the IETF"
    if reason is not None:
        raise UnusableError(f"{address} is {reason}", "choose an unused address of the link's subnet")
    return address


def node_address(text: str) -> IPInterface:
    """Read an address of the node's own; without a prefix length it is a host address."""
    try:
        return ip_interface(text)
    except ValueError:
        raise UnusableError(f"{shown(text)} is not an address", "write such as 192.168.0.10/24") from None


def prefixed_address(text: str) -> IPInterface:
    """Read an address of the node's own that has to name its prefix length."""
    address = node_address(text)
    if "/" not in text:
        raise UnusableError(f"{shown(text)} has no prefix length", f"write such as {text}/24")
    if address.ip.is_unspecified:
        raise UnusableError(f"{shown(text)} is an unspecified address", "write the node's own, such as 192.168.0.10/24")
    return address


def _address_or_none(text: str) -> IPAddress | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def listen_address(text: str) -> tuple[str, int]:
    """Read `address:port`, the address a literal."""
    host, port = host_and_port(text, example="0.0.0.0:9470")
    if port is None:
        raise UnusableError(f"{shown(text)} has no port", "write address:port, IPv6 as [address]:port")
    address = _address_or_none(host)
    if address is None:
        raise UnusableError(
            f"{shown(host)} is not an IP address", "write the address to listen on, such as 0.0.0.0 or [::]"
        )
    return str(address), port


def dial_address(text: str) -> tuple[str, int]:
    """Read `host:port`, the host a name or a literal."""
    host, port = host_and_port(text, example="127.0.0.1:6443")
    if port is None:
        raise UnusableError(f"{shown(text)} has no port", "write host:port, IPv6 as [address]:port")
    return host, port


def endpoint(text: str) -> EtcdUrl:
    """Read an etcd endpoint: a URL with nothing behind the port."""
    tls, host, port, rest = _url(text, example="https://127.0.0.1:2379")
    if rest not in {"", "/"}:
        raise UnusableError(f"{shown(text)} has something behind host and port", "end the endpoint with the port")
    return EtcdUrl(tls, host, port if port is not None else ETCD_CLIENT_PORT)


def http_url(text: str) -> HttpUrl:
    """Read the URL of a health check."""
    tls, host, port, rest = _url(text, example="https://127.0.0.1:6443/readyz")
    if not re.fullmatch(r"[!-~]*", rest, re.ASCII):
        raise UnusableError(f"{shown(text)} has a character that a URL can't have", "write it with %-escapes")
    target = rest.split("#", 1)[0]
    default_port = 443 if tls else 80
    return HttpUrl(
        tls,
        host,
        port if port is not None else default_port,
        target if target.startswith("/") else "/" + target,
    )


def _url(text: str, *, example: str) -> tuple[bool, str, int | None, str]:
    match = _URL.fullmatch(text)
    if "@" in (text if match is None else match[2]):
        # Not quoted: what stands before the @ may be a password.
        raise UnusableError("the URL carries credentials", "use username and passwordFile, or certificates")
    if match is None:
        raise UnusableError(f"{shown(text)} is not a URL", f"write one such as {example}")
    scheme, authority, rest = match[1].lower(), match[2], match[3]
    if scheme not in {"http", "https"}:
        raise UnusableError(
            f"{shown(scheme)} is not a scheme that works here", f"write http or https, such as {example}"
        )
    host, port = host_and_port(authority, example=example)
    return scheme == "https", host, port, rest


def host_and_port(text: str, *, example: str) -> tuple[str, int | None]:
    """Read `host`, `host:port`, `[address]` or `[address]:port`; the host is a name or a literal."""
    if text.startswith("["):
        host, closing, behind = text[1:].partition("]")
        address = _address_or_none(host)
        if not closing or not isinstance(address, IPv6Address) or address.scope_id is not None:
            raise UnusableError(f"{shown(text)} has no IPv6 address in its brackets", "write such as [fd00::10]:2379")
        host = str(address)
    elif text.count(":") > 1:
        raise UnusableError(f"{shown(text)} has an IPv6 address without brackets", "write such as [fd00::10]:2379")
    else:
        host, colon, port_text = text.partition(":")
        behind = colon + port_text
        _check_host(host, example)
    if behind == "":
        return host, None
    port = re.fullmatch(r":([0-9]{1,5})", behind, re.ASCII)
    if port is None or not 1 <= int(port[1]) <= 65535:
        raise UnusableError(f"{shown(text)} has no usable port", "write a port from 1 to 65535")
    return host, int(port[1])


def _check_host(host: str, example: str) -> None:
    if not host:
        raise UnusableError("there is no host", f"write such as {example}")
    if re.fullmatch(r"[0-9.]+", host, re.ASCII):
        if _address_or_none(host) is None:
            raise UnusableError(f"{shown(host)} is not an IPv4 address", f"write such as {example}")
        return
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UnusableError(f"{shown(host)} is not a host", f"write a name or an address, such as {example}")


def address_of(host: str) -> IPAddress | None:
    """Tell which address a host is; None for a name. An IPv4-mapped IPv6 address is the IPv4 one."""
    address = _address_or_none(host)
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def link_name(text: str) -> str:
    """Read a link's name or altname. Which of the two it is only the kernel knows, so the longer bound holds."""
    if re.search(r"[/\s]", text) or not text.isprintable():
        raise UnusableError(
            f"{shown(text)} has a slash, a space or an invisible character",
            "write the link's name as `ip link` shows it",
        )
    if len(text.encode()) > ALTNAME_BYTES_MAX:
        raise UnusableError(
            f"{shown(text)} is longer than any link's name", "a name has at most 15 characters, an altname 127"
        )
    label = re.fullmatch(r"(.+):[0-9]+", text)
    if label is not None:
        raise UnusableError(f"{shown(text)} is an address label, not a link", f"write {shown(label[1])}")
    if text in {"", ".", "..", "all", "default"}:
        raise UnusableError(f"{shown(text)} names no link", "write the link's name as `ip link` shows it")
    if text == "lo":
        raise UnusableError("nobody hears announcements on the loopback link", "write the link that the clients reach")
    return text


def node_name(text: str) -> str:
    """Read a node's name."""
    if not _NODE_NAME.fullmatch(text):
        raise UnusableError(
            f"{shown(text)} is not a node name", "use letters, digits, dots, dashes and underscores, at most 253"
        )
    return text


def key_prefix(text: str) -> str:
    """Read the prefix of every etcd key."""
    if not _KEY_PREFIX.fullmatch(text):
        raise UnusableError(
            f"{shown(text)} is not a key prefix",
            "use 1 to 128 ASCII characters without spaces or a colon at either end",
        )
    return text


def absolute_path(text: str) -> Path:
    """Read a path that means the same whatever the agent's working directory is."""
    if not text.startswith("/"):
        raise UnusableError(f"{shown(text)} is a relative path", "write it from / on; the agent has no directory")
    if re.search(r"[\x00-\x1f\x7f]", text) or len(text.encode()) > 4095:
        raise UnusableError(f"{shown(text)} is not a usable path", "write a path without control characters")
    return Path(text)


def password_path(text: str) -> Path:
    """Read the path of a file with a password, and never repeat what may be the password itself."""
    try:
        return absolute_path(text)
    except UnusableError:
        raise UnusableError(
            "this is not an absolute path", "write the path of a file that holds the password"
        ) from None


def state_dir(text: str) -> Path:
    """Read a directory in whose name there is room for the control socket."""
    path = absolute_path(text)
    if len(str(path / SOCKET_NAME).encode()) > SOCKET_PATH_BYTES_MAX:
        raise UnusableError(
            f"{shown(text)} is too long for the socket in it",
            f"use a path of at most {SOCKET_PATH_BYTES_MAX - len(SOCKET_NAME) - 1} bytes",
        )
    if path == Path("/"):
        raise UnusableError("the root directory is not a place for state", "write a directory such as /run/sharedip")
    return path


def plain_text(text: str) -> str:
    """Read one line of text."""
    if not text.isprintable() or not text.strip() or len(text) > 4096:
        raise UnusableError(f"{shown(text)} is not a single line of text", "write printable text")
    return text


def argument(text: str) -> str:
    """Read a word of a command line. Anything but NUL, which exec(3) can't pass on."""
    if "\0" in text or len(text.encode()) > 4096:
        raise UnusableError(f"{shown(text)} can't be an argument", "write fewer than 4096 bytes")
    return text
