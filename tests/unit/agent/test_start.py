"""A fence goes only from what stands nowhere, and never stays on what has gone: with a kernel that is played."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest

from sharedip.agent.reports import Reports
from sharedip.agent.start import FormerFence
from sharedip.core.messages import Report
from sharedip.core.model import FenceKind, IPAddress, LinkState, Vip
from sharedip.core.state import FormerRun

A, B, C = (ip_address(f"192.168.0.{number}") for number in (15, 16, 17))
VIP = Vip(A, "eth0")


class Kernel:
    """What stands and what the tables guard; removals succeed but for `stuck`."""

    def __init__(self, standing: set[IPAddress], stuck: set[IPAddress], guards: set[IPAddress] | None) -> None:
        self.standing, self.stuck = set(standing), stuck
        self.guards = guards
        self.covered: set[IPAddress] = set()
        self.kept: list[IPAddress] = []
        self.tags_stick: bool | None = True
        self.foreign: set[IPAddress] = set()
        self.table = "sharedip"
        self.missing: tuple[str, ...] = ()
        self.held: Any = None

    def mute(self) -> set[IPAddress]:
        return (self.guards or set()) | self.covered

    def remove_leftovers(self, _: object, held: Any, keep: Any) -> Any:
        self.kept, self.held = list(keep), held
        self.standing = {each for each in self.standing if each in self.stuck or each in self.kept}
        return SimpleNamespace(removed=(), failed=(), foreign=())

    def find_link(self, name: str) -> LinkState | None:
        return LinkState(2, ("eth0",), b"", running=True) if name == "eth0" else None

    def still_standing(self, addresses: Any) -> frozenset[IPAddress]:
        return frozenset(addresses) & self.standing

    def has_ours(self, address: IPAddress) -> bool:
        return address not in self.foreign

    def guarded(self) -> frozenset[IPAddress] | None:
        return None if self.guards is None else frozenset(self.mute())

    def guard(self, vips: Any) -> None:
        self.guards = {vip.address for vip in vips}

    def cover(self, addresses: Any) -> None:
        self.covered = set(addresses)

    def install(self, vips: Any) -> None:
        self.guard(vips)

    def look(self) -> None:
        pass

    def uninstall(self) -> None:
        assert not self.mute() & self.standing, "unmuted"
        self.guards, self.covered = None, set()


def begun(kind: FenceKind, kernel: Kernel, former: FormerRun | None) -> tuple[FormerFence, list[Report]]:
    said: list[Report] = []
    played: Any = kernel
    fence = FormerFence(kind, played, played, Reports(said.append, lambda _: None))
    fence.begin([VIP], former)
    return fence, said


def former(fence: FenceKind | None, *addresses: IPAddress) -> FormerRun:
    held = tuple((each, 2) for each in addresses)
    return FormerRun(0x1, "sharedip:v1", "n1", addresses, drained=False, held=held, fence=fence)


def test_where_a_removal_is_not_confirmed_the_tables_of_the_former_fence_stay() -> None:
    kernel = Kernel({A, B}, stuck={A}, guards={A, B})
    fence, said = begun(FenceKind.LIFETIME, kernel, former(FenceKind.NFTABLES, A, B))
    assert kernel.kept == []
    assert kernel.guards == {A}
    assert fence.needs_looks
    assert [report.text for report in said] == [
        "192.168.0.15 of a former run may still stand here, and stays mute until it has gone"
    ]
    fence.look()
    assert len(said) == 1, "said once"
    kernel.standing.clear()
    fence.address_gone()
    assert kernel.guarded() is None
    assert not fence.needs_looks


def test_what_has_gone_once_may_come_again_by_right_and_is_not_mute_then() -> None:
    kernel = Kernel({A, B}, stuck={A, B}, guards={A, B})
    fence, _ = begun(FenceKind.LIFETIME, kernel, former(FenceKind.NFTABLES, A, B))
    kernel.standing = {B}
    fence.address_gone()
    assert kernel.guards == {B}
    kernel.standing = {A, B}  # A is held now
    fence.look()
    assert kernel.guards == {B}
    kernel.standing = {A}
    fence.look()
    assert kernel.guarded() is None


@pytest.mark.parametrize("before", [FenceKind.NFTABLES, None, FenceKind.LIFETIME])
def test_nothing_is_kept_under_tables_that_would_mute_it(before: FenceKind | None) -> None:
    """LIFETIME: two restarts ago the tables were the fence, and they are still here."""
    kernel = Kernel({A}, stuck=set(), guards={A})
    begun(FenceKind.LIFETIME, kernel, former(before, A))
    assert kernel.kept == []
    assert kernel.guarded() is None


@pytest.mark.parametrize(
    ("now", "before", "guards", "kept"),
    [
        (FenceKind.LIFETIME, FenceKind.LIFETIME, None, [A]),
        (FenceKind.NFTABLES, FenceKind.NFTABLES, {A}, [A]),
        (FenceKind.NFTABLES, FenceKind.LIFETIME, None, []),
        (FenceKind.NFTABLES, None, {A}, []),
        (FenceKind.LIFETIME, None, None, []),
    ],
)
def test_the_address_is_kept_for_its_proof_only_under_the_same_fence(
    now: FenceKind, before: FenceKind | None, guards: set[IPAddress] | None, kept: list[IPAddress]
) -> None:
    kernel = Kernel({A}, stuck=set(), guards=guards)
    begun(now, kernel, former(before, A))
    assert kernel.kept == kept


def test_without_a_record_the_kernel_s_own_tables_tell_what_was_guarded() -> None:
    kernel = Kernel({C}, stuck={C}, guards={C})
    begun(FenceKind.LIFETIME, kernel, None)
    assert kernel.guards == {C}


def test_what_left_the_documents_stays_mute_under_the_new_rules_until_it_has_gone() -> None:
    kernel = Kernel({B}, stuck={B}, guards={A, B})
    fence, _ = begun(FenceKind.NFTABLES, kernel, former(FenceKind.NFTABLES, B))
    assert kernel.mute() == {A, B}
    kernel.standing.clear()
    fence.address_gone()
    assert kernel.mute() == {A}


@pytest.mark.parametrize(("tags_stick", "mute"), [(True, {A}), (False, {A, B}), (None, {A, B})])
def test_another_s_address_that_is_no_vip_any_more_is_let_go_where_tags_tell(
    tags_stick: bool | None, mute: set[IPAddress]
) -> None:
    kernel = Kernel({B}, stuck={B}, guards={A, B})
    kernel.foreign, kernel.tags_stick = {B}, tags_stick
    begun(FenceKind.NFTABLES, kernel, former(FenceKind.NFTABLES))
    assert kernel.mute() == mute


@pytest.mark.parametrize("kind", list(FenceKind))
def test_at_the_end_the_tables_stay_over_what_stands_and_only_over_that(kind: FenceKind) -> None:
    kernel = Kernel(set(), stuck=set(), guards=None if kind is FenceKind.LIFETIME else {A})
    fence, said = begun(kind, kernel, None)
    kernel.guards, kernel.standing = {A, B}, {B}
    fence.end()
    assert kernel.guards == {B}
    assert "nft delete table inet sharedip" in str(said[-1].reason)
    kernel.standing.clear()
    fence.end()
    assert kernel.guarded() is None


@pytest.mark.parametrize(("tags_stick", "held"), [(True, ()), (False, ((A, 2),)), (None, ((A, 2),))])
def test_a_record_without_links_counts_for_the_vip_s_own_link_where_no_tags_tell(
    tags_stick: bool | None, held: tuple[tuple[IPAddress, int], ...]
) -> None:
    """Written by a version that named addresses only; on such a kernel its leftover carries no mark."""
    kernel = Kernel({A}, stuck=set(), guards=None)
    kernel.tags_stick = tags_stick
    begun(FenceKind.LIFETIME, kernel, replace(former(None, A, B), held=()))
    assert kernel.held == held


def test_what_the_kernel_s_rules_cannot_stop_is_said_at_start() -> None:
    kernel = Kernel(set(), stuck=set(), guards=None)
    kernel.missing = ("nft_ct (translated traffic)",)
    _, said = begun(FenceKind.NFTABLES, kernel, None)
    assert [report.text for report in said] == [
        "the nftables fence is not whole: this kernel lacks nft_ct (translated traffic)"
    ]
