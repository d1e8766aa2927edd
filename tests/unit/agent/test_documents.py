"""The documents against the machine: what is refused at start and at a reload, and how long the fence guards."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sharedip.adapters.kernel.rtwire import TAG, AddressRecord
from sharedip.adapters.state import StateDirectory
from sharedip.agent.documents import Held, Verdict, judge, link_facts, may_be_nobodys, recorded
from sharedip.agent.start import StartRefusal
from sharedip.config.load import load
from sharedip.config.model import Config
from sharedip.core.messages import Level, Report, SurroundingsRead
from sharedip.core.model import Vip
from sharedip.core.state import FormerRun, write_state
from tests.stages.scenes import run

from .agent_stage import LINK, FakeNetlink, Stage, config_at, running, view_of

PERMANENT = 0x80
VIP = Vip(ip_address("192.168.0.15"), "eth0")
SECOND = "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 192.168.0.16\nlink: eth0\n---\n"


def record(text: str, tag: int = 0, flags: int = PERMANENT, link: int = LINK.index) -> AddressRecord:
    address, _, length = text.partition("/")
    return AddressRecord(link, ip_address(address), int(length), flags, tag)


def judged(config: Config, *records: AddressRecord, held: Held = (), on_link: Sequence[str] = ()) -> Verdict:
    """On a node with these addresses and routes."""
    view, networks = view_of(*records), tuple(ip_network(text) for text in on_link)
    netlink: Any = SimpleNamespace(
        view=view,
        find_link=view.find_link,
        surroundings_of=lambda index: SurroundingsRead(index, networks, (), ()),
    )
    return judge(config, netlink, held)


# -- whose address it is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stands", "is_own"),
    [
        (record("192.168.0.15/24"), True),
        (record("192.168.0.15/32"), True),
        (record("192.168.0.15/32", tag=TAG), False),
        (record("192.168.0.15/24", tag=TAG), False),
    ],
)
def test_an_address_is_ours_by_its_tag(tmp_path: Path, stands: AddressRecord, is_own: bool) -> None:
    verdict = judged(config_at(tmp_path), record("192.168.0.1/24"), stands)
    assert bool(verdict.errors) is is_own


@pytest.mark.parametrize(
    ("stands", "is_own"),
    [
        (record("192.168.0.15/32"), False),
        (record("192.168.0.15/24"), True),
        (record("192.168.0.15/24", link=3), True),
    ],
)
def test_without_a_tag_it_is_ours_by_address_mask_and_link_in_the_record(
    tmp_path: Path, stands: AddressRecord, is_own: bool
) -> None:
    """Kernels before 5.18 keep no tag; a person's address with another mask or elsewhere is the person's."""
    held = {(VIP.address, LINK.index)}
    verdict = judged(config_at(tmp_path), record("192.168.0.1/24"), stands, held=held)
    assert bool(verdict.errors) is is_own


def test_only_a_host_address_with_a_lifetime_may_be_a_lost_runs(tmp_path: Path) -> None:
    """Its tag and record lost: that passes, and the service manager tries again; the node's own address stays."""
    config = config_at(tmp_path)
    for stands, may_pass in (
        (record("192.168.0.15/32", flags=0), True),
        (record("192.168.0.15/24", flags=0), False),
        (record("192.168.0.15/32"), False),
    ):
        verdict = judged(config, record("192.168.0.1/24"), stands)
        assert verdict.errors
        assert verdict.may_pass is may_pass
        assert may_be_nobodys(view_of(stands), ()) is may_pass


def test_every_link_is_shown_with_its_names_and_the_nodes_own_addresses() -> None:
    shown = link_facts(view_of(record("192.168.0.1/24"), record("192.168.0.15/32", tag=TAG)), ())
    assert [(facts.names, [str(each) for each in facts.addresses]) for facts in shown] == [
        (LINK.names, ["192.168.0.1/24"]),
        (("lo",), []),
    ]


