"""The documents against the machine: what is refused at start and at a reload, and how long the fence guards."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

import sharedip.agent.loop as agent_module
from sharedip.adapters.kernel.rtwire import TAG, AddressRecord
from sharedip.adapters.kernel.view import View
from sharedip.adapters.state import StateDirectory
from sharedip.agent.documents import judge, link_facts, may_be_nobodys, recorded
from sharedip.agent.loop import Agent
from sharedip.config.load import load
from sharedip.core.candidacy import Candidacy
from sharedip.core.messages import Level, Report
from sharedip.core.model import IPAddress, LinkState, Vip
from sharedip.core.state import FormerRun, write_state

from .agent_stage import LINK, FakeNetlink, config_at, running

PERMANENT = 0x80
VIP = Vip(ip_address("192.168.0.15"), "eth0")
SECOND = "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 192.168.0.16\nlink: eth0\n---\n"


def run(scene: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scene

    asyncio.run(bounded())


def record(text: str, tag: int = 0, flags: int = PERMANENT, link: int = LINK.index) -> AddressRecord:
    address, _, length = text.partition("/")
    return AddressRecord(link, ip_address(address), int(length), flags, tag)


def view(*records: AddressRecord) -> View:
    made = View()
    made.replace([LINK, LinkState(3, ("lo",), b"", running=True)], records)
    return made


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
    verdict = judge(config_at(tmp_path), view(record("192.168.0.1/24"), stands), ())
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
    verdict = judge(config_at(tmp_path), view(record("192.168.0.1/24"), stands), held)
    assert bool(verdict.errors) is is_own


def test_only_a_host_address_with_a_lifetime_may_be_a_lost_runs(tmp_path: Path) -> None:
    """Its tag and record lost: that passes, and the service manager tries again; the node's own address stays."""
    config = config_at(tmp_path)
    for stands, code in (
        (record("192.168.0.15/32", flags=0), 1),
        (record("192.168.0.15/24", flags=0), 2),
        (record("192.168.0.15/32"), 2),
    ):
        verdict = judge(config, view(record("192.168.0.1/24"), stands), ())
        assert verdict.exit_code == code
        assert may_be_nobodys(view(stands), ()) is (code == 1)


def test_every_link_is_shown_with_its_names_and_the_nodes_own_addresses() -> None:
    shown = link_facts(view(record("192.168.0.1/24"), record("192.168.0.15/32", tag=TAG)), ())
    assert [(facts.names, [str(each) for each in facts.addresses]) for facts in shown] == [
        (LINK.names, ["192.168.0.1/24"]),
        (("lo",), []),
    ]


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


# -- at start ---------------------------------------------------------------------------------------------------------


def _refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *records: AddressRecord
) -> tuple[int | None, list[Report], Any]:
    """Make an agent on a node with these addresses, and ask it whether it may begin."""
    said: list[Report] = []
    kernels: list[Any] = []

    def made(*args: Any) -> FakeNetlink:
        kernel = FakeNetlink(*args)
        kernel.view = view(*records)  # type: ignore[assignment]
        kernels.append(kernel)
        return kernel

    async def scene() -> int | None:
        config = config_at(tmp_path)
        state = StateDirectory(config.state_dir)
        state.open()
        agent = Agent(config, [tmp_path / "vip.yaml"], state)
        code = agent.refuse()
        await agent.close()
        state.close()
        return code

    monkeypatch.setattr(agent_module, "Netlink", made)
    monkeypatch.setattr("sharedip.agent.loop.logs.write_report", lambda report, _: said.append(report))
    return asyncio.run(scene()), said, kernels[0]


