"""The right: a set of deadlines, of which the earliest counts, and some of which many rights share."""

from __future__ import annotations

from sharedip.core.model import NEVER
from sharedip.core.right import Deadline, Right


def test_the_right_is_the_earliest_of_its_deadlines_and_none_without_any() -> None:
    """right_until = min(...): a second deadline can only shorten it."""
    right = Right()
    assert right.until == NEVER
    right.set("lease", 20.0)
    right.set("witness", 12.0)
    assert right.until == 12.0
    right.set("witness", 30.0)
    assert right.until == 20.0
    right.drop("lease")
    assert right.until == 30.0
    right.drop("witness")
    right.drop("witness")
    assert right.until == NEVER


def test_a_shared_deadline_moves_every_right_that_has_it() -> None:
    """One lease for all addresses: its renewal is one move."""
    lease = Deadline()
    rights = Right(), Right()
    for right in rights:
        right.share("lease", lease)
    rights[0].set("witness", 12.0)
    lease.until = 20.0
    assert [right.until for right in rights] == [12.0, 20.0]
    assert [right.get("lease") for right in rights] == [20.0, 20.0]
    assert rights[1].get("witness") == NEVER
