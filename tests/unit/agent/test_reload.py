"""What a reload says that it changed, and what it refuses to change."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from sharedip.agent.reload import what_changed, what_needs_a_restart
from sharedip.config.load import Start, load, parse
from sharedip.config.model import Config
from tests.stages.scenes import run

from .agent_stage import Stage, config_at, running

VIP = "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: {}\nlink: {}\n---\n"
AGENT = "apiVersion: v1alpha1\nkind: AgentConfig\n"


def config(vips: dict[str, str], agent: str = "nodeName: n1\n") -> Config:
    documents = "".join(VIP.format(address, link) for address, link in vips.items()) + AGENT + agent
    loaded = parse({"vip.yaml": documents}, "n1")
    assert loaded.config is not None, loaded.problems
    return loaded.config


BEFORE = {"10.0.0.15": "eth0", "10.0.0.16": "eth0"}


@pytest.mark.parametrize(
    ("vips", "agent", "words"),
    [
        ({"10.0.0.15": "eth0", "10.0.0.17": "eth0"}, "", ["10.0.0.17 added", "10.0.0.16 removed"]),
        ({"10.0.0.15": "eth0", "10.0.0.16": "eth1"}, "", ["10.0.0.16 to eth1"]),
        (BEFORE, "failover: {window: 2s, witness: off}\n", ["failover.witness", "failover.window"]),
        (BEFORE, "healthChecks: [{kubeAPIServer: {}}]\n", ["healthChecks"]),
        (BEFORE, "conflict: {policy: yield}\npeer: {advertise: 10.0.0.1}\n", ["conflict.policy", "peer.advertise"]),
        (BEFORE, "", []),
    ],
)
def test_every_change_is_named_as_the_documents_name_it(vips: dict[str, str], agent: str, words: list[str]) -> None:
    after = config(vips, "nodeName: n1\n" + agent)
    assert what_changed(config(BEFORE), after) == words
    assert what_needs_a_restart(config(BEFORE), after) == []
    assert (after == config(BEFORE)) == (not words), "nothing that changes goes unsaid"


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("nodeName: n2\n", ["nodeName"]),
        ("nodeName: n1\nstateDir: /run/other\nlease: {ttl: 20s}\n", ["stateDir", "lease.ttl"]),
        ("nodeName: n1\netcd: {keyPrefix: other, requestTimeout: 2s}\n", ["etcd"]),
        ("nodeName: n1\nfailover: {fence: nftables, window: 2s}\n", ["failover.fence"]),
        ("nodeName: n1\npeer: {listen: 127.0.0.1:9999}\napi: 'off'\n", ["peer.listen", "api"]),
        ("nodeName: n1\nconflict: {policy: yield}\n", []),
    ],
)
def test_what_only_a_restart_can_change_is_named_once(agent: str, words: list[str]) -> None:
    assert what_needs_a_restart(config(BEFORE), config(BEFORE, agent)) == words


def test_every_field_of_the_documents_says_whether_it_is_reloadable() -> None:
    """Itself, or in its section; else a reload would trip over it."""

    def silent(section: Any) -> list[str]:
        return [
            name
            for about in fields(section)
            if about.compare and not about.metadata
            for part in [getattr(section, about.name)]
            for name in (silent(part) if is_dataclass(part) else [about.name])
        ]

    assert silent(config(BEFORE)) == []


# -- documents on disk that would be refused --------------------------------------------------------------------------


def problems(stage: Stage) -> set[str]:
    return {each["code"] for each in stage.status()["problems"]}


def slip(tmp_path: Path) -> None:
    config_at(tmp_path)
    (tmp_path / "vip.yaml").write_text((tmp_path / "vip.yaml").read_text().replace("link:", "lnk:", 1))


def test_a_reload_that_is_refused_is_a_problem_until_one_is_not(tmp_path: Path) -> None:
    """And the copy for the next start is of the documents in use, never of those."""

    async def scene() -> None:
        async with running(tmp_path) as (stage, _):
            await stage.until(lambda: stage.orders)
            await stage.agent._reload.begin()
            good = (tmp_path / "vip.yaml").read_text()
            slip(tmp_path)
            assert not (await stage.reload())[0]
            await stage.until(lambda: "documents" in problems(stage))
            refused = stage.status()["documents"]["refused"]
            assert refused is not None
            assert "vip.yaml:" in refused
            assert stage.kept.read().texts == {str(tmp_path / "vip.yaml"): good}  # type: ignore[union-attr]
            config_at(tmp_path, change=lambda text: text.replace("window: 3s", "window: 4s"))
            assert (await stage.reload())[0]
            await stage.until(lambda: "documents" not in problems(stage))
            assert stage.status()["documents"]["refused"] is None
            assert "window: 4s" in str(stage.kept.read())

    run(scene())


def test_what_only_a_restart_can_change_is_refused_and_stays_a_problem(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as (stage, _):
            await stage.until(lambda: stage.orders)
            config_at(tmp_path, change=lambda text: text.replace("nodeName: cp1", "nodeName: cp2"))
            accepted, text = await stage.reload()
            assert not accepted
            assert text.endswith("nodeName can only change with a restart")
            await stage.until(lambda: "documents" in problems(stage))

    run(scene())


def test_broken_documents_are_seen_before_anybody_reloads_them_and_their_end_as_well(tmp_path: Path) -> None:
    """Once they stand still: a file that is being written is no mistake."""

    async def scene() -> None:
        async with running(tmp_path) as (stage, _):
            await stage.until(lambda: stage.orders)
            reload = stage.agent._reload
            await reload.begin()
            slip(tmp_path)
            await reload.look()
            assert reload.refused == "", "it may be half written"
            await reload.look()
            assert reload.refused
            (tmp_path / "vip.yaml").unlink()
            for _ in range(2):
                await reload.look()
            assert "no such file" in reload.refused
            config_at(tmp_path)
            for _ in range(2):
                await reload.look()
            assert reload.refused == ""

    run(scene())


def test_what_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    reads: list[object] = []

    def counting(*args: Any) -> Any:
        reads.append(args)
        return load(*args)

    async def scene() -> None:
        async with running(tmp_path, read=counting) as (stage, _):
            await stage.until(lambda: stage.orders)
            await stage.agent._reload.begin()
            for _ in range(30):
                await stage.agent._reload.look()
            assert reads == []

    run(scene())


def test_a_start_on_former_documents_is_a_problem_from_the_first_moment(tmp_path: Path) -> None:
    """The copy stays what it is: it is all that a further start has."""

    async def scene() -> None:
        async with running(tmp_path, start=Start({}, "vip.yaml:3:1: a slip")) as (stage, _):
            await stage.until(lambda: "documents" in problems(stage))
            assert isinstance(stage.kept.read(), str)

    run(scene())


def test_a_copy_that_can_not_be_kept_is_a_problem(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running(tmp_path) as (stage, _):
            await stage.until(lambda: stage.orders)
            (tmp_path / "kept").mkdir(exist_ok=True)
            (tmp_path / "kept").chmod(0o777)
            await stage.reload()
            await stage.until(lambda: "unkept" in problems(stage))
            (tmp_path / "kept").chmod(0o700)
            await stage.reload()
            await stage.until(lambda: "unkept" not in problems(stage))

    run(scene())
