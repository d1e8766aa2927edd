"""The epochs that this node has given up for good, and which of them no later run can come back to.

Law 8, *what cannot be saved is not said*: the state file has an epoch, or is deleted, before any candidate is told that
it is over (docs/safety.md, "Resigned").
Must never: send anything. Counterparts: `candidacy.py` (which gives up), `handover.py` (which tells), `state.py`.
"""

from __future__ import annotations

from sharedip.core.history import name_of
from sharedip.core.model import IPAddress, KeyValue, Vip


class ResignedEpochs:
    """Invariant: `epochs` has the latest epoch given up on this lease, for each address that has one."""

    def __init__(self) -> None:
        self.epochs: dict[IPAddress, int] = {}
        self._saved: dict[IPAddress, int] = {}

    def restore(self, epochs: dict[IPAddress, int]) -> None:
        """What the state file of a former run has."""
        self.epochs, self._saved = dict(epochs), dict(epochs)

    def note(self, vip: Vip, epoch: int) -> None:
        """This epoch is given up for good: it is saved with the next orders."""
        self.epochs[vip.address] = epoch

    def has(self, vip: Vip, epoch: int) -> bool:
        """Whether this node has given up this epoch for good, in this run or a former one."""
        return self.epochs.get(vip.address) == epoch

    def saved(self, epochs: dict[IPAddress, int]) -> None:
        """No later run will find anything older than this."""
        self._saved = epochs

    def is_saved(self, vip: Vip, epoch: int) -> bool:
        """Whether no later run can rely on this epoch: only then may it be released."""
        return self._saved.get(vip.address) == epoch

    def clear(self) -> None:
        """The lease is lost, and every epoch on it over."""
        self.epochs.clear()
        self._saved = {}


def successor(
    queue: list[KeyValue], epoch: int, *, meant_for: str | None, may_be_taken_unasked: bool
) -> KeyValue | None:
    """The next candidate behind this epoch, if it may take the address on our release alone.

    `meant_for`: the next owner that the operator named. `may_be_taken_unasked`: whether we can vouch for it.
    """
    if not may_be_taken_unasked:
        return None
    following = next((key for key in queue if key.create_revision > epoch), None)
    if following is None or meant_for not in (None, name_of(following)):
        return None
    return following
