"""The one consumer, handed a core that is played: what goes first, what waits, and what a bug leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest

from sharedip.agent.executor import Executor
from sharedip.agent.loop import STILL_LOOK_S, TURN_S_MAX, Loop
from sharedip.agent.queue import TOGETHER_MAX, Queue
from sharedip.agent.reports import Reports
from sharedip.core.messages import (
    AddressGone,
    AddressHeld,
    AddressRemoved,
    AddressSeen,
    Command,
    DatagramReceived,
    Event,
    Exit,
    ForeignClaim,
    GateClosed,
    HealthChanged,
    LeaseGranted,
    Level,
    LinkChanged,
    LinkVanished,
    PeerAddressChanged,
    Report,
    StateSaved,
    StopRequested,
)
from sharedip.core.model import LinkState, Vip
from tests.stages.scenes import run

from .agent_stage import FakeSegment

LINK = LinkState(2, ("eth0",), b"\x02\0\0\0\0\1", running=True)
A, B = (Vip(ip_address(f"192.168.0.{number}"), "eth0") for number in (15, 16))
GRANTED = LeaseGranted(999, 0, 1, 15, 2, 0.0)
DATAGRAM = DatagramReceived("127.0.0.1", 1, b"x", 0.0)


class FakeClock:
    """Goes on only when it is told to."""

    time = 1000.0

    def now(self) -> float:
        return self.time


class FakeNode:
    """A core that notes which facts it is handed together, and orders what `answer` says."""

    inbox = SimpleNamespace(lease=None)

    def __init__(self) -> None:
        self.seen: list[tuple[Event, ...]] = []
        self.at_start: list[Command] = []
        self.answer: Callable[[Sequence[Event]], list[Command]] = lambda _: []

    def start(self, former: object, now: float) -> list[Command]:
        return self.at_start

    def handle_in_steps(self, events: Sequence[Event], now: float) -> list[list[Command]]:
        self.seen.append(tuple(events))
        return [self.answer(events)]

    def next_deadline(self) -> float:
        return float("inf")


class Stage:
    """A loop that has begun, between a played core and parts that only note that they were asked."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.node = FakeNode()
        self.queue = Queue()
        self.said: list[Report] = []
        self.reports = Reports(self.said.append, lambda _: None)
        self.segment = FakeSegment()
        self.asked: list[str] = []
        self.news: PeerAddressChanged | None = None
        self.heard_for: int | None = None
        ignored: Any = None
        played: Any = self
        self.loop = Loop(
            queue=self.queue,
            clock=self.clock,  # type: ignore[arg-type]
            node=self.node,  # type: ignore[arg-type]
            executor=Executor(
                netlink=ignored,
                segment=ignored,
                clients=ignored,
                fence=ignored,
                etcd=ignored,
                peers=ignored,
                probes=ignored,
                hooks=ignored,
                state=ignored,
                tickets=ignored,
                reports=self.reports,
                emit=self.queue.put,
            ),
            segment=self.segment,  # type: ignore[arg-type]
            former_fence=SimpleNamespace(address_gone=lambda: self.asked.append("former fence")),  # type: ignore[arg-type]
            guard=SimpleNamespace(  # type: ignore[arg-type]
                listen_on=lambda _: self.asked.append("guard"), settle=lambda _: None
            ),
            reach=played,
            reports=self.reports,
        )

    def look(self) -> PeerAddressChanged | None:
        self.asked.append("reach")
        return self.look_at_the_port()

    def hear_for(self, lease: int | None) -> None:
        self.heard_for = lease

    def look_at_the_port(self) -> PeerAddressChanged | None:
        news, self.news = self.news, None
        return news


async def begun() -> Stage:
    stage = Stage()
    stage.loop.begin(None)
    await asyncio.sleep(0)
    return stage


def test_datagrams_do_not_wait_behind_what_etcd_has_answered() -> None:
    """They go first, and however many there are, something else has its turn as well."""

    async def scene() -> None:
        stage = await begun()
        for event in (GRANTED, GRANTED, DATAGRAM, GRANTED, DATAGRAM):
            stage.queue.emit(event)
        await asyncio.sleep(0)
        assert stage.node.seen == [(DATAGRAM,), (DATAGRAM,), (GRANTED,), (GRANTED,), (GRANTED,)]
        stage.loop.close()

    run(scene())


