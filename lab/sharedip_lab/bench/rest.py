"""What the agents cost while nothing happens, for minutes: processor, questions on the segment, writes to etcd.

Role: one figure each, for three and seven nodes, with 1, 100 and 1000 VIPs. What hellos and asks cost is the difference
to an agent without them (`--agent`, `bench/unheard.py`).
Must never: ask an agent or etcd anything meanwhile.
Counterparts: `footprint.py`, `programs/listener.py`, `sections.py`.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from sharedip_lab.bench.footprint import CALM_S, core_seconds, pass_time
from sharedip_lab.bench.repetition import Repetition
from sharedip_lab.observe.feeds import Feed
from sharedip_lab.scenarios.growth import resources
from sharedip_lab.stage import Stage
from sharedip_lab.world.topology import CLIENT_INDEX, WITNESS_INDEX

REST_MIN = 5.0
UNWRITTEN_S, CALM_WITHIN_S = 12.0, 300.0
ASKS_MOST = 4
"""A second and link, however many VIPs there are."""
COUNTS = ((3, 1), (3, 100), (3, 1000), (7, 1), (7, 100), (7, 1000))
"""Nodes and VIPs."""


def listener(stage: Stage, take: Any) -> Feed:
    """The process that counts."""
    topology = stage.topology
    return Feed(
        "listener",
        {
            "bridge_namespace": topology.bridge_namespace,
            "bridges": [one.bridge for one in topology.segments],
            "macs": [place.mac_on(one) for place in topology.nodes for one in topology.segments],
            # The client's probes make the kernels ask for it, and for the observer.
            "not_counted": [
                str(base + index)
                for one in topology.segments
                for base in (one.base4, one.base6)
                for index in (CLIENT_INDEX, WITNESS_INDEX)
            ],
        },
        take,
    )


def _wait_calm(stage: Stage) -> None:
    """Until nothing was written for a while: a thousand takeovers on a slow machine are no rest yet."""
    seen, since = stage.etcd.revision(), time.monotonic()

    def is_calm() -> bool:
        nonlocal seen, since
        revision = stage.etcd.revision()
        if revision != seen or not stage.served():
            seen, since = revision, time.monotonic()
        return time.monotonic() - since >= UNWRITTEN_S

    stage.wait(is_calm, f"nothing is written for {UNWRITTEN_S:.0f} s", CALM_WITHIN_S, poll_s=0.5)


def at_rest(repetition: Repetition) -> None:
    """Let minutes pass, and add up."""
    stage, found, per_second = repetition.stage, repetition.found, list[dict[str, int]]()
    stage.wait_settled(120.0)
    _wait_calm(stage)
    owner = stage.owner()
    assert owner is not None
    stage.wait_witnessed(owner, stage.plan.vips[0])
    pass_time(stage, 2 * CALM_S)
    feed = listener(stage, lambda line: per_second.append(line["asks"]) if line["asks"] else None)
    feed.start()
    try:
        revision, before, began = stage.etcd.revision(), core_seconds(stage), time.monotonic()
        seconds = repetition.minutes * 60
        repetition.audience.say(f"nothing happens for {seconds:.0f} s")
        pass_time(stage, seconds)
        after, elapsed = core_seconds(stage), time.monotonic() - began
        writes = (stage.etcd.revision() or 0) - (revision or 0)
    finally:
        feed.stop()
    spent = {name: 100 * (after[name] - before[name]) / elapsed for name in before}
    found.add("owner, share of a core", "%", [spent.pop(owner)])
    found.add("candidate, share of a core", "%", list(spent.values()))
    found.add("resident memory of an agent", "MB", [one["rss_kb"] / 1000 for one in resources(stage)])
    found.add("etcd writes a minute", "", [60 * writes / elapsed])
    for bridge in sorted({name for one in per_second for name in one}):
        asked = [float(one[bridge]) for one in per_second]
        found.promise(f"asks in the worst second, {bridge}", "", [max(asked)], ASKS_MOST)
        found.add(f"asks a second, {bridge}", "", [statistics.mean(asked)])
