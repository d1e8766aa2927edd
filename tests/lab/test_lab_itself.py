"""The lab judged by itself: it sees what is there, it catches a careless agent, it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import sharedip
import sharedip_lab
from sharedip_lab.faults.ambush import Ambush
from sharedip_lab.faults.catalogue import FAULTS
from sharedip_lab.faults.translation import behind_translation
from sharedip_lab.observe.feeds import Feeds
from sharedip_lab.report.live import Lines
from sharedip_lab.scenarios.play import DEMO
from sharedip_lab.scenarios.runner import Step, run_step
from sharedip_lab.stage import VIP4, VIP6, Plan, Stage
from sharedip_lab.world.etcd import Binary, disks_can_freeze, find_binary
from sharedip_lab.world.namespaces import NETNS_DIRECTORY, inside, ip, ip_batch, nft, processes_in
from sharedip_lab.world.namespaces import run as run_program
from sharedip_lab.world.runs import RECORDS, Run, recorded, remove_leftovers
from sharedip_lab.world.topology import LINK, SEGMENT4, Topology

from .conftest import LEASE_ALONE, STANDIN

pytestmark = pytest.mark.root

_MUTE = """table arp mute { chain c { type filter hook output priority 0; drop; }; }
table inet mute { chain c { type filter hook output priority 0; icmpv6 type nd-neighbor-advert drop; }; }
"""
MAIN = (
    "import argparse, sys; from sharedip_lab.commands import add_arguments, run; "
    "p = argparse.ArgumentParser(); add_arguments(p); sys.exit(run(p.parse_args()))"
)


def _wait(condition: object, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_feeds_tell_one_owner_from_two() -> None:
    """A move in order is never two owners, however quick; an address on two nodes is, by interfaces and by wire."""
    run = Run.begin()
    topology = Topology(run, 2)
    feeds = Feeds(topology, [VIP4, VIP6], probe_s=0.005)
    try:
        topology.up()
        feeds.start()
        n1, n2 = (node.namespace for node in topology.nodes)
        begun = time.monotonic()
        for vip, width, flags in ((VIP4, 32, ""), (VIP6, 128, "nodad")):
            presence = feeds.recordings[vip].presence
            claims = feeds.recordings[vip].claims
            ip_batch(n1, [f"address add {vip}/{width} dev {LINK} {flags}"])
            _wait(lambda claims=claims: "n1" in claims.party)
            # Back and forth as fast as the kernel can: the order of its events must survive.
            for there, here in ((n2, n1), (n1, n2)) * 5:
                ip_batch(here, [f"address del {vip}/{width} dev {LINK}"])
                ip_batch(there, [f"address add {vip}/{width} dev {LINK} {flags}"])
            moved = time.monotonic()
            _wait(lambda presence=presence: presence.holders() == ["n1"])
            feeds.catch_up(moved)
            assert feeds.recordings[vip].two_owners(begun, moved).interfaces_s == 0.0
            ip_batch(n2, [f"address add {vip}/{width} dev {LINK} {flags}"])
            both_at = time.monotonic()
            _wait(lambda claims=claims, both_at=both_at: claims.seconds_with_two(both_at, time.monotonic()) > 0.1)
            ip_batch(n2, [f"address del {vip}/{width} dev {LINK}"])
            ended = time.monotonic()
            feeds.catch_up(ended)
            two = feeds.recordings[vip].two_owners(moved, ended)
            assert two.interfaces_s > 0.1
            assert two.wire_s > 0.1
        feeds.check()
    finally:
        feeds.stop()
        run.close()


@pytest.mark.parametrize(("vip", "width"), [(VIP4, 32), (VIP6, 128)])
def test_an_address_that_still_serves_old_neighbours_is_seen_until_it_is_mute_and_deaf(vip: str, width: int) -> None:
    """Answers to the node's MAC count as much as claims; an address behind a fence that drops both is on no wire."""
    run = Run.begin()
    topology = Topology(run, 2)
    feeds = Feeds(topology, [vip], probe_s=0.005)
    try:
        topology.up()
        feeds.start()
        claims, where = feeds.recordings[vip].claims, topology.nodes[1].namespace
        flags = "nodad" if width == 128 else ""
        nft(where, _MUTE)
        ip_batch(where, [f"address add {vip}/{width} dev {LINK} {flags}"])
        _wait(lambda: len(claims.at) > 5)
        assert set(claims.party) == {"n2"}
        family = "ip6" if width == 128 else "ip"
        rule = f"type filter hook input priority 0; {family} daddr {vip} udp dport 7777 drop;"
        nft(where, f"table inet deaf {{ chain c {{ {rule} }}; }}\n")
        deaf_at = time.monotonic()
        _wait(lambda: feeds.heard_until["observer"] > deaf_at + 0.3)
        assert not claims.parties(deaf_at, deaf_at + 0.3)
        # Beside an owner it stands muted, and is told from one that only can't be heard because of a cut.
        ip_batch(topology.nodes[0].namespace, [f"address add {vip}/{width} dev {LINK} {flags}"])
        beside_at = _let(feeds, 0.3)
        two = feeds.recordings[vip].two_owners(deaf_at, beside_at, fence_mutes=True)
        assert two.interfaces_s > 0.2
        assert not two.ever
        topology.mute(topology.nodes[1].port)
        topology.deafen(topology.nodes[1].port)
        nft(where, "delete table inet deaf\n")
        cut_at = time.monotonic()
        two = feeds.recordings[vip].two_owners(cut_at, _let(feeds, 0.3), fence_mutes=True)
        assert two.unmuted_s > 0.2
        assert two.wire_s == 0.0
    finally:
        feeds.stop()
        run.close()


