"""YAML as such: places, syntax errors, duplicate keys, anchors, limits. Each test runs on both parsers of PyYAML."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
import yaml

from sharedip.config import documents
from sharedip.config.documents import Mapping, Scalar, Sequence, YamlNode, documents_in
from sharedip.config.problems import Findings
from tests.unit.config.config_cases import VIP, said

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, params=["CSafeLoader", "SafeLoader"])
def _both_parsers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_LOADER", getattr(yaml, request.param))


def compose(text: str) -> tuple[list[YamlNode], list[str]]:
    findings = Findings()
    nodes = documents_in("f", text, findings)
    return nodes, [f"{p.place.line}:{p.place.column}: {p.message}" for p in findings.problems]


def plain(node: YamlNode) -> object:
    if isinstance(node, Scalar):
        return None if node.is_null else node.text
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {key: plain(entry.value) for key, entry in node.entries.items()}


def trees(text: str) -> list[object]:
    nodes, problems = compose(text)
    assert problems == []
    return [plain(node) for node in nodes]


def test_words_stay_the_text_that_was_written() -> None:
    assert trees("a: off\nb: 007\nc: 1.50\nd: '~'\ne: ~\nf:\ng: null\nh: [yes, 0x10]\n") == [
        {"a": "off", "b": "007", "c": "1.50", "d": "~", "e": None, "f": None, "g": None, "h": ["yes", "0x10"]}
    ]


def test_every_key_and_value_knows_its_place() -> None:
    (node,), _ = compose("# heading\na:\n  - x\n  - {b: 'y'}\n")
    assert isinstance(node, Mapping)
    entry = node.entries["a"]
    assert (entry.key_place.line, entry.key_place.column) == (2, 1)
    assert isinstance(entry.value, Sequence)
    inner = entry.value.items[1]
    assert isinstance(inner, Mapping)
    assert (inner.entries["b"].value.place.line, inner.entries["b"].value.place.column) == (4, 9)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n---\n# x\n", "---\n~\n...\n"])
def test_documents_without_content_are_left_out(text: str) -> None:
    assert trees(text) == []


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_lines_count_alike_with_every_line_break(line_break: str) -> None:
    _, problems = compose(f"a: 1{line_break}b: 2{line_break}a: 3{line_break}")
    assert problems == ['3:1: the key "a" stands here twice, first in line 1']


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85"])
def test_a_unicode_line_separator_does_not_shift_the_lines_that_an_editor_shows(character: str) -> None:
    _, problems = compose(f"a: '1{character}1'\na: 2\n")
    assert problems == ['2:1: the key "a" stands here twice, first in line 1']


def test_a_byte_order_mark_is_no_part_of_the_first_key() -> None:
    assert trees("\ufeffa: 1\n") == [{"a": "1"}]


@pytest.mark.parametrize(
    ("text", "place"),
    [("a:\n\t- 1\n", "2:1"), ("a: 1\n\tb: 2\n", "2:1"), ("\ta: 1\n", "1:1"), ("a:\n  - b\n\t- c\n", "3:1")],
)
def test_a_tab_in_the_indentation_is_called_a_tab(text: str, place: str) -> None:
    _, problems = compose(text)
    assert problems == [f"{place}: a tab where YAML wants spaces"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: b: c\n", "1:5"),
        ("a: @x\n", "1:4"),
        ("a: [1, 2\n", "2:1"),
        ("a: 'x\n", "2:1"),
        ("a: 1\n b: 2\n", "2:3"),
        ("%YAML 2.0\n---\na\n", "1:1"),
    ],
)
def test_a_syntax_error_has_its_place(text: str, place: str) -> None:
    _, problems = compose(text)
    assert [problem.rsplit(": ", 1)[0].split(": ")[0] for problem in problems] == [place]


def test_a_syntax_error_hides_neither_what_stands_before_nor_what_comes_after() -> None:
    nodes, problems = compose("a: 1\n---\nb: [1\n---\nc: 1\nc: 2\n---\nd: 'x\n---\ne: 1\n")
    assert [plain(node) for node in nodes] == [{"a": "1"}, {"c": "1"}, {"e": "1"}]
    assert [problem.split(": ")[0] for problem in problems] == ["4:1", "6:1", "9:1"]


def test_a_broken_first_line_is_reported_once_and_reading_goes_on() -> None:
    nodes, problems = compose("--- @x\n---\na: 1\n")
    assert [plain(node) for node in nodes] == [{"a": "1"}]
    assert len(set(problems)) == 1


def test_a_file_that_is_broken_over_and_over_is_given_up() -> None:
    _, problems = compose("---\n@\n" * 10_000)
    assert len(problems) == documents.BROKEN_DOCUMENTS_MAX


def test_a_key_that_stands_twice_is_named_with_both_lines() -> None:
    assert said(VIP + "name: 192.168.0.16\n") == ['5:1: the key "name" stands here twice, first in line 3']


def test_keys_that_are_no_words_are_refused() -> None:
    _, problems = compose("{a: b}: c\n[x]: d\n? {y: 1}\n: e\n")
    assert problems == [
        "1:1: a key must be a single word",
        "2:1: a key must be a single word",
        "3:3: a key must be a single word",
    ]


def test_an_alias_stands_for_its_anchor_at_its_own_place() -> None:
    nodes, problems = compose("a: &x {n: 1}\nb: *x\nc: &y word\nd: *y\n")
    assert problems == []
    (node,) = nodes
    assert plain(node) == {"a": {"n": "1"}, "b": {"n": "1"}, "c": "word", "d": "word"}
    assert isinstance(node, Mapping)
    assert (node.entries["b"].value.place.line, node.entries["b"].value.place.column) == (2, 4)


def test_an_anchor_lives_no_longer_than_its_document() -> None:
    _, problems = compose("a: &x 1\n---\nb: *x\n")
    assert problems == ["3:4: no &x stands before this *x"]


def test_an_alias_within_what_it_names_is_refused() -> None:
    _, problems = compose("a: &a [1, {b: *a}]\n")
    assert problems == ["1:15: *a stands within what it names"]


def test_merge_keys_fill_in_what_is_absent() -> None:
    assert trees("a: &a {x: 1, y: 2}\nb: &b {z: 3}\nc:\n  <<: [*a, *b]\n  y: own\n") == [
        {"a": {"x": "1", "y": "2"}, "b": {"z": "3"}, "c": {"y": "own", "x": "1", "z": "3"}}
    ]


def test_a_merge_of_something_else_is_refused() -> None:
    _, problems = compose("a:\n  <<: word\n")
    assert problems == ['2:7: "<<" merges mappings, this is none']


def test_a_tag_of_ones_own_is_refused() -> None:
    _, problems = compose("a: !vault x\nb: !!str 1\n")
    assert problems == ['1:4: the tag "!vault" is not understood']


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: \x00\n", "2:4: the character U+0000 is not allowed in YAML"),
        ("a: \x1b[0m\n", "1:4: the character U+001B is not allowed in YAML"),
        ("a: \ud800\n", "1:4: the character U+D800 is not allowed in YAML"),
    ],
)
def test_a_character_that_yaml_forbids_has_its_place(text: str, problem: str) -> None:
    assert compose(text)[1] == [problem]


def test_an_alias_bomb_is_stopped_by_counting_not_by_memory() -> None:
    bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    bomb += "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))
    _, problems = compose(bomb)
    assert len(problems) == 1
    assert "counting what its aliases stand for" in problems[0]


def test_a_merge_bomb_is_stopped_too() -> None:
    text = "m: &m {" + ", ".join(f"k{n}: 1" for n in range(1000)) + "}\n"
    text += "".join(f"n{n}: {{<<: *m}}\n" for n in range(1000))
    _, problems = compose(text)
    assert len(problems) == 1
    assert "more than 200000 values" in problems[0]


@pytest.mark.parametrize("text", ["[" * 5000, "{a: " * 5000, "- " * 5000, "? " * 5000])
def test_deep_nesting_is_refused_without_recursion(text: str) -> None:
    _, problems = compose(text)
    assert [problem.split(": ", 1)[1] for problem in problems] == ["more than 64 levels of nesting"]


def test_nesting_that_the_parser_itself_refuses_is_told_in_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """libyaml scans a line ahead: from PyYAML 6.0.4 on it gives up before the events show how deep it goes."""
    here = yaml.Mark("f", 0, 0, 1000, "", 0)

    def events(text: str) -> Iterator[yaml.Event]:
        yield from itertools.islice(yaml.parse(text), 3)
        context = "while increasing flow level"
        raise yaml.scanner.ScannerError(context, here, "exceeded maximum nesting depth", here)

    monkeypatch.setattr(documents, "_events", events)
    _, problems = compose("[" * 5000 + "\n---\nnot: [read\n")
    assert problems == ["1:1001: more than 64 levels of nesting"]


def test_a_huge_file_is_refused() -> None:
    _, problems = compose("#" * (documents.FILE_BYTES_MAX + 1))
    assert problems == ["1:1: the file has more than 4 MiB"]
