"""The fence's rules as text for the nft program: the best set that a kernel may have first, then what is left of it.

Role: scripts, and what must stand after them. Pure.
Must never: name a table of others, or leave a gap between rules and the addresses that they guard: both are one
transaction. Counterpart: `nftables.py` puts them up and looks at them.

A chain comes before connection tracking (-200) and address translation (-100): a translated packet would not be
recognised any more. What is translated passes neither `input` nor `output` under the shared address, so:

- `prerouting` (kernels that look up routes in a rule, nft_fib) stops what comes in for an address that stands here;
- `forward` and `input` (nft_ct) stop flows that were begun towards a guarded address and are answered by another one;
  flows that a client on this node began towards the owner are answered by the address itself and pass;
- `prerouting` and `arp input` hear the claims: a frame in which a card of the cluster (`peers`) announces a guarded
  address to everybody. From that frame on the address is `contested` and counts as closed, before any program of this
  node runs; `nftables.py` ends that by a newer proof, and claims that come within a second of it are heard no more
  (`vouched`). ARP is not seen in the inet family, hence the announcement in IPv4 (`core/address/frames.py`).
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

_IP4: Final = {"ip": "ip", "g": "guarded4", "n": "4", "all": "224.0.0.1 udp dport 9"}
_IP6: Final = {"ip": "ip6", "g": "guarded6", "n": "6", "all": "ff02::1 icmpv6 type nd-neighbor-advert"}
_TRANSLATED: Final = "ct original {ip} daddr @{g} ct original {ip} daddr {shut} ct reply {ip} saddr != @{g} drop"
_TO: Final = "{ip} daddr @{g} {ip} daddr {shut}"
_FROM: Final = "{ip} saddr @{g} {ip} saddr {shut}"
_SHUT: Final = "!= @open{n}"
_CONTESTED: Final = "@contested{n}"
CONTESTED_S: Final = 600
"""What is left of it tells when a claim was heard first. Longer than any right lasts without a proof."""
_CLAIMED: Final = (
    "{ip} daddr {all} {ip} saddr @{g} {ip} saddr != @vouched{n} ether saddr @peers "
    f"add @contested{{n}} {{{{{{{{ {{ip}} saddr timeout {CONTESTED_S}s }}}}}}}}"
)
_ARP_CLAIMED: Final = (
    "arp saddr ip @guarded4 arp saddr ip != @vouched4 arp saddr ether @peers "
    f"add @contested4 {{{{ arp saddr ip timeout {CONTESTED_S}s }}}}"
)
_EARLY: Final = -310
_BEHIND_SRCNAT: Final = 320
"""NF_IP_PRI_NAT_SRC is 100; 300 (NF_IP_PRI_CONNTRACK_HELPER) is the last that the kernel uses below the very last."""

_FIB = "fib"
_CT = "ct"
_CLAIMS = "claims"
MISSING: Final = {
    _FIB: "nft_fib (what would be translated and forwarded from an address that stands here)",
    _CT: "nft_ct (translated traffic of an address that stands elsewhere)",
    _CLAIMS: "sets that a rule can add to (silence from the first claim of another node on, before this agent runs)",
}

# Hook, priority, and per rule what it needs of the kernel.
_CHAINS: Final = (
    ("prerouting", _EARLY, ((_CLAIMS, _CLAIMED), (_FIB, _TO + " fib daddr type local drop"))),
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
CLAIMED_SETS: Final = (
    (NFPROTO_INET, "contested4", "vouched4", 4),
    (NFPROTO_INET, "contested6", "vouched6", 16),
    (NFPROTO_ARP, "contested4", "vouched4", 4),
)
"""Family, what another node has claimed, what has been proved ours since, bytes of a key."""
PEERS_IN: Final = (NFPROTO_INET, NFPROTO_ARP)


class RuleSet(NamedTuple):
    """One shape of the fence. `rules`: how many each chain has; `missing`: what this kernel could not do, in words;
    `hears_claims`: whether it has the sets for claims.
    """

    template: str
    shape: str
    rules: dict[tuple[int, str], int]
    missing: tuple[str, ...]
    hears_claims: bool = False

    def script(
        self, table: str, keys4: Collection[bytes], keys6: Collection[bytes], peers: Collection[bytes] = ()
    ) -> str:
        """Tables of this shape, guarding these addresses and closed, in the place of whatever had this name.

        "add" first, since "delete" of what is not there would fail; nft sends the whole file as one transaction.
        """
        anew = "".join(f"add table {family} {table}\ndelete table {family} {table}\n" for family in ("inet", "arp"))
        macs = f"elements = {{ {', '.join(mac.hex(':') for mac in sorted(peers))} }};" if peers else ""
        elements = {"elements4": _elements(keys4), "elements6": _elements(keys6), "peers": macs}
        return anew + self.template.format(table=table, shape=self.shape, **elements)


def _elements(keys: Collection[bytes]) -> str:
    return f"elements = {{ {', '.join(str(ip_address(key)) for key in sorted(keys))} }};" if keys else ""


def _sets_for_claims(*families: tuple[str, str]) -> str:
    each = "".join(
        f"  set contested{n} {{{{ type {kind}; size 65535; flags dynamic,timeout; }}}}\n"
        f"  set vouched{n} {{{{ type {kind}; flags timeout; }}}}\n"
        for n, kind in families
    )
    return "  set peers {{ type ether_addr; {peers} }}\n" + each


def _variants(rule: str, *, hears_claims: bool) -> list[str]:
    """The rule for both families; what is shut, or contested, is stopped in the same way."""
    shut = [_SHUT, _CONTESTED] if hears_claims and "{shut}" in rule else [_SHUT]
    return [rule.format(**names, shut=how.format(**names)) for how in shut for names in (_IP4, _IP6)]


def _rule_set(features: Collection[str]) -> RuleSet:
    hears_claims = _CLAIMS in features
    counts = {(NFPROTO_ARP, "output"): 2 if hears_claims else 1}
    text = (
        "table inet {table} {{\n"
        "  set guarded4 {{ type ipv4_addr; {elements4} }}\n"
        "  set guarded6 {{ type ipv6_addr; {elements6} }}\n"
        "  set open4 {{ type ipv4_addr; flags timeout; }}\n"
        "  set open6 {{ type ipv6_addr; flags timeout; }}\n"
    )
    if hears_claims:
        text += _sets_for_claims(("4", "ipv4_addr"), ("6", "ipv6_addr"))
    for hook, priority, wanted in _CHAINS:
        rules = [
            each for need, rule in wanted if need in features for each in _variants(rule, hears_claims=hears_claims)
        ]
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
    )
    if hears_claims:
        counts[NFPROTO_ARP, "input"] = 1
        text += _sets_for_claims(("4", "ipv4_addr"))
        text += f"  chain input {{{{\n    type filter hook input priority {_EARLY}; policy accept;\n"
        text += f"    {_ARP_CLAIMED}\n  }}}}\n"
    text += (
        f"  chain output {{{{\n    type filter hook output priority {_EARLY}; policy accept;\n"
        "    arp saddr ip @guarded4 arp saddr ip != @open4 drop\n"
    )
    if hears_claims:
        text += "    arp saddr ip @guarded4 arp saddr ip @contested4 drop\n"
    text += "  }}\n  chain {shape} {{ }}\n}}\n"
    missing = tuple(words for feature, words in MISSING.items() if feature not in features)
    return RuleSet(text, f"shape_{zlib.crc32(text.encode()):08x}", counts, missing, hears_claims)


RULE_SETS: Final = tuple(
    _rule_set(["", *features])
    for features in ((_FIB, _CT, _CLAIMS), (_CT, _CLAIMS), (_FIB, _CLAIMS), (_CLAIMS,), (_FIB, _CT), ())
)
"""The better ones first."""
