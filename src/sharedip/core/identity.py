"""Who this agent is beyond its name: the machine and the kernel that it runs on.

Role: frozen values that the agent's record carries, so that a later run can tell its own former self from another
agent of the same name. Must never: read a file; `adapters/machine.py` does. Counterpart: `own_record.py`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """What stays the same over restarts of the agent (`kernel`), and over reboots (`machine`)."""

    machine: str | None = None
    """Names the machine over reboots, hex; None where nothing on it does. Clones of a machine share it."""
    kernel: str = ""
    """The boot and the network namespace: as long as it is the same, addresses of a former run may stand here."""
