"""What the kernel has of the fence's tables: read whole, and told apart from what should be there.

Role: a look over nfnetlink, without the nft program, some tens of microseconds for each part.
Must never: change anything, or call tables whole that it could not read.
Counterparts: `nftrules.py` (what should stand), `nftables.py` (mends).
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator
from ipaddress import ip_address
from typing import NamedTuple

from sharedip.adapters.kernel import nftwire
from sharedip.adapters.kernel.channel import Channel
from sharedip.adapters.kernel.nftrules import CLAIMED_SETS, CONTESTED_S, PEERS_IN, SETS, RuleSet
from sharedip.adapters.kernel.nftwire import NFPROTO_ARP, NFPROTO_INET
from sharedip.adapters.kernel.wire import Message, Refusal
from sharedip.core.model import NEVER, Instant

_FAMILIES = {NFPROTO_INET: "inet", NFPROTO_ARP: "arp"}
LOOKED_UP_MAX = 8
"""Keys; of more, a walk through the sets costs less."""


class Stock(NamedTuple):
    """Tables, chains and rules as the kernel shows them, handles included: a reloaded rule is another one."""

    tables: dict[int, bytes]
    chains: dict[tuple[int, str], bytes]
    rules: dict[tuple[int, str], tuple[bytes, ...]]


def read_stock(channel: Channel, table: str, of: RuleSet) -> tuple[Stock | None, str]:
    """What stands; None and what is not as this set of rules has it. OSError, SilenceError when it can't be read."""
    tables: dict[int, bytes] = {}
    chains: dict[tuple[int, str], bytes] = {}
    rules: dict[tuple[int, str], tuple[bytes, ...]] = {}
    for family, name in _FAMILIES.items():
        shown = channel.ask(nftwire.get_table(family, table))
        if isinstance(shown, Refusal):
            return None, f"the table {name} {table} is gone"
        if nftwire.is_dormant(shown):
            return None, f"the table {name} {table} is dormant"
        tables[family] = nftwire.content(shown)
        if isinstance(channel.ask(nftwire.get_chain(family, table, of.shape)), Refusal):
            return None, f"the table {name} {table} is of another shape"
        found: dict[str, list[Message]] = {}
        for rule in channel.dump(nftwire.list_rules(family, table)):
            found.setdefault(nftwire.chain_of(rule), []).append(rule)
        for (of_family, chain), count in of.rules.items():
            if of_family != family:
                continue
            there = channel.ask(nftwire.get_chain(family, table, chain))
            if isinstance(there, Refusal) or not nftwire.is_hooked(there):
                return None, f"the chain {name} {table} {chain} is gone"
            chains[family, chain] = nftwire.content(there)
            rules[family, chain] = tuple(nftwire.content(rule) for rule in found.get(chain, ()))
            if len(rules[family, chain]) != count:
                return None, f"the chain {name} {table} {chain} has {len(rules[family, chain])} rules of {count}"
    return Stock(tables, chains, rules), ""


def difference(before: Stock, after: Stock) -> str:
    """What is not the same, in words; empty when nothing is."""
    for family, name in _FAMILIES.items():
        for key, chain in before.chains.items():
            if key[0] == family and chain != after.chains[key]:
                return f"the chain {name} {key[1]} is another one"
            if key[0] == family and before.rules[key] != after.rules[key]:
                return f"the rules of the chain {name} {key[1]} are others"
        if before.tables[family] != after.tables[family]:
            return f"the table {name} is another one, or has more in it"
    return ""


def read_sets(channel: Channel, table: str, keys: tuple[Collection[bytes], Collection[bytes]] | None) -> str:
    """What is wrong with the sets; empty when they guard exactly these (IPv4's, IPv6's), and nothing is open for ever.

    None: what they should guard is not known, a former run put it there.
    """
    for family, guarded, opened, size in SETS:
        found = _elements(channel, family, table, guarded).keys()
        wanted = found if keys is None else set(keys[0] if size == 4 else keys[1])
        if found != wanted:
            words = "lacks " + _some(wanted - found) if wanted - found else "has " + _some(found - wanted) + " besides"
            return f"the set {_FAMILIES[family]} {table} {guarded} {words}"
        for_ever = {k for k, ends in _elements(channel, family, table, opened).items() if not ends}
        if for_ever:
            return f"the set {_FAMILIES[family]} {table} {opened} has {_some(for_ever)} without an end"
    return ""


def read_peers(channel: Channel, table: str, macs: Collection[bytes]) -> str:
    """What is wrong with the cards whose claims are heard; empty when they are exactly these."""
    for family in PEERS_IN:
        found = _elements(channel, family, table, "peers").keys()
        if found != set(macs):
            return f"the set {_FAMILIES[family]} {table} peers has {len(found)} cards of {len(macs)}, or others"
    return ""


def claimed_at(channel: Channel, table: str, keys: Collection[bytes], now: Instant) -> dict[bytes, Instant]:
    """When each of these addresses was claimed first by another node since the last proof; the later of two where ARP
    and IP both have told. OSError where the kernel won't say.
    """
    found: dict[bytes, Instant] = {}
    for message in _claims_on(channel, table, keys):
        for key, left_s in nftwire.parse_left_s([message]).items():
            found[key] = max(found.get(key, NEVER), now - (CONTESTED_S - left_s))
    return found


def _claims_on(channel: Channel, table: str, keys: Collection[bytes]) -> Iterator[Message]:
    """A few keys are looked up: to walk a set, however empty, costs the kernel a hundred times as much."""
    sets = [(family, contested, size) for family, contested, _, size in CLAIMED_SETS]
    if len(keys) > LOOKED_UP_MAX:
        for family, contested, size in sets:
            if any(len(key) == size for key in keys):
                yield from channel.dump(nftwire.list_elements(family, table, contested))
        return
    asked = [
        nftwire.get_element(family, table, contested, key)
        for family, contested, size in sets
        for key in keys
        if len(key) == size
    ]
    for answer in channel.ask_each(asked):
        if not isinstance(answer, Refusal):
            yield answer
        elif answer.errno != errno.ENOENT:
            raise OSError(answer.errno, answer.text)


def guarded_now(channel: Channel, table: str) -> frozenset[bytes] | None:
    """The addresses that tables of this name guard, whoever put them up; None when there is no such table."""
    found: set[bytes] = set()
    stands = False
    for family, guarded, _, _ in SETS:
        if isinstance(channel.ask(nftwire.get_table(family, table)), Refusal):
            continue
        stands = True
        try:
            found |= _elements(channel, family, table, guarded).keys()
        except FileNotFoundError:  # a table of this name without such a set guards nothing by it
            continue
    return frozenset(found) if stands else None


def _elements(channel: Channel, family: int, table: str, name: str) -> dict[bytes, bool]:
    return nftwire.parse_elements(channel.dump(nftwire.list_elements(family, table, name)))


def _some(keys: Collection[bytes]) -> str:
    shown = sorted(str(ip_address(key)) for key in keys)
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")
