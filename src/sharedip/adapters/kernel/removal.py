"""How addresses leave this node: connections first, then every place where we put them, then proof.

Role: delete, look at the kernel's own list, and again if need be.
Must never: call an address gone that the list still shows as ours, or take another address along; ours or not is told
by the caller, never by the address alone: the node's own may be the same.
Counterpart: `netlink.py`, for orders and for leftovers of a former run.

The trap: when IPv4's first address of a subnet goes, the kernel takes the subnet's other addresses along
(`promote_secondaries` 0, the default; __inet_del_ifa), and with the last address of a link all its routes. Ours are
/32 and have no such following. A leftover that somebody put up as /24 may lead the host's own addresses: then the link
is told to promote the next one instead, in the same system call, and gets its setting back.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Collection, Iterable
from ipaddress import ip_network
from typing import Final

from sharedip.adapters.kernel import rtwire
from sharedip.adapters.kernel.channel import Channel, SilenceError, explain
from sharedip.adapters.kernel.rtwire import AddressRecord
from sharedip.adapters.kernel.sockets import ConnectionResetter
from sharedip.adapters.kernel.view import View, key_of
from sharedip.adapters.kernel.wire import Refusal, Request
from sharedip.core.model import IPAddress

_TRIES: Final = 3
_ABSENT: Final = (errno.EADDRNOTAVAIL, errno.ENODEV)

Outcome = dict[IPAddress, str | None]
"""None where the kernel's list shows nothing of ours under the address, else why it may still be there."""

IsOurs = Callable[[AddressRecord], bool]
"""Whether this program put it up: by its tag, or by address, mask and link in its own record."""


class Remover:
    """Takes addresses of ours off, wherever they stand."""

    def __init__(self, channel: Channel, view: View, connections: ConnectionResetter, is_ours: IsOurs) -> None:
        self._channel = channel
        self._view = view
        self._connections = connections
        self._is_ours = is_ours

    def remove(self, addresses: Collection[IPAddress], reset: Collection[IPAddress]) -> Outcome:
        """Remove ours of `addresses` from every link, after resetting the connections on those of `reset`."""
        if not addresses:
            return {}
        self._connections.reset_connections(reset)
        reasons: dict[IPAddress, str] = {}
        # The first try trusts what events have told; the dump after it is what counts, and shows what is left.
        records = [record for record in self._view.standing(addresses) if self._is_ours(record)]
        others: Iterable[AddressRecord] = self._view.addresses.values()
        try:
            for _ in range(_TRIES):
                reasons = self._delete(records, others)
                others = self.list(addresses)
                records = [record for record in others if record.address in addresses and self._is_ours(record)]
                if not records:
                    break
        except SilenceError as error:
            return dict.fromkeys(addresses, str(error))
        except OSError as error:
            return dict.fromkeys(addresses, error.strerror or str(error))
        standing = {record.address for record in records}
        return {
            address: reasons.get(address, "it comes back at once") if address in standing else None
            for address in addresses
        }

    def list(self, addresses: Collection[IPAddress]) -> list[AddressRecord]:
        """The kernel's own list, of the families of these addresses. OSError, SilenceError when it can't be read."""
        versions = {address.version for address in addresses}
        family = socket.AF_UNSPEC
        if len(versions) == 1:
            family = socket.AF_INET if 4 in versions else socket.AF_INET6
        shown = (rtwire.parse_address(message) for message in self._channel.dump(rtwire.every_address(family)))
        return [record for record in shown if record is not None]

    def _delete(self, records: Collection[AddressRecord], others: Iterable[AddressRecord]) -> dict[IPAddress, str]:
        """Ask for all of it at once; answers what the kernel refused."""
        reasons: dict[IPAddress, str] = {}
        doomed = frozenset(key_of(record) for record in records)
        neighbours = [one for one in others if one.flags & rtwire.IFA_F_SECONDARY and key_of(one) not in doomed]
        plain: list[AddressRecord] = []
        for record in records:
            if any(_leads(record, one) for one in neighbours):
                refused = self._delete_leader(record)
                if refused is not None:
                    reasons[record.address] = refused
            else:
                plain.append(record)
        for record, verdict in zip(plain, self._channel.transact([rtwire.remove(one) for one in plain]), strict=True):
            if verdict is not None and verdict.errno not in _ABSENT:
                reasons[record.address] = explain(verdict)
        return reasons

    def _delete_leader(self, record: AddressRecord) -> str | None:
        """Remove a subnet's first address and let the kernel promote the next one."""
        answer = self._channel.ask(rtwire.one_link(record.link))
        setting = None if isinstance(answer, Refusal) else rtwire.parse_promote_secondaries(answer)
        if setting is None:
            return "removing it would take other addresses of this node along: its link's settings can't be read"
        index = record.link
        refused = self._channel.transact([rtwire.promote_secondaries(index, 1)])[0]
        if refused is not None:
            return f"removing it would take other addresses of this node along: {explain(refused)}"
        steps: list[Request] = [rtwire.remove(record), rtwire.promote_secondaries(index, setting)]
        verdict = self._channel.transact(steps)[0]
        return None if verdict is None or verdict.errno in _ABSENT else explain(verdict)


def _leads(record: AddressRecord, other: AddressRecord) -> bool:
    """Whether `other` is a secondary of `record`: it would go along."""
    if record.address.version != 4 or record.flags & rtwire.IFA_F_SECONDARY:
        return False
    if (record.link, record.prefix_length) != (other.link, other.prefix_length) or other.address.version != 4:
        return False
    subnet = ip_network((record.address, record.prefix_length), strict=False)
    return other.address in subnet
