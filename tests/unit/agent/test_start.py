"""A fence goes only from what stands nowhere, and never stays on what has gone: with a kernel that is played."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from sharedip.agent.reports import Reports
from sharedip.agent.start import FormerFence
from sharedip.core.messages import Report
from sharedip.core.model import FenceKind, IPAddress, Vip
from sharedip.core.state import FormerRun
from tests.unit.agent.played_kernel import PlayedKernel

A, B, C = (ip_address(f"192.168.0.{number}") for number in (15, 16, 17))
VIP = Vip(A, "eth0")


def begun(kind: FenceKind, kernel: PlayedKernel, former: FormerRun | None) -> tuple[FormerFence, list[Report]]:
    said: list[Report] = []
    played: Any = kernel
    fence = FormerFence(kind, played, played, Reports(said.append, lambda _: None))
    fence.begin([VIP], former)
    return fence, said


def former(fence: FenceKind | None, *addresses: IPAddress) -> FormerRun:
    held = tuple((each, 2) for each in addresses)
    return FormerRun(0x1, "sharedip:v1", "n1", addresses, drained=False, held=held, fence=fence)


def test_where_a_removal_is_not_confirmed_the_tables_of_the_former_fence_stay() -> None:
    kernel = PlayedKernel({A, B}, stuck={A}, guards={A, B})
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


@pytest.mark.parametrize("stuck", [True, False])
def test_the_core_is_told_that_what_stands_is_mute_whatever_the_last_run_fenced_by(stuck: bool) -> None:
    """That run was about to take it off, and was killed: kept as it stands, it would be dark for ever."""
    played: Any = PlayedKernel({A}, stuck={A} if stuck else set(), guards={A})
    fence = FormerFence(FenceKind.LIFETIME, played, played, Reports(lambda _: None, lambda _: None))
    told = fence.begin([VIP], former(FenceKind.LIFETIME, A))
    assert told is not None
    assert told.fence is (FenceKind.NFTABLES if stuck else FenceKind.LIFETIME)


def test_what_has_gone_once_may_come_again_by_right_and_is_not_mute_then() -> None:
    kernel = PlayedKernel({A, B}, stuck={A, B}, guards={A, B})
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
    kernel = PlayedKernel({A}, stuck=set(), guards={A})
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
    kernel = PlayedKernel({A}, stuck=set(), guards=guards)
    begun(now, kernel, former(before, A))
    assert kernel.kept == kept


def test_without_a_record_the_kernel_s_own_tables_tell_what_was_guarded() -> None:
    kernel = PlayedKernel({C}, stuck={C}, guards={C})
    begun(FenceKind.LIFETIME, kernel, None)
    assert kernel.guards == {C}


def test_what_left_the_documents_stays_mute_under_the_new_rules_until_it_has_gone() -> None:
    kernel = PlayedKernel({B}, stuck={B}, guards={A, B})
    fence, _ = begun(FenceKind.NFTABLES, kernel, former(FenceKind.NFTABLES, B))
    assert kernel.mute() == {A, B}
    kernel.standing.clear()
    fence.address_gone()
    assert kernel.mute() == {A}


@pytest.mark.parametrize(("tags_stick", "mute"), [(True, {A}), (False, {A, B}), (None, {A, B})])
def test_another_s_address_that_is_no_vip_any_more_is_let_go_where_tags_tell(
    tags_stick: bool | None, mute: set[IPAddress]
) -> None:
    kernel = PlayedKernel({B}, stuck={B}, guards={A, B})
    kernel.foreign, kernel.tags_stick = {B}, tags_stick
    begun(FenceKind.NFTABLES, kernel, former(FenceKind.NFTABLES))
    assert kernel.mute() == mute


@pytest.mark.parametrize("kind", list(FenceKind))
def test_at_the_end_the_tables_stay_over_what_stands_and_only_over_that(kind: FenceKind) -> None:
    kernel = PlayedKernel(set(), stuck=set(), guards=None if kind is FenceKind.LIFETIME else {A})
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
    kernel = PlayedKernel({A}, stuck=set(), guards=None)
    kernel.tags_stick = tags_stick
    begun(FenceKind.LIFETIME, kernel, replace(former(None, A, B), held=()))
    assert kernel.held == held


def test_what_the_kernel_s_rules_cannot_stop_is_said_at_start() -> None:
    kernel = PlayedKernel(set(), stuck=set(), guards=None)
    kernel.missing = ("nft_ct (translated traffic)",)
    _, said = begun(FenceKind.NFTABLES, kernel, None)
    assert [report.text for report in said] == [
        "the nftables fence is not whole: this kernel lacks nft_ct (translated traffic)"
    ]
