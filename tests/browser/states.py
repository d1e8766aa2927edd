"""Ten states of a node, as its status document has them: what the page is looked at in."""

from __future__ import annotations

from typing import Any

from sharedip.core.status import Status
from tests.unit.adapters.api.api_stage import node, problem, status, vip

VIP = "192.168.0.15"
DOWN_WHY = "the right of n1 to it has run out; n1 puts it back when etcd answers"
LONG = "control-plane-eu-central-1a-0123456789.internal.example.com"
FINE = [
    f"{VIP} is on n1 (n2 was silent for 1.0 s, deposed by its witness n1), since 2026-11-21T03:12:05.123Z.",
    "If n1 dies now, n2 has it within 1.1 s (0.8 to 1.1 s), by its witness n2.",
    "If n2 dies with it, n3 has it within 15.6 s; but where that takes the majority of etcd's 3 members along, nobody "
    "has it until etcd is back.",
    "If etcd goes now, n1 keeps it for 13 s; then nobody has it until etcd is back.",
]
THREE = ["n1", "n2", "n3"]


def _vip(address: str = VIP, **changes: Any) -> Any:
    told = [sentence.replace(VIP, address) for sentence in FINE]
    changed = [{"at": "2026-11-21T03:12:05.123Z", "text": f"n1 took {address}: n2 released it, epoch 4702 → 4711"}]
    sound = {"queue": THREE, "next": [{"node": "n2", "unsound": ""}, {"node": "n3", "unsound": ""}]}
    return vip(**{"address": address, "explained": told, "changes": changed, **sound, **changes})


def _down() -> Status:
    told = [f"{VIP} is DOWN, for 12 s; n1 is first"]
    etcd = {**status()["etcd"], "connected": False, "detail": "timed out after 1 s while connecting"}
    return status(
        state="waiting for etcd",
        etcd=etcd,
        vips=[_vip(standing="down", down_s=12.0, role="lapsed", witnesses=[], explained=told, crash_s=None)],
        problems=[
            problem(f"{VIP} is DOWN: {DOWN_WHY}", code="down", remedy=""),
            problem("etcd is not reachable from n1: timed out", code="etcd-away", remedy="look at etcd"),
        ],
    )


def _many() -> Status:
    return status(vips=[_vip(f"10.0.0.{number}") for number in range(1, 61)])


def _dead() -> Status:
    nodes = [node("n1", leads_etcd=True), node("n2"), node("n3", is_silent=True, is_lost=True, healthy=None)]
    behind = [{"node": "n2", "unsound": ""}]
    lost = problem("the agent of n3 died, and has not come back", code="lost", remedy="start it there", for_s=5400.0)
    return status(nodes=nodes, problems=[lost], vips=[_vip(queue=["n1", "n2"], next=behind)])


def _drained() -> Status:
    nodes = [node("n1"), node("n2", drained=True), node("n3", healthy=False)]
    behind = [{"node": "n2", "unsound": "is drained"}, {"node": "n3", "unsound": "is unhealthy"}]
    said = f"no sound node is next for {VIP}, if n1 dies: n2 is drained, n3 is unhealthy"
    wrong = [problem(said, code="nobody-sound"), problem("n3 is unhealthy")]
    return status(nodes=nodes, problems=wrong, vips=[_vip(next=behind)])


def _here_drained() -> Status:
    return status(drained=True, vips=[_vip(owner="n2", queue=["n2", "n3", "n1"], role="candidate", witnesses=["n3"])])


def _conflict() -> Status:
    seen = {"mac": "52:54:00:12:34:56", "age_s": 3.5, "count": 2}
    said = f"{VIP} is also claimed by a stranger on the segment: 52:54:00:12:34:56, seen by n1"
    return status(vips=[_vip(conflict=seen)], problems=[problem(said, code="stranger")])


def _hostile() -> Status:
    evil = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
    return status(node=evil, vips=[_vip(owner=evil, reason=evil)], problems=[problem(evil, node=evil)])


def _long_names() -> Status:
    names = [f"{number}.{LONG}" for number in (1, 2, 3)]
    behind = [{"node": name, "unsound": ""} for name in names[1:]]
    vips = [
        _vip("2001:db8:1234:5678:9abc:def0:1234:5678", owner=names[0], queue=names, witnesses=names[1:2], next=behind)
    ]
    return status(node=names[0], nodes=[node(name) for name in names], vips=vips)


STATES: dict[str, Status] = {
    "well": status(vips=[_vip(), _vip("2001:db8::15", role="candidate", owner="n2", queue=["n2", "n1", "n3"])]),
    "down": _down(),
    "dead": _dead(),
    "nobody-sound": _drained(),
    "drained-here": _here_drained(),
    "conflict": _conflict(),
    "many": _many(),
    "long-names": _long_names(),
    "hostile": _hostile(),
}
"""The tenth is `stale`: the agent answers once, as in `well`, and then no more."""