def _let(feeds: Feeds, seconds: float) -> float:
    """Let the feeds hear for so long; returns until when."""
    until = time.monotonic() + seconds
    _wait(lambda: min(feeds.heard_until.values()) > until)
    return until


def _reaches(topology: Topology, client: int, server: int, *, etcd: bool = False) -> bool:
    """Whether an ARP question gets through and back: what every cut is about."""
    source, target = topology.nodes[client], topology.nodes[server]
    address = target.etcd_address if etcd else target.address4
    with inside(source.namespace):
        script = (
            "import socket, sys; s = socket.socket(); s.settimeout(0.6)\n"
            f"try: s.connect(('{address}', 9))\n"
            "except ConnectionRefusedError: sys.exit(0)\n"
            "except OSError: sys.exit(1)\n"
        )
        return subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_every_cut_takes_what_it_names_and_nothing_else() -> None:
    """Segment, etcd and peers can be lost one by one, and come back."""
    run = Run.begin()
    try:
        topology = Topology(run, 3)
        topology.up()
        n1, n2, n3 = topology.nodes
        assert _reaches(topology, 0, 1)
        topology.mute(n1.port)
        assert not _reaches(topology, 0, 1)
        assert _reaches(topology, 0, 1, etcd=True)
        topology.unmute(n1.port)
        assert _reaches(topology, 0, 1)
        topology.deafen(n1.etcd_port)
        assert not _reaches(topology, 1, 0, etcd=True)
        assert _reaches(topology, 1, 0)
        topology.undeafen(n1.etcd_port)
        topology.part(n1.port, [n2.port])
        assert not _reaches(topology, 0, 1)
        assert _reaches(topology, 0, 2)
        topology.part(n2.port, [n1.port, n3.port])
        topology.unpart(n1.port, [n2.port])
        assert not _reaches(topology, 0, 1), "another fault still cuts there"
        topology.unpart(n2.port, [n1.port, n3.port])
        assert _reaches(topology, 0, 1)
        topology.unplug(n3.port)
        assert "NO-CARRIER" in ip("link", "show", LINK, namespace=n3.namespace)
        topology.plug(n3.port)
        _wait(lambda: _reaches(topology, 0, 2))
    finally:
        run.close()


