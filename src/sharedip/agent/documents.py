"""The documents against this machine: what `run` and `reload` refuse, in the words of `sharedip check`.

Role: tell the node's own addresses from what this program put up, and judge the VIPs by them.
Must never: change anything on the machine, or take an address for the node's own that is ours to remove.
Counterparts: `config/checks.py` (the rules), `start.py`, `reload.py` and `cli/inspection.py` (who ask).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ipaddress import ip_interface
from typing import NamedTuple

from sharedip.adapters.kernel.netlink import Netlink
from sharedip.adapters.kernel.rtwire import AddressRecord
from sharedip.adapters.kernel.view import View
from sharedip.adapters.state import StateDirectory
from sharedip.config.checks import addresses_to_come, check_against_links
from sharedip.config.model import Config, IPInterface, LinkFacts
from sharedip.config.problems import Problem
from sharedip.core.messages import Level, Report
from sharedip.core.model import IPAddress, IPNetwork
from sharedip.core.state import read_state

Held = Collection[tuple[IPAddress, int]]
"""What this program put up, or may have: addresses with the index of their link. The mask is /32 or /128."""

Networks = Mapping[int, tuple[IPNetwork, ...]]
"""By the index of the link."""

_IFA_F_PERMANENT = 0x80  # linux/if_addr.h: without a lifetime

WARNINGS_SHOWN_MAX = 10


class Verdict(NamedTuple):
    """Errors and warnings as `check` has them."""

    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]

    @property
    def may_pass(self) -> bool:
        """Whether it is worth a service manager's while to try again: no error that a person has to mend."""
        return all(problem.may_pass for problem in self.errors)


def judge(config: Config, netlink: Netlink, held: Held) -> Verdict:
    """What `check` says of the VIPs on these links, as far as it ends a start or a reload."""
    facts = link_facts(netlink.view, held, networks_of(config, netlink))
    errors, notices = check_against_links(config, facts)
    spoken_of = {problem.place for problem in errors}
    awaited = tuple(notice for notice in addresses_to_come(config, facts) if notice.place not in spoken_of)
    return Verdict(errors, (*notices, *awaited))


def networks_of(config: Config, netlink: Netlink) -> Networks:
    """What is on the links of the VIPs by the kernel's routes; a link of which it does not tell is left out."""
    links = (netlink.find_link(name) for name in dict.fromkeys(vip.link for vip in config.vips))
    found = ((link.index, netlink.surroundings_of(link.index)) for link in links if link is not None)
    return {index: around.on_link for index, around in found if around is not None}


def warnings(verdict: Verdict) -> list[Report]:
    """What may run all the same, in lines for the log."""
    reports = [Report(Level.WARNING, str(problem)) for problem in verdict.warnings[:WARNINGS_SHOWN_MAX]]
    more = len(verdict.warnings) - WARNINGS_SHOWN_MAX
    if more > 0:
        reports.append(Report(Level.WARNING, f"{more} more of these; `sharedip check` shows them all"))
    return reports


def link_facts(view: View, held: Held, networks: Networks | None = None) -> tuple[LinkFacts, ...]:
    """Every link with the node's own addresses: neither tagged by this program nor in its record."""
    own: dict[int, list[AddressRecord]] = {}
    for record in view.addresses.values():
        if not is_ours(record, held):
            own.setdefault(record.link, []).append(record)
    return tuple(
        LinkFacts(
            view.links[index].names,
            tuple(_interface(record) for record in own.get(index, ())),
            frozenset(record.address for record in own.get(index, ()) if _is_passing(record)),
            view.links[index],
            (networks or {}).get(index),
            tuple(_interface(record) for record in own.get(index, ()) if _is_leased(record)),
        )
        for index in sorted(view.links)
    )


def is_ours(record: AddressRecord, held: Held) -> bool:
    """By the tag; else, for kernels that keep none (before Linux 5.18), by address, mask and link in our record."""
    return record.ours or (_is_host_address(record) and (record.address, record.link) in held)


def may_be_nobodys(view: View, held: Held) -> bool:
    """Whether an address stands that could be a former run's whose tag and record are lost."""
    return any(_is_passing(record) and not is_ours(record, held) for record in view.addresses.values())


def recorded(state: StateDirectory) -> frozenset[tuple[IPAddress, int]]:
    """What the run before this one put up by its own record: nothing after a boot, or where nothing can be read."""
    loaded = state.load()
    former = read_state(loaded.content) if loaded.content is not None and loaded.same_boot else None
    return frozenset() if former is None else frozenset(former.held)


def _is_host_address(record: AddressRecord) -> bool:
    return record.prefix_length == record.address.max_prefixlen


def _interface(record: AddressRecord) -> IPInterface:
    return ip_interface((record.address, record.prefix_length))


def _is_passing(record: AddressRecord) -> bool:
    return _is_host_address(record) and not record.flags & _IFA_F_PERMANENT


def _is_leased(record: AddressRecord) -> bool:
    return not _is_host_address(record) and not record.flags & _IFA_F_PERMANENT
