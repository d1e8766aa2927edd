"""Ports, the way peers come, and the modes of files, as `sharedip check` tries them."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sharedip.adapters.kernel.rtwire import LinkRecord
from sharedip.adapters.kernel.view import View
from sharedip.cli.remedies import remedy_for
from sharedip.cli.trials import loose_files, taken_ports, why_unreached
from sharedip.core.model import LinkState
from tests.stages.checked_machine import config

LINK = LinkState(2, ("eth0",), b"\2\0\0\0\0\2", running=True)


def test_a_port_that_somebody_has_is_named_with_the_reason() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peers, socket.socket() as api:
        peers.bind(("127.0.0.1", 0))
        api.bind(("127.0.0.1", 0))
        api.listen()
        udp, tcp = peers.getsockname()[1], api.getsockname()[1]
        agent = f"peer: {{listen: 127.0.0.1:{udp}}}\napi: {{listen: 127.0.0.1:{tcp}}}"
        assert taken_ports(config(agent)) == (
            f"peer.listen: UDP 127.0.0.1:{udp}: address already in use",
            f"api.listen: TCP 127.0.0.1:{tcp}: address already in use",
        )
    assert taken_ports(config(agent)) == ()
    assert "cannot assign" in taken_ports(config("peer: {listen: 192.0.2.77:9470}\napi: 'off'"))[0]


def bare_link() -> View:
    """The VIP's link, without any address."""
    made = View()
    made.replace([LinkRecord(LINK)], [])
    return made


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("peer: {listen: 127.0.0.1:9470}", "this node's alone"),
        ("peer: {listen: 0.0.0.0:9470}", "IPv4 address of this node's own"),
        ("", "address of this node's own"),
        ("peer: {listen: 0.0.0.0:9470, advertise: 10.0.0.9}", ""),
    ],
)
def test_a_node_that_nobody_reaches_is_known_beforehand(agent: str, words: str) -> None:
    said = why_unreached(config(agent), bare_link())
    assert words in said
    assert bool(words) is bool(said)


def test_secrets_that_others_may_read_are_named(tmp_path: Path) -> None:
    password, state = tmp_path / "password", tmp_path / "state"
    password.write_text("s3cr3t")
    state.mkdir()
    state.chmod(0o700)
    agent = f"stateDir: {state}\netcd: {{username: a, passwordFile: {password}}}"
    password.chmod(0o600)
    assert loose_files(config(agent)) == ()
    password.chmod(0o644)
    state.chmod(0o777)
    assert loose_files(config(agent)) == (
        f"others may read {password} (mode 0644)",
        f"others may write to {state} (mode 0777)",
    )


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("etcd's certificate is not accepted: caFile does not hold the CA that signed it", "write the CA"),
        ("etcd's certificate is not accepted: it has expired", "renew etcd's server certificate"),
        ("etcd's certificate is not accepted: it is not for this IP address", "subject alternative name"),
        ("etcdserver: authentication failed, invalid user ID or password", "username"),
        ("etcdserver: permission denied", "grant the user"),
        ("etcd refused the client certificate (TLSV13_ALERT_CERTIFICATE_REQUIRED)", "certFile and keyFile"),
        ("etcdserver: mvcc: database space exceeded", "compact"),
        ("connection refused", "is etcd running"),
        ("something that nobody has seen", "is etcd running, and the port open?"),
    ],
)
def test_each_error_of_etcd_has_the_remedy_that_fits(error: str, remedy: str) -> None:
    assert remedy in remedy_for(error)
