"""Health checks with a real TLS server on each node that hangs, answers 500, is gone, or flaps."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sharedip_lab.stage import Plan, Stage

from .conftest import Authority
from .tools import (
    PLANNED_S,
    Log,
    Server,
    followers,
    gap_s,
    one_owner,
    passing,
    running,
    sharedip,
    status,
    stays,
    vip_status,
    wait_owner,
)

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

Servers = dict[str, Server]


def _checks(authority: Authority, **more: object) -> dict[str, object]:
    api = {"url": "https://127.0.0.1:6443/readyz", "caFile": str(authority.ca_file)}
    check = {"name": "api", "http": api, "interval": "200ms", "timeout": "150ms", "failureThreshold": 2, **more}
    return {"healthChecks": [check]}


@contextlib.contextmanager
def _cluster(plan: Plan, certificate: Path | None, *, healthy: bool = True) -> Iterator[tuple[Stage, Servers]]:
    servers: Servers = {}

    def serve(stage: Stage) -> None:
        for node in stage.agents:
            servers[node] = Server(stage, node, certificate)
            if not healthy:
                servers[node].tell("500")
            servers[node].start()

    try:
        with running(plan, serve) as stage:
            if healthy:
                _wait_health(stage, *servers)
            yield stage, servers
    finally:
        for server in servers.values():
            server.stop()


def _wait_health(stage: Stage, *nodes: str, healthy: bool = True) -> None:
    stage.wait(lambda: all(status(stage, node)["health"]["healthy"] is healthy for node in nodes), "health", 30)


@pytest.mark.parametrize("trouble", ["hang", "500", "gone"])
def test_an_unhealthy_owner_hands_over_to_a_healthy_node_only(plan: Plan, authority: Authority, trouble: str) -> None:
    """The next in the queue is unhealthy as well: the third one gets the address, and clients hardly notice."""
    with _cluster(replace(plan, settings=_checks(authority)), authority.server_file) as (stage, servers):
        owner = stage.owner()
        assert owner is not None
        skipped, wanted = vip_status(stage, owner)["queue"][1:]
        servers[skipped].tell("500")
        _wait_health(stage, skipped, healthy=False)
        stays(stage, owner, 0.5)
        log, begin = Log(stage.agents[owner]), time.monotonic()
        if trouble == "gone":
            servers[owner].stop()
        else:
            servers[owner].tell(trouble)
        wait_owner(stage, wanted)
        assert gap_s(stage, begin) < PLANNED_S
        one_owner(stage, begin)
        words = {"hang": "150 ms", "500": "answered 500: [-]etcd failed", "gone": "Connect"}[trouble]
        assert log.having("giving the address up", "unhealthy", "another node is sound"), log.sentences()
        assert words.replace("150 ms", "0.15 s") in status(stage, owner)["health"]["detail"]
        said = sharedip(stage, wanted, "status", "--cluster", "-c", str(stage.agents[wanted].configuration)).out
        assert said.count("unhealthy") >= 2

        # Back to health: it stands in line, and takes nothing by force.
        if trouble == "gone":
            servers[owner].start()
        servers[owner].tell("ok")
        _wait_health(stage, owner)
        stays(stage, wanted, 1.0)


def test_an_api_server_that_restarts_in_place_moves_nothing(plan: Plan, authority: Authority) -> None:
    """It refuses for some ms, several times over: three refusals in a row, 0.1 s apart, would be a verdict."""
    with _cluster(replace(plan, settings=_checks(authority)), authority.server_file) as (stage, servers):
        owner = stage.owner()
        assert owner is not None
        begin = time.monotonic()
        for _ in range(5):
            servers[owner].restart()
            passing(stage, 0.3)
        assert stage.recording().answers.first_of_other(begin, owner) is None
        stays(stage, owner, 1.0)


def test_nobody_moves_among_the_sick_and_the_vip_is_up_all_the_same(plan: Plan, authority: Authority) -> None:
    """A check that fails everywhere moves nothing, from the bootstrap on; the first to recover gets the address."""
    with _cluster(replace(plan, settings=_checks(authority)), authority.server_file, healthy=False) as (stage, servers):
        _wait_health(stage, *servers, healthy=False)
        owner = stage.owner()
        assert owner is not None
        stays(stage, owner, 3.0)
        better = followers(stage)[-1]
        begin = time.monotonic()
        servers[better].tell("ok")
        wait_owner(stage, better)
        assert gap_s(stage, begin) < PLANNED_S
        for server in servers.values():
            server.tell("hang")
        _wait_health(stage, *servers, healthy=False)
        stays(stage, better, 2.0)


def test_an_unhealthy_winner_passes_on_before_it_adds_the_address(plan: Plan, authority: Authority) -> None:
    """The owner stops while the next in line is unhealthy: the address never stands on that one."""
    with _cluster(replace(plan, settings=_checks(authority)), authority.server_file) as (stage, servers):
        owner = stage.owner()
        assert owner is not None
        skipped, wanted = vip_status(stage, owner)["queue"][1:]
        servers[skipped].tell("500")
        _wait_health(stage, skipped, healthy=False)
        begin = time.monotonic()
        stage.agents[owner].terminate()
        wait_owner(stage, wanted)
        assert stage.agents[owner].wait_gone() == 0
        stage.feeds.catch_up(time.monotonic())
        held = stage.recording().presence.stretches(begin, time.monotonic())
        assert skipped not in held, held
        assert gap_s(stage, begin) < PLANNED_S


def test_flapping_checks_do_not_flap_the_vip_and_etcd_hears_only_of_changes(plan: Plan, authority: Authority) -> None:
    """Every second answer of the owner is a failure: at most one hand-over, and no write per probe."""
    settings = _checks(authority, failureThreshold=3)
    with _cluster(replace(plan, settings=settings), authority.server_file) as (stage, servers):
        owner = stage.owner()
        assert owner is not None
        assert not stage.wait_heard()
        before, begin = stage.etcd.revision(), time.monotonic()
        servers[owner].tell("flap")
        stays(stage, owner, 5.0)
        assert stage.etcd.revision() == before, "probes that change no verdict are not published"
        # A check that really goes to and fro: down for its threshold, up for its threshold.
        for _ in range(4):
            servers[owner].tell("500")
            stage.wait(lambda: status(stage, owner)["health"]["healthy"] is False, "unhealthy", 10)
            servers[owner].tell("ok")
            passing(stage, 1.0)
        changes = vip_status(stage, followers(stage)[0])["changes"]
        assert stage.owner() != owner
        assert len(changes) <= 3, changes
        one_owner(stage, begin)


def test_tcp_and_exec_checks_count_like_any_other(plan: Plan, authority: Authority, tmp_path: Path) -> None:
    """A port that nobody listens on, and a script that fails, each move the address."""
    checks = [
        {"name": "port", "tcp": {"address": "127.0.0.1:6443"}, "interval": "200ms", "failureThreshold": 2},
        {
            "name": "script",
            "exec": {"command": ["/bin/sh", "-c", f"ip -br link show eth0 | grep -qvf {tmp_path}/sick"]},
            "interval": "300ms",
            "failureThreshold": 2,
        },
    ]
    sick = tmp_path / "sick"
    sick.write_text("no such line\n")
    with _cluster(replace(plan, settings={"healthChecks": checks}), None) as (stage, servers):
        owner = stage.owner()
        assert owner is not None
        servers[owner].stop()
        stage.wait(lambda: stage.owner() not in (None, owner), "another owner", 15)
        second = stage.owner()
        assert second is not None
        assert "port" in status(stage, owner)["health"]["detail"]
        servers[owner].start()
        _wait_health(stage, owner)
        sick.write_text(stage.node(second).mac + "\n")
        stage.wait(lambda: stage.owner() not in (None, second), "a third owner", 15)
        assert "script: exit 1" in status(stage, second)["health"]["detail"]


def test_the_short_form_finds_kubeadms_files(plan: Plan, authority: Authority, tmp_path: Path) -> None:
    """`kubeAPIServer: {}` asks the node's own API server under the name `kubernetes`, with kubeadm's CA."""
    pki = tmp_path / "etc" / "kubernetes" / "pki"
    pki.mkdir(parents=True)
    (pki / "ca.crt").write_bytes(authority.ca_file.read_bytes())
    manifests = pki.with_name("manifests")
    manifests.mkdir()
    (manifests / "kube-apiserver.yaml").touch()  # a worker has the CA, too
    # `ip netns exec` gives the agent a mount namespace of its own: /etc/kubernetes is there for it alone.
    overlay = f'mount -t overlay overlay -o lowerdir={tmp_path}/etc:/etc /etc && exec "$@"'
    short = {"kubeAPIServer": {}, "interval": "500ms", "timeout": "450ms", "failureThreshold": 2}
    wrapped = replace(plan, agent=("/bin/sh", "-c", overlay, "sh", *plan.agent), settings={"healthChecks": [short]})
    # kubeadm's API server tells anybody whether it is ready: no certificate of cluster-admin's is shown for that.
    with _cluster(wrapped, authority.server_file) as (stage, servers):
        owner = stage.owner()
        assert owner is not None
        for trouble in ("hang", "401"):
            owner = stage.owner()
            assert owner is not None
            servers[owner].tell(trouble)
            stage.wait(lambda was=owner: stage.owner() not in (None, was), "another owner", 15)  # type: ignore[misc]
            assert "kube-apiserver" in status(stage, owner)["health"]["detail"]
            servers[owner].tell("ok")
            _wait_health(stage, owner)
