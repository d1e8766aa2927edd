"""Another node's claim shuts an address in the kernel's rules, at the frame itself; a newer proof opens it again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sharedip.adapters.kernel.deadman import Deadman
from sharedip.adapters.kernel.nftables import VOUCHED_S, Fence
from sharedip.core.address import frames
from sharedip.core.messages import OpenGate, Report
from sharedip.core.model import NEVER, Instant, Vip
from tests.contract.kernel.conftest import Pair
from tests.contract.kernel.kernel_loop import VIP4, VIP6
from tests.contract.kernel.kernel_netns import boot_clock, wait_until
from tests.contract.kernel.neighbour import answers_resolution
from tests.contract.kernel.test_fence import BOTH, arrives, echo, rules
from tests.contract.kernel.test_segment import STRANGER, send_from

PEERS = bytes.fromhex("0200000000aa")


@pytest.fixture
def told() -> list[Report]:
    return []


@pytest.fixture
def fence(pair: Pair, deadman: Deadman, told: list[Report]) -> Iterator[Fence]:
    """On a node that has both addresses, and knows one card of another node."""
    for vip in (VIP4, VIP6):
        pair.node.run(f"ip addr add {vip}/{vip.host_prefix_length} dev eth0")
    with pair.node.inside():
        made = Fence(boot_clock, deadman, tell=told.append)
        assert made.install([VIP4, VIP6]) is None
        assert made.know(frozenset({PEERS})) is None
        yield made
        made.close()


def opening(vip: Vip, proved_at: Instant = NEVER) -> OpenGate:
    return OpenGate((vip,), 5.0, boot_clock() + 6, proved_at)


def claim(pair: Pair, vip: Vip, mac: bytes = PEERS) -> None:
    send_from(pair.peer, *frames.announcements(mac, vip.address), *frames.for_rules(mac, vip.address))


def is_contested(pair: Pair, vip: Vip) -> bool:
    listed = pair.node.run(f"nft list set inet sharedip contested{vip.address.version}")
    return f"{vip} timeout" in listed


def wait_for(seconds: float) -> None:
    until = boot_clock() + seconds
    wait_until(lambda: boot_clock() >= until)


@BOTH
def test_a_claim_by_another_node_mutes_what_is_open_before_any_program_has_run(
    pair: Pair, fence: Fence, vip: Vip
) -> None:
    assert fence.perform(opening(vip)) is None
    with echo(pair.node, pair.peer, str(vip)) as (receiver, sender):
        assert arrives(receiver, sender, 1.0)
        claim(pair, vip)
        wait_until(lambda: is_contested(pair, vip))
        assert not arrives(receiver, sender)
    assert not answers_resolution(pair, vip)
    assert answers_resolution(pair, VIP6 if vip == VIP4 else VIP4) is False, "never opened"


@BOTH
def test_only_a_proof_that_was_asked_for_after_the_claim_lets_it_pass_again(pair: Pair, fence: Fence, vip: Vip) -> None:
    before = boot_clock()
    assert fence.perform(opening(vip, before)) is None
    claim(pair, vip)
    wait_until(lambda: is_contested(pair, vip))
    assert fence.perform(opening(vip, before)) is None
    assert not answers_resolution(pair, vip)
    wait_for(0.05)
    assert fence.perform(opening(vip, boot_clock())) is None
    assert answers_resolution(pair, vip)


@BOTH
def test_repeated_claims_under_one_proof_do_not_begin_anew(pair: Pair, fence: Fence, vip: Vip) -> None:
    """A forger gains one round trip a second."""
    claim(pair, vip)
    wait_until(lambda: is_contested(pair, vip))
    wait_for(0.05)
    assert fence.perform(opening(vip, boot_clock())) is None
    vouched_at = boot_clock()
    claim(pair, vip)
    assert answers_resolution(pair, vip) or boot_clock() > vouched_at + VOUCHED_S / 2
    wait_until(lambda: boot_clock() > vouched_at + VOUCHED_S + 0.05)
    claim(pair, vip)
    wait_until(lambda: is_contested(pair, vip))


@BOTH
def test_a_flood_does_not_put_the_proof_off(pair: Pair, fence: Fence, vip: Vip) -> None:
    """It counts from the first claim of a series."""
    claim(pair, vip)
    wait_until(lambda: is_contested(pair, vip))
    wait_for(0.05)
    proved_at = boot_clock()
    for _ in range(100):
        claim(pair, vip)
    assert fence.perform(opening(vip, proved_at)) is None
    assert not is_contested(pair, vip)


@BOTH
def test_strangers_questions_and_answers_mute_nobody(pair: Pair, fence: Fence, vip: Vip) -> None:
    """They are the conflict policy's matter; and a probe claims nothing."""
    assert fence.perform(opening(vip)) is None
    claim(pair, vip, STRANGER)
    send_from(pair.peer, frames.probe(PEERS, vip.address))
    assert answers_resolution(pair, vip)
    assert not is_contested(pair, vip)
    assert fence.know(frozenset()) is None
    claim(pair, vip)
    assert answers_resolution(pair, vip)


def test_a_restart_takes_the_cards_and_the_claims_over_as_they_are(
    pair: Pair, fence: Fence, deadman: Deadman, told: list[Report]
) -> None:
    assert fence.perform(opening(VIP4)) is None
    claim(pair, VIP4)
    wait_until(lambda: is_contested(pair, VIP4))
    with pair.node.inside():
        again = Fence(boot_clock, deadman, tell=told.append)
        assert again.install([VIP4, VIP6]) is None
        again.look()
        assert PEERS.hex(":") in rules(pair.node)
        assert is_contested(pair, VIP4)
        assert again.know(frozenset({STRANGER})) is None
        again.look()
        again.close()
    assert told == []


def test_cards_that_somebody_took_out_are_put_back(pair: Pair, fence: Fence, told: list[Report]) -> None:
    for family in ("inet", "arp"):
        pair.node.run(f"nft flush set {family} sharedip peers")
        fence.look()
        assert rules(pair.node).count(PEERS.hex(":")) == 2
    assert len(told) == 2
