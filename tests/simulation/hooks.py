"""Hooks as a simulated node runs them: they pass, fail, hang, answer late or not at all; and what they may never do.

Judged: an address goes up only under a key for which `onAcquire` has passed in time; no candidacy waits for a hook
longer than its deadline; `onRelease` begins only while the right lasts.
Must never: tell a core more than `HookEnded`. Counterpart: `world.py`, which asks it for each order.
"""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from sharedip.core.messages import HoldAddress, HookEnded, ReorderAddress, RunHook, StopHook
from sharedip.core.model import Hook, IPAddress

if TYPE_CHECKING:
    from tests.simulation.world import Host

TIMEOUT_S = 1.0
TIMES = tuple((hook, TIMEOUT_S) for hook in Hook)
FATES = ("passes", "passes", "passes", "takes its time", "fails", "hangs", "late", "silent")
WAITED_S = 0.05
"""Beside the deadline: between two turns of a loop."""


class PlayedHooks:
    """Invariant: `_let_in` holds, for each node and address, the last epoch that `onAcquire` has let in in time."""

    def __init__(self, seed: int, fates: tuple[str, ...] = FATES) -> None:
        self._lots = Random(f"hooks {seed}")
        self.fates = fates
        self.times = TIMES
        self.played = Counter[tuple[Hook, str]]()
        self.stories: list[tuple[str, dict[str, object]]] = []
        """Who was told what."""
        self._stopped: set[tuple[str, int, int]] = set()
        self._let_in: dict[tuple[str, IPAddress], object] = {}

    def heal(self) -> None:
        """From now on every hook passes."""
        self.fates = ("passes",)

    def perform(self, host: Host, order: RunHook | StopHook) -> None:
        """Begin or stop one."""
        if isinstance(order, StopHook):
            self._stopped.add((host.name, host.run, order.number))
            return
        story = json.loads(order.content)
        self.stories.append((host.name, story))
        if order.hook is Hook.RELEASE and not self._has_right(host, order.vip.address):
            host.world.broken(f"{host.name} runs onRelease for {order.vip} though its right has ended")
        fate = self._lots.choice(self.fates)
        self.played[order.hook, fate] += 1
        after_s, succeeded = {
            "passes": (self._lots.uniform(0.001, 0.05), True),
            "takes its time": (self._lots.uniform(0.1, 0.9) * order.timeout_s, True),
            "fails": (self._lots.uniform(0.001, 0.5), False),
            "hangs": (order.timeout_s, False),
            "late": (order.timeout_s * self._lots.uniform(1.01, 3.0), True),
            "silent": (None, False),
        }[fate]
        host.world.note(f"{host.name}: {order.hook.value} runs, and {fate}")
        if after_s is not None:
            host.world.later(after_s, self._end, host, host.run, order, story, host.now() + order.timeout_s, succeeded)

    def _end(
        self, host: Host, run: int, order: RunHook, story: dict[str, object], until: float, succeeded: bool
    ) -> None:
        if (host.name, run, order.number) in self._stopped or run != host.run:
            return
        if succeeded and host.now() < until and order.hook is Hook.ACQUIRE:
            self._let_in[host.name, order.vip.address] = story["epoch"]
        host.hear(run, HookEnded(order.number, succeeded=succeeded, detail="as it was drawn"))

    @staticmethod
    def _has_right(host: Host, address: IPAddress) -> bool:
        assert host.core is not None
        return any(each.ownership.right.until > host.now() for each in host.core.vips.of(address))

    def check_hold(self, host: Host, order: HoldAddress | ReorderAddress) -> None:
        """Before the address goes up."""
        address = order.vip.address
        if address in host.kernel.addresses or host.core is None:
            return
        epochs = [each.epoch for each in host.core.vips.of(address) if each.epoch is not None]
        if self._let_in.get((host.name, address)) not in epochs:
            host.world.broken(f"{host.name} puts {address} up by epoch {epochs}, which onAcquire has not let in")

    def check_waits(self, host: Host) -> None:
        """After a turn."""
        if host.core is None or host.frozen:
            return
        for run in host.core.hooks._runs.values():
            if run.hook is not Hook.CHANGE and host.now() > run.until + WAITED_S:
                host.world.broken(f"{host.name} waits for {run.hook.value} longer than its deadline")
