"""Idle clients of an owner that dies hear of it when the address has moved, and not by their own time-outs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import closing

import pytest

from sharedip_lab.faults.catalogue import FAULTS
from sharedip_lab.faults.servers import certificates
from sharedip_lab.observe.crowd import IdleClients, IdleKind
from sharedip_lab.observe.real_clients import Kube, RealClients
from sharedip_lab.scenarios.waiting import REAL, knows
from sharedip_lab.stage import VIP4, VIP6, Plan, Stage
from sharedip_lab.world.etcd import find_binary

from .tools import Document, Log, followers, metric, one_owner, running, sharedip, vip_status, wait_owner

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

COUNTS = {VIP4: 500, VIP6: 500}
KNOWN_S = 60.0
"""10 s until they count, two looks, and some datagrams; more on a busy machine."""
NOTICED_S = 15.0
"""Without being told they would hear of nothing for hours."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with running(Plan(find_binary(None), vips=(VIP4, VIP6))) as made:
        yield made


def _are_known(vip: Document, others: list[str]) -> bool:
    """All of them; and one that the lab's client has open on each VIP."""
    return bool(vip["clients"]["count"] >= COUNTS[VIP4] and vip["clients"]["told_to"] == sorted(others))


def test_a_thousand_idle_clients_of_a_crashed_owner_are_told(stage: Stage, owner: str) -> None:
    """IPv4 and IPv6; the figures are printed, and `sharedip lab run clients` measures them."""
    if stage.owner(VIP6) != owner:
        assert sharedip(stage, str(stage.owner(VIP6)), "move", VIP6, "--to", owner).code == 0
        wait_owner(stage, owner, vip=VIP6)
    others = followers(stage)
    crowd = IdleClients(stage.topology.client.namespace, (VIP4, VIP6), [IdleKind("silent", COUNTS[VIP4])])
    with closing(crowd):
        stage.wait(lambda: crowd.standing == COUNTS, "all are connected", 20)
        stage.wait(
            lambda: all(_are_known(vip_status(stage, owner, vip), others) for vip in COUNTS),
            "all are told",
            KNOWN_S,
            0.5,
        )
        assert all(vip_status(stage, node, VIP4)["clients"]["count"] >= COUNTS[VIP4] for node in others)
        assert crowd.ended == []
        logs = {node: Log(stage.agents[node]) for node in others}
        began = stage.note("strike", f"{owner}: crash")
        undo = FAULTS["crash"].strike(stage, owner)
        try:
            stage.wait(lambda: stage.answering(VIP4) in others, "another node answers", 10)
            stage.wait(lambda: crowd.standing == COUNTS and len(crowd.ended) >= 1000, "all are served again", NOTICED_S)
            assert {each.how for each in crowd.ended} == {"reset"}
            first = stage.recording(VIP4).answers.first_of_other(began, owner)
            noticed = [each.at - began for each in crowd.ended]
            print(f"\naddress after {(first[0] if first else began) - began:.3f} s; noticed after median", end=" ")
            print(f"{statistics.median(noticed):.3f} s, last {max(noticed):.3f} s")
            said = [line for log in logs.values() for line in log.having("clients told", owner)]
            assert len(said) == len(COUNTS)
            assert all(int(line.split()[0]) >= COUNTS[VIP4] for line in said), said
            told = [each for node in others for each in metric(stage, node, "sharedip_vip_clients_told_total")]
            assert sum(int(line.rpartition(" ")[2]) >= COUNTS[VIP4] for line in told) == len(COUNTS), told
        finally:
            undo()
    stage.wait_settled()
    one_owner(stage, began)


def test_watches_of_a_crashed_owner_hear_what_is_made_after_the_move(stage: Stage, owner: str) -> None:
    """HTTP/2 with client-go's times; kubectl and curl where they are installed. Left alone they would wait for 30 s."""
    directory = stage.run.directory / "kube"
    _, certificate = certificates(directory)
    with (
        closing(Kube(stage.topology, certificate)) as kube,
        closing(RealClients(stage.topology.client.namespace, VIP4, REAL, directory)) as clients,
    ):
        stage.wait(lambda: clients.standing == clients.count, "all are connected", 20)
        stage.wait(lambda: knows(stage, owner, VIP4, clients.count), "all are told", KNOWN_S, 0.5)
        assert clients.ended == []
        began = stage.note("strike", f"{owner}: crash")
        undo = FAULTS["crash"].strike(stage, owner)
        try:
            stage.wait(lambda: stage.answering(VIP4) not in {None, owner}, "another node answers", 10)
            kube.make_event()
            stage.wait(
                lambda: sum(one.at > began for one in clients.served) >= clients.count, "all have heard", NOTICED_S
            )
            assert len(clients.ended) >= clients.count
            assert owner not in {one.how for one in clients.served if one.at > began}
        finally:
            undo()
    stage.wait_settled()
    one_owner(stage, began)
