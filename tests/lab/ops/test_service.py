"""A server with /readyz on one node that dies, freezes, is not ready, is slow, or ends in order: when the agent knows.

The bounds are those of docs/configuration.md at the defaults. Who gets the address then is another matter.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sharedip_lab.observe.service import PORT, ApiServer, Requests, Service
from sharedip_lab.stage import Plan, Stage

from .conftest import Authority
from .tools import Document, Log, check, passing, running, status

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

DEAD_S, NOT_READY_S, FROZEN_S = 0.8, 4.5, 8.5
DELAY_S = 10.0


def _checks(authority: Authority) -> Document:
    url = f"https://127.0.0.1:{PORT}/readyz"
    return {"healthChecks": [{"name": "api", "http": {"url": url, "caFile": str(authority.ca_file)}}]}


@contextlib.contextmanager
def _one_node(plan: Plan, authority: Authority) -> Iterator[tuple[Stage, str, ApiServer]]:
    """One agent at its defaults, with a server that is well and known to be."""
    servers: list[ApiServer] = []

    def serve(stage: Stage) -> None:
        (node,) = stage.agents
        service = Service(authority.server_file, stage.run.directory, DELAY_S)
        servers.append(ApiServer(service, node, stage.node(node).namespace))
        servers[0].start()

    try:
        with running(replace(plan, nodes=1, settings=_checks(authority)), serve, settled=False) as stage:
            (node,) = stage.agents
            _wait_health(stage, node, healthy=True, timeout_s=30)
            yield stage, node, servers[0]
    finally:
        for server in servers:
            server.kill()


def _wait_health(stage: Stage, node: str, *, healthy: bool, timeout_s: float) -> None:
    stage.wait(lambda: status(stage, node)["health"]["healthy"] is healthy, f"healthy: {healthy}", timeout_s)


def _known_after_s(stage: Stage, node: str, since: float, timeout_s: float) -> float:
    _wait_health(stage, node, healthy=False, timeout_s=timeout_s)
    return time.monotonic() - since


@pytest.mark.parametrize("trouble", ["killed", "frozen", "not ready"])
def test_what_has_happened_is_known_within_its_bound(plan: Plan, authority: Authority, trouble: str) -> None:
    with _one_node(plan, authority) as (stage, node, server):
        begin = time.monotonic()
        if trouble == "killed":
            server.kill()
        elif trouble == "frozen":
            server.freeze()
        else:
            server.tell("not ready")
        bound_s, ailment = {
            "killed": (DEAD_S, "dead"),
            "frozen": (FROZEN_S, "slow"),
            "not ready": (NOT_READY_S, "slow"),
        }[trouble]
        known_s = _known_after_s(stage, node, begin, bound_s + 5)
        assert known_s <= bound_s
        (found,) = status(stage, node)["health"]["checks"]
        assert found["ailment"] == ailment, found
        if trouble == "frozen":
            assert known_s >= 4.0, "what may be overload has patience"
            server.kill()
            stage.wait(lambda: status(stage, node)["health"]["checks"][0]["ailment"] == "dead", "slow turns dead", 5)


def test_an_orderly_end_is_known_before_a_request_is_refused(plan: Plan, authority: Authority) -> None:
    """/readyz fails first: the verdict stands long before the delay is over, and until then all are answered."""
    with _one_node(plan, authority) as (stage, node, server):
        stage.wait(lambda: stage.owner() == node, "the node owns the address", 30)
        requests = Requests(stage.topology.client.namespace, stage.plan.vips[0])
        try:
            stage.wait(lambda: len(requests.seen) >= 20, "requests", 10)
            begin = time.monotonic()
            server.end_in_order()
            assert _known_after_s(stage, node, begin, DELAY_S) <= NOT_READY_S
            known_at = time.monotonic()
            server.wait_gone(DELAY_S + 10)
        finally:
            seen = requests.close()
        before = [each for each in seen if each.begun < known_at]
        assert len(before) > 20
        assert not [each for each in before if not each.ok]


def test_a_control_plane_that_comes_later_is_found_and_said(plan: Plan, authority: Authority) -> None:
    """No healthChecks are written: kubeadm's files appear, then its API server, and `check` says where they are."""
    # `ip netns exec` gives the agent a mount namespace of its own: /etc/kubernetes is there for it alone.
    mount = (
        'mount -t overlay overlay -o lowerdir="$0":/etc /etc && mount --bind "$0/kubernetes" /etc/kubernetes'
        ' && exec "$@"'
    )
    etc = authority.ca_file.parent / "late-etc"
    pki = etc / "kubernetes" / "pki"
    pki.mkdir(parents=True)
    wrapped = replace(plan, nodes=1, agent=("/bin/sh", "-c", mount, str(etc), *plan.agent), settings={})
    with running(wrapped) as stage:
        (node,) = stage.agents
        log = Log(stage.agents[node])
        assert status(stage, node)["health"] == {"healthy": True, "detail": "no health checks", "checks": []}
        server = ApiServer(
            Service(authority.server_file, stage.run.directory),
            node,
            stage.node(node).namespace,
        )
        (pki / "ca.crt").write_bytes(authority.ca_file.read_bytes())
        manifests = pki.with_name("manifests")
        manifests.mkdir()
        (manifests / "kube-apiserver.yaml").touch()
        stage.wait(
            lambda: bool(log.having("kube-apiserver is checked by default", "/etc/kubernetes/pki")), "it is found", 10
        )
        passing(stage, 3.0)
        health = status(stage, node)["health"]
        assert health["healthy"] is True, "nothing gets worse while it has never passed"
        assert "not passed yet" in health["checks"][0]["detail"]
        server.start()
        try:
            stage.wait(lambda: status(stage, node)["health"]["checks"][0]["healthy"] is True, "it passes", 15)
            assert "by default, a control plane was found at /etc/kubernetes/pki" in check(stage, node).out
        finally:
            server.kill()
        stage.wait(lambda: status(stage, node)["health"]["healthy"] is False, "dead", 5)
