"""An agent that says no hello, so that it hears nobody, asks nobody, and costs what it cost without them.

Role: `sharedip lab run bench --filter rest-3-1vip --agent '/usr/bin/env python3 bench/unheard.py'`: what hellos
and asks cost is the difference. Must never: be more than the agent as it is, less that one thing.
Counterpart: the lab's `bench/rest.py`, which judges the shipped command from outside, and can't say less itself.
"""

from __future__ import annotations

import sys

from sharedip.cli.main import main
from sharedip.core.segment import hearing


def _nothing(*_: object) -> None:
    """Say no hello."""


if __name__ == "__main__":
    setattr(hearing.Hearing, "_greet", _nothing)  # noqa: B010
    setattr(hearing, "HELLO_EVERY_S", float("inf"))  # noqa: B010
    setattr(hearing, "JOINS_S", 0.0)  # noqa: B010
    sys.exit(main())
