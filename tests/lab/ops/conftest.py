"""What the operators' lab tests share."""

from __future__ import annotations

import tracemalloc  # noqa: F401  # pytest imports it in the middle of a collection, whose finalizers then need it
from pathlib import Path

import pytest
import trustme

from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.etcd import Binary


@pytest.fixture
def plan(any_etcd: Binary, shipped: tuple[str, ...]) -> Plan:
    """Three nodes, one VIP, every default."""
    return Plan(any_etcd, agent=shipped)


@pytest.fixture
def owner(stage: Stage) -> str:
    """Who has the first VIP once all is well on the module's `stage`."""
    stage.wait_settled()
    found = stage.owner()
    assert found is not None
    return found


class Authority:
    """A CA of the tests' own: its file, and the file with a server's certificate and key."""

    def __init__(self, directory: Path) -> None:
        ca = trustme.CA()
        self.ca_file = directory / "ca.crt"
        self.server_file = directory / "server.pem"
        self.client_cert_file = directory / "client.crt"
        self.client_key_file = directory / "client.key"
        ca.cert_pem.write_to_path(self.ca_file)
        ca.issue_cert("127.0.0.1", "kubernetes").private_key_and_cert_chain_pem.write_to_path(self.server_file)
        client = ca.issue_cert("kube-apiserver-kubelet-client")
        client.cert_chain_pems[0].write_to_path(self.client_cert_file)
        client.private_key_pem.write_to_path(self.client_key_file)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))
