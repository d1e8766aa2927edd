"""What clients notice when an API server dies, by the way that they take: the VIP alone, HAProxy behind it, or one of
their own.

Role: two stages (`--node-local` beside the VIP alone, `--front`), three faults on each at the owner's node, and what
the requests and the silent sessions of each way came to. Must never: judge a way by what it is told it does: all that
counts is what its clients saw. Counterparts: `faults/proxies.py`, `observe/service.py`, `report/proxy_table.py`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

from sharedip_lab.faults.proxies import FRONT_PORT, LOCAL_PORT, Proxies, checks_of_front, program
from sharedip_lab.faults.servers import Servers, certificates, checks, frozen, killed
from sharedip_lab.faults.strikes import Undo, crash
from sharedip_lab.observe.service import PORT, Request, Requests, Session, Watches
from sharedip_lab.scenarios.play import Audience, play, result_of
from sharedip_lab.scenarios.results import Act, Result
from sharedip_lab.scenarios.runner import SETTLE_S
from sharedip_lab.stage import NotInTimeError, Plan, Stage
from sharedip_lab.world.agents import overlay

LASTS_S = 15.0
"""So long each fault: three checks that time out take 7.5 s, and the patient check of the agent 8.5 s."""
SESSIONS = 6
"""Of each way: two on each of three servers where they are spread."""
SLOW_S = 1.0
EVERY_S = 0.1
"""Of each way: a TLS handshake in Python is work for the machine on which all of this runs."""
RECENT_S, RECENT_MIN = 3.0, 5
WELL_S = 180.0
"""Patience is free before the strike: HAProxy trusts a server again after two checks, and the machine may be busy."""


@dataclass(frozen=True)
class Trouble:
    """One fault at the owner's node."""

    name: str
    title: str
    strike: Callable[[Servers, str], Undo]


def _silent(servers: Servers, node: str) -> Undo:
    """The whole machine goes, and nothing says goodbye: its wire first, then everything on it."""
    heal = crash(servers.stage, node)
    servers.of[node].kill()

    def undo() -> None:
        servers.of[node].start()
        heal()

    return undo


TROUBLES = (
    Trouble("killed", "the API server of the owner's node is killed", killed),
    Trouble("frozen", "the API server of the owner's node is frozen", frozen),
    Trouble("silent", "the owner's node falls silent", _silent),
)


@dataclass(frozen=True)
class Figures:
    """What the clients of one way saw of one fault."""

    way: str
    trouble: str
    gap_s: float
    """The longest time in which no answer came."""
    requests: int
    failed: int
    slow: int
    """Answered, but after more than a second."""
    sessions: int
    """Silent ones that stood at the struck server."""
    closed_s: tuple[float, ...]
    """After so long each of them that did heard of its end."""


class Way:
    """One way to the API servers, with both kinds of clients on it."""

    def __init__(self, name: str, stage: Stage, address: str, port: int, *, spreads: bool) -> None:
        """`spreads`: it leads to every server, and not to the owner's alone."""
        namespace = stage.topology.client.namespace
        self.name = name
        self._answering = set(stage.agents) if spreads else set[str]()
        self._calls = Requests(namespace, address, port=port, every_s=EVERY_S)
        self._watch: Callable[[], Watches] = partial(Watches, namespace, address, port=port, count=SESSIONS)
        self._watches = self._watch()

    def is_well(self) -> bool:
        """Requests are answered, and all silent sessions stand."""
        answering = {one.by for one in self._recent()}
        return self.is_mended() and answering >= self._answering and len(self._watches.standing()) == SESSIONS

    def is_mended(self) -> bool:
        """Requests are answered, by whoever is left."""
        recent = self._recent()
        return len(recent) >= RECENT_MIN and all(one.ok for one in recent)

    def _recent(self) -> list[Request]:
        return [one for one in self._calls.seen[-50:] if one.begun > time.monotonic() - RECENT_S]

    def renew(self) -> None:
        """Silent sessions that begin now: where they are spread, a server that came back has its share."""
        self._watches.close()
        self._watches = self._watch()

    def at(self, node: str) -> list[Session]:
        """The silent sessions at this node's server."""
        return [each for each in self._watches.standing() if each.by == node]

    def figures(self, trouble: str, sessions: list[Session], since: float, until: float) -> Figures:
        """What came of it."""
        mine = [one for one in self._calls.seen[:] if since <= one.begun < until]
        ends = [end for each in sessions if (end := self._watches.ended_at(each)) is not None and end <= until]
        return Figures(
            self.name,
            trouble,
            _gap_s(self._calls.seen[:], since, until),
            len(mine),
            sum(not one.ok for one in mine),
            sum(one.ok and one.ended - one.begun > SLOW_S for one in mine),
            len(sessions),
            tuple(sorted(end - since for end in ends)),
        )

    def close(self) -> None:
        """End its clients."""
        self._calls.close()
        self._watches.close()


