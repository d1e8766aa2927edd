"""Time by others: what a hello's clock says of ours, and what it does not."""

from __future__ import annotations

import pytest

from sharedip.core.segment.clocks import KNOWN_BY, STILL_S_MIN, TOLD_AFTER_S, OthersClocks

PEER, OTHER = 0x900, 0x901


class Stage:
    """Two peers whose clocks show something else than ours, and run on."""

    def __init__(self, hellos: int = 10) -> None:
        self.clocks = OthersClocks()
        self.now = 50.0
        self.ahead = {PEER: 700.0, OTHER: -20.0}
        for _ in range(hellos):
            self.pass_s(1.0)
            self.hear(PEER)
            self.hear(OTHER)

    def pass_s(self, seconds: float) -> None:
        self.now += seconds

    def stand_still(self, seconds: float) -> None:
        for peer in self.ahead:
            self.ahead[peer] += seconds

    def hear(self, peer: int, *, late_s: float = 0.0005, kernel: str = "boot") -> float:
        """A hello that was so long on its way; what was found."""
        shown = self.now + self.ahead[peer] - late_s
        found = self.clocks.stood_still_s(peer, kernel, shown, self.now)
        if found:
            self.clocks.stood_still(found, f"n{peer}", self.now)
        self.clocks.heard(peer, kernel, shown, self.now)
        return found


@pytest.mark.parametrize("seconds", [0.5, 3.0, 8.0, 3600.0])
def test_the_next_hello_after_a_pause_tells_how_long_it_was(seconds: float) -> None:
    stage = Stage()
    stage.stand_still(seconds)
    stage.pass_s(0.4)
    assert stage.hear(PEER) == pytest.approx(seconds, abs=0.001)


def test_what_one_has_told_another_tells_no_more() -> None:
    stage = Stage()
    stage.stand_still(3.0)
    assert stage.hear(PEER) == pytest.approx(3.0, abs=0.001)
    assert stage.hear(OTHER) == 0.0
    stage.pass_s(1.0)
    assert stage.hear(PEER) == stage.hear(OTHER) == 0.0


def test_the_hellos_that_waited_tell_it_step_by_step() -> None:
    """They are read at once, each a second older than the next one."""
    stage = Stage()
    stage.stand_still(8.0)
    found = sum(stage.hear(PEER, late_s=seconds) for seconds in (7.6, 6.6, 5.6, 4.6, 3.6, 2.6, 1.6, 0.6))
    assert found == pytest.approx(7.4, abs=0.01)
    stage.pass_s(0.4)
    assert found + stage.hear(PEER) == pytest.approx(8.0, abs=0.01)
    assert stage.clocks.to_tell(stage.now) is None, "not before all is known"
    pause = stage.clocks.to_tell(stage.now + TOLD_AFTER_S)
    assert pause is not None
    assert (round(pause.seconds, 1), pause.by) == (8.0, f"n{PEER}")
    assert stage.clocks.to_tell(stage.now + 2 * TOLD_AFTER_S) is None, "once"


def test_a_hello_that_is_late_is_no_pause_before_it_or_after_it() -> None:
    stage = Stage()
    for late_s in (0.8, 0.0005, 0.3, 0.001):
        stage.pass_s(1.0)
        assert stage.hear(PEER, late_s=late_s) == 0.0


def test_a_machine_that_is_short_of_cpu_does_not_take_itself_for_a_paused_one() -> None:
    """All hellos are read late, and one of them in time."""
    stage = Stage(hellos=0)
    for late_s in (0.5, 0.3, 0.45, 0.6, 0.35, 0.001, 0.4, 0.7, 0.002):
        stage.pass_s(1.0)
        assert stage.hear(PEER, late_s=late_s) == 0.0


def test_a_peer_that_was_paused_is_not_we() -> None:
    stage = Stage()
    stage.ahead[PEER] -= 8.0
    for _ in range(20):
        stage.pass_s(1.0)
        assert stage.hear(PEER) == 0.0


@pytest.mark.parametrize("rate", [0.083, -0.083])
def test_a_clock_that_is_slewed_is_no_pause(rate: float) -> None:
    """chrony changes the rate by 8.3 % at most; also when hellos are lost meanwhile."""
    stage = Stage()
    for seconds in (1.0, 1.0, 1.0, 5.0, 1.0, 20.0):
        stage.pass_s(seconds)
        stage.ahead[PEER] += rate * seconds
        assert stage.hear(PEER) == 0.0


def test_a_peer_that_booted_anew_begins_anew() -> None:
    stage = Stage()
    stage.ahead[PEER] += 500.0
    assert stage.hear(PEER, kernel="another boot") == 0.0
    for _ in range(KNOWN_BY):
        stage.pass_s(1.0)
        assert stage.hear(PEER, kernel="another boot") == 0.0
    stage.stand_still(2.0)
    assert stage.hear(PEER, kernel="another boot") == pytest.approx(2.0, abs=0.001)


def test_one_that_was_hardly_heard_says_nothing() -> None:
    stage = Stage(hellos=KNOWN_BY - 1)
    stage.stand_still(5.0)
    assert stage.hear(PEER) == 0.0


def test_what_is_within_the_lease_s_margin_is_nothing() -> None:
    stage = Stage()
    stage.stand_still(STILL_S_MIN * 0.9)
    assert stage.hear(PEER) == 0.0


def test_who_is_gone_is_forgotten() -> None:
    stage = Stage()
    stage.clocks.keep(frozenset({OTHER}))
    stage.stand_still(5.0)
    assert stage.hear(PEER) == 0.0
    assert stage.hear(OTHER) == pytest.approx(5.0, abs=0.001)


def running(stage: Stage, seconds: int, rate: float, late_s: float = 0.0005) -> list[tuple[int, float]]:
    """A hello a second while the first peer's clock runs at another rate; who is found in the end."""
    for second in range(seconds):
        stage.pass_s(1.0)
        stage.ahead[PEER] += rate
        stage.hear(PEER, late_s=late_s if second % 7 else 0.001)
        stage.hear(OTHER)
    return stage.clocks.rates_off()


@pytest.mark.parametrize("rate", [0.0015, -0.0015, 0.02, -0.3])
def test_a_clock_whose_rate_safety_does_not_allow_for_is_found_after_some_minutes(rate: float) -> None:
    stage = Stage()
    assert running(stage, 60, rate) == []
    ((lease, found),) = running(stage, 150, rate)
    assert lease == PEER
    assert found == pytest.approx(rate, rel=0.1)
    assert running(stage, 150, 0.0) == [], "it ends with its cause"


@pytest.mark.parametrize("rate", [0.0008, -0.0008, 0.0])
def test_what_safety_allows_for_is_no_problem_and_neither_are_late_hellos(rate: float) -> None:
    assert running(Stage(), 600, rate, late_s=0.3) == []


def test_pauses_and_silence_are_no_rate() -> None:
    """Of the peer, of ourselves; and a clock that was not heard for long begins anew."""
    stage = Stage()
    running(stage, 100, 0.0)
    for of_the_peer_s, of_ours_s, unheard_s in ((20.0, 0.0, 0.0), (0.0, 8.0, 0.0), (50.0, 0.0, 1000.0)):
        stage.ahead[PEER] -= of_the_peer_s
        stage.stand_still(of_ours_s)
        stage.pass_s(unheard_s)
        for _ in range(20):
            assert running(stage, 10, 0.0) == []
