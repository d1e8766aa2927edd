"""Talos's recipe by etcd's own client: `etcdctl elect` waits for its turn, and whoever leads has the address.

Role: `python -m sharedip_lab.programs.recipe JSON` on a node, for comparison. It announces the address once, as Talos
does. SIGTERM takes the address away and then resigns (SIGINT is what etcdctl listens to).
Must never: guard the address by anything but the election: that is what is compared. Counterpart: `bench/others.py`.

JSON: `name`, `mac`, `vip`, `endpoint`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from ipaddress import ip_address
from typing import Any

from sharedip_lab.world import frames
from sharedip_lab.world.topology import LINK

AGAIN_S = 1.0
"""Until a session that has ended is begun anew."""


def _address(verb: str, vip: str) -> None:
    bits = 32 if ip_address(vip).version == 4 else 128
    words = ["ip", "address", verb, f"{vip}/{bits}", "dev", LINK]
    subprocess.run(words, check=False, stderr=subprocess.DEVNULL)


def _announce(mac: str, vip: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((LINK, 0))
        sock.send(frames.announcement(frames.mac_bytes(mac), ip_address(vip)))


def _campaign(told: dict[str, Any]) -> None:
    """One session, from the campaign to its end."""
    guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    words = ["etcdctl", f"--endpoints={told['endpoint']}", "elect", f"recipe/{told['vip']}", told["name"]]
    child = subprocess.Popen(
        [*guard, *words], stdout=subprocess.PIPE, text=True, env={**os.environ, "ETCDCTL_API": "3"}
    )
    assert child.stdout is not None
    try:
        # Its own key and value, once it leads; the end of the file if its session ends.
        if child.stdout.readline() and child.stdout.readline():
            _address("add", told["vip"])
            _announce(told["mac"], told["vip"])
            child.stdout.read()
    finally:
        _address("del", told["vip"])
        child.send_signal(signal.SIGINT)
        child.wait()


def main(argument: str) -> None:
    """Campaign until SIGTERM."""
    told = json.loads(argument)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _address("del", told["vip"])
    while True:
        _campaign(told)
        time.sleep(AGAIN_S)


if __name__ == "__main__":
    main(sys.argv[1])