def test_a_claim_does_not_wait_behind_what_the_kernel_has_said() -> None:
    """A machine that was paused reads what another one has claimed before it puts back, and announces, what is gone."""

    async def scene() -> None:
        stage = await begun()
        gone, claim = AddressGone(LINK.index, A.address, 32), ForeignClaim(A, b"\x02\0\0\0\0\2", 0.0)
        for event in (gone, claim):
            stage.queue.emit(event)
        await asyncio.sleep(0)
        assert stage.node.seen == [(claim,), (gone,)]
        stage.loop.close()

    run(scene())


def test_claims_that_waited_together_are_handed_over_together() -> None:
    """What is due is ordered at the first of them, and must not go against the second (seed 4314)."""

    async def scene() -> None:
        stage = await begun()
        claims = [ForeignClaim(vip, b"\x02\0\0\0\0\2", 0.0) for vip in (A, B)]
        for event in (claims[0], DATAGRAM, claims[1]):
            stage.queue.emit(event)
        await asyncio.sleep(0)
        assert stage.node.seen == [tuple(claims), (DATAGRAM,)]
        stage.loop.close()

    run(scene())


def test_a_process_that_was_stopped_looks_at_the_segment_before_it_does_anything() -> None:
    """Its sockets are ready all at once, and which one is read first is chance."""

    async def scene() -> None:
        stage = await begun()
        stage.queue.emit(GRANTED)
        await asyncio.sleep(0)
        claim = ForeignClaim(A, b"\x02\0\0\0\0\2", 0.0)
        stage.segment.look = lambda: stage.queue.emit(claim)  # type: ignore[method-assign]
        stage.queue.emit_at_once([DATAGRAM])
        assert stage.node.seen == [(GRANTED,), (DATAGRAM,)], "nor does one that turns all the time"
        stage.clock.time += 2 * STILL_LOOK_S
        stage.queue.emit_at_once([DATAGRAM])
        assert stage.node.seen[2:] == [(claim,), (DATAGRAM,)]
        stage.loop.close()

    run(scene())


def test_what_a_reader_had_is_acted_on_before_the_loop_turns_again() -> None:
    """The word of a hand over: whatever else the loop has to do, clients wait for this."""

    async def scene() -> None:
        stage = await begun()
        stage.queue.emit_at_once([DATAGRAM, DATAGRAM])
        assert stage.node.seen == [(DATAGRAM,), (DATAGRAM,)]
        stage.loop.close()

    run(scene())


def test_what_the_adapters_saw_before_the_core_began_comes_behind_its_first_orders() -> None:
    async def scene() -> None:
        stage = Stage()
        stage.queue.emit(GRANTED)
        await asyncio.sleep(0)
        assert stage.node.seen == [], "nobody takes it yet"
        stage.node.at_start = [Report(Level.INFO, "begun")]
        stage.loop.begin(None)
        assert [report.text for report in stage.said] == ["begun"]
        await asyncio.sleep(0)
        assert stage.node.seen == [(GRANTED,)]
        stage.loop.close()

    run(scene())


def test_a_turn_that_takes_long_lets_the_loop_look_at_its_sockets() -> None:
    """A peer's beat must not wait behind a thousand answers of etcd."""

    async def scene() -> None:
        stage = await begun()

        def slow(_: object) -> list[Command]:
            stage.clock.time += TURN_S_MAX
            return []

        stage.node.answer = slow
        for _ in range(2):
            stage.queue.emit(GRANTED)
        await asyncio.sleep(0)
        assert stage.node.seen == [(GRANTED,)]
        stage.queue.emit(DATAGRAM)
        await asyncio.sleep(0)
        assert stage.node.seen[1:] == [(DATAGRAM,), (GRANTED,)]
        stage.loop.close()

    run(scene())


def test_what_is_said_waits_until_every_fact_of_the_turn_had_its_orders() -> None:
    """Clients wait for the answer to a removal, and nobody for a line in the log; nor is a line lost to a bug."""

    async def scene() -> None:
        stage = await begun()
        heard: list[str] = []

        def answer(events: Sequence[Event]) -> list[Command]:
            (event,) = events
            assert isinstance(event, HealthChanged)
            heard.append(f"{event.detail}, {len(stage.said)} lines")
            if event.detail == "bug":
                raise RuntimeError(event.detail)
            return [Report(Level.INFO, f"line of {event.detail}")]

        stage.node.answer = answer
        for detail in ("first", "second"):
            stage.queue.emit(HealthChanged(healthy=True, detail=detail))
        await asyncio.sleep(0)
        assert heard == ["first, 0 lines", "second, 0 lines"]
        assert [report.text for report in stage.said] == ["line of first", "line of second"]
        bugs: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context["exception"]))
        for detail in ("third", "bug"):
            stage.queue.emit(HealthChanged(healthy=True, detail=detail))
        await asyncio.sleep(0)
        assert [type(bug) for bug in bugs] == [RuntimeError]
        assert len(stage.said) == 2
        stage.loop.close()
        assert stage.said[-1].text == "line of third"

    run(scene())


