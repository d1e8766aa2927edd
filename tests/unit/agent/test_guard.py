"""What is fenced and listened for: never less than what may be on a link by our doing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address

import pytest

from sharedip.agent.guard import GUARD_AGAIN_S, VipGuard
from sharedip.core.model import FenceKind, LinkState, Vip
from sharedip.core.settings import Settings

from .agent_stage import LINK, FakeFence, FakeSegment, view_of

A, B = (Vip(ip_address(f"192.168.0.{number}"), "eth0") for number in (15, 16))
BOTH = Settings("cp1", "sharedip:v1", ("http://127.0.0.1:1",), (B, A), fence=FenceKind.NFTABLES)
ONE = replace(BOTH, vips=(A,))


class FakeNode:
    """A core that has taken `settings` over, and of which `leaving` may stand yet."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.leaving: tuple[Vip, ...] = ()
        self.cards: frozenset[bytes] | None = None

    def cards_of_others(self) -> frozenset[bytes] | None:
        return self.cards

    def guarded(self) -> tuple[Vip, ...]:
        return (*self.settings.vips, *self.leaving) if self.leaving else self.settings.vips


class BareFence(FakeFence):
    """Somebody took the tables away: it refuses until they are installed again."""

    def __init__(self) -> None:
        super().__init__()
        self.reason = "No such file or directory"

    def install(self, vips: Iterable[Vip]) -> str | None:
        self.reason = None
        return super().install(vips)


class Stage:
    """A guard at the start with these settings."""

    def __init__(self, settings: Settings, fence: FakeFence | None = None) -> None:
        self.node, self.fence, self.segment = FakeNode(settings), fence or FakeFence(), FakeSegment()
        self.guard = VipGuard(
            settings,
            self.node,  # type: ignore[arg-type]
            view_of(),  # type: ignore[arg-type]
            self.fence,  # type: ignore[arg-type]
            self.segment,  # type: ignore[arg-type]
        )


def test_what_was_taken_out_is_guarded_until_it_has_left() -> None:
    """Over a second reload as well, and then exactly the documents' VIPs are."""
    stage = Stage(BOTH)
    stage.node.leaving = (B,)
    for settings in (ONE, replace(ONE, window_s=4.0)):
        assert stage.guard.widen(settings) is None
        assert stage.guard.settle(0.0) is None, "the core has not heard of it"
        stage.node.settings = settings
        assert stage.guard.settle(0.0) is None
        assert set(stage.guard.vips) == {A, B}
        assert set(stage.segment.watched[LINK.index]) == {A, B}
    stage.node.leaving = ()
    assert stage.guard.settle(0.0) is None
    assert stage.fence.guards[-1] == stage.segment.watched[LINK.index] == stage.guard.vips == (A,)
    before = len(stage.fence.guards)
    assert stage.guard.settle(0.0) is None
    assert len(stage.fence.guards) == before, "said only when it changes"


def test_a_kernel_that_refuses_what_is_new_is_asked_again_with_new_tables() -> None:
    """Somebody may have taken them away. If it refuses that as well, nothing is taken over."""
    stage = Stage(ONE)
    stage.fence.reason = "Operation not permitted"
    assert stage.guard.widen(BOTH) == "Operation not permitted"
    assert stage.fence.installs == 1
    assert stage.guard.vips == (A,)
    assert stage.guard.settle(0.0) is None
    stage.fence.reason = None
    assert stage.guard.widen(BOTH) is None
    assert set(stage.guard.vips) == {A, B}


def test_what_new_tables_guard_is_listened_for_as_well() -> None:
    """A kernel that refuses once has taken nothing over halfway: who is guarded is heard of, too."""
    stage = Stage(ONE, BareFence())
    assert stage.guard.widen(BOTH) is None
    assert stage.fence.installs == 1
    assert set(stage.guard.vips) == {A, B}
    assert set(stage.segment.watched[LINK.index]) == {A, B}


def test_a_kernel_that_refuses_to_guard_less_is_asked_again_and_named_once() -> None:
    stage = Stage(BOTH)
    assert stage.guard.widen(ONE) is None
    stage.node.settings = ONE
    stage.fence.reason = "No buffer space available"
    told = [stage.guard.settle(now) for now in (10.0, 10.1, 10.0 + GUARD_AGAIN_S, 10.1 + 2 * GUARD_AGAIN_S)]
    first, *later = told
    assert first is not None
    assert "could not be told what it guards" in first.text
    assert first.reason == "No buffer space available"
    assert later == [None, None, None]
    assert set(stage.guard.vips) == {A, B}
    stage.fence.reason = None
    assert stage.guard.settle(10.2 + 2 * GUARD_AGAIN_S) is None
    assert set(stage.guard.vips) == {A, B}, "not before its time"
    assert stage.guard.settle(20.0) is None
    assert stage.guard.vips == (A,)


@pytest.mark.parametrize("kind", list(FenceKind))
def test_only_the_fence_that_is_chosen_is_told(kind: FenceKind) -> None:
    stage = Stage(replace(ONE, fence=kind))
    assert stage.guard.widen(replace(BOTH, fence=kind)) is None
    assert bool(stage.fence.guards) is (kind is FenceKind.NFTABLES)
    assert set(stage.segment.watched[LINK.index]) == {A, B}


def test_a_link_that_appears_is_listened_on_for_what_is_guarded_on_it() -> None:
    stage = Stage(ONE)
    stage.guard.listen_on(LinkState(7, ("eth9", "eth0"), LINK.mac, running=True))
    stage.guard.listen_on(LinkState(8, ("eth8",), LINK.mac, running=True))
    assert stage.segment.watched == {7: (A,)}


@pytest.mark.parametrize("kind", list(FenceKind))
def test_the_fence_heeds_the_claims_of_the_nodes_that_are_known(kind: FenceKind) -> None:
    """While nobody is known it keeps to what a former run knew."""
    stage = Stage(replace(ONE, fence=kind))
    assert stage.guard.settle(0.0) is None
    assert stage.fence.cards is None
    stage.node.cards = frozenset({b"\2\0\0\0\0\2"})
    assert stage.guard.settle(0.0) is None
    assert stage.fence.cards == (stage.node.cards if kind is FenceKind.NFTABLES else None)


def test_a_kernel_that_will_not_learn_of_a_card_is_told_again() -> None:
    stage = Stage(ONE)
    stage.node.cards = frozenset({b"\2\0\0\0\0\2"})
    stage.fence.reason = "No buffer space available"
    report = stage.guard.settle(1.0)
    assert report is not None
    assert report.reason == "No buffer space available"
    stage.fence.reason = None
    assert stage.guard.settle(1.5) is None
    assert stage.fence.cards is None, "not before its time"
    assert stage.guard.settle(1.0 + GUARD_AGAIN_S) is None
    assert stage.fence.cards == stage.node.cards