def test_a_subnet_is_leased_where_the_nodes_own_address_there_has_a_lifetime() -> None:
    """A host address with one is what a killed run may have left, and a subnet with the agent's tag is none."""
    stand = view_of(
        record("192.168.0.1/24", flags=0), record("10.0.0.1/8"), record("192.168.0.15/32", flags=0, tag=TAG)
    )
    facts = link_facts(stand, ())[0]
    assert [str(each) for each in facts.leased] == ["192.168.0.1/24"]
    assert link_facts(view_of(record("192.168.0.1/32", flags=0)), ())[0].leased == ()


def test_the_record_of_a_former_run_is_read_from_its_state(tmp_path: Path) -> None:
    held = ((VIP.address, 2),)
    state = StateDirectory(tmp_path / "state")
    state.open()
    assert recorded(state) == frozenset()
    state.save(write_state(FormerRun(None, "sharedip:v1", "cp1", (), drained=False, held=held)))
    assert recorded(state) == frozenset(held)
    (tmp_path / "state" / "state.json").write_text("{")
    assert recorded(state) == frozenset()
    state.close()


@pytest.mark.parametrize(
    ("own", "on_link", "errors", "warnings"),
    [
        ("203.0.113.7/32", ["192.168.0.0/24"], 0, 0),
        ("203.0.113.7/32", [], 0, 1),
        ("10.0.0.1/24", ["10.0.0.0/24", "192.168.0.0/24"], 0, 0),
        ("10.0.0.1/24", ["10.0.0.0/24"], 1, 0),
        ("fd00::1/64", ["192.168.0.0/24"], 0, 1),
    ],
)
def test_a_route_on_the_link_that_holds_the_vip_is_as_good_as_a_subnet(
    tmp_path: Path, own: str, on_link: list[str], errors: int, warnings: int
) -> None:
    """Clouds and virtual switches; but there must be an address of the family to ask from."""
    verdict = judged(config_at(tmp_path), record(own), on_link=on_link)
    assert (len(verdict.errors), len(verdict.warnings)) == (errors, warnings)


# -- at start ---------------------------------------------------------------------------------------------------------


def _refused(tmp_path: Path, *records: AddressRecord) -> tuple[StartRefusal | None, list[Report], FakeNetlink]:
    """Make an agent on a node with these addresses, and ask it whether it may begin."""

    async def scene() -> tuple[StartRefusal | None, Stage]:
        stage = Stage(tmp_path, view=view_of(*records))
        refusal = stage.agent.refuse()
        await stage.agent.close()
        stage.state.close()
        return refusal, stage

    refusal, stage = asyncio.run(scene())
    return refusal, stage.said, stage.kernel


@pytest.mark.parametrize(
    ("own", "why", "words"),
    [
        (
            "192.168.0.15/24",
            StartRefusal.MISTAKE,
            "vip.yaml:3:7: 192.168.0.15 is the node's own address on eth0; choose an address",
        ),
        ("192.168.0.15/28", StartRefusal.MISTAKE, "192.168.0.15 is the node's own address on eth0"),
        ("10.0.0.1/24", StartRefusal.NOT_YET, "192.168.0.15 is in no subnet of eth0 (10.0.0.0/24)"),
        ("192.168.0.1/28", StartRefusal.MISTAKE, "192.168.0.15 is the broadcast address of 192.168.0.0/28"),
    ],
)
def test_what_check_calls_an_error_ends_the_start(tmp_path: Path, own: str, why: StartRefusal, words: str) -> None:
    """In check's words; nothing was added or removed but what a former run left."""
    refusal, said, kernel = _refused(tmp_path, record(own))
    assert refusal is why
    assert any(words in report.text and report.level is Level.ERROR for report in said), said
    assert kernel.orders == []
    assert kernel.kept == ()


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([record("192.168.0.1/24")], None),
        ([], "eth0 has no IPv4 subnet yet"),
        ([record("192.168.0.1/32")], "eth0 has no IPv4 subnet yet"),
        ([record("192.168.0.1/24"), record("192.168.0.15/32", link=3)], "192.168.0.15 stands on lo as well"),
    ],
)
def test_what_check_only_warns_of_stops_nothing(
    tmp_path: Path, records: list[AddressRecord], words: str | None
) -> None:
    refusal, said, _ = _refused(tmp_path, *records)
    assert refusal is None
    assert [report.level for report in said] == ([] if words is None else [Level.WARNING])
    assert words is None or words in said[0].text


