"""The scenes of `lab run reach` in which the service behind the VIP is what fails: an API server on each node.

Role: data, as `scenes.py`. The gap is what the service's clients see: for how long every new request failed.
Must never: measure. Counterparts: `reach.py`; `faults/servers.py`.
"""

from __future__ import annotations

from sharedip_lab.faults import servers
from sharedip_lab.faults.hardships import nothing
from sharedip_lab.scenarios.reach import Scene

KILLED_S, FROZEN_S, NOT_READY_S = 0.8, 8.5, 4.5
EVERYWHERE_RUNS = 20
"""So often something that befalls all services must move nothing."""

HEALTH_SCENES: tuple[Scene, ...] = (
    Scene("service-killed", "", "the owner's API server is killed", nothing, KILLED_S, at_service=servers.killed),
    Scene(
        "service-frozen",
        "",
        "the owner's API server is frozen",
        nothing,
        FROZEN_S,
        at_service=servers.frozen,
        is_alone=True,
    ),
    Scene(
        "service-not-ready",
        "",
        "the owner's API server answers 500 to everything",
        nothing,
        NOT_READY_S,
        at_service=servers.told("broken"),
        is_alone=True,
    ),
    Scene(
        "service-ends",
        "",
        "the owner's API server ends in order, with a delay of 10 s",
        nothing,
        KILLED_S,
        holds_s=servers.DELAY_S + 1.0,
        at_service=servers.ends_in_order,
        failed_most=0,
        is_alone=True,
    ),
    Scene(
        "services-all-not-ready",
        "",
        "all API servers answer 500 for 9 s, from the same second on",
        nothing,
        None,
        (0, 0),
        10.0,
        at_service=servers.all_told("broken", 9.0),
        runs=EVERYWHERE_RUNS,
        is_alone=True,
    ),
    Scene(
        "services-all-slow",
        "",
        "all API servers answer after 5 s, for 9 s",
        nothing,
        None,
        (0, 0),
        10.0,
        at_service=servers.all_told("slow 5", 9.0),
        runs=EVERYWHERE_RUNS,
        is_alone=True,
    ),
)