def test_a_run_touches_no_link_of_the_host_and_leaves_nothing() -> None:
    """The host's links are the same during a run; afterwards namespaces, record and directory are gone."""
    before = ip("-o", "link")
    run = Run.begin()
    Topology(run, 2).up()
    assert ip("-o", "link") == before
    namespaces = list(run.namespaces)
    run.close()
    assert not any((NETNS_DIRECTORY / name).exists() for name in namespaces)
    assert not run.directory.exists()
    assert not (RECORDS / f"{run.name}.json").exists()


def _read_until(lab: subprocess.Popen[str], words: str) -> str:
    """What the lab prints up to the line with these words, or all of it, which then says why they did not come."""
    assert lab.stdout is not None
    said = ""
    for line in lab.stdout:
        said += line
        if words in line:
            break
    return said


def test_a_killed_lab_leaves_a_record_and_down_removes_everything(any_etcd: Binary) -> None:
    """kill -9 of the lab kills what it started; a later `lab down` takes the rest away."""
    agent = " ".join(STANDIN)
    lab = subprocess.Popen(
        [sys.executable, "-c", MAIN, "up", "1", "--etcd", any_etcd.path, "--agent", agent],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = _read_until(lab, "is on n1")
    assert "is on n1" in said, said
    left = next(record for record in recorded() if record.pid == lab.pid)
    lab.kill()
    lab.communicate()
    # The kernel ends them one by one; another lab that starts on this machine may remove the namespaces meanwhile.
    _wait(lambda: not any(processes_in(name) for name in left.namespaces), 60.0)
    remove_leftovers()
    assert left.name not in {record.name for record in recorded()}
    assert not any((NETNS_DIRECTORY / name).exists() for name in left.namespaces)
    assert not Path(left.directory).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_lab_that_is_interrupted_cleans_up_and_ends_with_130(any_etcd: Binary, number: signal.Signals) -> None:
    """Ctrl-C in the middle of the demo."""
    lab = subprocess.Popen(
        # A shell that starts tests in the background makes them deaf to SIGINT.
        [
            "env",
            "--default-signal=INT",
            sys.executable,
            "-c",
            MAIN,
            "demo",
            "--etcd",
            any_etcd.path,
            "--agent",
            " ".join(STANDIN),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = _read_until(lab, "another node answers")
    assert "another node answers" in said, said
    mine = [record for record in recorded() if record.pid == lab.pid]
    lab.send_signal(number)
    said, _ = lab.communicate(timeout=60)
    assert lab.returncode == 130
    assert "interrupted" in said
    assert not any((NETNS_DIRECTORY / name).exists() for record in mine for name in record.namespaces)


def test_a_careless_agent_is_caught(any_etcd: Binary) -> None:
    """An agent without a fence, cut off with the address on, is two owners on the wire once it is back."""
    careless = (*STANDIN, "careless")
    with Stage(Plan(any_etcd, nodes=3, agent=careless, settings=LEASE_ALONE, asks_for_mac=True)) as stage:
        for agent in stage.agents.values():
            agent.start()
        outcome = run_step(stage, Step(FAULTS["freeze-5s"]), Lines(), VIP4, settle_s=2.0)
    assert outcome.two.interfaces_s > 1.0
    assert outcome.two.wire_s > 1.0
    assert outcome.two.asked_s > 0.5  # the client that asks for the MAC is told both
    assert not outcome.good


STUCK_S = 2.5
"""Shorter than the stand-ins' lease."""


@pytest.fixture(scope="module")
def standins() -> Iterator[Stage]:
    """A cluster of stand-ins, for faults after which it must stand as before."""
    plan = Plan(find_binary(None), agent=STANDIN, settings=LEASE_ALONE, own_disks=disks_can_freeze())
    with Stage(plan) as stage:
        stage.start_agents()
        yield stage


@pytest.mark.parametrize("name", ["etcd-leader-frozen", "disk-frozen", "starved", "flapping"])
def test_faults_heal(standins: Stage, name: str) -> None:
    """After each healing the cluster stands as before, and an agent with a fence was never two owners."""
    fault = FAULTS[name]
    if fault.own_disks and not standins.plan.own_disks:
        pytest.skip("no loop devices here")
    # An etcd leader that is stuck for longer than a lease may end that lease wrongly when it wakes (etcd issue 15247).
    brief = replace(fault, hold_s=min(fault.hold_s, STUCK_S))
    outcome = run_step(standins, Step(brief, leader_on_owner=False), Lines(), VIP4)
    assert outcome.wrong == []


def test_translated_traffic_reaches_the_backends_and_is_translated_no_more_after_the_healing(standins: Stage) -> None:
    """The owner's backend answers the client; then tables and backends are gone, and the nodes answer themselves."""
    standins.wait_settled()
    owner = standins.owner()
    assert owner is not None
    began = time.monotonic()
    undo = behind_translation(lambda _stage, _node: lambda: None)(standins, owner)
    try:
        assert not [note.text for note in standins.feeds.notes if note.kind == "wrong" and note.at > began]
        backends = [name for name in standins.run.namespaces if (NETNS_DIRECTORY / name).exists() and "-b" in name]
        assert len(backends) == len(standins.agents)
    finally:
        undo()
    assert not any((NETNS_DIRECTORY / name).exists() for name in backends)
    standins.wait_settled()
    where = standins.node(owner).namespace
    assert "lab_service" not in run_program(["ip", "netns", "exec", where, "nft", "list", "tables"])


def test_an_ambush_stops_a_process_at_the_kernels_word() -> None:
    """An address of a VIP, renewed or new, on the node itself: not one of others, and once."""
    run = Run.begin()
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        topology = Topology(run, 1)
        topology.up()
        place = topology.nodes[0]
        ambush = Ambush(place, sleeper.pid, (VIP4,), count=2, by_gate=False)
        ambush.lie_in_wait()
        ip("address", "add", f"{SEGMENT4 + 101}/32", "dev", LINK, namespace=place.namespace)
        ip(
            "address",
            "add",
            f"{VIP4}/32",
            "dev",
            LINK,
            "valid_lft",
            "60",
            "preferred_lft",
            "60",
            namespace=place.namespace,
        )
        assert not ambush.struck.wait(0.3)
        ip(
            "address",
            "replace",
            f"{VIP4}/32",
            "dev",
            LINK,
            "valid_lft",
            "50",
            "preferred_lft",
            "50",
            namespace=place.namespace,
        )
        assert ambush.struck.wait(5.0)
        _wait(lambda: Path(f"/proc/{sleeper.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        ambush.call_off()
    finally:
        sleeper.kill()
        sleeper.wait()
        run.close()


def test_an_etcd_leader_is_moved_and_read_from_outside(etcd: Binary) -> None:
    """Both versions say who leads, and lead where they are told to."""
    with Stage(Plan(etcd, agent=STANDIN)) as stage:
        leader = stage.etcd.agreed_leader()
        assert leader is not None
        to = stage.others(leader)[0].name
        stage.etcd.move_leader(to)
        assert stage.etcd.leader() == to
        assert stage.etcd.revision() == 1


def test_the_demo_writes_a_history_and_a_page(any_etcd: Binary, shipped: tuple[str, ...], tmp_path: Path) -> None:
    """JSON and HTML are there, and the exit code is 0."""
    words = ["--etcd", any_etcd.path, "--agent", " ".join(shipped), "--json", "d.json", "--report", "d.html"]
    both = (sharedip.__path__[0], sharedip_lab.__path__[0])  # a relative PYTHONPATH finds nothing from another folder
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "demo", *words],
        cwd=tmp_path,
        check=False,
        timeout=115,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(each).parent.absolute()) for each in both)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads((tmp_path / "d.json").read_text())
    assert said["verdict"] == "good"
    assert len(said["acts"][0]["outcomes"]) == len(DEMO)
    assert "<svg" in (tmp_path / "d.html").read_text()
