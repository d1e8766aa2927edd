"""Log lines: their shape, their number, and that they never stall the agent."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from sharedip.adapters.logs import (
    ALIKE_MAX,
    KINDS_REMEMBERED_MAX,
    LOGGER_NAME,
    REMEMBERED_LINES_MAX,
    REPEAT_WINDOW_S,
    FactHandler,
    JournalFormatter,
    JsonFormatter,
    TextFormatter,
    configure,
    to_journal,
    write_report,
)
from sharedip.core.messages import Level, Report
from sharedip.core.model import Vip

TOOK = Report(Level.INFO, "took the address", Vip(ip_address("192.168.0.15"), "eth0"), 4711, "n1 released it")


class Journal:
    """A pipe with a handler at its end and a clock that tests turn."""

    def __init__(self, formatter: logging.Formatter) -> None:
        self.now = 0.0
        self.read_end, self.write_end = os.pipe2(os.O_NONBLOCK)
        self.handler = FactHandler(self.write_end, lambda: self.now)
        self.handler.setFormatter(formatter)

    def lines(self) -> list[str]:
        try:
            return os.read(self.read_end, 1 << 20).decode().splitlines()
        except BlockingIOError:
            return []


def spelt(number: int) -> str:
    """A word of its own for each number: lines that differ in numbers alone are alike."""
    return "".join(chr(ord("g") + int(digit)) for digit in str(number))


@pytest.fixture
def journal() -> Iterator[Journal]:
    made = Journal(TextFormatter())
    logger = logging.getLogger(LOGGER_NAME)
    logger.addHandler(made.handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield made
    logger.removeHandler(made.handler)
    logger.propagate = True
    os.close(made.read_end)
    os.close(made.write_end)


def test_a_fact_is_one_line_with_vip_epoch_and_reason(journal: Journal) -> None:
    write_report(TOOK, "n2")
    (line,) = journal.lines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO  192\.168\.0\.15 epoch 4711: took the address: n1 released it",
        line,
    )


def test_the_journal_gets_a_priority_and_no_second_clock(journal: Journal) -> None:
    journal.handler.setFormatter(JournalFormatter())
    write_report(TOOK, "n2")
    write_report(Report(Level.WARNING, "etcd is away"), "n2")
    write_report(Report(Level.ERROR, "worse"), "n2")
    assert journal.lines() == [
        "<6>192.168.0.15 epoch 4711: took the address: n1 released it",
        "<4>etcd is away",
        "<3>worse",
    ]


def test_json_has_the_same_keys_on_every_line(journal: Journal) -> None:
    journal.handler.setFormatter(JsonFormatter())
    write_report(TOOK, "n2")
    write_report(Report(Level.DEBUG, "nothing\nmuch"), "n2")
    first, second = (json.loads(line) for line in journal.lines())
    assert list(first) == list(second) == ["ts", "level", "msg", "vip", "epoch", "reason", "node"]
    assert {key: first[key] for key in ("level", "msg", "vip", "epoch", "reason", "node")} == {
        "level": "info",
        "msg": "took the address",
        "vip": "192.168.0.15",
        "epoch": 4711,
        "reason": "n1 released it",
        "node": "n2",
    }
    assert second["msg"] == "nothing\nmuch"


def test_a_name_from_the_network_cannot_forge_a_line(journal: Journal) -> None:
    write_report(Report(Level.INFO, "n1\n2026 ERROR all is lost\x1b[2J"), "n2")
    (line,) = journal.lines()
    assert r"n1\x0a2026 ERROR all is lost\x1b[2J" in line


def test_an_equal_line_is_counted_instead_of_repeated(journal: Journal) -> None:
    for _ in range(100):
        write_report(Report(Level.WARNING, "etcd is away", reason="refused"), "n1")
        write_report(Report(Level.WARNING, "etcd is away", reason="timed out"), "n1")
        journal.now += 0.1
    assert len(journal.lines()) == 2
    journal.now += REPEAT_WINDOW_S
    write_report(Report(Level.INFO, "etcd is back"), "n1")
    lines = journal.lines()
    assert [line.split(" WARNING ")[-1] for line in lines[:2]] == [
        "etcd is away (repeated 99 times): refused",
        "etcd is away (repeated 99 times): timed out",
    ]
    assert lines[2].endswith("etcd is back")


def test_a_line_that_came_once_is_not_mentioned_again(journal: Journal) -> None:
    write_report(TOOK, "n1")
    journal.now += 2 * REPEAT_WINDOW_S
    journal.handler.say_repetitions()
    assert len(journal.lines()) == 1
    write_report(TOOK, "n1")
    assert len(journal.lines()) == 1


def test_the_number_of_remembered_lines_is_bounded(journal: Journal) -> None:
    for number in range(1000):
        write_report(Report(Level.INFO, f"line {spelt(number)}"), "n1")
        journal.lines()
    assert len(journal.handler._said) == 256


def test_a_log_that_nobody_reads_loses_lines_and_says_so(journal: Journal) -> None:
    os.set_blocking(journal.write_end, True)  # as an ordinary standard error is: a write would wait for ever
    for number in range(3000):
        write_report(Report(Level.INFO, f"line {spelt(number)} " + "x" * 200), "n1")
    lost = 3000 - len(journal.lines())
    assert lost > 0
    write_report(Report(Level.INFO, "somebody reads again"), "n1")
    assert f"({lost} lines before this one were lost" in journal.lines()[0]


def test_a_reader_that_is_gone_ends_nothing(journal: Journal) -> None:
    os.close(journal.read_end)
    write_report(TOOK, "n1")
    journal.read_end = os.open("/dev/null", os.O_RDONLY)


def test_a_trace_keeps_every_line_at_its_priority(journal: Journal) -> None:
    journal.handler.setFormatter(JournalFormatter())
    try:
        int("no\nnumber")
    except ValueError:
        logging.getLogger(LOGGER_NAME).exception("a bug")
    lines = journal.lines()
    assert lines[0] == "<3>a bug"
    assert all(line.startswith("<3>") for line in lines)


def test_the_journal_is_known_by_device_and_inode() -> None:
    status = os.fstat(2)
    assert to_journal(2, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    assert not to_journal(2, {"JOURNAL_STREAM": "1:2"})
    assert not to_journal(2, {})


@pytest.mark.parametrize(("name", "kind"), [("json", JsonFormatter), ("text", TextFormatter)])
def test_configure_keeps_libraries_quiet_even_when_debugging(name: str, kind: type) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    try:
        handler = configure(name, "info", environ={})
        assert isinstance(handler.formatter, kind)
        assert not logging.getLogger("h2").isEnabledFor(logging.INFO)
        assert logging.getLogger(LOGGER_NAME).isEnabledFor(logging.INFO)
        configure(name, "debug", environ={})
        assert logging.getLogger(LOGGER_NAME).isEnabledFor(logging.DEBUG)
        assert not logging.getLogger("h2").isEnabledFor(logging.INFO), "headers may hold etcd's tokens"
    finally:
        root.handlers[:] = before
        root.setLevel(level)


def test_a_thousand_lines_that_differ_in_what_their_author_chose_are_a_few(journal: Journal) -> None:
    """ARP replies from a thousand MACs once were 1,225 lines a second, and the journal threw ours away for them."""
    vip = Vip(ip_address("192.168.0.15"), "eth0")
    for number in range(5000):
        mac = f"02:66:00:00:{number >> 8:02x}:{number & 255:02x}"
        write_report(Report(Level.ERROR, f"MAC {mac} claims the address", vip, number, "policy: defend"), "n1")
        journal.now += 0.001
    write_report(TOOK, "n1")
    lines = journal.lines()
    assert len(lines) == ALIKE_MAX + 1
    assert "took the address" in lines[-1]
    assert journal.handler.suppressed == 5000 - ALIKE_MAX
    journal.now += REPEAT_WINDOW_S
    journal.handler.say_repetitions()
    assert f"({5000 - ALIKE_MAX} lines like this one)" in journal.lines()[0]


def test_what_is_alike_about_another_vip_is_said(journal: Journal) -> None:
    for number in range(2 * ALIKE_MAX):
        vip = Vip(ip_address(f"192.168.0.{number + 1}"), "eth0")
        write_report(Report(Level.INFO, "taking the address", vip, number, "n1 released it"), "n2")
    for number in range(2 * ALIKE_MAX):
        write_report(Report(Level.ERROR, f"vip.yaml:{number}: no such link"), "n2")
    assert len(journal.lines()) == 4 * ALIKE_MAX


def test_kinds_without_end_are_forgotten(journal: Journal) -> None:
    for number in range(KINDS_REMEMBERED_MAX + 100):
        write_report(Report(Level.INFO, spelt(number)), "n1")
        journal.lines()
    assert len(journal.handler._kinds) <= KINDS_REMEMBERED_MAX
    assert len(journal.handler._said) <= REMEMBERED_LINES_MAX


@pytest.mark.parametrize("character", ["\u202e", "\u2028", "\u2066", "\u200f", "\u061c"])
def test_no_name_turns_a_line_around(journal: Journal, character: str) -> None:
    """What a terminal then shows is another line than the one that was written."""
    report = Report(Level.INFO, f"n1{character}evil has the address")
    write_report(report, "n1")
    (text,) = journal.lines()
    assert character not in text
    assert f"\\u{ord(character):04x}" in text
    journal.handler.setFormatter(JsonFormatter())
    write_report(Report(Level.WARNING, report.text), "n1")
    (line,) = journal.lines()
    assert character not in line
    assert json.loads(line)["msg"] == report.text
