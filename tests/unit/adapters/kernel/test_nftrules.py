"""The fence's rules as text, and what the kernel's answers about them are read as."""

from __future__ import annotations

import random
import re
from ipaddress import ip_address

from sharedip.adapters.kernel import nftwire
from sharedip.adapters.kernel.nftrules import RULE_SETS
from sharedip.adapters.kernel.nftwire import NFPROTO_ARP, NFPROTO_INET
from sharedip.adapters.kernel.wire import Message, attribute, nested

HEAD = b"\1\0\0\7"


def test_every_shape_has_a_name_of_its_own_and_counts_its_rules() -> None:
    assert len({one.shape for one in RULE_SETS}) == len(RULE_SETS) == 6
    for one in RULE_SETS:
        script = one.script("sharedip", (), ())
        for table, family in (("inet", NFPROTO_INET), ("arp", NFPROTO_ARP)):
            body = script.split(f"table {table} sharedip {{")[1].split("\n}")[0]
            found = {
                name: len(rules.splitlines()) - 1
                for name, rules in re.findall(r"chain (\w+) {\n(.*?)  }", body, re.DOTALL)
            }
            assert found == {chain: count for (of, chain), count in one.rules.items() if of == family}


def test_the_shape_is_of_the_rules_and_not_of_what_they_guard() -> None:
    """A restart with other VIPs takes the rules over as they are."""
    keys4, keys6 = [ip_address("10.0.0.1").packed], [ip_address("2001:db8::1").packed]
    for one in RULE_SETS:
        empty, full = one.script("sharedip", (), ()), one.script("sharedip", keys4, keys6)
        assert full.count("elements = { 10.0.0.1 };") == 2, "inet and arp"
        assert full.count("elements = { 2001:db8::1 };") == 1
        assert re.sub(r"elements = { \S+ };", "", full) == empty
        assert one.shape in empty
        assert one.shape in full


def test_what_is_missing_is_named_with_the_module_that_has_it() -> None:
    assert [len(one.missing) for one in RULE_SETS] == [0, 1, 1, 2, 1, 3]
    assert [words.split()[0] for words in RULE_SETS[-1].missing] == ["nft_fib", "nft_ct", "sets"]


def test_whatever_stops_what_is_shut_stops_what_is_contested() -> None:
    """A claim closes exactly what a closed gate does."""
    for one in RULE_SETS:
        rules = [line.strip() for line in one.script("sharedip", (), ()).splitlines()]
        shut = [rule for rule in rules if rule.endswith(" drop") and "!= @open" in rule]
        contested = [
            rule.replace("@contested", "!= @open") for rule in rules if rule.endswith(" drop") and "@cont" in rule
        ]
        assert sorted(contested) == (sorted(shut) if one.hears_claims else [])


def test_a_generation_is_followed_by_the_next_one_and_never_by_zero() -> None:
    assert nftwire.following(1) == 2
    assert nftwire.following(0xFFFF_FFFF) == 1, "nf_tables_commit leaves zero out"


def test_elements_tell_whether_they_leave_by_themselves() -> None:
    def element(key: bytes, extra: bytes = b"") -> bytes:
        return nested(1, nested(1, attribute(1, key)), extra)

    body = HEAD + nested(3, element(b"\1\1\1\1"), element(b"\2\2\2\2", attribute(4, b"\0" * 7 + b"\5")))
    assert nftwire.parse_elements([Message(0, 0, 1, body)]) == {b"\1\1\1\1": False, b"\2\2\2\2": True}


def test_whatever_bytes_come_nothing_breaks() -> None:
    rng = random.Random(7)
    for _ in range(3000):
        message = Message(0, 0, 1, rng.randbytes(rng.randrange(80)))
        nftwire.parse_elements([message])
        nftwire.parse_generation(message)
        nftwire.chain_of(message)
        nftwire.is_dormant(message)
        nftwire.is_hooked(message)
        nftwire.content(message)
