"""Never two owners, in hundreds of drawn runs: kills, freezes, cuts and restarts at random instants, in three windows.

Role: which runs a seed draws, and on which stages they are played. Each is judged by everything that the lab looks at,
and by a client that asks for the MAC all the while (`observe/overlaps.py`).
Must never: measure by itself, or let a run depend on how many labs share the work: each has dice of its own.
Counterparts: `matrix.py`, which plays the stages; `report/tables.py`, which adds up the kinds.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sharedip_lab.faults.ambush import HELD_IN_WINDOWS, freeze_at_renewal
from sharedip_lab.faults.catalogue import FAULTS, Fault, Sequel
from sharedip_lab.faults.strikes import Undo
from sharedip_lab.scenarios.matrix import FAMILIES, PLACEMENTS, Case, Leg, Part
from sharedip_lab.stage import NotInTimeError, Plan, Stage
from sharedip_lab.world.agents import overlay

RUNS = 300
STAGE_RUNS = 25
"""So many on one stage: what an interruption costs is two minutes."""
SETTINGS: dict[str, dict[str, Any]] = {
    "window 1s nftables": {"failover": {"witness": "auto", "window": "1s", "fence": "nftables"}},
    "window 300ms nftables": {"failover": {"witness": "auto", "window": "300ms", "fence": "nftables"}},
    "window 2.1s lifetime": {"failover": {"witness": "auto", "window": "2.1s", "fence": "lifetime"}},
}
THAWED_WITHIN = (0.5, 1.3)
"""In windows from the strike on: around the moments at which the fence, the owner's right and the promise end."""
LEFT_SO_S = (0.0, 0.6)
"""From the new owner's first answer on, and then the former one comes back."""
STARTED_WITHIN = (0.0, 1.6)
"""In windows from SIGKILL to start: before a witness deposes, while it does, after."""
LIVES_S = (0.0, 1.5)
"""From that start to the next SIGKILL: while it loads, asks etcd, adopts, owns or waits."""

READY_S = 20.0
ADOPTS_S, DECIDED_AFTER = 0.3, 1.3
"""How long an agent that is ready may take to find its key; in how many windows from the last SIGKILL on a witness has
deposed, or never will."""

Draw = Callable[[random.Random, float], Fault]


def _sigkill(dice: random.Random, _: float) -> Fault:
    return replace(FAULTS["sigkill"], rest_s=dice.uniform(*LEFT_SO_S))


def _freeze(dice: random.Random, window_s: float) -> Fault:
    """Inside a system call, and longer than the window; or one that ends about when the right does, or later."""
    frozen, which = FAULTS["freeze-1s"], dice.random()
    if which < 1 / 3:
        held_s = dice.uniform(*HELD_IN_WINDOWS) * window_s
        strike = freeze_at_renewal(dice.randint(1, 3))
        title = f"agent frozen inside a system call, for {held_s:.3f} s"
        # One that its deadman has ended is started again, and may stay the owner.
        return replace(frozen, title=title, strike=strike, hold_s=held_s, sequel=Sequel.ANY)
    if which < 2 / 3:
        thawed = dice.uniform(*THAWED_WITHIN) * window_s
        return replace(frozen, title=f"agent frozen for {thawed:.3f} s", hold_s=thawed, sequel=Sequel.ANY)
    return replace(frozen, title="agent frozen", hold_s=0.0, sequel=Sequel.NEW_OWNER, rest_s=dice.uniform(*LEFT_SO_S))


def _cut(dice: random.Random, _: float) -> Fault:
    return replace(FAULTS["cut"], rest_s=dice.uniform(*LEFT_SO_S))


def _restart(dice: random.Random, window_s: float) -> Fault:
    return _restarts([dice.uniform(*STARTED_WITHIN) * window_s], window_s)


def _restart_twice(dice: random.Random, window_s: float) -> Fault:
    first, second = (dice.uniform(*STARTED_WITHIN) * window_s for _ in range(2))
    return _restarts([first, dice.uniform(*LIVES_S), second], window_s)


KINDS: dict[str, Draw] = {
    "SIGKILL": _sigkill,
    "freeze": _freeze,
    "cut": _cut,
    "SIGKILL and start": _restart,
    "SIGKILL and start, twice": _restart_twice,
}


def _restarts(pauses_s: Sequence[float], window_s: float) -> Fault:
    told = ", ".join(f"{word} {1000 * pause:.0f} ms" for word, pause in zip(_WORDS, pauses_s, strict=False))
    return Fault(
        "restarted",
        f"agent killed, {told}",
        restarting(pauses_s),
        sequel=Sequel.ANY,
        takes_s=sum(pauses_s) + 1.0,
        # Until then the dead agent's address and key look as if all were well.
        rest_s=ADOPTS_S + max(0.0, DECIDED_AFTER * window_s - pauses_s[-1]),
    )


_WORDS = ("started after", "killed after", "started after")


def restarting(pauses_s: Sequence[float]) -> Callable[[Stage, str], Undo]:
    """kill -9; then, each after its pause: start, kill -9, start …"""

    def strike(stage: Stage, node: str) -> Undo:
        agent, struck_at = stage.agents[node], stage.note("means", f"{node}: killed")
        agent.kill()
        for number, pause_s in enumerate(pauses_s):
            struck_at += pause_s
            stage.wait_until(struck_at)
            (agent.kill if number % 2 else agent.start)()
            stage.note("means", f"{node}: {'killed' if number % 2 else 'started'}")
        with contextlib.suppress(NotInTimeError):  # what is missing then, is told after the healing
            stage.wait(lambda: agent.ready_at is not None, "the agent is ready", READY_S)
        return lambda: None

    return strike


def drawn(seed: int, number: int, window_s: float) -> tuple[str, Fault, str]:
    """The kind, the fault and etcd's leader's place of one run: of its seed and number, and nothing else."""
    dice = random.Random(f"{seed}/{number}")  # noqa: S311 - reproducible, not secret
    kind, draw = list(KINDS.items())[number % len(KINDS)]
    placement = dice.choice(list(PLACEMENTS))
    fault = replace(draw(dice, window_s), kind=kind)
    word = kind.lower().replace(",", "").replace(" ", "-")
    return kind, replace(fault, name=f"{word}-{number + 1:03d}"), placement


def promise_legs(plans: Sequence[Plan], seed: int, runs: int, part: Part) -> list[Leg]:
    """The stages of this part. Kinds change with each run, settings with each round of kinds, families after those."""
    groups: dict[tuple[int, str, str], list[Case]] = {}
    for number in range(runs):
        turn = number // len(KINDS)
        word = list(SETTINGS)[turn % len(SETTINGS)]
        turn //= len(SETTINGS)
        family = list(FAMILIES)[turn % len(FAMILIES)]
        version = turn // len(FAMILIES) % len(plans)
        window_s = _laid(plans[version], word).window_s
        _, fault, placement = drawn(seed, number, window_s)
        groups.setdefault((version, word, family), []).append(Case(fault, family, placement))
    found = []
    for (version, word, family), cases in groups.items():
        shares = -(-len(cases) // STAGE_RUNS)
        for share in range(shares):
            plan = replace(_laid(plans[version], word), vips=(FAMILIES[family],), asks_for_mac=True)
            title = f"{word}, {family}, etcd {plan.etcd.version}" + (f" ({share + 1}/{shares})" if shares > 1 else "")
            found.append(Leg(plan, title, tuple(cases[share::shares])))
    return found[part.number - 1 :: part.count]


def _laid(plan: Plan, word: str) -> Plan:
    return replace(plan, settings=overlay(plan.settings, SETTINGS[word]))
