"""Fixtures: every contract test runs against each etcd release that is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.etcd.etcd_cluster import Certificates, Cluster, Release, find_release


@pytest.fixture(scope="session", params=["3.4", "3.5"])
def release(request: pytest.FixtureRequest) -> Release:
    found = find_release(request.param)
    if isinstance(found, str):
        pytest.skip(f"etcd {request.param}: {found}")
    return found


@pytest.fixture(scope="session")
def single(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One member that nobody stops; tests use keys of their own."""
    with Cluster(release, tmp_path_factory.mktemp("single") / "etcd") as cluster:
        yield cluster


@pytest.fixture
def three(release: Release, tmp_path: Path) -> Iterator[Cluster]:
    """Three members for a test that stops some."""
    with Cluster(release, tmp_path / "etcd", members=3) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def mutual(release: Release, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One member that asks for client certificates."""
    folder = tmp_path_factory.mktemp("mutual") / "etcd"
    with Cluster(release, folder, certificates=certificates, client_certificates=True) as cluster:
        yield cluster
