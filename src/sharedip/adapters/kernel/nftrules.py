"""The fence's rules as text for the nft program: the best set that a kernel may have first, then what is left of it.

Role: scripts, and what must stand after them. Pure.
Must never: name a table of others, or leave a gap between rules and the addresses that they guard: both are one
transaction. Counterpart: `nftables.py` puts them up and looks at them.

A chain comes before connection tracking (-200) and address translation (-100): a translated packet would not be
recognised any more. What is translated passes neither `input` nor `output` under the shared address, so:

- `prerouting` (kernels that look up routes in a rule, nft_fib) stops what comes in for an address that stands here;
- `forward` and `input` (nft_ct) stop flows that were begun towards a guarded address and are answered by another one;
  flows that a client on this node began towards the owner are answered by the address itself and pass;
- `postrouting`, behind every translation of sources, stops replies that got a guarded source: where the address stands
  here by nft_fib, else by nft_ct. What this node only forwards for the true owner has that source from the beginning
  and passes.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from ipaddress import ip_address
from typing import Final, NamedTuple

from sharedip.adapters.kernel.nftwire import NFPROTO_ARP, NFPROTO_INET

_IP4: Final = {"ip": "ip", "g": "guarded4", "o": "open4"}
_IP6: Final = {"ip": "ip6", "g": "guarded6", "o": "open6"}
_TRANSLATED: Final = "ct original {ip} daddr @{g} ct original {ip} daddr != @{o} ct reply {ip} saddr != @{g} drop"
_TO: Final = "{ip} daddr @{g} {ip} daddr != @{o}"
_FROM: Final = "{ip} saddr @{g} {ip} saddr != @{o}"
_EARLY: Final = -310
_BEHIND_SRCNAT: Final = 320
"""NF_IP_PRI_NAT_SRC is 100; 300 (NF_IP_PRI_CONNTRACK_HELPER) is the last that the kernel uses below the very last."""

_FIB = "fib"
_CT = "ct"
MISSING: Final = {
    _FIB: "nft_fib (what would be translated and forwarded from an address that stands here)",
    _CT: "nft_ct (translated traffic of an address that stands elsewhere)",
}

# Hook, priority, and per rule what it needs of the kernel.
_CHAINS: Final = (
    ("prerouting", _EARLY, ((_FIB, _TO + " fib daddr type local drop"),)),
    ("input", _EARLY, (("", _TO + " drop"), (_CT, 'iifname != "lo" ct direction original ' + _TRANSLATED))),
    ("forward", _EARLY, ((_CT, _TRANSLATED),)),
    ("output", _EARLY, (("", _FROM + " drop"),)),
    (
        "postrouting",
        _BEHIND_SRCNAT,
        (
            (_FIB, _FROM + " fib saddr type local drop"),
            (_CT, _FROM + " ct direction reply ct reply {ip} saddr != @{g} drop"),
        ),
    ),
)
SETS: Final = (
    (NFPROTO_INET, "guarded4", "open4", 4),
    (NFPROTO_INET, "guarded6", "open6", 16),
    (NFPROTO_ARP, "guarded4", "open4", 4),
)
"""Family, the set of what is guarded, the set of what is open, bytes of a key."""


class RuleSet(NamedTuple):
    """One shape of the fence. `rules`: how many each chain has; `missing`: what this kernel could not do, in words."""

    template: str
    shape: str
    rules: dict[tuple[int, str], int]
    missing: tuple[str, ...]

    def script(self, table: str, keys4: Collection[bytes], keys6: Collection[bytes]) -> str:
        """Tables of this shape, guarding these addresses and closed, in the place of whatever had this name.

        "add" first, since "delete" of what is not there would fail; nft sends the whole file as one transaction.
        """
        anew = "".join(f"add table {family} {table}\ndelete table {family} {table}\n" for family in ("inet", "arp"))
        elements = {"elements4": _elements(keys4), "elements6": _elements(keys6)}
        return anew + self.template.format(table=table, shape=self.shape, **elements)


def _elements(keys: Collection[bytes]) -> str:
    return f"elements = {{ {', '.join(str(ip_address(key)) for key in sorted(keys))} }};" if keys else ""


def _rule_set(features: Collection[str]) -> RuleSet:
    counts = {(NFPROTO_ARP, "output"): 1}
    text = (
        "table inet {table} {{\n"
        "  set guarded4 {{ type ipv4_addr; {elements4} }}\n"
        "  set guarded6 {{ type ipv6_addr; {elements6} }}\n"
        "  set open4 {{ type ipv4_addr; flags timeout; }}\n"
        "  set open6 {{ type ipv6_addr; flags timeout; }}\n"
    )
    for hook, priority, wanted in _CHAINS:
        rules = [rule.format(**names) for need, rule in wanted if need in features for names in (_IP4, _IP6)]
        if not rules:
            continue
        counts[NFPROTO_INET, hook] = len(rules)
        text += f"  chain {hook} {{{{\n    type filter hook {hook} priority {priority}; policy accept;\n"
        text += "".join(f"    {rule}\n" for rule in rules) + "  }}\n"
    text += "  chain {shape} {{ }}\n}}\n"
    text += (
        "table arp {table} {{\n"
        "  set guarded4 {{ type ipv4_addr; {elements4} }}\n"
        "  set open4 {{ type ipv4_addr; flags timeout; }}\n"
        f"  chain output {{{{\n    type filter hook output priority {_EARLY}; policy accept;\n"
        "    arp saddr ip @guarded4 arp saddr ip != @open4 drop\n"
        "  }}\n  chain {shape} {{ }}\n}}\n"
    )
    missing = tuple(words for feature, words in MISSING.items() if feature not in features)
    return RuleSet(text, f"shape_{zlib.crc32(text.encode()):08x}", counts, missing)


RULE_SETS: Final = tuple(_rule_set(["", *features]) for features in ((_FIB, _CT), (_CT,), (_FIB,), ()))
"""The better ones first."""
