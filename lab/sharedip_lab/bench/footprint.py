"""What an agent costs while nothing happens: memory, processor, etcd's requests and writes; and how fast it starts.

Role: look at agents from outside, through /proc and etcd's own metrics.
Must never: ask an agent or etcd anything while agents are weighed. Counterparts: `sections.py`, `report/figures.py`.
"""

from __future__ import annotations

import time
from pathlib import Path

from sharedip_lab.report.figures import Findings
from sharedip_lab.scenarios.growth import resources
from sharedip_lab.stage import Stage

IDLE_S = 12.0
CALM_S = 4.0
"""Announcements are repeated for about so long after a take-over."""
EVENTS = ("LeaseKeepAlive", "Range")
READY_S = 10.0


def measure_idle(
    stage: Stage,
    found: Findings,
    *,
    core_percent: float | None,
    requests_most: float | None,
    rss_mb: float | None = 40,
) -> None:
    """Weigh the agents for a while. The owner is weighed apart from the others where it costs more."""
    stage.wait_settled()
    owner = stage.owner()
    assert owner is not None
    stage.wait_witnessed(owner, stage.plan.vips[0])
    pass_time(stage, CALM_S)
    revision, received = stage.etcd.revision(), stage.etcd.requests_received()
    before, began = core_seconds(stage), time.monotonic()
    pass_time(stage, IDLE_S)
    after, elapsed = core_seconds(stage), time.monotonic() - began
    received_after = stage.etcd.requests_received()
    # The lab's own read of the revision came before the first look at the metrics; between the two there was none.
    writes = (stage.etcd.revision() or 0) - (revision or 0)
    spent = {name: 100 * (after[name] - before[name]) / elapsed for name in before}
    asked = [(received_after.get(name, 0) - received.get(name, 0)) / len(stage.agents) / elapsed * 2 for name in EVENTS]
    found.add("resident memory of an agent", "MB", [one["rss_kb"] / 1000 for one in resources(stage)], rss_mb)
    found.add("idle owner, share of a core", "%", [spent.pop(owner)], core_percent)
    found.add("idle candidate, share of a core", "%", list(spent.values()), core_percent)
    found.promise("etcd writes in that time", "", [float(writes)])
    found.add("keepalives per agent in 2 s", "", asked[:1], requests_most)
    found.add("reads per agent in 2 s", "", asked[1:], requests_most)


def time_starts(stage: Stage, found: Findings, runs: int) -> None:
    """Start one agent alone, again and again."""
    for agent in stage.agents.values():
        agent.terminate()
        agent.wait_gone()
    alone = next(iter(stage.agents.values()))
    ready = []
    for _ in range(runs):
        alone.start()
        stage.wait(lambda: alone.ready_at is not None, "the agent is ready", READY_S)
        assert alone.ready_at is not None
        ready.append(alone.ready_at - alone.started_at)
        alone.terminate()
        alone.wait_gone()
    found.add("started until ready to campaign", "s", ready, 0.5)


def pass_time(stage: Stage, seconds: float) -> None:
    """Let so much time pass, under the eyes of the feeds."""
    until = time.monotonic() + seconds
    stage.wait(lambda: time.monotonic() >= until, "time passes", seconds + 5, poll_s=0.2)


def core_seconds(stage: Stage) -> dict[str, float]:
    """Time on a processor of every thread of every agent, to the nanosecond (Documentation/scheduler/sched-stats)."""
    found = {}
    for name, agent in stage.agents.items():
        tasks = [task for pid in agent.pids() for task in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        found[name] = sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9
    return found
