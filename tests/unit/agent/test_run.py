"""The process around the agent: one that hangs ends by the kernel's hand."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SCENE = """
import asyncio, time
from sharedip.agent import run
run.HUNG_S = 0.6
turns = [True]
async def scene():
    task = asyncio.create_task(run.end_if_hung(lambda: turns[0]))
    await asyncio.sleep(1.5)
    print("lives", flush=True)
    {fate}
    await asyncio.sleep(1.2)
    print("still lives", flush=True)
asyncio.run(scene())
"""


@pytest.mark.parametrize(
    ("fate", "survives"),
    [
        ("time.sleep(1.2)", False),
        ("turns[0] = False", False),
        ("pass", True),
        ("task.cancel()", True),
    ],
)
def test_a_process_that_does_not_turn_is_ended_and_no_other(fate: str, survives: bool) -> None:
    """No probe of a kubelet's decides about it: whoever crowds the port would."""
    scene = SCENE.replace("{fate}", fate)
    ran = subprocess.run([sys.executable, "-c", scene], capture_output=True, text=True, timeout=100, check=False)
    assert ran.stdout.splitlines() == (["lives", "still lives"] if survives else ["lives"]), ran.stderr
    assert ran.returncode == (0 if survives else -signal.SIGALRM)
