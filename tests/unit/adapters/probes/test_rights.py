"""What a check has of the agent's rights, and what it leaves behind: nothing. Played in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sharedip.adapters.probes.rights import PATH_DEFAULT, environment, take_favour_away


def play(scene: str, **env: str) -> dict[str, object]:
    """Run the lines as a scene of asyncio in a process like an agent's; `said` is what it tells."""
    program = (
        textwrap.dedent(
            """
            import asyncio, json, os, time
            from pathlib import Path
            from sharedip.adapters.probes.exec import ExecProbe
            from sharedip.adapters.probes import leavings
            said = {}
            def shell(script, timeout_s=5.0):
                return ExecProbe("script", ["/bin/sh", "-c", script], timeout_s)
            def children():
                told = [each.read_text() for each in Path("/proc/self/task").glob("*/children")]
                return [int(pid) for text in told for pid in text.split()]
            async def scene():
            """
        )
        + textwrap.indent(textwrap.dedent(scene), "    ")
        + "\nasyncio.run(asyncio.wait_for(scene(), 20))\nprint(json.dumps(said))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, **env},
    )
    assert ran.returncode == 0, ran.stderr
    said: dict[str, object] = json.loads(ran.stdout)
    return said


@pytest.mark.root
def test_a_check_has_neither_niceness_nor_capabilities_of_ours(tmp_path: Path) -> None:
    """It had all of them: a check that ran away outlived the API server."""
    said = play(
        f"""
        os.setpriority(os.PRIO_PROCESS, 0, -7)
        script = "cat /proc/self/status > {tmp_path}/status; nice"
        said["outcome"] = (await shell(script).probe()).detail
        said["ours"] = os.getpriority(os.PRIO_PROCESS, 0)
        said["caps"] = [line for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line]
        """
    )
    assert said["outcome"] == "exit 0: 0"
    status = dict(line.split(":\t", 1) for line in (tmp_path / "status").read_text().splitlines())
    assert {status[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert said["ours"] == -7, "the agent keeps its own"
    assert said["caps"] != ["CapEff:\t" + "0" * 16]


@pytest.mark.parametrize(("ours", "theirs"), [("-900", "0"), ("0", "0"), ("300", "300")])
def test_the_oom_killer_takes_a_check_before_the_agent(tmp_path: Path, ours: str, theirs: str) -> None:
    score = tmp_path / "812" / "oom_score_adj"
    score.parent.mkdir()
    score.write_text(ours)
    take_favour_away(812, tmp_path)
    assert score.read_text() == theirs
    take_favour_away(813, tmp_path)  # it is over already


def test_a_check_is_told_where_programs_are_and_its_name_and_nothing_else() -> None:
    environ = {"LANG": "C.UTF-8", "TZ": "UTC", "NOTIFY_SOCKET": "/x", "ETCDCTL_PASSWORD": "secret", "HOME": "/root"}
    assert environment(environ, SHAREDIP_CHECK="disk") == {
        "PATH": PATH_DEFAULT,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "SHAREDIP_CHECK": "disk",
    }


@pytest.mark.parametrize(
    "script",
    [
        "sleep 100 & exit 0",
        "setsid sleep 100 & sleep 0.2; exit 0",
        "setsid sh -c 'setsid sleep 100 & setsid sleep 100 & sleep 0.1; exit 0' & sleep 0.3; exit 0",
        "(sleep 0.01 &) ; exit 0",
    ],
)
def test_what_a_check_leaves_behind_is_killed_and_reaped(script: str) -> None:
    """As the parent of every orphan the agent once had 208 zombies after 20 s."""
    said = play(
        f"""
        leavings.adopt()
        probe = shell({script!r})
        for _ in range(5):
            assert (await probe.probe()).healthy
        while children():
            leavings.LEAVINGS.clear()
            await asyncio.sleep(0.01)
        """
    )
    assert said == {}


def test_a_child_that_somebody_else_waits_for_is_left_alone() -> None:
    said = play(
        """
        import subprocess
        leavings.adopt()
        alive = subprocess.Popen(["sleep", "100"])
        dead = subprocess.Popen(["sh", "-c", "exit 7"])
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
        other = asyncio.ensure_future(shell("sleep 0.2; exit 3").probe())
        for _ in range(3):
            await shell("exit 0").probe()
        said["other"] = (await other).detail
        said["dead"], said["alive"] = dead.wait(), alive.poll()
        alive.kill()
        alive.wait()
        """
    )
    assert said == {"other": "exit 3", "dead": 7, "alive": None}


def test_a_zombie_that_nobody_wants_is_reaped_after_a_minute() -> None:
    said = play(
        """
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        leavings.LEAVINGS.clear()
        said["at once"] = children() == [pid]
        clock = time.monotonic
        leavings.time.monotonic = lambda: clock() + leavings.NOBODYS_AFTER_S
        leavings.LEAVINGS.clear()
        said["later"] = children()
        """
    )
    assert said == {"at once": True, "later": []}


def test_the_next_run_waits_for_the_end_of_one_that_was_killed_a_moment_ago() -> None:
    """Where the interval is no longer than the timeout it said that the former run can't be killed."""
    said = play(
        """
        probe = shell("sleep 100", timeout_s=0.05)
        said["details"] = [(await probe.probe()).detail for _ in range(3)]
        """
    )
    assert said == {"details": ["not finished in 0.05 s"] * 3}


def test_without_descriptors_a_check_fails_and_the_agent_does_not() -> None:
    said = play(
        """
        import resource
        loop_fails = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: loop_fails.append(str(context)))
        await shell("exit 0").probe()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        details = set()
        for free in range(12):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            used = len(os.listdir("/proc/self/fd")) - 1
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + free, hard))
            details.add((await shell("exit 0").probe()).detail)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        said["details"], said["fails"] = sorted(details), loop_fails
        said["after"] = (await shell("exit 0").probe()).detail
        """
    )
    assert said["fails"] == []
    assert said["after"] == "exit 0"
    details = said["details"]
    assert isinstance(details, list)
    assert "exit 0" in details
    assert "cannot start /bin/sh: Too many open files" in details