def test_an_agent_that_stood_still_says_so_once_a_minute() -> None:
    """The operator reads first that it was stopped, and then what it gave up."""

    async def scene() -> None:
        stage = await begun()
        for late_s in (0.1, 4.0, 5.0):
            stage.clock.time += 1.0 + late_s  # with nothing to do, a turn is due within a second
            stage.queue.wake()
            await asyncio.sleep(0)
        assert [report.text for report in stage.said] == ["this process stood still for 4.0 s"]
        stage.loop.close()

    run(scene())


def test_after_its_end_nothing_is_handled_any_more() -> None:
    """Not even what came with the fact that ended it."""

    async def scene() -> None:
        stage = await begun()
        stage.node.answer = lambda _: [Exit()]
        for _ in range(2):
            stage.queue.emit(StopRequested())
        await asyncio.sleep(0)
        assert stage.node.seen == [(StopRequested(),)]
        assert stage.loop.over.done()
        stage.queue.emit_at_once([DATAGRAM])
        await asyncio.sleep(0)
        assert len(stage.node.seen) == 1
        stage.loop.close()

    run(scene())


@pytest.mark.parametrize(
    ("event", "asked"),
    [
        (LinkChanged(LINK), ["guard", "reach"]),
        (LinkVanished(2), []),
        (AddressSeen(2, A.address, 32, ours=False), ["reach"]),
        (AddressGone(2, A.address, 32), ["former fence", "reach"]),
        (AddressRemoved(A), ["former fence"]),
        (GRANTED, []),
    ],
)
def test_what_one_adapter_sees_is_passed_on_before_the_core_hears_of_it(event: Event, asked: list[str]) -> None:
    async def scene() -> None:
        stage = await begun()
        stage.segment.watched[2] = (A,)
        heard: list[list[str]] = []
        stage.node.answer = lambda _: heard.append(list(stage.asked)) or []  # type: ignore[func-returns-value]
        stage.queue.emit(event)
        await asyncio.sleep(0)
        assert heard == [asked]
        assert (stage.segment.watched == {}) is isinstance(event, LinkVanished)
        stage.loop.close()

    run(scene())


def test_where_peers_reach_us_comes_to_the_core_as_a_fact() -> None:
    """In its turn, behind what was there before: when the port has become ours, and when an address came or went."""
    news = PeerAddressChanged("192.168.0.1:9470")

    async def scene() -> None:
        stage = await begun()
        stage.news = news
        stage.queue.wake()
        await asyncio.sleep(0)
        assert stage.node.seen == [(news,)]
        stage.queue.emit(LinkChanged(LINK))
        stage.queue.emit(GRANTED)
        await asyncio.sleep(0)
        stage.news = news
        stage.queue.emit(LinkChanged(LINK))
        await asyncio.sleep(0)
        assert stage.node.seen[-2:] == [(LinkChanged(LINK),), (news,)]
        stage.loop.close()

    run(scene())


@pytest.mark.parametrize(
    ("waiting", "together"),
    [
        ([AddressHeld(A, 0.0, 5), AddressHeld(B, 0.0, 5)], 2),
        ([AddressHeld(A, 0.0, 5), AddressHeld(A, 0.0, 5)], 1),
        ([AddressHeld(A, 0.0, 5), AddressRemoved(B)], 1),
        ([AddressRemoved(A), AddressRemoved(B), GateClosed((A, B))], 3),
        ([StateSaved(1), AddressRemoved(A), AddressRemoved(B), GateClosed((A, B)), StateSaved(2)], 4),
        ([StateSaved(1), StateSaved(2), GRANTED], 2),
        ([GRANTED, GRANTED], 1),
        ([], 0),
    ],
)
def test_the_kernels_answers_come_together_each_about_another_vip(waiting: list[Event], together: int) -> None:
    """And what was saved and which gates have closed with the removals between them: the word waits for all."""
    queue = Queue()
    for event in waiting:
        queue.emit(event)
    assert queue.take_next() == waiting[:together]
    assert queue.take_all() == waiting[together:]


def test_not_more_come_together_than_one_turn_bears() -> None:
    queue = Queue()
    for number in range(TOGETHER_MAX + 1):
        queue.emit(AddressHeld(Vip(ip_address(number), "eth0"), 0.0, 5))
    assert len(queue.take_next()) == TOGETHER_MAX
    assert len(queue.take_next()) == 1
