"""`sharedip check` says which window the cluster could keep, and warns where a shorter one is asked for."""

from __future__ import annotations

import pytest

from sharedip.cli.check_window import check_window
from sharedip.cli.checks import CHECKS
from sharedip.cli.facts import MachineFacts, Severity
from sharedip.core.etcd.agent_records import Peer
from sharedip.core.keeping import Measured
from tests.stages.checked_machine import config, machine


def agents(*measured: Measured) -> MachineFacts:
    records = tuple(
        Peer(number, f"n{number}", None, 0, None, None, measured=each) for number, each in enumerate(measured, start=1)
    )
    return machine({"records": records})


@pytest.mark.parametrize(
    ("measured", "level", "words"),
    [
        (
            Measured(0.05, 0.02),
            Severity.OK,
            "could keep a window of 300 ms: in the last day n1 was late by up to 50 ms",
        ),
        (Measured(0.5, 0.2), Severity.WARNING, "and not the 1 s that are configured"),
        (Measured(50.0, 20.0), Severity.WARNING, "could keep no window"),
        (Measured(0.05, None), Severity.NOT_YET, "can't be told"),
    ],
)
def test_the_window_that_the_agents_measured_is_set_against_the_one_that_is_asked_for(
    measured: Measured, level: Severity, words: str
) -> None:
    (finding,) = check_window(config(), agents(measured, Measured()))
    assert finding.level is level
    assert words in finding.text
    assert bool(finding.remedy) is (level is not Severity.OK)


def test_the_remedy_names_the_window_and_whose_lateness_it_was() -> None:
    (finding,) = check_window(config(), agents(Measured(0.01, 0.01), Measured(0.5, 0.01)))
    assert finding.remedy.startswith("set failover.window to 2s on every node, or give n2 more CPU")


def test_without_a_witness_or_agents_there_is_nothing_to_say() -> None:
    assert list(check_window(config("failover: {witness: off}"), agents(Measured(0.5, 0.5)))) == []
    assert list(check_window(config(), machine())) == []
    assert check_window in CHECKS