@pytest.mark.parametrize(
    ("own", "code", "words"),
    [
        ("192.168.0.15/24", 2, "vip.yaml:3:7: 192.168.0.15 is the node's own address on eth0; choose an address"),
        ("192.168.0.15/28", 2, "192.168.0.15 is the node's own address on eth0"),
        ("10.0.0.1/24", 1, "192.168.0.15 is in no subnet of eth0 (10.0.0.0/24)"),
        ("192.168.0.1/28", 2, "192.168.0.15 is the broadcast address of 192.168.0.0/28"),
    ],
)
def test_what_check_calls_an_error_ends_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, code: int, words: str
) -> None:
    """In check's words; nothing was added or removed but what a former run left."""
    ended, said, kernel = _refused(tmp_path, monkeypatch, record(own))
    assert ended == code
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: list[AddressRecord], words: str | None
) -> None:
    ended, said, _ = _refused(tmp_path, monkeypatch, *records)
    assert ended is None
    assert [report.level for report in said] == ([] if words is None else [Level.WARNING])
    assert words is None or words in said[0].text


# -- at a reload, and the fence ---------------------------------------------------------------------------------------


class FakeFence:
    """Remembers what it guards; refuses while `reason` is set."""

    reinstalled = 0
    missing: tuple[str, ...] = ()
    why_not: str | None = None

    def __init__(self, *_: object, **__: object) -> None:
        self.guards: list[tuple[Vip, ...]] = []
        self.reason: str | None = None
        self.installs = 0

    def prove(self) -> str | None:
        return None

    def look(self) -> str | None:
        return None

    def guarded(self) -> frozenset[IPAddress] | None:
        return None

    def cover(self, _: object) -> None:
        pass

    def install(self, vips: Iterable[Vip]) -> str | None:
        self.installs += 1
        return self.guard(vips)

    def guard(self, vips: Iterable[Vip]) -> str | None:
        if self.reason is None:
            self.guards.append(tuple(vips))
        return self.reason

    def perform(self, _: object) -> str | None:
        return None

    def uninstall(self) -> None:
        pass

    def close(self) -> None:
        pass


def _with_two(text: str) -> str:
    return SECOND + text.replace("fence: lifetime", "fence: nftables")


def _write(tmp_path: Path, change: Callable[[str], str]) -> None:
    config_at(tmp_path, change=change)


def _one(text: str) -> str:
    return text.replace("fence: lifetime", "fence: nftables")


def test_a_reload_is_refused_in_the_words_of_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a whole, also what could have changed; the former configuration runs on."""

    async def scene() -> None:
        async with running(tmp_path, monkeypatch) as (stage, _):
            await stage.until(lambda: stage.orders)
            before = stage.agent._settings
            stage.kernel.view = view(record("192.168.0.16/24"))
            _write(tmp_path, lambda text: SECOND + text.replace("window: 3s", "window: 4s"))
            accepted, text = await stage.agent._operate("reload", {})
            assert not accepted
            assert "the former configuration runs on" in text
            assert "vip.yaml:3:7: 192.168.0.16 is the node's own address on eth0; choose an address" in text
            assert stage.agent._settings is before

    run(scene())


def test_of_two_reloads_at_once_the_later_documents_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one reads, and is held up; what the second one reads comes after it, not before."""
    gate = threading.Event()

    def slow(*args: Any) -> Any:
        read = load(*args)
        gate.wait(5)
        return read

    async def scene() -> None:
        async with running(tmp_path, monkeypatch) as (stage, _):
            await stage.until(lambda: stage.orders)
            monkeypatch.setattr(agent_module, "load", slow)
            _write(tmp_path, lambda text: text.replace("window: 3s", "window: 4s"))
            first = asyncio.create_task(stage.agent._operate("reload", {}))
            await asyncio.sleep(0.1)
            monkeypatch.setattr(agent_module, "load", load)
            _write(tmp_path, lambda text: text.replace("window: 3s", "window: 5s"))
            second = asyncio.create_task(stage.agent._operate("reload", {}))
            await asyncio.sleep(0.1)
            gate.set()
            assert (await first)[0]
            assert (await second)[0]
            assert stage.agent._config.failover.window_s == 5.0

    run(scene())


