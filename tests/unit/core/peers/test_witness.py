"""One witness without its node: what it promises, and when it is deaf."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharedip.core.address.links import Links
from sharedip.core.messages import Command, Report, Transact
from sharedip.core.model import LinkState
from sharedip.core.peers.witness import Witness, read_witnesses
from sharedip.core.segment.wire import Acknowledgement, Heartbeat, Over
from tests.stages.harness import LINK, THEIRS, VIP
from tests.stages.witnessed import WINDOW_S, Watch


class Stage:
    """A witness that n1 has designated, on a link that is up."""

    def __init__(self) -> None:
        watch = Watch()
        self.now, self.revision = watch.talk.now, watch.revision
        self.orders: list[Command] = []
        self.links = Links([VIP.link])
        self.set_link(LINK)
        self.settings = watch.talk.settings
        self.session = watch.talk.node.session
        self.session._out = self.orders.append  # its transactions, too
        self.witness = Witness(self.settings, self.session, watch.talk.node.peers, self.links, self.orders.append)
        self.witness.designation_changed(VIP.address)

    def set_link(self, link: LinkState) -> None:
        self.links.changed(link, self.now)
        self.links.settle(self.now + 60.0)

    def beat(self, sequence: int = 1) -> Acknowledgement | Over | None:
        return self.witness.heard(THEIRS, Heartbeat(self.revision, sequence), self.now)

    def is_deposed(self, *, stopping: bool = False) -> bool:
        """Right after the promise has run out."""
        at = self.witness.next_deadline()
        assert at is not None
        self.witness.advance(at, stopping=stopping)
        return any(isinstance(order, Transact) for order in self.orders)


def test_the_beat_is_what_is_acknowledged() -> None:
    stage = Stage()
    assert stage.beat(3) == Acknowledgement(stage.revision, 3)
    assert stage.beat(3) is None


def test_silence_deposes_and_says_so() -> None:
    stage = Stage()
    stage.beat()
    assert stage.is_deposed()
    assert any(isinstance(order, Report) for order in stage.orders)
    assert stage.beat(2) is None, "no promise from before the attempt on"


def test_an_owner_that_never_beat_has_nothing_to_fear() -> None:
    assert Stage().witness.next_deadline() is None


def test_who_is_leaving_deposes_nobody() -> None:
    stage = Stage()
    stage.beat()
    assert not stage.is_deposed(stopping=True)
    assert stage.witness.next_deadline() == pytest.approx(stage.now + 2 * WINDOW_S, rel=0.01)
    assert stage.is_deposed()


def test_who_may_be_deaf_deposes_nobody() -> None:
    """Its link is down, or it has none for that address any more."""
    stage = Stage()
    stage.beat()
    stage.set_link(replace(LINK, running=False))
    assert not stage.is_deposed()
    stage.set_link(LINK)
    stage.witness.reconfigure(replace(stage.settings, vips=()))
    assert not stage.is_deposed()
    stage.witness.reconfigure(stage.settings)
    assert stage.is_deposed()


@pytest.mark.parametrize(
    ("record", "leases"),
    [
        ({"witnesses": ["a", "1f"]}, (10, 31)),
        ({"witnesses": []}, ()),
        ({"witnesses": ["no number"]}, ()),
        ({"witnesses": "a"}, ()),
        ({"witnesses": ["1"] * 17}, ()),
        ({}, ()),
    ],
)
def test_a_malformed_designation_names_nobody(record: dict[str, object], leases: tuple[int, ...]) -> None:
    assert read_witnesses(record) == leases
