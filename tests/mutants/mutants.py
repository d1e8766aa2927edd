"""The mutants, as data: each takes one law out of the core. A test that lets one live proves less than it says.

Must never: rot. `test_mutants_apply.py` checks that every old text stands exactly once in its file.
Counterpart: `__main__.py`, which applies them to a copy of the source and runs the tests on it.
"""

from __future__ import annotations

from tests.mutants import (
    of_health,
    of_the_clients,
    of_the_former_run,
    of_the_former_self,
    of_the_hardening,
    of_the_hooks,
    of_the_pause,
    of_the_queue,
    of_the_right,
    of_the_secret,
    of_the_segment,
    of_the_truth,
    of_the_way,
    of_the_witness,
)
from tests.mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *of_the_right.MUTANTS,
    *of_the_way.MUTANTS,
    *of_the_witness.MUTANTS,
    *of_the_pause.MUTANTS,
    *of_the_secret.MUTANTS,
    *of_the_former_run.MUTANTS,
    *of_the_former_self.MUTANTS,
    *of_health.MUTANTS,
    *of_the_hooks.MUTANTS,
    *of_the_queue.MUTANTS,
    *of_the_segment.MUTANTS,
    *of_the_truth.MUTANTS,
    *of_the_hardening.MUTANTS,
    *of_the_clients.MUTANTS,
)

__all__ = ["MUTANTS", "Mutant"]
