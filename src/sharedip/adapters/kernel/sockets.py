"""Reset the connections on an address that is about to leave this node.

Role: clients get a RST at once and connect to the next owner; without it they hang until their own time-outs.
Must never: block, reset for longer than its budget, or keep an address from being removed: all failure is counted, told
once, and left behind.
Counterparts: `netlink.py` calls it before the removal (afterwards no RST could leave); `diagwire.py` for the bytes.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from sharedip.adapters.kernel import diagwire
from sharedip.adapters.kernel.channel import BATCH_MAX, NETLINK_SOCK_DIAG, Channel, SilenceError, explain
from sharedip.adapters.kernel.diagwire import SocketRecord
from sharedip.adapters.kernel.facts import Clock, Tell
from sharedip.adapters.kernel.wire import Refusal
from sharedip.core.messages import Level, Report
from sharedip.core.model import IPAddress

_BUDGET_S: Final = 0.05
_GONE: Final = (errno.ENOENT, errno.ESTALE)


class ConnectionResetter:
    """Counts what it did: `reset` sockets destroyed, `left` that stood when the budget ended, `failed` attempts."""

    def __init__(self, clock: Clock, tell: Tell, protocols: Sequence[int] = (socket.IPPROTO_TCP,)) -> None:
        self.reset = 0
        self.left = 0
        self.failed = 0
        self._clock = clock
        self._tell = tell
        self._protocols = protocols
        self._told = False
        self._channel: Channel | None = None
        try:
            self._channel = Channel(NETLINK_SOCK_DIAG)
        except OSError as error:
            self._note_failure(error.strerror or str(error))

    def close(self) -> None:
        """Give the socket back."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def reset_connections(self, addresses: Collection[IPAddress], budget_s: float = _BUDGET_S) -> int:
        """Destroy every connected socket whose local address is one of these; answers how many it destroyed.

        The budget, in seconds, is for resetting: where looking for them took longer than that, it was not in vain.
        """
        if not addresses or self._channel is None:
            return 0
        before = self.reset
        doomed: list[SocketRecord] = []
        # All are looked for before the first is reset: a look takes longer than a reset (the kernel walks its whole
        # table), and a client that was reset may be back before the address has left.
        for protocol in self._protocols:
            for family in (socket.AF_INET, socket.AF_INET6):
                with self._failures_noted():
                    doomed += self._find(self._channel, family, protocol, addresses)
        until = self._clock() + budget_s
        with self._failures_noted():
            for at in range(0, len(doomed), BATCH_MAX):
                if self._clock() >= until:
                    self.left += len(doomed) - at
                    break
                self._destroy(self._channel, doomed[at : at + BATCH_MAX])
        return self.reset - before

    @contextlib.contextmanager
    def _failures_noted(self) -> Iterator[None]:
        try:
            yield
        except SilenceError as error:
            self._note_failure(str(error))
        except OSError as error:
            self._note_failure(error.strerror or str(error))

    def _find(
        self, channel: Channel, family: int, protocol: int, addresses: Collection[IPAddress]
    ) -> list[SocketRecord]:
        # IPv6 sockets can hold IPv4 connections, never the other way round.
        relevant = [one for one in addresses if family == socket.AF_INET6 or one.version == 4]
        if not relevant:
            return []
        wanted = frozenset(diagwire.local_key(one, family) for one in relevant)
        shown = channel.dump(diagwire.connected_sockets(family, protocol, relevant))
        records = (diagwire.parse_socket(message, protocol) for message in shown)
        return [record for record in records if record is not None and record.local in wanted]

    def _destroy(self, channel: Channel, doomed: Sequence[SocketRecord]) -> None:
        for verdict in channel.transact([diagwire.destroy(record) for record in doomed]):
            if verdict is None:
                self.reset += 1
            elif verdict.errno not in _GONE:  # it may have ended by itself
                self._note_failure(_reason(verdict))

    def _note_failure(self, reason: str) -> None:
        self.failed += 1
        if not self._told:
            self._told = True
            text = "connections on a leaving address can't be reset here: clients will wait for their own time-outs"
            self._tell(Report(Level.WARNING, text, reason=reason))


def _reason(verdict: Refusal) -> str:
    if verdict.errno == errno.EOPNOTSUPP:
        return "the kernel was built without CONFIG_INET_DIAG_DESTROY"
    return explain(verdict)
