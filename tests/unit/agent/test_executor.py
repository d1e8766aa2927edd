"""Orders are carried out in their order, and no address goes up that a later run would not know of."""

from __future__ import annotations

from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest

from sharedip.agent.executor import Executor
from sharedip.agent.reports import Reports
from sharedip.core.messages import (
    AddressRefused,
    AnnounceOnceHeld,
    Command,
    Event,
    Exit,
    HoldAddress,
    Probe,
    ProbeChecks,
    ReadClients,
    ReadSurroundings,
    RemoveAddress,
    Report,
    RunHook,
    SaveState,
    StateNotSaved,
    StopHook,
    TickleClients,
)
from sharedip.core.model import Hook, Vip

VIP = Vip(ip_address("192.168.0.15"), "eth0")
FIRST = HoldAddress(VIP, 10, 100.0, once_saved=True)
RENEWAL = HoldAddress(VIP, 10, 100.0)


class Disk:
    """A state directory that can't be written, or not even cleared."""

    def __init__(self) -> None:
        self.save_trouble: str | None = None
        self.discard_trouble: str | None = None

    def save(self, _: bytes) -> str | None:
        return self.save_trouble

    def discard(self) -> str | None:
        return self.discard_trouble


class Stage:
    """An executor between a disk that may fail and a kernel that remembers what it was told."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.facts: list[Event] = []
        self.said: list[Report] = []
        self.to_kernel: list[object] = []
        self.announced: list[object] = []
        self.looked: list[object] = []
        self.demanded: list[object] = []
        self.hooked: list[object] = []
        self.asked: list[object] = []
        self.withheld: list[object] = []
        self.stands = True
        ignored: Any = None
        self.executor = Executor(
            netlink=SimpleNamespace(  # type: ignore[arg-type]
                perform_many=self.to_kernel.extend,
                stands=lambda _: self.stands,
                read_surroundings=self.looked.append,
            ),
            segment=SimpleNamespace(  # type: ignore[arg-type]
                withhold=lambda _: None, perform=self.announced.append
            ),
            clients=SimpleNamespace(  # type: ignore[arg-type]
                perform=self.asked.append, withhold=self.withheld.append
            ),
            fence=ignored,
            etcd=ignored,
            peers=ignored,
            probes=SimpleNamespace(probe_now=self.demanded.append),  # type: ignore[arg-type]
            hooks=SimpleNamespace(perform=self.hooked.append),  # type: ignore[arg-type]
            state=self.disk,  # type: ignore[arg-type]
            tickets=ignored,
            reports=Reports(self.said.append, lambda _: None),
            emit=self.facts.append,
        )


def test_probes_on_demand_go_to_the_health_checks() -> None:
    stage = Stage()
    stage.executor.execute([ProbeChecks(("api", "disk"))])
    assert stage.demanded == [("api", "disk")]


def test_clients_are_looked_at_and_told_and_no_more_once_the_address_leaves() -> None:
    stage = Stage()
    orders: list[Command] = [ReadClients(1, (VIP.address,)), TickleClients(VIP, (bytes(8),), 0)]
    stage.executor.execute(orders)
    assert (stage.asked, stage.withheld) == (orders, [])
    stage.executor.execute([RemoveAddress(VIP)])
    assert stage.withheld == [VIP]


def test_hooks_go_to_their_runner() -> None:
    stage = Stage()
    orders: list[Command] = [RunHook(1, Hook.ACQUIRE, VIP, b"{}", 2.0), StopHook(1)]
    stage.executor.execute(orders)
    assert stage.hooked == orders


def test_an_address_goes_up_in_the_turn_in_which_it_is_saved() -> None:
    stage = Stage()
    stage.executor.execute([SaveState(b"{}", 1), FIRST])
    assert stage.to_kernel == [FIRST]


def test_what_nobody_would_know_of_is_not_put_up() -> None:
    """Neither saved nor deleted: a later run would find an older file, and believe it."""
    stage = Stage()
    stage.disk.save_trouble = stage.disk.discard_trouble = "Input/output error"
    stage.executor.execute([SaveState(b"{}", 1), FIRST])
    assert stage.to_kernel == []
    assert [type(fact) for fact in stage.facts] == [StateNotSaved, AddressRefused]


def test_before_anything_was_saved_nothing_is_put_up() -> None:
    stage = Stage()
    stage.executor.execute([FIRST])
    assert stage.to_kernel == []


@pytest.mark.parametrize("order", [RENEWAL, RemoveAddress(VIP)])
def test_a_failing_disk_is_in_the_way_of_nothing_that_is_known(order: HoldAddress | RemoveAddress) -> None:
    stage = Stage()
    stage.disk.save_trouble = stage.disk.discard_trouble = "Input/output error"
    stage.executor.execute([SaveState(b"{}", 1), order])
    assert stage.to_kernel == [order]


def test_a_deleted_file_misleads_nobody() -> None:
    """A later run starts afresh; and the next save that succeeds counts again."""
    stage = Stage()
    stage.disk.save_trouble = "No space left on device"
    stage.executor.execute([SaveState(b"{}", 1), FIRST])
    stage.disk.discard_trouble = "Read-only file system"
    stage.executor.execute([SaveState(b"{}", 2), FIRST])
    stage.disk.save_trouble = None
    stage.executor.execute([SaveState(b"{}", 3), FIRST])
    assert stage.to_kernel == [FIRST, FIRST]


def test_a_full_disk_is_told_once_and_again_when_it_works() -> None:
    stage = Stage()
    stage.disk.save_trouble = "No space left on device"
    stage.executor.execute([SaveState(b"{}", 1)])
    stage.executor.execute([SaveState(b"{}", 2)])
    stage.disk.save_trouble = None
    stage.executor.execute([SaveState(b"{}", 3), SaveState(b"{}", 4)])
    assert [report.text for report in stage.said] == [
        "a restarted agent will start afresh",
        "the state is saved again",
    ]


@pytest.mark.parametrize("stands", [True, False])
def test_what_is_announced_with_its_hold_needs_the_kernel_to_have_it(stands: bool) -> None:
    """Add, then announce: a hold that the kernel refused draws no neighbour here."""
    stage = Stage()
    stage.stands = stands
    stage.executor.execute([HoldAddress(VIP, 5, 1e9), AnnounceOnceHeld(VIP, 1e9)])
    assert len(stage.announced) == int(stands)


def test_neighbours_travel_together_and_nothing_overtakes_them() -> None:
    """The fence closes behind the removals before it, and what follows it goes in another call."""
    stage = Stage()
    stage.executor.execute([RemoveAddress(VIP), RENEWAL, Probe(VIP), RENEWAL])
    assert stage.to_kernel == [RemoveAddress(VIP), RENEWAL, RENEWAL]
    assert stage.announced == [Probe(VIP)]


def test_a_link_is_looked_around_behind_what_was_ordered_before() -> None:
    stage = Stage()
    stage.executor.execute([RENEWAL, ReadSurroundings(2)])
    assert (stage.to_kernel, stage.looked) == ([RENEWAL], [ReadSurroundings(2)])


def test_it_says_when_the_process_may_end() -> None:
    stage = Stage()
    assert not stage.executor.execute([SaveState(b"{}", 1)])
    assert stage.executor.execute([Exit(), SaveState(b"{}", 2)])
    assert len(stage.facts) == 2, "the orders behind it are carried out as well"