def _gap_s(requests: list[Request], since: float, until: float) -> float:
    answers = sorted(one.ended for one in requests if one.ok and since <= one.ended <= until)
    edges = [since, *answers, until]
    return max(later - earlier for earlier, later in pairwise(edges))


def proxies(plan: Plan, runs: int, audience: Audience) -> Result:
    """Both stages, with each fault so many times."""
    program()
    result = result_of("haproxy", plan)
    with tempfile.TemporaryDirectory(prefix="sharedip-lab-haproxy-") as name:
        directory = Path(name)
        certificates(directory)
        for title, settings in (
            ("node-local", checks(directory)),
            ("front", checks_of_front(plan, directory)),
        ):
            laid = replace(plan, settings=overlay(plan.settings, settings))
            result.acts.append(_act(title, laid, directory, runs, audience))
    return result


def _act(title: str, plan: Plan, directory: Path, runs: int, audience: Audience) -> Act:
    def script(stage: Stage, act: Act) -> None:
        servers, haproxy, ways = Servers(stage, directory), Proxies(stage, directory), list[Way]()
        try:
            servers.start(with_client=False)
            vip = plan.vips[0]
            if title == "front":
                haproxy.start_front()
                ways.append(Way("front", stage, vip, FRONT_PORT, spreads=True))
            else:
                haproxy.start_local()
                ways.append(Way("VIP alone", stage, vip, PORT, spreads=False))
                ways.append(Way("node-local", stage, "127.0.0.1", LOCAL_PORT, spreads=True))
            told = act.figures["haproxy"] = list[dict[str, object]]()
            for trouble in (each for each in TROUBLES for _ in range(runs)):
                told += map(asdict, _strike(stage, trouble, servers, ways, act, audience))
                haproxy.revive()
        except NotInTimeError as error:  # what was measured stays
            act.wrong.append(str(error))
        finally:
            for way in ways:
                way.close()
            haproxy.stop()
            servers.stop()

    return play(plan, title, audience, script)


def _strike(
    stage: Stage, trouble: Trouble, servers: Servers, ways: list[Way], act: Act, audience: Audience
) -> list[Figures]:
    stage.wait_settled(WELL_S)
    stage.wait(lambda: all(way.is_well() for way in ways), "all ways are well", WELL_S)
    for way in ways:
        way.renew()
    stage.wait(lambda: all(way.is_well() for way in ways), "all sessions stand", WELL_S)
    stage.wait_witnessed(stage.owner() or "", stage.plan.vips[0])
    owner = stage.owner()
    assert owner is not None
    sessions = {way.name: way.at(owner) for way in ways}
    audience.say(f"{trouble.title} ({owner})")
    began_at = stage.note("strike", f"{owner}: {trouble.title}")
    undo = trouble.strike(servers, owner)
    until = began_at + LASTS_S
    try:
        stage.wait(lambda: time.monotonic() >= until, "it lasts", LASTS_S + SETTLE_S, poll_s=0.1)
        try:
            stage.wait(lambda: all(way.is_mended() for way in ways), "it is mended", SETTLE_S)
        except NotInTimeError as error:
            act.wrong.append(f"{trouble.name}: {error}")
    finally:
        stage.note("heal", f"{owner}: healed")
        undo()
    return [way.figures(trouble.name, sessions[way.name], began_at, until) for way in ways]
