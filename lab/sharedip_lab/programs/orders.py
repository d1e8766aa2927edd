"""In a virtual machine: does what the lab says on a virtio serial port. A process of its own, as root.

Role: `python -m sharedip_lab.programs.orders PORT` reads a JSON object a line, {"id": 1, "line": "reboot"}, has the
shell do each, and answers {"id": 1, "code": 0, "said": "..."}. No network is needed: that is what the lab breaks.
Must never: run anywhere but in a machine of the lab. Counterpart: `world/machine.py`, at the other end of the port.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

SAID_MAX = 400_000
"""Characters of an answer; the end of it counts."""
AGAIN_S = 0.05


def obey(order: dict[str, Any]) -> dict[str, Any]:
    """Do it; what it prints is the answer, whichever way it prints."""
    done = subprocess.run(
        ["/bin/sh", "-c", order["line"]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return {"id": order["id"], "code": done.returncode, "said": done.stdout.decode(errors="replace")[-SAID_MAX:]}


def main(path: str) -> None:
    """Obey for ever. A read of nothing: nobody is at the other end yet."""
    port, whole, rest = os.open(path, os.O_RDWR), threading.Lock(), b""

    def answer(order: dict[str, Any]) -> None:
        line = json.dumps(obey(order)).encode() + b"\n"
        with whole:
            while line:
                line = line[os.write(port, line) :]

    while True:
        data = os.read(port, 65536)
        if not data:
            time.sleep(AGAIN_S)
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            threading.Thread(target=answer, args=(json.loads(line),), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1])
