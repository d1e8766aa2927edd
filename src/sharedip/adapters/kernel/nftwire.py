"""nfnetlink bytes for nftables: set elements with timeouts, tables and chains, as linux/nf_tables.h lays them out.

Role: encode what is asked after the rules stand, and decode what the kernel shows of them. Pure.
Must never: open a socket.
Counterparts: `nftables.py`, `nftstock.py`; the nft program shows in the tests what the kernel made of it.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Final

from sharedip.adapters.kernel.wire import NLM_F_CREATE, Message, Request, attribute, attributes, each_attribute, nested

NFPROTO_INET: Final = 1
NFPROTO_ARP: Final = 3
_SUBSYSTEM: Final = 10  # NFNL_SUBSYS_NFTABLES
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_GETTABLE, _DELTABLE, _GETCHAIN, _GETRULE, _NEWSETELEM, _GETSETELEM, _DELSETELEM, _GETGEN = 1, 2, 4, 7, 12, 13, 14, 16
_NAME, _CHAIN_NAME = 1, 3
_TABLE_FLAGS, _CHAIN_HOOK, _RULE_CHAIN, _GENERATION = 2, 4, 2, 1
_BATCH_GENERATION: Final = 1  # NFNL_BATCH_GENID, linux/netfilter/nfnetlink.h
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_LIST_ELEM, _ELEM_KEY, _ELEM_TIMEOUT, _ELEM_EXPIRATION, _DATA_VALUE = 1, 1, 4, 5, 1
_ELEMENTS_MAX: Final = 500
"""Per message: the length of an attribute is a 16-bit number."""

_GENERIC = struct.Struct("!BBH")  # struct nfgenmsg: family, version, resource


def begin(generation: int | None = None) -> Request:
    """Everything up to `end` happens at once or not at all; and only if nobody has committed since `generation`.

    Else the kernel refuses all of it with ERESTART (nfnetlink_rcv_batch).
    """
    body = b"" if generation is None else attribute(_BATCH_GENERATION, struct.pack("!I", generation))
    return Request(_BATCH_BEGIN, 0, _GENERIC.pack(0, 0, _SUBSYSTEM) + body)


def following(generation: int) -> int:
    """The generation that a commit makes of this one (nf_tables_commit: zero is left out)."""
    return (generation + 1) & 0xFFFF_FFFF or 1


def end() -> Request:
    """Commit."""
    return Request(_BATCH_END, 0, _GENERIC.pack(0, 0, _SUBSYSTEM))


def refresh(family: int, table: str, name: str, keys: Sequence[bytes], timeout_ms: int) -> list[Request]:
    """Each key is in the set for exactly this long from now on, whether it was there before or not.

    To add what is there changes nothing and is no error; to delete what is not there is one. So: add, delete, add,
    which inside one transaction no packet sees. (Linux 6.12 can give a new expiry to a live element; older ones
    ignore it without a word.)
    """
    adding = add(family, table, name, keys, timeout_ms)
    return [*adding, *_delete(family, table, name, keys), *adding]


def drop(family: int, table: str, name: str, keys: Sequence[bytes]) -> list[Request]:
    """None of the keys is in the set, whether it was before or not."""
    return [*add(family, table, name, keys, 1000), *_delete(family, table, name, keys)]


def replace(family: int, table: str, name: str, keys: Collection[bytes]) -> list[Request]:
    """The set holds exactly these keys, without timeout."""
    empty = _message(_DELSETELEM, 0, family, _of_set(table, name))
    return [empty, *add(family, table, name, sorted(keys), None)]


def add(family: int, table: str, name: str, keys: Sequence[bytes], timeout_ms: int | None) -> list[Request]:
    """Put the keys into the set."""
    timeout = b"" if timeout_ms is None else attribute(_ELEM_TIMEOUT, struct.pack("!Q", timeout_ms))
    return _each_part((_NEWSETELEM, NLM_F_CREATE, family), _of_set(table, name), keys, timeout)


def delete_table(family: int, table: str) -> Request:
    """The table with all that is in it."""
    return _message(_DELTABLE, 0, family, attribute(_NAME, _string(table)))


def get_chain(family: int, table: str, chain: str) -> Request:
    """Is there such a chain?"""
    return _message(_GETCHAIN, 0, family, attribute(_NAME, _string(table)) + attribute(_CHAIN_NAME, _string(chain)))


def get_generation() -> Request:
    """Which commit was the last one?"""
    return _message(_GETGEN, 0, 0, b"")


def get_table(family: int, table: str) -> Request:
    """Is there such a table?"""
    return _message(_GETTABLE, 0, family, attribute(_NAME, _string(table)))


def list_rules(family: int, table: str) -> Request:
    """For a dump: the rules of one table."""
    return _message(_GETRULE, 0, family, attribute(_NAME, _string(table)))


def list_elements(family: int, table: str, name: str) -> Request:
    """For a dump: what is in one set."""
    return _message(_GETSETELEM, 0, family, _of_set(table, name))


def get_element(family: int, table: str, name: str, key: bytes) -> Request:
    """Is that key in the set? ENOENT where it is not, or has expired (net/netfilter/nf_tables_api.c)."""
    return _each_part((_GETSETELEM, 0, family), _of_set(table, name), [key], b"")[0]


def parse_generation(message: Message) -> int | None:
    """The number in a NFT_MSG_NEWGEN."""
    number = attributes(message.body, _GENERIC.size).get(_GENERATION, b"")
    return struct.unpack("!I", number)[0] if len(number) == 4 else None


def content(message: Message) -> bytes:
    """What a table, chain or rule is, its handle included; without the head, which carries a part of the generation."""
    return message.body[_GENERIC.size :]


def is_dormant(message: Message) -> bool:
    """Whether a table's chains are off their hooks (NFT_TABLE_F_DORMANT is the only flag that anybody sets on it)."""
    return any(attributes(message.body, _GENERIC.size).get(_TABLE_FLAGS, b""))


