"""An order is never carried out after its deadline, even by a process that was stopped inside the window."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sharedip.adapters.kernel import deadman as deadman_module
from sharedip.adapters.kernel.deadman import Deadman, DeadmanRefusedError, TooLateError
from tests.contract.kernel.conftest import Pair
from tests.contract.kernel.kernel_netns import boot_clock

SRC = Path(__file__).parents[3] / "src"


def start(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(SRC)})


def wait_stopped(child: subprocess.Popen[bytes]) -> None:
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), f"the child ended early: {status}"


STOPS_IN_THE_WINDOW = """
    import os, pathlib, signal, sys, time
    from sharedip.adapters.kernel.deadman import Deadman
    deadman = Deadman()
    def effect():
        os.kill(os.getpid(), signal.SIGSTOP)
        pathlib.Path(sys.argv[1]).write_text("done")
    if sys.argv[2] == "guarded":
        with deadman.guard(time.clock_gettime(7) + 0.2):
            effect()
    else:
        effect()
"""


def test_a_process_stopped_inside_the_window_dies_at_the_deadline_without_the_effect(tmp_path: Path) -> None:
    child = start(STOPS_IN_THE_WINDOW, str(tmp_path / "effect"), "guarded")
    wait_stopped(child)
    stopped_at = boot_clock()
    assert child.wait(5) == -signal.SIGKILL, "SIGKILL needs no SIGCONT"
    assert boot_clock() - stopped_at < 1.0
    assert not (tmp_path / "effect").exists()


def test_without_the_guard_the_effect_would_come_late(tmp_path: Path) -> None:
    """The control: what the test above would see if the guard did nothing."""
    child = start(STOPS_IN_THE_WINDOW, str(tmp_path / "effect"), "unguarded")
    wait_stopped(child)
    child.send_signal(signal.SIGCONT)
    assert child.wait(5) == 0
    assert (tmp_path / "effect").exists()


def test_an_agent_frozen_right_before_the_system_call_never_adds_the_address(pair: Pair) -> None:
    script = """
        import ipaddress, os, signal, time
        from sharedip.adapters.kernel.deadman import Deadman
        from sharedip.adapters.kernel.netlink import Netlink
        from sharedip.core.messages import HoldAddress
        from sharedip.core.model import Vip
        clock = lambda: time.clock_gettime(7)
        netlink = Netlink(print, clock, Deadman())
        netlink.snapshot()
        send = netlink._channel.send
        def frozen(data):
            os.kill(os.getpid(), signal.SIGSTOP)
            send(data)
        netlink._channel.send = frozen
        netlink.perform(HoldAddress(Vip(ipaddress.ip_address("10.0.0.50"), "eth0"), 30, clock() + 31.3))
    """
    with pair.node.inside():
        # dump uses `send` too, so the script freezes only what comes after the snapshot
        child = start(script)
    wait_stopped(child)
    assert child.wait(5) == -signal.SIGKILL
    assert "10.0.0.50" not in pair.node.run("ip addr")


def test_a_window_left_in_time_leaves_nothing_armed() -> None:
    script = """
        import time
        from sharedip.adapters.kernel.deadman import Deadman, TooLateError
        deadman = Deadman()
        clock = lambda: time.clock_gettime(7)
        until = clock() + 0.05
        with deadman.guard(until):
            pass
        try:
            with deadman.guard(until + 0.01):
                raise ValueError
        except ValueError:
            pass
        while clock() < until + 0.1:
            time.sleep(0.01)
    """
    assert start(script).wait(5) == 0


def test_a_deadline_that_has_come_or_is_too_near_is_refused_and_nobody_dies(deadman: Deadman) -> None:
    for latest in (boot_clock() - 1, boot_clock(), boot_clock() + 0.001, 0.0, -1.0):
        with pytest.raises(TooLateError), deadman.guard(latest):
            pytest.fail("the window opened")


def test_a_deadline_beyond_all_time_is_no_reason_to_refuse(deadman: Deadman) -> None:
    with deadman.guard(float("inf")):
        pass


def test_a_forked_child_has_no_timer_and_runs_nothing_unguarded(deadman: Deadman) -> None:
    pid = os.fork()
    if pid == 0:
        outcome = 1
        try:
            with deadman.guard(boot_clock() + 10):
                outcome = 2
        except OSError:
            outcome = 0
        os._exit(outcome)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


UNSHARED = ["unshare", "--pid", "--fork", "--mount-proc"]
LINGERS_IN_THE_WINDOW = """
    import sys, time
    from sharedip.adapters.kernel.deadman import Deadman
    clock = lambda: time.clock_gettime(7)
    with Deadman().guard(clock() + 0.05):
        until = clock() + 0.2
        while clock() < until:
            pass
        print("alive 150 ms after the deadline")
"""


def unshared(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    line = [*UNSHARED, *command]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=20, check=False)


def test_as_the_first_process_of_a_pid_namespace_there_is_no_deadman() -> None:
    """Its own timer could not kill it: nothing is carried out in the belief that it could."""
    done = unshared(sys.executable, "-c", textwrap.dedent(LINGERS_IN_THE_WINDOW))
    assert "alive" not in done.stdout
    assert "DeadmanRefusedError" in done.stderr
    assert done.returncode == 1


def test_as_the_child_of_an_init_it_is_killed_at_the_deadline(tmp_path: Path) -> None:
    """What tini in the image, or the pod's own first process, makes of it."""
    (tmp_path / "script").write_text(textwrap.dedent(LINGERS_IN_THE_WINDOW))
    done = unshared("sh", "-c", f"{sys.executable} {tmp_path}/script; echo ended with $?")
    assert "ended with 137" in done.stdout
    assert "alive" not in done.stdout


def test_the_agent_refuses_to_be_the_first_process_and_says_what_to_do(tmp_path: Path) -> None:
    documents = f"""\
apiVersion: v1alpha1
kind: Layer2VIPConfig
name: 192.168.0.15
link: eth0
---
apiVersion: v1alpha1
kind: AgentConfig
nodeName: cp1
stateDir: {tmp_path}/state
etcd: {{endpoints: ["http://127.0.0.1:1"]}}
failover: {{fence: lifetime}}
api: "off"
"""
    (tmp_path / "vip.yaml").write_text(documents)
    run = [sys.executable, "-m", "sharedip.cli.main", "run", "-c", str(tmp_path / "vip.yaml")]
    done = unshared("unshare", "--net", *run)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("sharedip: this process is number 1 of its pid namespace")
    assert "init" in line
    assert not (tmp_path / "state" / "state.json").exists()
    # As a child of a shell it runs, until it is told to stop.
    script = f"unshare --net {' '.join(run)} & sleep 2; kill -TERM $!; wait $!; echo ended with $?"
    done = unshared("sh", "-c", script)
    assert "ended with 0" in done.stdout, done.stderr


def test_where_the_trial_timer_does_not_fire_there_is_no_deadman(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadman_module, "_TRIAL_AFTER_S", 5.0)
    monkeypatch.setattr(deadman_module, "_TRIAL_WITHIN_S", 0.05)
    with pytest.raises(DeadmanRefusedError, match="did not fire"):
        Deadman()


def test_the_trial_leaves_the_signal_mask_as_it_was() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    Deadman()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert signal.SIGURG not in signal.sigpending()
