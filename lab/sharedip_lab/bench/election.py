"""How long etcd itself needs to elect: asked of the surviving members from the strike on.

Role: the yardstick for what the agents add when etcd's leader dies together with the owner.
Must never: count a leader that is dead. Counterparts: `sections.py`, `world/etcd.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sharedip_lab.faults.strikes import Undo
from sharedip_lab.stage import Stage
from sharedip_lab.world.etcd import Member

ASK_S = 0.01
GIVE_UP_S = 30.0


class Election:
    """One election, watched in threads of its own: each survivor is asked until it names a leader that lives."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._struck_at = 0.0
        self._elected_at = float("inf")
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def beginning_with(self, strike: Callable[[Stage, str], Undo]) -> Callable[[Stage, str], Undo]:
        """The strike, after which the survivors are asked."""

        def struck(stage: Stage, node: str) -> Undo:
            self._struck_at = time.monotonic()
            undo = strike(stage, node)
            dead = {name for name, member in stage.etcd.members.items() if name == node or not member.running}
            for name, member in stage.etcd.members.items():
                if name not in dead:
                    thread = threading.Thread(target=self._ask, args=(member, dead), name="election", daemon=True)
                    thread.start()
                    self._threads.append(thread)
            return undo

        return struck

    def _ask(self, member: Member, dead: set[str]) -> None:
        """Its status first, which it gives at once; the leader that it names must then serve a linearizable read."""
        ids, until = self._stage.etcd.ids, time.monotonic() + GIVE_UP_S
        while time.monotonic() < min(until, self._elected_at):
            status = member.post("/v3/maintenance/status", {}, timeout_s=0.2)
            leader = "0" if status is None else str(status.get("leader", "0"))
            lives = leader not in {"", "0"} and ids.get(leader) not in dead
            if lives and member.post("/v3/kv/range", {"key": "AA==", "keys_only": True}, timeout_s=0.2) is not None:
                with self._lock:
                    self._elected_at = min(self._elected_at, time.monotonic())
                return
            time.sleep(ASK_S)

    def elected_after_s(self) -> float:
        """From the strike until a survivor served a linearizable read under a new leader."""
        for thread in self._threads:
            thread.join()
        return self._elected_at - self._struck_at
