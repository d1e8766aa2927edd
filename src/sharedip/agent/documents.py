"""The documents against this machine: what `run` and `reload` refuse, in the words of `sharedip check`.

Role: tell the node's own addresses from what this program put up, and judge the VIPs by them.
Must never: change anything on the machine, or take an address for the node's own that is ours to remove.
Counterparts: `config/checks.py` (the rules), `run.py`, `reload.py` and `cli/machine.py` (who ask).
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_interface
from typing import NamedTuple

from sharedip.adapters.kernel.rtwire import AddressRecord
from sharedip.adapters.kernel.view import View
from sharedip.adapters.state import StateDirectory
from sharedip.config.checks import check_against_links
from sharedip.config.model import Config, LinkFacts
from sharedip.config.problems import Problem
from sharedip.core.model import IPAddress
from sharedip.core.state import read_state

Held = Collection[tuple[IPAddress, int]]
"""What this program put up, or may have: addresses with the index of their link. The mask is /32 or /128."""

_IFA_F_PERMANENT = 0x80  # linux/if_addr.h: without a lifetime

EXIT_MISTAKE = 2
"""The unit's RestartPreventExitStatus: no restart mends it."""
EXIT_NOT_YET = 1


class Verdict(NamedTuple):
    """Errors and warnings as `check` has them."""

    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]

    @property
    def exit_code(self) -> int:
        """With which `run` ends on these errors: whether it is worth a service manager's while to try again."""
        return EXIT_NOT_YET if all(problem.may_pass for problem in self.errors) else EXIT_MISTAKE


def judge(config: Config, view: View, held: Held) -> Verdict:
    """What `check` says of the VIPs on these links."""
    return Verdict(*check_against_links(config, link_facts(view, held)))


def link_facts(view: View, held: Held) -> tuple[LinkFacts, ...]:
    """Every link with the node's own addresses: neither tagged by this program nor in its record."""
    own: dict[int, list[AddressRecord]] = {}
    for record in view.addresses.values():
        if not is_ours(record, held):
            own.setdefault(record.link, []).append(record)
    return tuple(
        LinkFacts(
            view.links[index].names,
            tuple(ip_interface((record.address, record.prefix_length)) for record in own.get(index, ())),
            frozenset(record.address for record in own.get(index, ()) if _is_passing(record)),
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


def _is_passing(record: AddressRecord) -> bool:
    return _is_host_address(record) and not record.flags & _IFA_F_PERMANENT
