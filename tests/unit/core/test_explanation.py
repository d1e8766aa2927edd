"""Who has it, and what follows if something dies now."""

from __future__ import annotations

from typing import Any

import pytest

from sharedip.core.explanation import explained, window_explained
from tests.unit.adapters.api.api_stage import WINDOW, vip


def told(**changes: Any) -> str:
    about = vip(**changes)
    return "\n".join(explained(about, about["changes"], "n1", 15))


def test_a_sound_owner_in_full() -> None:
    assert told().splitlines() == [
        "192.168.0.15 is on n1 (n2 released it), since 2026-11-21T03:12:05.123Z.",
        "If n1 dies now, n2 has it within 1.1 s (0.8 to 1.1 s), by its witness n2.",
        "If n2 dies with it, n3 has it within 15.6 s; but where that takes the majority of etcd's 3 members along, "
        "nobody has it until etcd is back.",
        "If etcd goes now, n1 keeps it for 13 s; then nobody has it until etcd is back.",
    ]


def test_whose_clients_will_be_told() -> None:
    clients = {"count": 412, "told_to": ["n2", "n3"], "tickled": 0}
    said = "Then 412 clients with connections of more than 10 s, of whom n2 and n3 know, will be told."
    assert told(clients=clients).splitlines()[3] == said
    assert "1 client with connections of more than 10 s, of whom n2 knows" in told(
        clients={**clients, "count": 1, "told_to": ["n2"]}
    )
    assert "told" not in told(clients={**clients, "told_to": []})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"next": []}, "If n1 dies now, nobody has it."),
        ({"next": [{"node": "n2", "unsound": ""}]}, "If n2 dies with it, nobody has it."),
        (
            {"next": [{"node": "n2", "unsound": "is drained"}]},
            "within 1.1 s (0.8 to 1.1 s), by its witness n2, though it is drained.",
        ),
        (
            {"next": [{"node": "n2", "unsound": "is drained"}, {"node": "n3", "unsound": ""}]},
            "If n3 dies with it, n2 has it within 15.6 s, though it is drained; but where",
        ),
        ({"witnesses": [], "crash_s": 15.6, "crash_least_s": 13.0}, "n2 has it within 15.6 s (13.0 to 15.6 s)."),
        ({"leads_etcd": True}, "by its witness n2, after an election of etcd, which n1 leads."),
        ({"etcd_ends_after": None}, "If n2 dies with it, n3 has it within 15.6 s.\n"),
        (
            {"etcd_ends_after": 1, "etcd_members": 1},
            "by its witness n2; but where that takes etcd along, nobody has it",
        ),
        ({"crash_s": None}, "n2 has it in a time that is not known yet"),
        ({"without_etcd_s": None}, "n1 keeps it for up to 15 s"),
        ({"standing": "unknown"}, "192.168.0.15 may be on n1"),
        ({"owner": None, "standing": "unknown"}, "who has 192.168.0.15 can't be told: n1 sees no owner"),
        ({"changes": []}, "who had it before, this agent has not seen."),
    ],
)
def test_what_is_not_whole_or_not_known_is_said_so(changes: dict[str, Any], said: str) -> None:
    assert said in told(**changes)


def test_an_address_that_is_down_has_nobody_who_could_die() -> None:
    assert told(standing="down", down_s=12.0) == "192.168.0.15 is DOWN, for 12 s; n1 is first"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, WINDOW["explained"]),
        ({"late_s": None}, "could keep a window of 300 ms: in the last day a witness took up to 41 ms to answer n1."),
        ({"answer_s": None, "could_keep_s": None}, "can't be told: no witness has answered an owner in the last day."),
        (
            {"could_keep_s": 2.0, "answer_s": 0.5},
            "a window of 2 s, and not the 1 s that are configured: in the last day",
        ),
        ({"configured_s": None, "could_keep_s": 2.0}, "could keep a window of 2 s: in the last day"),
        ({"could_keep_s": None, "late_s": 42.0}, "could keep no window: in the last day n3 was late by up to 42 s and"),
    ],
)
def test_which_window_would_have_held_is_told_with_what_it_follows_from(changes: dict[str, Any], said: str) -> None:
    assert said in window_explained({**WINDOW, **changes})  # type: ignore[typeddict-item]
