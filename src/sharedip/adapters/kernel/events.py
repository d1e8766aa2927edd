"""The stream of what happens to links and addresses, in the kernel's order.

Role: read the multicast socket into the view; read everything again when events were lost.
Must never: lose a change for good, or read without bound.
Counterpart: `netlink.py` decides which of the facts are news.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Final

from sharedip.adapters.kernel import rtwire, wire
from sharedip.adapters.kernel.channel import NETLINK_ROUTE, Channel, SilenceError, open_socket
from sharedip.adapters.kernel.facts import Clock, NodeFact
from sharedip.adapters.kernel.view import Key, View, key_of
from sharedip.adapters.kernel.wire import Refusal
from sharedip.core.messages import AddressGone

_GROUPS: Final = (
    rtwire.RTNLGRP_LINK,
    rtwire.RTNLGRP_IPV4_IFADDR,
    rtwire.RTNLGRP_IPV6_IFADDR,
    rtwire.RTNLGRP_IPV6_IFINFO,
    rtwire.RTNLGRP_IPV6_NETCONF,
)
_BUFFER: Final = 8 << 20  # several thousand changes between two wake-ups
_EVENTS_PER_WAKE_MAX: Final = 4096
_DATAGRAM_MAX: Final = 65536
_PID_MAX: Final = 1 << 22  # PID_MAX_LIMIT, include/linux/threads.h; further sockets of a process have numbers beyond


class Events:
    """Invariant: `view` is the kernel's state after the last event read."""

    def __init__(self, view: View, channel: Channel) -> None:
        self.overruns = 0
        self._view = view
        self._channel = channel
        self._socket = open_socket(NETLINK_ROUTE, _GROUPS, _BUFFER)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def fileno(self) -> int:
        """Readable when something happened."""
        return self._socket.fileno()

    def drain(self) -> tuple[list[NodeFact], set[Key]]:
        """Everything pending, as facts; and the addresses that some event said were gone."""
        facts: list[NodeFact] = []
        dropped: set[Key] = set()
        touched: set[int] = set()
        for _ in range(_EVENTS_PER_WAKE_MAX):
            try:
                datagram = self._socket.recv(_DATAGRAM_MAX)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                # Events were lost. What is still queued is older than the dump that follows, and harmless after it:
                # a change that is taken back and repeated ends where the dump was.
                self.overruns += 1
                facts += self.read_everything()
                continue
            for message in wire.decode(datagram):
                if message.kind == rtwire.RTM_DELADDR and (record := rtwire.parse_address(message)) is not None:
                    dropped.add(key_of(record))
                if (index := rtwire.parse_touched_by_ipv6(message)) is not None:
                    touched.add(index)
                news = self._view.apply(message)
                if message.kind == rtwire.RTM_DELADDR and message.port not in (0, self._channel.port):
                    news = [replace(f, by=_program(message.port)) if isinstance(f, AddressGone) else f for f in news]
                facts += news
        for index in touched:
            # While it has an address it has IPv6: what leaves in a handover costs no further question.
            known = self._view.links.get(index)
            if known is not None and not (known.has_ipv6 and self._view.has_ipv6_address(index)):
                facts += self.look_at_ipv6(index)
        return facts, dropped

    def look_at_ipv6(self, index: int) -> list[NodeFact]:
        """Ask whether the link has IPv6: one small question. A link that is gone has an event of its own."""
        try:
            answer = self._channel.ask(rtwire.one_link(index))
        except (OSError, SilenceError):
            return []
        record = None if isinstance(answer, Refusal) else rtwire.parse_link(answer)
        return [] if record is None else self._view.note_ipv6(record.state)

    def drain_until_present(
        self, keys: Collection[Key], timeout_s: float, clock: Clock
    ) -> tuple[list[NodeFact], set[Key]]:
        """As `drain`, until each of `keys` has come (or gone again), but never longer than `timeout_s`."""
        facts, dropped = self.drain()
        until = clock() + timeout_s
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while any(key not in self._view.addresses and key not in dropped for key in keys):
            left_s = until - clock()
            if left_s <= 0 or not poll.poll(left_s * 1000):
                break
            more, more_dropped = self.drain()
            facts += more
            dropped |= more_dropped
        return facts, dropped

    def read_everything(self) -> list[NodeFact]:
        """Dump links and addresses; the facts are the difference."""
        links = [rtwire.parse_link(message) for message in self._channel.dump(rtwire.every_link())]
        records = [rtwire.parse_address(one) for one in self._channel.dump(rtwire.every_address(socket.AF_UNSPEC))]
        return self._view.replace(filter(None, links), filter(None, records))


def _program(port: int) -> str:
    """The program behind a netlink socket. A process's first one has its pid as number (netlink_autobind); of others
    nothing is known, and IPv6 does not tell at all (inet6_ifa_notify). In a container the pids are not ours.
    """
    if port >= _PID_MAX or port == os.getpid():
        return ""
    try:
        name = Path(f"/proc/{port}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return f"pid {port}, whose name is not known here"
    return f"{name} (pid {port})"
