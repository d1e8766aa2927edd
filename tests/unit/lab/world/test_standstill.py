"""A frozen process does nothing from the moment that `freeze` returns, whatever threads it has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from sharedip_lab.world.standstill import freeze, is_frozen

BUSY = """
import os, threading, time
def work():
    while True:
        os.write(1, b"x")
        time.sleep(0.0001)
for _ in range(8):
    threading.Thread(target=work).start()
"""


def test_a_process_with_many_threads_writes_nothing_after_freeze_has_returned() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        try:
            wait_for_words(process)
            assert not is_frozen(process.pid)
            for _ in range(20):
                freeze(process.pid)
                while process.stdout.read():
                    pass
                time.sleep(0.002)
                assert process.stdout.read() is None
                os.kill(process.pid, signal.SIGCONT)
        finally:
            process.kill()


def wait_for_words(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20.0
    while not process.stdout.read():  # type: ignore[union-attr]
        assert time.monotonic() < deadline, "it never began"
        time.sleep(0.01)
