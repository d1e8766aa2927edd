"""One witness without its node: what it promises, and when it is deaf."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sharedip.core.address.links import Links
from sharedip.core.messages import Command, Report, Transact
from sharedip.core.model import UNKNOWN, LinkState
from sharedip.core.peers.witness import (
    DEPOSE_RETRY_S,
    PROBED_FOR_S,
    RUNS_OUT_S,
    RunsOut,
    Witness,
    read_witnesses,
)
from sharedip.core.segment.wire import Acknowledgement, Heartbeat, Over
from sharedip.core.settings import CLOCK_DRIFT
from tests.stages.harness import LINK, THEIRS, VIP
from tests.stages.witnessed import WINDOW_S, Watch


class Stage:
    """A witness that n1 has designated, on a link that is up."""

    def __init__(self) -> None:
        watch = Watch()
        self.now, self.revision = watch.talk.now, watch.revision
        self.orders: list[Command] = []
        self.run_out: list[RunsOut] = []
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
        for _ in range(2):  # it is told before, and then it is over
            at = self.witness.next_deadline()
            assert at is not None
            self.run_out += self.witness.advance(at, stopping=stopping)
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


def test_it_is_told_when_a_promise_runs_out_and_when_it_has() -> None:
    """The next in line probes already: the first probe may be answered by the owner, the second may not."""
    stage = Stage()
    stage.beat()
    over_at = stage.now + WINDOW_S * (1 + 2 * CLOCK_DRIFT)
    assert stage.witness.next_deadline() == pytest.approx(over_at - RUNS_OUT_S)
    assert stage.is_deposed()
    assert [each.over_at for each in stage.run_out] == [UNKNOWN, pytest.approx(over_at)]


def test_while_it_is_tried_again_the_next_in_line_is_told_again_and_not_for_ever() -> None:
    """etcd elects, and a silence of two seconds ago says nothing; or it is away for an hour."""
    stage = Stage()
    stage.beat()
    assert stage.is_deposed()
    over_at = stage.run_out[-1].over_at
    for after_s, told in ((0.1, 1), (PROBED_FOR_S - 0.1, 1), (PROBED_FOR_S + 0.1, 0)):
        (request,) = (each.request for each in stage.witness._duties.values())
        assert request is not None
        stage.witness.answered(request, over_at + after_s - DEPOSE_RETRY_S, succeeded=False)
        assert stage.witness.advance(over_at + after_s, stopping=False) == [RunsOut(VIP.address, over_at)] * told


@pytest.mark.parametrize(("took_s", "again_s"), [(0.001, DEPOSE_RETRY_S), (0.1, 0.1)])
def test_a_deposition_is_tried_again_at_once_after_a_time_out(took_s: float, again_s: float) -> None:
    """An etcd without a leader keeps it waiting, and serves what waits when it has one; one that refuses is let be."""
    stage = Stage()
    stage.beat()
    assert stage.is_deposed()
    (duty,) = stage.witness._duties.values()
    assert duty.request is not None
    stage.witness.answered(duty.request, duty.sent_at + took_s, succeeded=False)
    assert stage.witness.next_deadline() == pytest.approx(duty.sent_at + again_s)


def test_a_beat_in_the_last_moment_is_another_promise() -> None:
    stage = Stage()
    stage.beat()
    at = stage.witness.next_deadline()
    assert at is not None
    assert len(stage.witness.advance(at, stopping=False)) == 1
    stage.now = at + RUNS_OUT_S / 2
    stage.beat(2)
    assert stage.witness.next_deadline() == pytest.approx(stage.now + WINDOW_S * (1 + 2 * CLOCK_DRIFT) - RUNS_OUT_S)
    assert stage.witness.advance(at + RUNS_OUT_S, stopping=False) == []
    assert not stage.orders


def test_who_could_not_depose_tells_nobody_that_a_promise_runs_out() -> None:
    for links_runs, stopping in ((False, False), (True, True)):
        stage = Stage()
        stage.beat()
        stage.set_link(replace(LINK, running=links_runs))
        assert not stage.is_deposed(stopping=stopping)
        assert stage.run_out == []


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
