"""What a scenario leaves: outcomes, the history, and what was seen, in a form that outlives the stage.

Role: plain values that go to the table, to JSON and to the HTML report.
Must never: hold on to a process or a socket. Counterpart: `report/tables.py`, `report/html.py`.
"""

from __future__ import annotations

import datetime
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sharedip_lab.observe.feeds import Feeds, Note
from sharedip_lab.observe.points import Interval
from sharedip_lab.observe.recording import TwoOwners
from sharedip_lab.observe.resumption import Resumed
from sharedip_lab.scenarios.runner import Outcome
from sharedip_lab.scenarios.transcript import transcript
from sharedip_lab.stage import Stage

LOG_KEPT = 200_000
KEPT_GAP_STEPS = 3
"""A silence of more than this many probes is drawn; shorter ones are the machine's breath."""


@dataclass
class Seen:
    """What was seen of one VIP, as intervals."""

    vip: str
    present: dict[str, list[Interval]]
    answered: dict[str, list[Interval]]
    claimed: dict[str, list[Interval]]
    muted: dict[str, list[Interval]]
    """When an address stood on an interface and was proved mute."""
    gaps: list[Interval]
    two: TwoOwners
    probes_sent: int
    probes_answered: int


@dataclass
class Act:
    """One stage from beginning to end."""

    title: str
    nodes: list[str]
    began_at: float
    ended_at: float
    first_owner_s: float | None
    outcomes: list[Outcome] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    """The end of each agent's and each etcd member's log, and every wrong step from all sides: where something went
    wrong."""
    samples: list[dict[str, Any]] = field(default_factory=list)
    """Memory and descriptors of the agents over time, where a scenario takes them."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What a scenario adds up at its end."""


@dataclass(frozen=True)
class Spread:
    """Some values of one figure."""

    median: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None where there is no value."""
        return cls(statistics.median(values), max(values)) if values else None


def spread(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Median and maximum of each figure of the table, in seconds; what never happened is left out."""
    unforced = [one.two for one in outcomes if not one.by_hand]
    values = {
        "new_owner_s": [one.new_owner_s for one in outcomes if one.new_owner_s is not None],
        "client_gap_s": [one.client_gap_s for one in outcomes],
        "two_interfaces_s": [two.unmuted_s for two in unforced],
        "two_wire_s": [two.wire_s for two in unforced],
        "two_client_s": [two.client_s for two in unforced],
        "two_asked_s": [two.asked_s for two in unforced],
        "muted_s": [two.muted_s for two in unforced],
    }
    found = {name: Spread.of(own) for name, own in values.items()}
    return {name: asdict(one) for name, one in found.items() if one is not None}


@dataclass(frozen=True)
class Kind:
    """Drawn runs of one kind."""

    name: str
    runs: int
    two_owners_s: float
    """At most, by whichever look."""
    late_s: float
    """How long after the next one's first sign a former owner was still heard, at most, with what was under way."""
    gap_s: Spread | None
    new_owner_s: Spread | None
    errors: int
    """Runs in which something went wrong."""

    @classmethod
    def of(cls, name: str, outcomes: Sequence[Outcome]) -> Kind:
        """Added up."""
        return cls(
            name,
            len(outcomes),
            max((one.two.longest_s for one in outcomes), default=0.0),
            max((one.two.late_s for one in outcomes), default=0.0),
            Spread.of([one.client_gap_s for one in outcomes]),
            Spread.of([one.new_owner_s for one in outcomes if one.new_owner_s is not None]),
            sum(not one.good for one in outcomes),
        )


