"""What the lab's tests share: why they can't run here, and stages on both etcd versions."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from sharedip_lab.world.agents import SHIPPED
from sharedip_lab.world.etcd import Binary, find_binary
from sharedip_lab.world.namespaces import LabError, what_is_missing
from sharedip_lab.world.runs import remove_leftovers

STANDIN = (sys.executable, str(Path(__file__).with_name("standin.py")))
LEASE_ALONE = {"lease": {"ttl": "3s"}, "failover": {"witness": "off", "fence": "lifetime"}}


@pytest.fixture(scope="session", autouse=True)
def _able() -> None:
    """Skip everything here, with the reason, on a machine that can't run the lab."""
    problems = what_is_missing()
    if problems:
        pytest.skip("; ".join(problems))
    remove_leftovers()


@pytest.fixture(params=["3.4", "3.5"])
def etcd(request: pytest.FixtureRequest) -> Binary:
    try:
        return find_binary(request.param)
    except LabError as error:
        pytest.skip(str(error))


@pytest.fixture
def any_etcd() -> Binary:
    try:
        return find_binary(None)
    except LabError as error:
        pytest.skip(str(error))


@pytest.fixture
def shipped() -> tuple[str, ...]:
    """The command line of the real agent."""
    if importlib.util.find_spec("sharedip.cli") is None or importlib.util.find_spec("sharedip.cli.main") is None:
        pytest.skip("there is no sharedip.cli.main to start")
    return SHIPPED
