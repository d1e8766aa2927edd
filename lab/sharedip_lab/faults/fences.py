"""Strikes at the fence: another kind of it after a restart, and hands that flush its sets.

Role: strikes, as in `strikes.py`. Must never: wait for an effect that is to be judged, or judge it.
Counterpart: `catalogue.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sharedip_lab.faults.strikes import Undo, cut_etcd
from sharedip_lab.stage import NotInTimeError, Stage
from sharedip_lab.world.agents import documents, overlay
from sharedip_lab.world.namespaces import LabError, nft

LIFETIME: dict[str, Any] = {"failover": {"fence": "lifetime", "window": "2.1s"}}
"""The other fence, which wants a window of more than two seconds."""
SOON_S, LATER_S = 0.0, 1.0
DARK_S = 15.0
"""One owner or another answers within this, whatever the restart has found; a lease of 15 s is over by then, too."""
RENEWED_IN_WINDOWS = 0.5
"""After a foreign flush and before the strike: a renewal and a half (docs/safety.md)."""

FLUSHED_SET = """flush set inet sharedip guarded4
flush set inet sharedip guarded6
flush set arp sharedip guarded4
"""
FLUSHED_TABLE = "flush table inet sharedip\nflush table arp sharedip\n"


def refence(after_s: float, *, alone: bool = False) -> Callable[[Stage, str], Undo]:
    """kill -9, and a start with the lifetime fence `after_s` later; `alone` without etcd, until it is healed."""

    def strike(stage: Stage, node: str) -> Undo:
        agent, killed_at = stage.agents[node], time.monotonic()
        agent.kill()
        heal = cut_etcd(stage, node) if alone else lambda: None
        _write(stage, node, LIFETIME)
        stage.wait_until(killed_at + after_s)
        agent.start()

        def undo() -> None:
            heal()
            try:
                stage.wait(stage.served, "somebody answers", DARK_S)
            except NotInTimeError:
                stage.note("wrong", f"{node}: nobody answers {DARK_S:g} s after a restart with another fence")
            agent.kill()
            _write(stage, node, {})
            agent.start()

        return undo

    return strike


def _write(stage: Stage, node: str, settings: dict[str, Any]) -> None:
    place, agent = stage.node(node), stage.agents[node]
    laid = overlay(stage.plan.settings, settings)
    agent.write(documents(place, stage.topology.nodes, stage.plan.all_vips, agent.state_directory, laid))


def flush(script: str) -> Callable[[Stage, str], Undo]:
    """Somebody flushes our sets or tables on the owner's node; a renewal later its agent is killed."""

    def strike(stage: Stage, node: str) -> Undo:
        try:
            nft(stage.node(node).namespace, script)
        except LabError as error:
            stage.note("means", f"{node}: there was nothing to flush: {error}")
        stage.wait_until(time.monotonic() + RENEWED_IN_WINDOWS * stage.plan.window_s)
        stage.breaks_at = stage.note("means", f"{node}: agent killed")
        stage.agents[node].kill()
        return stage.agents[node].start

    return strike
