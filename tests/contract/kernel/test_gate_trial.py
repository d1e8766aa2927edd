"""At start the gate shows that it closes, on a table of its own; a kernel where it does not has no nftables fence."""

from __future__ import annotations

import shutil
import subprocess
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from sharedip.adapters.kernel import gatetrial, nftables, nftwire
from sharedip.adapters.kernel.deadman import Deadman
from sharedip.adapters.kernel.nftables import Fence
from sharedip.adapters.kernel.nftrules import RULE_SETS, RuleSet
from sharedip.core.model import Vip
from tests.contract.kernel.conftest import Pair
from tests.contract.kernel.kernel_netns import boot_clock

VIP = Vip(IPv4Address("10.0.0.50"), "eth0")


def fence_on(pair: Pair, deadman: Deadman) -> Fence:
    with pair.node.inside():
        fence = Fence(boot_clock, deadman)
        fence.why_not = fence.prove()
    return fence


def rules(pair: Pair) -> str:
    return pair.node.run("nft list ruleset")


def test_a_gate_that_closes_is_shown_for_both_families_and_leaves_nothing_behind(pair: Pair, deadman: Deadman) -> None:
    before = pair.node.run("ip addr")
    fence = fence_on(pair, deadman)
    assert fence.why_not is None
    assert fence.families == ("IPv4", "IPv6")
    assert rules(pair) == ""
    assert pair.node.run("ip addr") == before
    fence.close()


def test_a_node_without_ipv6_shows_it_for_ipv4(pair: Pair, deadman: Deadman) -> None:
    pair.node.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
    fence = fence_on(pair, deadman)
    assert fence.why_not is None
    assert fence.families == ("IPv4",)
    fence.close()


def test_nothing_of_the_trial_leaves_the_node(pair: Pair, deadman: Deadman) -> None:
    pair.node.run("ip route add default via 10.0.0.2")
    pair.node.run("ip -6 route add default via 2001:db8::2")
    pair.node.run("nft add table inet seen")
    pair.node.run("nft add chain inet seen out { type filter hook output priority 0 ; }")
    pair.node.run("nft add rule inet seen out oifname eth0 ip daddr 192.0.2.0/24 counter")
    pair.node.run("nft add rule inet seen out oifname eth0 ip6 daddr 2001:db8:6761::/48 counter")
    fence_on(pair, deadman).close()
    assert rules(pair).count("packets 0 bytes 0") == 2


@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_a_gate_that_does_not_close_is_no_fence_and_says_so(
    pair: Pair, deadman: Deadman, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    """A kernel that takes the rules and does not do them: for one family of the two is enough."""
    broken = tuple(
        RuleSet(one.template.replace(f"{family} saddr", f"{family} daddr"), one.shape, one.rules, one.missing)
        for one in RULE_SETS
    )
    monkeypatch.setattr(nftables, "RULE_SETS", broken)
    fence = fence_on(pair, deadman)
    assert fence.why_not is not None
    assert f"the gate does not hold for {'IPv4' if family == 'ip' else 'IPv6'}" in fence.why_not
    assert "after it should have closed" in fence.why_not
    assert rules(pair) == ""
    fence.close()


def test_a_firewall_that_stops_the_trial_s_packets_makes_it_no_proof(pair: Pair, deadman: Deadman) -> None:
    pair.node.run("nft add table inet wall")
    pair.node.run("nft add chain inet wall out { type filter hook output priority 0 ; }")
    pair.node.run("nft add rule inet wall out ip saddr 192.0.2.0/24 drop")
    fence = fence_on(pair, deadman)
    assert fence.why_not is not None
    assert "an open one lets nothing out (EPERM)" in fence.why_not
    fence.close()


def test_a_trial_that_was_killed_is_replaced_by_the_next(pair: Pair, deadman: Deadman) -> None:
    pair.node.run("nft add table inet sharedip_trial { set guarded4 { type ipv4_addr ; } ; }")
    fence = fence_on(pair, deadman)
    assert fence.why_not is None
    assert rules(pair) == ""
    fence.close()


def test_a_bug_in_the_trial_leaves_no_table(pair: Pair, deadman: Deadman, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> int:
        raise RuntimeError

    monkeypatch.setattr(gatetrial, "_send", crash)
    with pytest.raises(RuntimeError):
        fence_on(pair, deadman)
    assert rules(pair) == ""


def test_rules_that_the_trial_did_not_take_are_not_installed_either(
    pair: Pair, deadman: Deadman, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A kernel without nft_fib refuses the rules that ask for it."""
    nft = shutil.which("nft")
    assert nft is not None
    refusing = 'case "$text" in *" fib "*) echo no fib >&2; exit 1;; esac'
    script = f'#!/bin/sh\ntext=$(cat)\n{refusing}\necho "$text" | {nft} "$@"\n'
    (tmp_path / "nft").write_text(script)
    (tmp_path / "nft").chmod(0o755)
    path = subprocess.run(["sh", "-c", "echo $PATH"], capture_output=True, text=True, check=True).stdout.strip()
    monkeypatch.setenv("PATH", f"{tmp_path}:{path}")
    fence = fence_on(pair, deadman)
    assert fence.why_not is None
    with pair.node.inside():
        assert fence.install([VIP]) is None
    assert [words.split()[0] for words in fence.missing] == ["nft_fib"]
    fence.close()


def test_a_machine_that_is_starved_as_it_boots_does_not_end_in_weaker_rules(
    pair: Pair, deadman: Deadman, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trials in a row see the gate close late."""
    run, seen = gatetrial.GateTrial.run, iter(["a packet went out late"] * 2)
    monkeypatch.setattr(gatetrial.GateTrial, "run", lambda self, commit: next(seen, None) or run(self, commit))
    fence = fence_on(pair, deadman)
    assert next(seen, None) is None
    assert (fence.why_not, fence.missing) == (None, ())
    fence.close()


def test_an_nft_that_does_not_answer_in_time_has_not_refused_the_rules(
    pair: Pair, deadman: Deadman, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, late = subprocess.run, iter([subprocess.TimeoutExpired("nft", 10.0)])

    def starved(*words: Any, **more: Any) -> Any:
        for error in late:
            raise error
        return run(*words, **more)

    monkeypatch.setattr(subprocess, "run", starved)
    fence = fence_on(pair, deadman)
    monkeypatch.undo()
    assert next(late, None) is None
    assert (fence.why_not, fence.missing) == (None, ())
    fence.close()


def test_an_nft_that_fails_later_does_not_end_in_weaker_rules_than_were_seen(
    pair: Pair, deadman: Deadman, monkeypatch: pytest.MonkeyPatch
) -> None:
    fence = fence_on(pair, deadman)
    run = nftables._nft
    monkeypatch.setattr(nftables, "_nft", lambda line, text: "no memory" if "ct reply" in text else run(line, text))
    with pair.node.inside():
        assert fence.install([VIP]) == "no memory"
        assert rules(pair) == ""
        monkeypatch.undo()
        fence.look()
    assert fence.missing == ()
    assert "10.0.0.50" in rules(pair)
    fence.close()


def test_a_kernel_that_takes_what_names_a_generation_that_has_passed_has_no_fence(
    pair: Pair, deadman: Deadman, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others do to the tables would not be noticed there."""
    begin = nftwire.begin
    monkeypatch.setattr(nftwire, "begin", lambda _=None: begin(None))
    fence = fence_on(pair, deadman)
    assert fence.why_not == "this kernel does not tell when others have changed the rules"
    assert rules(pair) == ""
    fence.close()
