"""Whom a new owner remembers; what it tells them is in the laws (`test_law_1_paused.py`)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sharedip.core.election.candidacy import Phase
from sharedip.core.model import KeyValue
from sharedip.core.peers.former_owners import FORMER_MAX, FormerOwners
from sharedip.core.segment.wire import Owned, mark_of
from tests.stages.harness import OURS, THEIRS, VIP

SECRET = b"shared"


class Stage:
    """An agent that has seen others come first for one VIP."""

    def __init__(self) -> None:
        session: Any = SimpleNamespace(lease=OURS)
        self.secrets: dict[int, bytes] = {THEIRS: SECRET}
        peers: Any = SimpleNamespace(secret_with=self.secrets.get)
        self.former = FormerOwners(session, peers)
        self.candidacy: Any = SimpleNamespace(
            vip=VIP, epoch=9, phase=Phase.OWNING, words=SimpleNamespace(unexecuted={})
        )

    def sees(self, lease: int, epoch: int) -> None:
        """The picture shows it first."""
        self.candidacy.queue = lambda: [KeyValue("key", b"n", epoch, epoch, lease)]
        self.former.seen(self.candidacy)

    def news_for(self, lease: int) -> list[Owned]:
        """What it would be told once we own."""
        self.candidacy.queue = lambda: [KeyValue("key", b"n", 9, 9, OURS)]
        return self.former.news_for(lease, {VIP.address: self.candidacy})


def test_who_came_first_is_told_of_its_newest_epoch() -> None:
    stage = Stage()
    stage.sees(THEIRS, 5)
    stage.sees(THEIRS, 7)
    assert stage.news_for(THEIRS) == [Owned(7, mark_of(VIP.address))]


def test_what_was_shared_is_remembered_when_the_record_has_gone() -> None:
    stage = Stage()
    stage.sees(THEIRS, 5)
    stage.secrets.clear()
    assert stage.former.secret_with(THEIRS) == SECRET
    stage.former.lease_lost()
    assert stage.former.secret_with(THEIRS) is None


def test_nobody_else_is_remembered() -> None:
    """Neither ourselves, nor who shares nothing with us."""
    stage = Stage()
    stage.secrets[OURS] = SECRET
    for lease in (OURS, THEIRS + 1):
        stage.sees(lease, 5)
        assert stage.news_for(lease) == []


def test_a_later_epoch_than_ours_is_none_that_we_follow() -> None:
    stage = Stage()
    stage.sees(THEIRS, 12)
    assert stage.news_for(THEIRS) == []


def test_what_is_remembered_is_bounded() -> None:
    stage = Stage()
    for lease in range(1000, 1000 + 2 * FORMER_MAX):
        stage.secrets[lease] = SECRET
        stage.sees(lease, 5)
    assert len(stage.former._known) == FORMER_MAX
    assert stage.former.secret_with(1000) is None
