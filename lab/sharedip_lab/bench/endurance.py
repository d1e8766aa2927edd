"""What takes long and must never go wrong once: two owners in hundreds of runs, a saturated machine, five nodes.

Role: one function per section of the bench.
Must never: measure by itself. Counterparts: `repetition.py`, `takeovers.py`, `sections.py`.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace

from sharedip_lab.bench.footprint import pass_time
from sharedip_lab.bench.repetition import Repetition, beside_election, moved
from sharedip_lab.faults.catalogue import FAULTS, Fault, Sequel
from sharedip_lab.scenarios.growth import resources
from sharedip_lab.scenarios.runner import Outcome
from sharedip_lab.stage import Stage
from sharedip_lab.world.namespaces import command_in

THAWED_WITHIN = (0.5, 1.3)
"""In windows from the strike on: around the moments at which the fence, the owner's right and the promise end."""
LEFT_SO_S = (0.0, 1.5)
"""From the new owner's first answer on: the former one must stay away while it is broken, and when it comes back."""
BUSY_PROCESSES = 4
SPOKEN_S = 30.0
"""How often progress is told while nothing should happen."""
FIVE_NODES_S = 1.15
DEPOSED_AFTER_S = 0.6
"""After etcd's election: the witness's next try, on a member that lives, and the wait of one that was late itself."""


def two_owners(repetition: Repetition) -> None:
    """Freeze, SIGKILL and cut in turn, healed at another moment each time; the worst run counts."""
    outcomes: dict[str, list[Outcome]] = {"freeze": [], "SIGKILL": [], "cut": []}
    for number in range(1, repetition.count + 1):
        dice = random.Random(number)  # noqa: S311 - reproducible, not secret
        for into, fault in zip(outcomes.values(), _faults(dice, repetition.stage.plan.window_s), strict=True):
            into.append(repetition.once(fault, number))
    for name, of_name in outcomes.items():
        repetition.two(f"{name}, {len(of_name)} runs", of_name)
        repetition.found.add(
            f"{name}: new owner", "s", [one.new_owner_s for one in of_name if one.new_owner_s is not None]
        )
    everything = [one for of_name in outcomes.values() for one in of_name]
    for look, values in (
        ("interfaces", [one.two.unmuted_s for one in everything]),
        ("wire", [one.two.wire_s for one in everything]),
        ("client", [one.two.client_s for one in everything]),
    ):
        repetition.found.promise(f"two owners by {look}, {len(values)} runs", "ms", [1000 * value for value in values])


def _faults(dice: random.Random, window_s: float) -> tuple[Fault, Fault, Fault]:
    """A freeze that ends sometimes about when the right does, sometimes later; a kill; a cut."""
    thawed = dice.uniform(*THAWED_WITHIN) * window_s
    frozen = FAULTS["freeze-1s"]
    if dice.random() < 0.5:
        freeze = replace(frozen, title=f"agent frozen for {thawed:.3f} s", hold_s=thawed, sequel=Sequel.ANY)
    else:
        freeze = replace(
            frozen, title="agent frozen", hold_s=0.0, sequel=Sequel.NEW_OWNER, rest_s=dice.uniform(*LEFT_SO_S)
        )
    kill, cut = (replace(FAULTS[name], rest_s=dice.uniform(*LEFT_SO_S)) for name in ("sigkill", "cut"))
    return freeze, kill, cut


def five(repetition: Repetition) -> None:
    """Two of five nodes die at once: the owner's and a witness's, the owner's and that of etcd's leader."""
    witness, _ = repetition.repeat("crash-with-witness", leader_on_owner=False)
    repetition.found.add("owner and a witness crash: new owner", "s", moved(witness), FIVE_NODES_S)
    leader = beside_election(
        repetition,
        "crash-with-leader",
        "owner and etcd's leader crash: new owner",
        leader_on_owner=False,
        most_s=DEPOSED_AFTER_S,
    )
    both, _ = repetition.repeat("witness-and-leader-crash", leader_on_owner=False)
    # While etcd has no leader the owner can't free itself of the dead witness's promise: it lets go until it can.
    repetition.found.add("a witness and etcd's leader crash: longest gap", "s", [one.client_gap_s for one in both])
    stayed = [float(one.owner_after != one.owner_before) for one in both]
    repetition.found.promise("a witness and etcd's leader crash: changes of owner", "", stayed)
    repetition.two("two of five nodes", [*witness, *leader, *both])


@contextlib.contextmanager
def busy(stage: Stage, count: int) -> Iterator[None]:
    """Processes that take all of every core, at the usual niceness, as long as this lasts."""
    command = command_in(stage.topology.client.namespace, ["sh", "-c", "while :; do :; done"])
    processes = [subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def saturated(repetition: Repetition) -> None:
    """Every core taken by others: no change of owner, no address lost, for so many minutes."""
    stage, vip = repetition.stage, repetition.stage.plan.vips[0]
    stage.wait_settled()
    owner = stage.owner()
    assert owner is not None
    stage.wait_witnessed(owner, vip)
    began = time.monotonic()
    until = began + 60 * repetition.minutes
    terms = stage.etcd.term()
    with busy(stage, BUSY_PROCESSES):
        stage.note("strike", f"{BUSY_PROCESSES} processes take every core")
        while (left_s := until - time.monotonic()) > 0:
            repetition.audience.phase(f"the owner is {stage.owner()}; {left_s:.0f} s to go")
            pass_time(stage, min(SPOKEN_S, left_s))
        ended = stage.note("heal", "they are gone")
    stage.feeds.catch_up(ended)
    recording = stage.recording(vip)
    held = recording.presence.stretches(began, ended)
    left = sum(1 for node, own in held.items() for _, end in own if end < ended)
    found = repetition.found
    found.promise("changes of owner", "", [float(recording.answers.changes(began, ended))])
    found.promise("times that the address left its node", "", [float(left)])
    found.promise(
        "two owners", "ms", [1000 * recording.two_owners(began, ended, fence_mutes=stage.plan.fence_mutes).longest_s]
    )
    found.add("missed probes", "", [float(recording.probes_missed(began, ended))])
    found.add("longest gap", "ms", [1000 * recording.answers.longest_gap(began, ended)])
    if terms is not None and (after := stage.etcd.term()) is not None:
        found.add("etcd's own elections meanwhile", "", [float(after - terms)])
    found.add("minutes", "min", [(ended - began) / 60])
    found.add("resident memory of an agent", "MB", [one["rss_kb"] / 1000 for one in resources(stage)])
    repetition.logs.update({f"{found.name}-{name}.log": agent.log_text() for name, agent in stage.agents.items()})
