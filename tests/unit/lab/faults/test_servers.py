"""What the requests of a service's client come to."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from sharedip_lab.faults.servers import Servers, checks
from sharedip_lab.observe.service import Request, Requests
from sharedip_lab.stage import Stage


class _Seen:
    """A client that has ended."""

    def __init__(self, *good: tuple[float, bool]) -> None:
        self.seen = [Request(at, at + 0.01, is_good, "n1", "") for at, is_good in good]

    failed = Requests.failed


def _service(*good: tuple[float, bool]) -> Servers:
    return Servers(cast("Stage", None), Path("/nowhere"), calls=cast("Requests", _Seen(*good)))


@pytest.mark.parametrize(
    ("calls", "gap_s"),
    [
        ([(1.0, True), (1.5, True), (2.0, True)], 0.5),
        ([(1.0, True), (1.2, False), (1.4, False), (1.6, True), (2.0, True)], 0.6),
        ([(1.0, True), (1.2, False), (1.4, False)], 1.0),  # nobody answers until the end
        ([(1.2, False)], 1.0),
    ],
)
def test_the_gap_spans_from_the_last_good_request_to_the_next(calls: list[tuple[float, bool]], gap_s: float) -> None:
    assert _service(*calls).gap_s(1.0, 2.0) == pytest.approx(gap_s)


def test_a_failure_counts_where_its_request_began() -> None:
    service = _service((0.9, False), (1.1, False), (1.2, True), (1.3, False), (2.0, False))
    assert [one.begun for one in service.failed(1.0, 2.0)] == [1.1, 1.3]


def test_the_agents_check_their_own_nodes_server_with_every_default() -> None:
    (check,) = checks(Path("/c"))["healthChecks"]
    assert check == {"name": "kube-apiserver", "http": {"url": "https://127.0.0.1:6443/readyz", "caFile": "/c/ca.crt"}}
