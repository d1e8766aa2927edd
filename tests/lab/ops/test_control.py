"""move, drain, undrain, status: what an operator orders, and what is refused with which reason."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from collections.abc import Iterator

import pytest

from sharedip.cli.operate import DONE_WITHIN_S
from sharedip_lab.stage import Plan, Stage
from sharedip_lab.world.etcd import find_binary
from sharedip_lab.world.namespaces import command_in

from .tools import (
    PLANNED_S,
    Log,
    Said,
    followers,
    gap_s,
    one_owner,
    running,
    sharedip,
    status,
    stays,
    vip_status,
    wait_owner,
)

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with running(Plan(find_binary(None))) as made:
        yield made


def test_move_gives_the_vip_to_the_next_in_the_queue(stage: Stage, owner: str) -> None:
    """The owner hands over at once, and goes to the end of the queue."""
    following = vip_status(stage, owner)["queue"][1]
    log, begin = Log(stage.agents[following]), time.monotonic()
    said = sharedip(stage, owner, "move", stage.plan.vips[0])
    assert said.code == 0, said
    wait_owner(stage, following, 5)
    assert gap_s(stage, begin) < PLANNED_S
    one_owner(stage, begin)
    assert log.having("taking the address", owner), log.sentences()
    stage.wait(lambda: vip_status(stage, following)["queue"][-1:] == [owner], "the former owner stands last", 10)


def test_move_to_a_node_that_is_not_next(stage: Stage, owner: str) -> None:
    """The named node gets it, and the one in between never has the address."""
    passed, wanted = vip_status(stage, owner)["queue"][1:]
    begin = time.monotonic()
    said = sharedip(stage, owner, "move", stage.plan.vips[0], "--to", wanted)
    assert said.code == 0, said
    wait_owner(stage, wanted, 5)
    assert gap_s(stage, begin) < PLANNED_S
    one_owner(stage, begin)
    stage.feeds.catch_up(time.monotonic())
    assert passed not in stage.recording().presence.stretches(begin, time.monotonic())
    stays(stage, wanted, 1.0)


def test_moves_that_make_no_sense_are_refused_with_a_reason(stage: Stage, owner: str) -> None:
    """Unknown node, drained node, the owner itself, an unknown address, asked of a node that does not own it."""
    vip, other = stage.plan.vips[0], followers(stage)[0]
    drained = followers(stage)[1]
    assert sharedip(stage, drained, "drain").code == 0
    stage.wait(lambda: "drained" in sharedip(stage, owner, "move", vip, "--to", drained).text, "it is known", 5)
    refusals = {
        ("move", vip, "--to", "nobody"): "not a candidate",
        ("move", vip, "--to", owner): "already",
        ("move", vip, "--to", drained): "drained",
        ("move", "10.77.0.250"): "not configured",
    }
    for words, reason in refusals.items():
        said = sharedip(stage, owner, *words)
        assert said.code == 1, said
        assert reason in said.err, said
    said = sharedip(stage, other, "move", vip)
    assert said.code == 1
    assert owner in said.err
    assert "run the command there" in said.err
    stays(stage, owner, 0.5)
    assert sharedip(stage, drained, "undrain").code == 0


def test_a_drain_hands_over_survives_a_restart_and_is_seen_everywhere(stage: Stage, owner: str) -> None:
    """Also after kill -9 the node takes nothing until it is undrained."""
    begin = time.monotonic()
    log = Log(stage.agents[owner])
    said = sharedip(stage, owner, "drain")
    assert (said.code, said.out) == (0, f"{owner} is drained\n")
    stage.wait(lambda: stage.owner() not in (None, owner) and stage.owner() == stage.answering(), "a new owner", 5)
    assert gap_s(stage, begin) < PLANNED_S
    assert log.having("giving the address up", "drained, and another node is sound"), log.sentences()
    for node in stage.agents:
        document = json.loads(
            sharedip(stage, node, "status", "--cluster", "-o", "json", "-c", str(stage.agents[node].configuration)).out
        )
        shown = {each["node"]: each["drained"] for each in document["cluster"]["nodes"]}
        assert shown[owner] is True, shown
    stage.agents[owner].kill()
    stage.agents[owner].start()
    stage.wait(
        lambda: sharedip(stage, owner, "status").code != 3, "it answers again", 30
    )  # its key was there all along
    stage.wait_settled()
    assert status(stage, owner)["drained"] is True
    second = stage.owner()
    assert second is not None
    third = next(name for name in stage.agents if name not in (owner, second))
    stage.agents[second].terminate()
    wait_owner(stage, third, 10)
    assert stage.agents[second].wait_gone() == 0
    stage.agents[second].start()
    assert sharedip(stage, owner, "undrain").code == 0
    stage.wait_settled()


def test_the_last_sound_node_keeps_the_vip_when_drained_and_says_so(stage: Stage, owner: str) -> None:
    """A drain that nobody can take over leaves the address where it is, until somebody is sound."""
    for node in followers(stage):
        assert sharedip(stage, node, "drain").code == 0
    stage.wait(lambda: "no other" in sharedip(stage, owner, "move", stage.plan.vips[0]).text, "all are drained", 5)
    said = sharedip(stage, owner, "drain")
    assert said.code == 1, "a reboot after it would leave clients alone"
    assert "stay until another node is sound" in said.out, said
    assert f"{owner} still has {stage.plan.vips[0]}: no other node is sound" in said.err, said
    stays(stage, owner, 1.0)
    better = followers(stage)[1]
    assert sharedip(stage, better, "undrain").code == 0
    wait_owner(stage, better, 5)
    for node in stage.agents:
        assert sharedip(stage, node, "undrain").code == 0


def test_status_and_drain_work_while_etcd_is_down(stage: Stage, owner: str) -> None:
    """The answer comes at once, and the drain is in force when etcd is back."""
    stage.etcd.kill()
    try:
        stage.wait(lambda: not status(stage, owner)["etcd"]["connected"], "the agent notices", 10)
        begin = time.monotonic()
        sharedip(stage, owner, "status")  # how long a command takes to start, on a machine that may be busy
        start_s = time.monotonic() - begin
        begin = time.monotonic()
        said = sharedip(stage, owner, "status")
        assert said.code == 1
        assert stage.plan.vips[0] in said.out
        assert "etcd" in said.out
        assert sharedip(stage, owner, "drain").code == 1, "the address stays"
        assert time.monotonic() - begin < DONE_WITHIN_S + 2.0 + 4 * start_s
        assert status(stage, owner)["drained"] is True
    finally:
        stage.etcd.start()
    stage.wait(lambda: stage.owner() not in (None, owner), "another node owns it", 30)
    assert sharedip(stage, owner, "undrain").code == 0


def test_the_socket_is_for_the_agents_user_alone(stage: Stage, owner: str) -> None:
    """Mode 0600, and whoever gets at it under another user is refused all the same."""
    path = stage.agents[owner].state_directory / "agent.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # The modes are opened on purpose: what is left is the check of the peer's credentials.
    ways = [path, *path.parents[:4]]
    modes = {way: stat.S_IMODE(way.stat().st_mode) for way in ways}
    try:
        for way in ways:
            os.chmod(way, modes[way] | (0o006 if way is path else 0o005))
        script = (
            "import socket,sys; s=socket.socket(socket.AF_UNIX); s.settimeout(3); s.connect(sys.argv[1]); "
            "s.sendall(b'GET /v1/status HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n'); "
            "print(s.recv(200).decode())"
        )
        done = subprocess.run(
            command_in(stage.node(owner).namespace, ["/usr/bin/env", "python3", "-c", script, str(path)]),
            user=65534 if False else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        assert " 200 " in done.stdout, done
        stranger = subprocess.run(
            ["python3", "-c", script, str(path)],
            user=65534,
            group=65534,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
        assert " 403 " in stranger.stdout, stranger
    finally:
        for way, mode in modes.items():
            os.chmod(way, mode)


def posted(stage: Stage, node: str, *words: str) -> Said:
    """A command on this node that finds everything by its documents."""
    agent = stage.agents[node]
    line = [*stage.plan.agent, *words, "-c", str(agent.configuration)]
    done = subprocess.run(
        command_in(agent.place.namespace, line), capture_output=True, text=True, timeout=40, check=False
    )
    return Said(done.returncode, done.stdout, done.stderr)


def test_any_node_is_moved_and_drained_from_any_node(stage: Stage, owner: str) -> None:
    """Through etcd, with the answer of the agent that was asked; nothing of a wish stays there."""
    vip, begin = stage.plan.vips[0], time.monotonic()
    other, third = followers(stage)
    said = posted(stage, other, "move", vip, "--to", third)
    assert (said.code, said.out) == (0, f"handing {vip} over to {third}\n{third} has {vip}\n"), said
    wait_owner(stage, third, 5)
    said = posted(stage, other, "move", vip, "--node", owner)
    assert (said.code, said.err) == (1, f"{owner} does not own {vip}: {third} comes first\n"), said
    stage.wait_settled()  # the others have stepped behind it, and are candidates again
    said = posted(stage, other, "drain", "--node", third)
    assert (said.code, said.out) == (0, f"{third} is drained\n"), said
    assert stage.owner() not in (None, third)
    one_owner(stage, begin)
    assert gap_s(stage, begin) < PLANNED_S
    assert "asked by another node, through etcd" in stage.agents[third].log_text()
    said = posted(stage, other, "undrain", "--node", third, "-o", "json")
    assert said.code == 0, said
    assert json.loads(said.out)["text"] == f"{third} is undrained"
    said = posted(stage, other, "drain", "--node", "n9")
    assert said.code == 1
    assert "no agent is registered as 'n9'" in said.err
    assert stage.etcd.keys(f"{stage.plan.key_prefix}:vip:wish:") == []


def test_the_history_survives_a_restart(stage: Stage, owner: str) -> None:
    agent = stage.agents[owner]
    assert sharedip(stage, owner, "move", stage.plan.vips[0]).code == 0
    stage.wait(lambda: "moved by the operator" in sharedip(stage, owner, "history").out, "it is written", 5)
    agent.kill()
    agent.start()
    assert status(stage, owner)["documents"]["history"].startswith(str(agent.kept))
    assert "moved by the operator" in sharedip(stage, owner, "history").out
