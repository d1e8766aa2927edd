"""What the observer knows of addresses: each event once, and an event that never came is counted."""

from __future__ import annotations

import socket

import pytest

from sharedip_lab.observe import address_events
from sharedip_lab.observe.address_events import AddressWatch

VIP = "192.168.0.15"


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> AddressWatch:
    """One node, nothing on its link; `listed` is what its kernel lists."""
    made = AddressWatch.__new__(AddressWatch)
    made.nodes, made.vips, made.known, made.facts = {1: ("n1", "")}, {VIP}, set(), []
    made.lost, made._differed, made._last = 0, set(), 0.0
    made.lists = {1: socket.socket()}
    monkeypatch.setattr(made, "read", lambda: None)
    return made


def lists(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    monkeypatch.setattr(address_events, "_listed", lambda _: [(2, address) for address in addresses])


def test_what_is_listed_before_it_is_told_is_no_loss(watch: AddressWatch, monkeypatch: pytest.MonkeyPatch) -> None:
    lists(monkeypatch, VIP)
    watch.sweep()
    watch._tell(1.0, 1, 2, VIP, present=True)
    watch.sweep()
    assert watch.lost == 0
    assert [fact[0] for fact in watch.facts] == ["added"]


def test_what_comes_and_goes_between_two_sweeps_is_no_loss(
    watch: AddressWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists(monkeypatch, VIP)
    watch.sweep()
    lists(monkeypatch)
    watch.sweep()
    lists(monkeypatch, VIP)
    watch.sweep()
    assert watch.lost == 0


@pytest.mark.parametrize("is_there", [True, False])
def test_what_no_event_has_told_by_the_next_sweep_is_lost(
    watch: AddressWatch, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    if not is_there:
        watch._tell(1.0, 1, 2, VIP, present=True)
    lists(monkeypatch, *[VIP] * is_there)
    watch.sweep()
    watch.sweep()
    watch.sweep()
    assert watch.lost == 1
    assert watch.facts[-1][0] == ("added" if is_there else "removed")
