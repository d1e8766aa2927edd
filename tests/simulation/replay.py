"""Play one history again and print what happened: `python -m tests.simulation.replay SEED [--facts]`.

At the end it tells which faults were drawn. With `--facts` every fact that a core hears and every order that it gives
is printed too. Exit 1 when the history fails.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from sharedip.core.messages import Command, Report
from sharedip.core.node import Node
from tests.simulation import histories
from tests.simulation.world import World


def main(arguments: list[str] | None = None) -> int:
    """The lines are printed as they come, so that a core that raises leaves its transcript behind."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.replay", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--facts", action="store_true", help="every fact and every order of every core")
    options = parser.parse_args(arguments)
    now = _print_notes()
    if options.facts:
        _print_facts(now)
    outcome = histories.play(options.seed, verbose=True)
    drawn = ", ".join(f"{name} {count}" for name, count in sorted(outcome.played.items()))
    print(f"drawn: {drawn}")
    print(f"seed {outcome.seed}: {outcome.steps} steps, {outcome.failure or 'every invariant held'}")
    return 0 if outcome.failure is None else 1


def _print_notes() -> list[float]:
    """Let every world print what it notes; returns where the virtual time can be read."""
    now = [0.0]

    def note(world: World, text: str) -> None:
        now[0] = world.t - 100.0
        print(f"{now[0]:8.3f}  {text}")

    World.note = note  # type: ignore[method-assign, assignment]
    return now


def _print_facts(now: list[float]) -> None:
    told = Node.handle_all

    def handle_all(node: Node, events: Any, at: float) -> list[Command]:
        for event in events:
            print(f"{now[0]:8.3f}+ {node.settings.node_name} <- {event}")
        orders = told(node, events, at)
        for order in orders:
            if not isinstance(order, Report):
                print(f"          {node.settings.node_name} -> {order}")
        return orders

    Node.handle_all = handle_all  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    sys.exit(main())