# -- at a reload, and the fence ---------------------------------------------------------------------------------------


def _with_two(text: str) -> str:
    return SECOND + text.replace("fence: lifetime", "fence: nftables")


def _write(tmp_path: Path, change: Callable[[str], str]) -> None:
    config_at(tmp_path, change=change)


def _one(text: str) -> str:
    return text.replace("fence: lifetime", "fence: nftables")


def test_a_reload_is_refused_in_the_words_of_check(tmp_path: Path) -> None:
    """As a whole, also what could have changed; the former configuration runs on."""

    async def scene() -> None:
        async with running(tmp_path) as (stage, _):
            await stage.until(lambda: stage.orders)
            before = stage.config
            stage.kernel.view = view_of(record("192.168.0.16/24"))
            _write(tmp_path, lambda text: SECOND + text.replace("window: 3s", "window: 4s"))
            accepted, text = await stage.reload()
            assert not accepted
            assert "the former configuration runs on" in text
            assert "vip.yaml:3:7: 192.168.0.16 is the node's own address on eth0; choose an address" in text
            assert stage.config is before

    run(scene())


def test_of_two_reloads_at_once_the_later_documents_stand(tmp_path: Path) -> None:
    """The first one reads, and is held up; what the second one reads comes after it, not before."""
    has_read, gate = threading.Event(), threading.Event()

    def slow(*args: Any) -> Any:
        read = load(*args)
        if not has_read.is_set():
            has_read.set()
            gate.wait(5)
        return read

    async def scene() -> None:
        async with running(tmp_path, read=slow) as (stage, _):
            await stage.until(lambda: stage.orders)
            _write(tmp_path, lambda text: text.replace("window: 3s", "window: 4s"))
            first = asyncio.create_task(stage.reload())
            assert await asyncio.to_thread(has_read.wait, 5)
            _write(tmp_path, lambda text: text.replace("window: 3s", "window: 5s"))
            second = asyncio.create_task(stage.reload())
            await asyncio.sleep(0.1)
            gate.set()
            assert (await first)[0]
            assert (await second)[0]
            assert stage.config.failover.window_s == 5.0

    run(scene())


@pytest.mark.parametrize("holds", [True, False])
def test_what_the_agent_holds_is_not_the_nodes_own_address(tmp_path: Path, holds: bool) -> None:
    """An owner reloads while its VIP stands untagged: an old kernel keeps no tag, and `ip address change` drops it."""

    async def scene() -> None:
        async with running(tmp_path) as (stage, _):
            await stage.until(lambda: stage.orders)
            stage.kernel.view = view_of(record("192.168.0.1/24"), record("192.168.0.15/32", flags=0))
            held = frozenset({(VIP.address, LINK.index)} if holds else ())
            stage.node.may_stand = lambda: held  # type: ignore[method-assign]
            assert (await stage.reload())[0] is holds

    run(scene())


def test_what_is_new_is_guarded_before_the_core_hears_of_it(tmp_path: Path) -> None:
    """A kernel that refuses has the whole reload refused: an address without its fence is not taken."""

    async def scene() -> None:
        async with running(tmp_path, config_at(tmp_path, change=_one)) as (stage, _):
            await stage.until(lambda: stage.orders)
            fence = stage.fence
            before, fence.reason = stage.config, "Operation not permitted"
            _write(tmp_path, _with_two)
            accepted, text = await stage.reload()
            assert not accepted
            assert "the nftables fence: Operation not permitted" in text
            assert stage.config is before
            assert fence.installs == 2, "somebody may have taken the tables away: tried anew as well"
            fence.reason = None
            assert (await stage.reload())[0]
            assert len(fence.guards[-1]) == 2

    run(scene())