@pytest.mark.parametrize("holds", [True, False])
def test_what_the_agent_holds_is_not_the_nodes_own_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds: bool
) -> None:
    """An owner reloads while its VIP stands untagged: an old kernel keeps no tag, and `ip address change` drops it."""

    async def scene() -> None:
        async with running(tmp_path, monkeypatch) as (stage, _):
            await stage.until(lambda: stage.orders)
            stage.kernel.view = view(record("192.168.0.1/24"), record("192.168.0.15/32", flags=0))
            held = frozenset({(VIP.address, LINK.index)} if holds else ())
            monkeypatch.setattr(stage.agent._node, "may_stand", lambda: held)
            assert (await stage.agent._operate("reload", {}))[0] is holds

    run(scene())


def test_what_was_taken_out_is_guarded_until_it_has_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a second reload as well, and then exactly the documents' VIPs are."""
    monkeypatch.setattr(agent_module, "Fence", FakeFence)

    async def scene() -> None:
        async with running(tmp_path, monkeypatch, config_at(tmp_path, change=_with_two)) as (stage, _):
            await stage.until(lambda: stage.orders)
            other = Vip(ip_address("192.168.0.16"), "eth0")
            fence: Any = stage.agent._fence
            clear = False
            monkeypatch.setattr(Candidacy, "is_clear", property(lambda _: clear))
            for window in ("3s", "4s"):
                _write(tmp_path, lambda text, window=window: _one(text).replace("3s", window))  # type: ignore[misc]
                assert (await stage.agent._operate("reload", {}))[0]
                await stage.until(lambda: stage.agent._node.settings is stage.agent._settings)
                await stage.until(lambda: stage.agent._turn_handle is None)
                assert set(fence.guards[-1]) == {VIP, other}, window
            clear = True
            stage.agent._wake()
            await stage.until(lambda: fence.guards[-1] == (VIP,))
            before = len(fence.guards)
            stage.agent._wake()
            await stage.until(lambda: stage.agent._turn_handle is None)
            assert len(fence.guards) == before, "said only when it changes"

    run(scene())


def test_what_is_new_is_guarded_before_the_core_hears_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that refuses has the whole reload refused: an address without its fence is not taken."""
    monkeypatch.setattr(agent_module, "Fence", FakeFence)

    async def scene() -> None:
        async with running(tmp_path, monkeypatch, config_at(tmp_path, change=_one)) as (stage, _):
            await stage.until(lambda: stage.orders)
            fence: Any = stage.agent._fence
            before, fence.reason = stage.agent._settings, "Operation not permitted"
            _write(tmp_path, _with_two)
            accepted, text = await stage.agent._operate("reload", {})
            assert not accepted
            assert "the nftables fence: Operation not permitted" in text
            assert stage.agent._settings is before
            assert fence.installs == 2, "somebody may have taken the tables away: tried anew as well"
            fence.reason = None
            assert (await stage.agent._operate("reload", {}))[0]
            assert len(fence.guards[-1]) == 2

    run(scene())


def test_a_kernel_that_refuses_to_guard_less_is_asked_again_and_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent_module, "Fence", FakeFence)
    monkeypatch.setattr(agent_module, "GUARD_AGAIN_S", 0.01)

    async def scene() -> None:
        async with running(tmp_path, monkeypatch, config_at(tmp_path, change=_with_two)) as (stage, _):
            await stage.until(lambda: stage.orders)
            agent, fence = stage.agent, stage.agent._fence
            fence.reason = "No buffer space available"  # type: ignore[attr-defined]
            changed = replace(agent._settings, vips=(VIP,))
            agent._use(changed)
            agent._node.settings, agent._node._configured = changed, {VIP.address: VIP}
            for _ in range(5):
                agent._wake()
                await stage.until(lambda: agent._turn_handle is None)
                await asyncio.sleep(0.015)
            assert len(stage.having("could not be told what it guards", "No buffer space")) == 1
            fence.reason = None  # type: ignore[attr-defined]
            agent._wake()
            await stage.until(lambda: agent._guarded == (VIP,))

    run(scene())
