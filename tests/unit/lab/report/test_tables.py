"""Table, JSON and page say the same, and need nothing from elsewhere."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

from sharedip_lab.observe.feeds import Note
from sharedip_lab.observe.recording import TwoOwners
from sharedip_lab.report.html import page, write_html
from sharedip_lab.report.tables import columns, kept, milliseconds, summary, table, write_json
from sharedip_lab.scenarios.results import Act, Result, Seen
from sharedip_lab.scenarios.runner import Outcome

VOID = {"meta", "br"}


def _result(two: TwoOwners, wrong: list[str]) -> Result:
    outcome = Outcome("crash", "node <crashes>", "10.77.0.100", "", "n1", "n1", "n2", 3.21, 3.2, two=two)
    outcome.struck_at, outcome.healed_at, outcome.ended_at, outcome.wrong = 11.0, 15.0, 18.0, wrong
    act = Act("demo", ["n1", "n2"], 10.0, 20.0, 0.4, [outcome])
    seen = Seen(
        "10.77.0.100",
        {"n1": [(10.4, 13.0)], "n2": [(14.2, 20.0)]},
        {"n1": [(10.4, 11.0)], "n2": [(14.2, 20.0)]},
        {},
        {"n1": [(12.0, 13.0)]},
        [(11.0, 14.2)],
        two,
        2000,
        1300,
    )
    act.seen, act.notes = [seen], [Note(11.0, "strike", "n1: <b>")]
    return Result("demo", "3.5.1", {"lease": {"ttl": "3s"}}, 0.005, acts=[act])


class _Balance(HTMLParser):
    """Every element that opens closes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing() -> None:
    text = page(_result(TwoOwners(), []))
    balance = _Balance()
    balance.feed(text)
    assert balance.open == []
    assert not re.search(r"https?://|<script|<link|url\(|@import", text)
    assert "node &lt;crashes&gt;" in text
    assert "<b>" not in text.split("<pre>")[1]
    assert "never two owners" in text
    assert "lease.ttl = 3s" in text


def test_a_wrong_outcome_is_said_everywhere(tmp_path: Path) -> None:
    result = _result(TwoOwners(0.0004, 0.0004), ["two owners"])
    assert table(result.outcomes).splitlines()[2].endswith("wrong")
    assert "0.400 ms" in table(result.outcomes)
    assert "WRONG" in summary(result)
    assert "1 thing wrong" in page(result)
    write_json(result, tmp_path / "r.json")
    said = json.loads((tmp_path / "r.json").read_text())
    assert said["verdict"] == "wrong"
    assert said["acts"][0]["outcomes"][0]["new_owner_s"] == 3.21


def test_a_moment_with_two_owners_is_never_rounded_to_nothing() -> None:
    assert milliseconds(0.0) == "0 ms"
    assert milliseconds(0.000001) == "0.001 ms"
    assert milliseconds(0.0042) == "4 ms"


def test_a_column_that_is_empty_everywhere_is_left_out() -> None:
    assert columns(("a", "b"), [("1", ""), ("2", "")]).splitlines()[0] == "a"


def test_the_page_is_written_where_no_folder_is_yet(tmp_path: Path) -> None:
    """`make demo` on a fresh checkout: there is no `out/`."""
    where = tmp_path / "out" / "demo.html"
    write_html(_result(TwoOwners(), []), where)
    assert where.read_text(encoding="utf-8").startswith("<!")


def test_what_a_run_keeps_unasked_is_in_a_place_that_git_ignores() -> None:
    ignored = (Path(__file__).parents[4] / ".gitignore").read_text().split()
    assert f"{kept('bench').parts[0]}/" in ignored
