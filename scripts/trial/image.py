"""The image of `make image`, run by podman: two capabilities, a read-only root, a network namespace as its node."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.artifacts.image import PODMAN
from scripts.artifacts.places import version
from scripts.trial.machine import TrialError
from scripts.trial.segment import AGENT, CLIENT, DOCUMENTS, NODE, VIP
from scripts.trial.story import Story, expect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "sharedip-trial"
NODE_SPACE = "sharedip-trial-node"
CLIENT_SPACE = "sharedip-trial-client"
LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
"""runc may not raise them where the machine is a container itself."""
RIGHTS = ("--read-only", "--cap-drop=all", "--cap-add=NET_ADMIN", "--cap-add=NET_RAW")
GONE_S = 16.0
"""The lease, which alone counts where nobody else is there to be a witness, and the kernel's second of lateness."""


def tell() -> Story:
    """Start, stop in order, start again, kill."""
    story = Story(f"image: localhost/sharedip:{version()}", "podman")
    with contextlib.suppress(TrialError), _segment() as folder:
        with story.step("run: the client is answered"):
            _run(*PODMAN, "run", "-d", "--name", NAME, *LIMITS, *RIGHTS, f"--network=ns:/run/netns/{NODE_SPACE}",
                 "-v", f"{folder}:/etc/sharedip:ro", f"localhost/sharedip:{version()}")  # fmt: skip
            _until(_is_answered, 30.0)
            said = _run(*PODMAN, "exec", NAME, "sharedip", "status", check=False).stdout
            expect(VIP in said and "owner" in said, f"status says something else: {said}")
        with story.step("stop: the address is gone in order"):
            _run(*PODMAN, "stop", "-t", "15", NAME)
            expect(not _is_answered(), "the client is still answered")
            code = _run(*PODMAN, "inspect", "--format", "{{.State.ExitCode}}", NAME).stdout.strip()
            expect(code == "0", f"exit code {code}")
        with story.step("start, kill -9: the kernel takes the address") as figures:
            _run(*PODMAN, "start", NAME)
            _until(_is_answered, 30.0)
            _run(*PODMAN, "kill", "-s", "KILL", NAME)
            figures["unanswered after, s"] = round(_until(lambda: not _is_answered(), GONE_S), 1)
            _until(lambda: VIP not in _run("ip", "-n", NODE_SPACE, "addr").stdout, GONE_S)
    return story


@contextlib.contextmanager
def _segment() -> Iterator[Path]:
    """Two network namespaces and an etcd; what was made is taken away again, whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="sharedip-trial-"))
    etcd: subprocess.Popen[bytes] | None = None
    try:
        for space in (NODE_SPACE, CLIENT_SPACE):
            _run("ip", "netns", "add", space)
            _run("ip", "-n", space, "link", "set", "lo", "up")
        _run(
            "ip",
            "-n",
            NODE_SPACE,
            *("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns"),
            CLIENT_SPACE,
        )
        for space, address in ((NODE_SPACE, NODE), (CLIENT_SPACE, CLIENT)):
            _run("ip", "-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            _run("ip", "-n", space, "link", "set", "eth0", "up")
        documents = folder / "documents"
        documents.mkdir()
        agent = AGENT.format(name="node", state="/run/sharedip", node=NODE, address=NODE)
        text = f"{DOCUMENTS.format(vip=VIP, link='eth0')}---\n{agent}"
        (documents / "vip.yaml").write_text(text, encoding="utf-8")
        url = f"http://{NODE}:2379"
        command = ["ip", "netns", "exec", NODE_SPACE, "etcd", "--data-dir", str(folder / "etcd")]
        command += ["--listen-client-urls", url, "--advertise-client-urls", url]
        etcd = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield documents
    finally:
        _run(*PODMAN, "rm", "-f", "-t", "1", NAME, check=False)
        if etcd is not None:
            etcd.kill()
            etcd.wait()
        for space in (NODE_SPACE, CLIENT_SPACE):
            _run("ip", "netns", "del", space, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def _is_answered() -> bool:
    """Whether the address says that nobody listens there."""
    asking = f"import socket; socket.create_connection(({VIP!r}, 9), timeout=0.5)"
    done = _run("ip", "netns", "exec", CLIENT_SPACE, sys.executable, "-c", asking, check=False)
    return "ConnectionRefusedError" in done.stderr


def _until(condition: Callable[[], bool], seconds: float) -> float:
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise TrialError(f"not within {seconds:.0f} s")
        time.sleep(0.1)
    return time.monotonic() - began


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    if check and done.returncode != 0:
        raise TrialError(f"{' '.join(command)}: {(done.stdout + done.stderr).strip()[-500:]}")
    return done
