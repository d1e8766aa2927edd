"""What this node has: its links and addresses, kept up from netlink messages.

Role: turn messages into the facts that differ from what was known. Pure.
Must never: report the same thing twice, or hide a change.
Counterpart: `netlink.py` feeds it with events in the kernel's order, and with whole dumps after an overrun.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sharedip.adapters.kernel import rtwire
from sharedip.adapters.kernel.facts import NodeFact
from sharedip.adapters.kernel.rtwire import AddressRecord, LinkRecord
from sharedip.adapters.kernel.wire import Message
from sharedip.core.messages import AddressGone, AddressSeen, LinkChanged, LinkVanished
from sharedip.core.model import IPAddress, LinkState

Key = tuple[int, IPAddress, int]
"""Link index, address, prefix length: an IPv4 address may stand on one link with several masks."""


def key_of(record: AddressRecord) -> Key:
    """By what the kernel tells addresses apart."""
    return record.link, record.address, record.prefix_length


class View:
    """Invariant: the state after the last message that was applied; every difference was returned as a fact once."""

    def __init__(self) -> None:
        self.links: dict[int, LinkState] = {}
        self.addresses: dict[Key, AddressRecord] = {}
        self._masters: dict[int, int] = {}  # of each port the index of its master
        self._names: dict[int, str] = {}
        self._places: dict[IPAddress, set[Key]] = {}  # the same, found by address

    def find_link(self, name: str) -> LinkState | None:
        """The link with this name or altname."""
        return next((link for link in self.links.values() if name in link.names), None)

    def standing(self, addresses: Iterable[IPAddress]) -> list[AddressRecord]:
        """Wherever these addresses are, with whatever mask."""
        return [self.addresses[key] for address in addresses for key in self._places.get(address, ())]

    def apply(self, message: Message) -> list[NodeFact]:
        """One message of the kernel."""
        if message.kind in (rtwire.RTM_NEWLINK, rtwire.RTM_DELLINK):
            link = rtwire.parse_link(message)
            if link is None:
                return []
            return self._put_link(link) if message.kind == rtwire.RTM_NEWLINK else self._drop_link(link.state.index)
        if message.kind in (rtwire.RTM_NEWADDR, rtwire.RTM_DELADDR):
            record = rtwire.parse_address(message)
            if record is None:
                return []
            return self.put(record) if message.kind == rtwire.RTM_NEWADDR else self.drop(key_of(record))
        return []

    def replace(self, links: Iterable[LinkRecord], records: Iterable[AddressRecord]) -> list[NodeFact]:
        """Take over a whole new dump; the facts are the difference."""
        found_links = {link.state.index: link for link in links}
        found = {key_of(record): record for record in records}
        facts: list[NodeFact] = []
        for key in [key for key in self.addresses if key not in found]:
            facts += self.drop(key)
        for index in [index for index in self.links if index not in found_links]:
            facts += self._drop_link(index)
        self._names = {index: link.state.names[0] for index, link in found_links.items()}  # a port may come first
        for link in found_links.values():
            facts += self._put_link(link)
        for record in found.values():
            facts += self.put(record)
        return facts

    def put(self, record: AddressRecord) -> list[NodeFact]:
        """The address is there."""
        key = key_of(record)
        known = self.addresses.get(key)
        self.addresses[key] = record
        self._places.setdefault(record.address, set()).add(key)
        if known is not None and known.ours == record.ours:
            return []
        return [AddressSeen(record.link, record.address, record.prefix_length, record.ours)]

    def drop(self, key: Key) -> list[NodeFact]:
        """The address is not there."""
        if self.addresses.pop(key, None) is None:
            return []
        places = self._places[key[1]]
        places.discard(key)
        if not places:
            del self._places[key[1]]
        return [AddressGone(*key)]

    def has_ipv6_address(self, index: int) -> bool:
        """Whether any address of the family is known on the link."""
        return any(link == index and address.version == 6 for link, address, _ in self.addresses)

    def note_ipv6(self, link: LinkState) -> list[NodeFact]:
        """The link was looked at beside the order of events: only whether it has IPv6 is taken from that look."""
        known = self.links.get(link.index)
        return [] if known is None else self._show(replace(known, has_ipv6=link.has_ipv6))

    def _put_link(self, link: LinkRecord) -> list[NodeFact]:
        index = link.state.index
        self._masters.pop(index, None)
        if link.master:
            self._masters[index] = link.master
        name = self._names[index] = link.state.names[0]
        facts = self._show(replace(link.state, master=self._name_of(link.master)))
        for port in [port for port, master in self._masters.items() if master == index and port in self.links]:
            facts += self._show(replace(self.links[port], master=name))  # it came later, or was renamed
        return facts

    def _name_of(self, index: int) -> str:
        return self._names.get(index, f"link {index}") if index else ""

    def _show(self, link: LinkState) -> list[NodeFact]:
        if self.links.get(link.index) == link:
            return []
        self.links[link.index] = link
        return [LinkChanged(link)]

    def _drop_link(self, index: int) -> list[NodeFact]:
        self._masters.pop(index, None)
        self._names.pop(index, None)
        if self.links.pop(index, None) is None:
            return []
        facts: list[NodeFact] = []
        for key in [key for key in self.addresses if key[0] == index]:
            facts += self.drop(key)
        return [*facts, LinkVanished(index)]
