"""Clients on the former owner's own node: its agent is dead, and its kernel still has the address for a moment."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from sharedip_lab.faults.catalogue import FAULTS
from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.etcd import find_binary
from sharedip_lab.world.namespaces import inside
from sharedip_lab.world.topology import ECHO_PORT

from .tools import one_owner, running

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

RUNS = 5
LONGEST_S = 3.5
"""A lifetime of 2 s, the kernel's second (K1), and room for a busy machine."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with running(Plan(find_binary(None))) as made:
        yield made


def asked_from(stage: Stage, node: str) -> str | None:
    """Who answers on the address, asked from this node."""
    with inside(stage.node(node).namespace):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    with sock, contextlib.suppress(OSError):
        sock.settimeout(0.02)
        sock.sendto(bytes(8), (stage.plan.vips[0], ECHO_PORT))
        return sock.recv(64)[8:].decode()
    return None


def test_the_next_owner_is_reached_from_there_once_the_lifetime_has_ended(stage: Stage) -> None:
    """The figures are printed: `pytest -s`. They count from the new owner's first answer to everybody else."""
    begin, after_s = time.monotonic(), []
    for _ in range(RUNS):
        stage.wait_settled()
        owner = stage.owner()
        assert owner is not None
        undo = FAULTS["sigkill"].strike(stage, owner)
        stage.wait(lambda dead=owner: stage.answering() not in (None, dead), "another node answers", 10)  # type: ignore[misc]
        moved_at, second = time.monotonic(), stage.answering()
        stage.wait(lambda dead=owner, to=second: asked_from(stage, dead) == to, "it is reached from there", 20)  # type: ignore[misc]
        after_s.append(time.monotonic() - moved_at)
        undo()
    print("reached from the former owner's node after", ", ".join(f"{each:.2f} s" for each in sorted(after_s)))
    assert max(after_s) < LONGEST_S
    one_owner(stage, begin)
