"""What the table of clients says where there is something, nothing, or no such program."""

from __future__ import annotations

from dataclasses import asdict

from sharedip_lab.report.waiting_table import clients_figures, clients_told
from sharedip_lab.scenarios.results import Act, Result
from sharedip_lab.scenarios.waiting import Noticed


def _told(*noticed: Noticed) -> list[str]:
    act = Act("clients", [], 0.0, 0.0, None)
    act.figures = {"clients": [asdict(one) for one in noticed], "programs": {"curl": "curl 8.0"}}
    result = Result("clients", "3.5", {}, 0.005)
    result.acts.append(act)
    return clients_told(result).splitlines()


def test_medians_are_of_all_runs_and_who_has_heard_of_nothing_is_counted() -> None:
    runs = [Noticed("crash", "silent", True, 2, 0.9, (1.0, at), (1.1,)) for at in (1.5, 2.0)]
    line = _told(*runs)[-2]
    assert "1.25 s (2.00 s)" in line
    assert "1.10 s (1.10 s), 2 of 4 not" in line


def test_who_has_heard_nothing_says_for_how_long_and_a_program_that_is_not_here_says_so() -> None:
    lines = _told(
        Noticed("cut", "silent", True, 2, None, (), ()),
        Noticed("cut", "silent", False, 2, 0.9, (), ()),
        Noticed("cut", "kubectl", True, 0, 0.9, (), ()),
    )
    assert "not in 5 s" in lines[-4]
    assert "not in 55 s" in lines[-3]
    assert lines[-2].count("not installed") == 2
    assert lines[-1] == "curl 8.0"


def test_the_figures_have_each_fault_and_kind_once_and_no_single_client() -> None:
    act = Act("clients", [], 0.0, 0.0, None)
    one = Noticed("crash", "silent", True, 2, 0.91234, (1.0, 1.5), (2.0,))
    act.figures = {"clients": [asdict(one), asdict(one)], "programs": {"curl": "curl 8.0"}}
    result = Result("clients", "3.5", {}, 0.005)
    result.acts.append(act)
    said = clients_figures(result)
    assert said["programs"] == {"curl": "curl 8.0"}
    (row,) = said["clients"]
    assert (row["of"], row["moved_s"]) == (4, [0.912, 0.912])
    assert row["noticed"] == {"count": 4, "median_s": 1.25, "last_s": 1.5}