def is_hooked(message: Message) -> bool:
    """Whether a chain sees packets."""
    return _CHAIN_HOOK in attributes(message.body, _GENERIC.size)


def chain_of(rule: Message) -> str:
    """Of which chain a rule is."""
    return attributes(rule.body, _GENERIC.size).get(_RULE_CHAIN, b"").rstrip(b"\0").decode("ascii", "replace")


def parse_elements(messages: Iterable[Message]) -> dict[bytes, bool]:
    """The keys of a set, and whether each leaves by itself."""
    found: dict[bytes, bool] = {}
    for message in messages:
        elements = attributes(message.body, _GENERIC.size).get(_LIST_ELEMENTS, b"")
        for _, element in each_attribute(elements):
            parts = attributes(element)
            key = attributes(parts.get(_ELEM_KEY, b"")).get(_DATA_VALUE)
            if key is not None:
                found[key] = any(parts.get(_ELEM_TIMEOUT, b""))
    return found


def parse_left_s(messages: Iterable[Message]) -> dict[bytes, float]:
    """How long each element of a set has left; those that leave by themselves."""
    found: dict[bytes, float] = {}
    for message in messages:
        for _, element in each_attribute(attributes(message.body, _GENERIC.size).get(_LIST_ELEMENTS, b"")):
            parts = attributes(element)
            key = attributes(parts.get(_ELEM_KEY, b"")).get(_DATA_VALUE)
            left = parts.get(_ELEM_EXPIRATION, b"")
            if key is not None and len(left) == 8:
                found[key] = struct.unpack("!Q", left)[0] / 1000
    return found


def _delete(family: int, table: str, name: str, keys: Sequence[bytes]) -> list[Request]:
    return _each_part((_DELSETELEM, 0, family), _of_set(table, name), keys, b"")


def _each_part(head: tuple[int, int, int], of_set: bytes, keys: Sequence[bytes], extra: bytes) -> list[Request]:
    requests = []
    for at in range(0, len(keys), _ELEMENTS_MAX):
        parts = [_element_key(key) for key in keys[at : at + _ELEMENTS_MAX]]
        # The keys of one set are of one size, so all elements begin alike: built in one go, several times a second.
        begin = nested(_LIST_ELEM, parts[0], extra)[: -len(parts[0]) - len(extra)]
        elements = b"".join([begin + part + extra for part in parts])
        requests.append(_message(*head, of_set + nested(_LIST_ELEMENTS, elements)))
    return requests


@lru_cache(maxsize=8192)
def _element_key(key: bytes) -> bytes:
    """The same addresses are renewed several times a second."""
    return nested(_ELEM_KEY, attribute(_DATA_VALUE, key))


@lru_cache(maxsize=64)
def _of_set(table: str, name: str) -> bytes:
    return attribute(_LIST_TABLE, _string(table)) + attribute(_LIST_SET, _string(name))


def _message(kind: int, flags: int, family: int, body: bytes) -> Request:
    return Request(_SUBSYSTEM << 8 | kind, flags, _GENERIC.pack(family, 0, 0) + body)


def _string(text: str) -> bytes:
    return text.encode("ascii") + b"\0"
