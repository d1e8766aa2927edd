"""The epochs that this node has given up for good: remembered over restarts, and told to all who wait.

Law: the state file has an epoch, or is no more, before anybody is told that it is over, so that no later run of this
agent stands on it; what can't be saved is not said.
Must never: tell a release before the kernel has confirmed the removal. Counterparts: `candidacy.py`, `post.py`.
"""

from __future__ import annotations

from sharedip.core.candidacy import Candidacy
from sharedip.core.chronicle import name_of
from sharedip.core.designation import Designations
from sharedip.core.model import Instant, IPAddress, KeyValue, Vip
from sharedip.core.post import Post


class Resignations:
    """Invariant: `epochs` has the latest epoch given up on this lease, for each address that has one."""

    def __init__(self, designations: Designations, post: Post) -> None:
        self._designations = designations
        self._post = post
        self.epochs: dict[IPAddress, int] = {}
        self._saved: dict[IPAddress, int] = {}
        self.goes_before_removals = False
        """Whether what is saved in this turn must be on disk before an address goes."""
        self._woken: set[int] = set()

    def restore(self, epochs: dict[IPAddress, int]) -> None:
        """What the state file of a former run has."""
        self.epochs, self._saved = dict(epochs), dict(epochs)

    def note(self, vip: Vip, epoch: int) -> None:
        """This epoch is given up for good: it is saved with the next orders."""
        self.epochs[vip.address] = epoch

    def saved(self, epochs: dict[IPAddress, int]) -> None:
        """No later run will find anything older than this."""
        self._saved = epochs

    def is_saved(self, vip: Vip, epoch: int) -> bool:
        """Whether no later run can stand on this epoch: only then may anybody be told."""
        return self._saved.get(vip.address) == epoch

    def has(self, vip: Vip, epoch: int) -> bool:
        """Whether this node has given up this epoch for good, in this run or a former one."""
        return self.epochs.get(vip.address) == epoch

    def begins(self, candidacy: Candidacy, epoch: int, now: Instant) -> None:
        """This epoch will be given up, whatever comes in between. It is saved before anything is removed: afterwards
        clients would wait for the file.

        The next candidate is woken at the same time: our word will find it awake, with all that it needs in its caches.
        """
        self.epochs[candidacy.vip.address] = epoch
        self.goes_before_removals = True
        follower = self._follower(candidacy, epoch)
        if follower is not None and follower.lease not in self._woken:
            self._woken.add(follower.lease)
            self._designations.wake(follower.lease, now)

    def has_heir(self, candidacy: Candidacy, now: Instant) -> bool:
        """Whether the next candidate may take the address on our word, and has answered us a moment ago."""
        follower = None if candidacy.epoch is None else self._follower(candidacy, candidacy.epoch)
        return follower is not None and self._designations.hears(follower.lease, now)

    def is_due(self, candidacy: Candidacy, epoch: int) -> None:
        """The address is off the link, and no later run can come back to this epoch: tell every candidate, for the
        next one may have died in the same second.
        """
        assert self.is_saved(candidacy.vip, epoch), "a word that is not saved is not said"
        if self._follower(candidacy, epoch) is not None:
            for follower in candidacy.others():
                self._post.tell_release(candidacy.vip.address, epoch, candidacy.told_reason, follower)

    def turn_is_over(self) -> None:
        """What was ordered leaves."""
        self.goes_before_removals = False
        self._woken.clear()

    def lease_lost(self) -> None:
        """Every epoch is over. Others may own the addresses already: nothing goes before the removals."""
        self.epochs.clear()
        self._saved = {}
        self.goes_before_removals = False

    @staticmethod
    def _follower(candidacy: Candidacy, epoch: int) -> KeyValue | None:
        """The next candidate, if it may take the address on our word alone."""
        followers = [key for key in candidacy.queue() if key.create_revision > epoch]
        follower = followers[0] if followers else None
        if follower is None or not candidacy.may_be_taken_unasked:
            return None
        return follower if candidacy.meant_for in (None, name_of(follower)) else None
