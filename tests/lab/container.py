"""The lab's agent command where the agent is the image: `run` starts it by podman, all else asks it by its socket.

Role: what the lab starts in a node's namespace in place of `sharedip`. The container has the node's network namespace,
a pid namespace of its own, two capabilities, a read-only root, and of the node only the agent's folder.
Counterpart: test_image.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

IMAGE = os.environ.get("SHAREDIP_IMAGE", "")
PODMAN = ("podman", "--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--runtime=runc")
"""What works in the plainest of containers and virtual machines, too (scripts/artifacts/image.py)."""
LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
RIGHTS = ("--read-only", "--cap-drop=all", "--cap-add=NET_ADMIN", "--cap-add=NET_RAW")


def main(words: list[str]) -> None:
    """Become podman, or the command of the checkout."""
    if words[0] != "run":
        os.execv(sys.executable, [sys.executable, "-m", "sharedip.cli.main", *words])
    space = subprocess.run(
        ["ip", "netns", "identify", str(os.getpid())], check=True, capture_output=True, text=True
    ).stdout.strip()
    folder = Path(words[words.index("-c") + 1]).parent
    notify = os.environ.pop("NOTIFY_SOCKET")
    # podman itself belongs where the lab runs: `ip netns exec` has given this process mounts of its own.
    outside = ("nsenter", "-t", str(os.getppid()), "-m", "-n", "--")
    there = subprocess.run([*outside, *PODMAN, "container", "exists", space], check=False).returncode == 0
    if there:
        command = [*outside, *PODMAN, "start", "--attach", space]
    else:
        command = [*outside, *PODMAN, "run", "--name", space, *LIMITS, *RIGHTS, "--sdnotify=ignore"]
        command += [f"--network=ns:/run/netns/{space}", f"--env=NOTIFY_SOCKET={notify}", f"--volume={folder}:{folder}"]
        command += [IMAGE, *words]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
