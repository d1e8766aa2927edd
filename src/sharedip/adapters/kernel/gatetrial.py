"""The gate shows that it closes: a packet of a guarded address passes while it is open, and is refused afterwards.

Role: the trial that `Fence.prove` makes at start, before anything relies on the fence (law 9).
Must never: touch an address that anybody uses, or send anything out of this node.
Counterpart: `nftables.py`, which puts the trial's table up and takes it away, whatever happens.

The addresses are for documentation (RFC 5737, RFC 3849) and need not be on the node: a raw socket writes them as the
source. The packets go to loopback and are echo replies that nobody asked for, which the kernel throws away without an
answer. A packet that a rule drops in `output` comes back to its sender as EPERM.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

from sharedip.adapters.kernel import nftwire
from sharedip.adapters.kernel.facts import Clock
from sharedip.adapters.kernel.nftwire import NFPROTO_INET
from sharedip.adapters.kernel.wire import Request
from sharedip.core.model import Instant, IPAddress

_SOURCE4: Final = IPv4Address("192.0.2.77")
_SOURCE6: Final = IPv6Address("2001:db8:6761:7465::77")
_OPEN_S: Final = (0.03, 0.1, 0.4)
"""Longer ones only where this process did not get to send within the shorter ones."""
_ABSENT: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EPROTONOSUPPORT)


class _Family(NamedTuple):
    name: str
    kind: int
    open_set: str
    source: IPAddress


class _Opened(NamedTuple):
    family: _Family
    sender: socket.socket
    ends_at: Instant


_FAMILIES: Final = (
    _Family("IPv4", socket.AF_INET, "open4", _SOURCE4),
    _Family("IPv6", socket.AF_INET6, "open6", _SOURCE6),
)

Commit = Callable[[Sequence[Request]], str | None]


class GateTrial:
    """One trial, of both families where this node has IPv6."""

    def __init__(self, table: str, lateness_s: float, clock: Clock) -> None:
        self.table = table
        self.keys4 = (_SOURCE4.packed,)
        self.keys6 = (_SOURCE6.packed,)
        self.families: tuple[str, ...] = ()
        self._lateness_s = lateness_s
        self._clock = clock

    def run(self, commit: Commit) -> str | None:
        """With the table up: None when the gate has closed for each family that is here, else what was seen."""
        with contextlib.ExitStack() as stack:
            opened: list[_Opened] = []
            for family in _FAMILIES:
                found = self._open(commit, family, stack)
                if isinstance(found, str):
                    return f"the gate does not hold for {family.name}: {found}"
                if found is not None:
                    opened.append(found)
            # One wait for both; the one that was opened first has been closed for longer.
            while (left_s := max((each.ends_at for each in opened), default=0.0) - self._clock()) > 0:
                time.sleep(left_s)
            for family, sender, _ in opened:
                if _send(sender, family.kind) != errno.EPERM:
                    late_ms = self._lateness_s * 1000
                    words = f"a packet went out {late_ms:.0f} ms after it should have closed"
                    return f"the gate does not hold for {family.name}: {words}"
        self.families = tuple(each.family.name for each in opened)
        return None if opened else "neither IPv4 nor IPv6 reaches loopback, so the gate cannot be tried"

    def _open(self, commit: Commit, family: _Family, stack: contextlib.ExitStack) -> _Opened | str | None:
        """See a packet pass an open gate. None where this node does not have the family; else why it can't be seen."""
        try:
            flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC
            sender = stack.enter_context(socket.socket(family.kind, flags, socket.IPPROTO_RAW))
        except OSError as error:
            return None if error.errno in _ABSENT else error.strerror or str(error)
        code = errno.EPERM
        for open_s in _OPEN_S:
            key = (family.source.packed,)
            reason = commit(nftwire.refresh(NFPROTO_INET, self.table, family.open_set, key, int(open_s * 1000)))
            ends_at = self._clock() + open_s + self._lateness_s
            if reason is not None:
                return reason
            code = _send(sender, family.kind)
            if code == 0:
                return _Opened(family, sender, ends_at)
            if code != errno.EPERM:
                break
        return None if code in _ABSENT else f"an open one lets nothing out ({errno.errorcode.get(code, code)})"


def _send(sender: socket.socket, kind: int) -> int:
    """Send one packet to loopback; the error's number, 0 when it went out."""
    try:
        if kind == socket.AF_INET:
            loopback = IPv4Address("127.0.0.1")
            echo_reply = struct.pack("!BBHHH", 0, 0, 0xFFFF, 0, 0)
            head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 1, 1, 0, _SOURCE4.packed, loopback.packed)
            sender.sendto(head + echo_reply, (str(loopback), 0))
        else:
            echo_reply = struct.pack("!BBHHH", 129, 0, 0, 0, 0)
            head = struct.pack("!IHBB16s16s", 6 << 28, 8, 58, 1, _SOURCE6.packed, IPv6Address("::1").packed)
            sender.sendto(head + echo_reply, ("::1", 0))
    except OSError as error:
        return error.errno or errno.EIO
    return 0
