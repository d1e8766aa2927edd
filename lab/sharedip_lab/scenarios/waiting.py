"""What idle clients notice when the owner of their VIP is lost: the kinds that people have, told of and not.

Role: each fault twice. Once the clients have stood for long enough that the owner has told the next candidates of them;
once they are too young for that, which shows what their own time-outs come to. As soon as another node answers, an
event is made: a watch is served again when it has heard of that. Must never: take an agent's word for what a client
noticed; of agents it is only asked whether they know the clients. Counterparts: `observe/crowd.py`,
`observe/real_clients.py`, `report/waiting_table.py`.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass

from sharedip_lab.faults.catalogue import FAULTS
from sharedip_lab.faults.servers import certificates
from sharedip_lab.observe.crowd import Ended, IdleClients, IdleKind
from sharedip_lab.observe.real_clients import OWN, ClientKind, Kube, RealClients, versions
from sharedip_lab.scenarios.play import Audience, play, result_of
from sharedip_lab.scenarios.results import Act, Result
from sharedip_lab.stage import NotInTimeError, Plan, Stage

PING_S, PATIENCE_S = 30.0, 15.0
"""client-go's (k8s.io/apimachinery/pkg/util/net/http.go)."""
KINDS = (
    IdleKind("silent (ssh)", 600),
    IdleKind("silent until the answer, 20 s (psql)", 200, query_s=20.0),
    IdleKind("silent, ping after 30 s", 200, ping_s=PING_S, patience_s=PATIENCE_S),
)
REAL = (
    ClientKind("kubectl get --watch", "kubectl", 2),
    ClientKind("curl --http2, long poll", "curl", 2),
    ClientKind("HTTP/2 watch, ping after 30 s (client-go)", OWN, 4, ping_s=PING_S, patience_s=PATIENCE_S),
)
STRIKES = ("sigterm", "crash", "freeze", "cut")
KNOWN_S, CONNECTED_S = 60.0, 30.0
TOLD_S, UNTOLD_S = 5.0, 55.0
"""How long each fault lasts: those who are told know within it or not at all; the others' own pings take 30 to 45 s."""
TOLD_AGENTS = 2
"""An owner tells the next two (docs/protocol.md); any of them may be the one that takes the address."""
YOUNG_S = 6.0
"""An owner counts no connection that is younger than 10 s."""


@dataclass(frozen=True)
class Noticed:
    """What the clients of one kind noticed of one fault. Of those who never did, nothing is in `ended_s`."""

    fault: str
    kind: str
    are_known: bool
    clients: int
    """0: this machine does not have their program."""
    moved_s: float | None
    """After so long somebody else answered."""
    ended_s: tuple[float, ...]
    served_s: tuple[float, ...]
    """A watch has heard of the event that was made after the move, the others have been answered."""


def waiting(plan: Plan, words: str, runs: int, audience: Audience) -> Result:
    """Every fault whose name has one of the comma-separated words; all of them without a word."""
    wanted = [word for word in words.split(",") if word]
    strikes = [name for name in STRIKES if not wanted or any(word in name for word in wanted)]
    result = result_of("clients", plan)

    def script(stage: Stage, act: Act) -> None:
        told = act.figures["clients"] = list[dict[str, object]]()
        act.figures["programs"] = versions(REAL)
        _, both = certificates(stage.run.directory / "kube")
        with closing(Kube(stage.topology, both)) as kube:
            for name in (each for each in strikes for _ in range(runs)):
                for are_known in (True, False):
                    try:
                        told += map(asdict, _strike(stage, kube, name, are_known=are_known, audience=audience))
                    except NotInTimeError as error:  # what was measured stays
                        act.wrong.append(f"{name}: {error}")

    result.acts.append(play(plan, "clients", audience, script))
    return result


def _strike(stage: Stage, kube: Kube, name: str, *, are_known: bool, audience: Audience) -> list[Noticed]:
    stage.wait_settled()
    owner, vip = stage.owner(), stage.plan.vips[0]
    assert owner is not None
    stage.wait_witnessed(owner, vip)
    namespace, opened_at = stage.topology.client.namespace, time.monotonic()
    with (
        closing(RealClients(namespace, vip, REAL, stage.run.directory / "kube")) as real,
        closing(IdleClients(namespace, [vip], KINDS)) as crowd,
    ):
        idle = sum(kind.count for kind in KINDS)
        count = idle + real.count
        stage.wait(
            lambda: crowd.standing.get(vip) == idle and real.standing == real.count,
            f"{count} clients stand",
            CONNECTED_S,
        )
        if are_known:
            stage.wait(lambda: knows(stage, owner, vip, count), "the next ones know them", KNOWN_S, poll_s=0.5)
        elif time.monotonic() - opened_at > YOUNG_S:
            raise NotInTimeError("the clients are not young any more")
        audience.say(
            f"{name} at {owner}, {count} idle clients that the others {'know' if are_known else 'do not know'}"
        )
        began_at = stage.note("strike", f"{owner}: {name}")
        undo = FAULTS[name if name in FAULTS else f"{name}-5s"].strike(stage, owner)
        lasts_s = TOLD_S if are_known else UNTOLD_S
        answers, both = stage.recording(vip).answers, (crowd, real)
        try:
            with contextlib.suppress(NotInTimeError):  # it is told as an address that has not moved
                stage.wait(lambda: answers.first_of_other(began_at, owner) is not None, "another answers", lasts_s)
                stage.note("event", "made, for the watches")
                kube.make_event()
            stage.wait(lambda: time.monotonic() >= began_at + lasts_s, "it lasts", lasts_s + 30.0, poll_s=0.1)
            stage.wait(
                lambda: min(one.heard_until for one in both) >= began_at + lasts_s, "the clients have said so", 10.0
            )
        finally:
            stage.note("heal", f"{owner}: healed")
            undo()
    stage.feeds.catch_up(began_at + lasts_s)
    first = answers.first_of_other(began_at, owner)
    moved_s = None if first is None else first[0] - began_at
    ended, served = crowd.ended + real.ended, crowd.served + real.served
    counts = {kind.name: kind.count for kind in KINDS} | {
        kind.name: kind.count if kind.installed else 0 for kind in REAL
    }
    return [
        Noticed(
            name,
            kind,
            are_known,
            clients,
            moved_s,
            _since(ended, kind, clients, began_at, lasts_s),
            _since(served, kind, clients, began_at, lasts_s),
        )
        for kind, clients in counts.items()
    ]


def knows(stage: Stage, owner: str, vip: str, count: int) -> bool:
    """Whether the owner says that whoever may take it next knows all clients of the VIP, so many at least."""
    found = [each for each in (stage.agents[owner].status() or {}).get("vips", ()) if each["address"] == vip]
    clients = found[0].get("clients", {}) if found else {}
    # The lab's client has a connection of its own, which may be too young.
    listeners = min(TOLD_AGENTS, len(stage.agents) - 1)
    return clients.get("count", 0) >= count and len(clients.get("told_to", ())) >= listeners


def _since(facts: Sequence[Ended], kind: str, clients: int, began_at: float, lasts_s: float) -> tuple[float, ...]:
    """The first of these facts of each client of the kind: as many as there are clients, at most."""
    after = sorted(each.at - began_at for each in facts if each.kind == kind)
    return tuple(at for at in after if 0.0 <= at <= lasts_s)[:clients]


def median(values: Sequence[float]) -> float | None:
    """None where there is no value."""
    return statistics.median(values) if values else None