@dataclass
class Result:
    """A whole scenario."""

    scenario: str
    etcd: str
    settings: dict[str, Any]
    probe_s: float
    seed: int | None = None
    acts: list[Act] = field(default_factory=list)
    kernel: str = field(default_factory=platform.release)
    python: str = field(default_factory=platform.python_version)
    began: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))

    @property
    def outcomes(self) -> list[Outcome]:
        """Of all acts, in order."""
        return [outcome for act in self.acts for outcome in act.outcomes]

    @property
    def kinds(self) -> list[Kind]:
        """Drawn runs added up: by what was done, by the settings, and all of them."""
        groups: dict[str, list[Outcome]] = {}
        for one in self.outcomes:
            if one.kind:
                groups.setdefault(one.kind, []).append(one)
        for act in self.acts:
            own = [one for one in act.outcomes if one.kind]
            if own:
                groups.setdefault(act.title.partition(",")[0], []).extend(own)
        if groups:
            groups["all"] = [one for one in self.outcomes if one.kind]
        return [Kind.of(name, outcomes) for name, outcomes in groups.items()]

    @property
    def scenes(self) -> dict[str, dict[str, Any]]:
        """What was judged by a bound, added up by its name."""
        groups: dict[str, list[Outcome]] = {}
        for one in self.outcomes:
            if one.moves is not None:
                groups.setdefault(one.fault, []).append(one)
        return {
            name: {
                "runs": len(own),
                "bound_s": own[0].bound_s,
                "wrong": sum(not one.good for one in own),
                **spread(own),
            }
            for name, own in groups.items()
        }

    @property
    def wrong(self) -> list[str]:
        """Everything that went wrong, each with where it did."""
        found = []
        for act in self.acts:
            found += [f"{act.title}: {text}" for text in act.wrong]
            found += [f"{act.title}: {outcome.title}: {text}" for outcome in act.outcomes for text in outcome.wrong]
        return found

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON knows it; instants in seconds of CLOCK_MONOTONIC."""
        verdict = "wrong" if self.wrong else "good"
        added_up = {"spread": spread(self.outcomes), "kinds": [asdict(kind) for kind in self.kinds]}
        return {"verdict": verdict, "wrong": self.wrong, **added_up, "scenes": self.scenes, **asdict(self)}


def result_from_json(said: dict[str, Any]) -> Result:
    """What `as_json` wrote."""
    values = {
        name: value
        for name, value in said.items()
        if name not in {"verdict", "wrong", "spread", "kinds", "scenes", "acts"}
    }
    return Result(**values, acts=[_act_from_json(act) for act in said["acts"]])


def _act_from_json(said: dict[str, Any]) -> Act:
    act = Act(**said)
    act.outcomes = [_outcome_from_json(one) for one in said["outcomes"]]
    act.seen = [Seen(**{**one, "two": TwoOwners(**one["two"])}) for one in said["seen"]]
    act.notes = [Note(**one) for one in said["notes"]]
    return act


def _outcome_from_json(said: dict[str, Any]) -> Outcome:
    resumed = said.get("resumed")
    return Outcome(
        **{**said, "two": TwoOwners(**said["two"]), "resumed": Resumed(**resumed) if resumed is not None else None}
    )


def seen_of(feeds: Feeds, vip: str, since: float, until: float, *, fence_mutes: bool) -> Seen:
    """What was seen of one VIP, as intervals that outlive the feeds."""
    recording = feeds.recordings[vip]
    sent, answered = feeds.counts.get(vip, [0, 0])
    return Seen(
        vip,
        recording.presence.stretches(since, until),
        recording.answers.stretches(since, until),
        recording.claims.stretches(since, until),
        recording.muted(since, until) if fence_mutes else {},
        recording.answers.gaps(since, until, longer_than_s=KEPT_GAP_STEPS * recording.probe_step_s),
        recording.two_owners(since, until, fence_mutes=fence_mutes),
        sent,
        answered,
    )


def close_act(stage: Stage, act: Act) -> Act:
    """Take down what the feeds have heard of the whole act, and judge it: also the moments between two steps."""
    stage.feeds.catch_up(act.ended_at)
    since, until = act.began_at, act.ended_at
    by_hand = [
        (outcome.struck_at, outcome.ended_at) for outcome in act.outcomes if outcome.by_hand and outcome.ended_at
    ]
    for vip, recording in stage.feeds.recordings.items():
        act.seen.append(seen_of(stage.feeds, vip, since, until, fence_mutes=stage.plan.fence_mutes))
        quiet = _without(since, until, by_hand)
        between = [recording.two_owners(begin, end, fence_mutes=stage.plan.fence_mutes) for begin, end in quiet]
        if any(look.ever for look in between):
            act.wrong.append(f"{vip} had two owners")
    if act.wrong or any(outcome.wrong for outcome in act.outcomes):
        act.logs = {name: agent.log_text()[-LOG_KEPT:] for name, agent in stage.agents.items()}
        act.logs |= {f"etcd-{name}": member.log_text()[-LOG_KEPT:] for name, member in stage.etcd.members.items()}
        for number, outcome in enumerate(act.outcomes, 1):
            if outcome.wrong:
                act.logs[f"step-{number}-{outcome.fault}"] = transcript(stage, outcome)
    act.notes = sorted(stage.feeds.notes, key=lambda note: note.at)
    return act


def _without(since: float, until: float, holes: list[Interval]) -> list[Interval]:
    """The window without the times in which a human gave the address to a second node."""
    left, at = [], since
    for begin, end in sorted(holes):
        left.append((at, begin))
        at = end
    return [(begin, end) for begin, end in [*left, (at, until)] if begin < end]
