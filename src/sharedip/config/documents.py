"""YAML text → trees in which every key and value knows its place.

Role: everything about YAML as such: syntax, tabs, duplicate keys, anchors, limits. A mistake in one document does not
hide those in the next: reading goes on at the next `---`. Must never: recurse into what a file nests, expand what it
aliases, or guess types (a value is the text that stands there, so `off` and `007` mean what they say).
Counterpart: `fields.py` gives the text its types.

The trees are built from the parser's events and not by `yaml.compose`: that one recurses once per level (in C, without
a limit), lets a later duplicate key win silently, and shows an alias at its anchor's place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from sharedip.config.problems import Findings, Place, shown

FILE_BYTES_MAX = 4 * 1024 * 1024
"""A Talos machine configuration has about 10 KiB, one with inline manifests some hundred."""
NODES_MAX = 200_000
"""Counted as if every alias were written out, so an alias bomb meets it at once. A thousand VIPs make ten thousand."""
DEPTH_MAX = 64
BROKEN_DOCUMENTS_MAX = 50
"""After so many syntax errors the rest of the file is not read: it is no YAML."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BAD_CHARACTER = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""YAML 1.2, production [1] c-printable: what may stand in a document at all."""
_DOCUMENT_START = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_ONE_LINE_BREAK = {0x85: " ", 0x2028: " ", 0x2029: " "}
"""YAML 1.1 breaks lines here, YAML 1.2 and every editor do not: without this our line numbers would not be theirs."""
_STANDARD_TAG = "tag:yaml.org,2002:"
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(slots=True)
class Scalar:
    """A word. `plain` is False when it stands in quotes or in a block."""

    place: Place
    text: str
    plain: bool = True

    @property
    def is_null(self) -> bool:
        """Nothing stands there: the key alone, or `~`, or `null`."""
        return self.plain and self.text in _NULLS


@dataclass(slots=True)
class Sequence:
    """A list."""

    place: Place
    items: list[YamlNode] = field(default_factory=list)


@dataclass(slots=True)
class YamlEntry:
    """One key with its value."""

    key_place: Place
    value: YamlNode


@dataclass(slots=True)
class Mapping:
    """Keys with values, in the order of the file."""

    place: Place
    entries: dict[str, YamlEntry] = field(default_factory=dict)


YamlNode = Scalar | Sequence | Mapping


class _TooMuchError(Exception):
    """A limit was passed and reported: the rest of the file is not read."""


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is still open."""

    node: Sequence | Mapping
    anchor: str | None
    count_before: int
    key: Scalar | None = None
    key_is_odd: bool = False
    """The key under way is no word; it was reported, its value is dropped."""
    merges: list[YamlNode] = field(default_factory=list)


def documents_in(file: str, text: str, findings: Findings) -> list[YamlNode]:
    """Read every document of one file; what can't be read is reported, documents without content are left out."""
    if not _readable(file, text, findings):
        return []
    rest = text.removeprefix("\ufeff").translate(_ONE_LINE_BREAK).replace("\r\n", "\n").replace("\r", "\n")
    composer = _Composer(file, findings)
    lines_before = 0
    try:
        for _ in range(BROKEN_DOCUMENTS_MAX):
            resume = composer.read(rest, lines_before=lines_before)
            if resume is None:
                break
            lines_before += rest.count("\n", 0, resume)
            rest = rest[resume:]
    except _TooMuchError:
        pass
    return composer.documents


def place_in(file: str, text: str, index: int) -> Place:
    """Where the character with this index stands."""
    line_start = text.rfind("\n", 0, index) + 1
    return Place(file, text.count("\n", 0, index) + 1, index - line_start + 1)


def _readable(file: str, text: str, findings: Findings) -> bool:
    if len(text) > FILE_BYTES_MAX:
        findings.problem(
            Place(file, 1, 1),
            f"the file has more than {FILE_BYTES_MAX // 1024 // 1024} MiB",
            "give the documents about VIPs in files of their own",
        )
        return False
    bad = _BAD_CHARACTER.search(text)
    if bad is not None:
        findings.problem(
            place_in(file, text, bad.start()),
            f"the character U+{ord(bad[0]):04X} is not allowed in YAML",
            "remove it, or save the file as UTF-8 text",
        )
        return False
    return True


class _Composer:
    """Builds trees from events. Order in `_value`: count, name the anchor, hang it into what is open."""

    def __init__(self, file: str, findings: Findings) -> None:
        self.documents: list[YamlNode] = []
        self._file = file
        self._findings = findings
        self._lines_before = 0
        self._count = 0
        self._open: list[_Frame] = []
        self._anchors: dict[str, tuple[YamlNode, int]] = {}
        """A finished node and how many nodes it stands for."""

    def read(self, text: str, *, lines_before: int) -> int | None:
        """Read documents until the end (None) or a syntax error (the index at which reading may go on)."""
        self._lines_before = lines_before
        last_line = 0
        try:
            for event in _events(text):
                last_line = event.start_mark.line if event.start_mark is not None else last_line
                self._event(event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line, mark.column) if mark is not None else (last_line, 0)
            self._syntax_error(text, error, line, column)
        except (yaml.YAMLError, ValueError, OverflowError):
            # The pure parser stumbles over some escapes and tags with Python's own errors, which carry no place.
            line = last_line
            self._problem(self._at(line, 0), "this is not YAML", "check what stands here, or save the file as UTF-8")
        else:
            return None
        self._open.clear()
        # A document that began on the very line of the error is the one that is broken, so look past its own marker.
        following = _line_index(text, line)
        if following == 0:
            following = 1
        resume = _DOCUMENT_START.search(text, following)
        return resume.start() if resume is not None else None

    def _event(self, event: yaml.Event) -> None:
        mark = event.start_mark
        place = self._at(mark.line, mark.column) if mark is not None else self._at(0, 0)
        if isinstance(event, yaml.DocumentStartEvent):
            self._anchors.clear()
            self._open.clear()
        elif isinstance(event, yaml.ScalarEvent):
            self._check_tag(event.tag, place)
            # A plain word has the style None in the pure parser, and the empty one in the C parser.
            self._value(Scalar(place, event.value, plain=not event.style), event.anchor, 1)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(str(event.anchor), place)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._check_tag(event.tag, place)
            self._add_to_count(1, place)
            if len(self._open) >= DEPTH_MAX:
                self._too_deep(place)
            node = Mapping(place) if isinstance(event, yaml.MappingStartEvent) else Sequence(place)
            self._open.append(_Frame(node, event.anchor, self._count))
        elif isinstance(event, yaml.CollectionEndEvent):
            frame = self._open.pop()
            if isinstance(frame.node, Mapping):
                self._merge(frame.node, frame.merges)
            self._value(frame.node, frame.anchor, self._count - frame.count_before + 1, counted=True)

    def _value(self, node: YamlNode, anchor: str | None, count: int, *, counted: bool = False) -> None:
        if not counted:
            self._add_to_count(count, node.place)
        if anchor is not None:
            self._anchors[anchor] = (node, count)
        if not self._open:
            if not (isinstance(node, Scalar) and node.is_null):
                self.documents.append(node)
            return
        frame = self._open[-1]
        if isinstance(frame.node, Sequence):
            frame.node.items.append(node)
        elif frame.key is None and not frame.key_is_odd:
            self._key(frame, node)
        else:
            self._entry(frame, frame.node, node)
            frame.key, frame.key_is_odd = None, False

    def _key(self, frame: _Frame, node: YamlNode) -> None:
        if isinstance(node, Scalar):
            frame.key = node
        else:
            frame.key_is_odd = True
            self._problem(node.place, "a key must be a single word", 'write "key: value"; put braces in quotes')

    def _entry(self, frame: _Frame, mapping: Mapping, value: YamlNode) -> None:
        key = frame.key
        if key is None:
            return
        if key.plain and key.text == "<<":
            frame.merges.append(value)
            return
        earlier = mapping.entries.get(key.text)
        if earlier is not None:
            self._problem(
                key.place,
                f"the key {shown(key.text)} stands here twice, first in line {earlier.key_place.line}",
                "keep one of them",
            )
            return
        mapping.entries[key.text] = YamlEntry(key.place, value)

    def _merge(self, mapping: Mapping, merges: list[YamlNode]) -> None:
        """YAML 1.1 merge key: entries of the named mappings, where the mapping has none of its own."""
        for merge in merges:
            for source in merge.items if isinstance(merge, Sequence) else [merge]:
                if not isinstance(source, Mapping):
                    self._problem(source.place, '"<<" merges mappings, this is none', "name an anchor of a mapping")
                    continue
                # Not counted here: the alias that was merged has counted already.
                for key, entry in source.entries.items():
                    mapping.entries.setdefault(key, entry)

    def _alias(self, anchor: str, place: Place) -> None:
        if any(frame.anchor == anchor for frame in self._open):
            self._problem(place, f"*{anchor} stands within what it names", "write the value out")
            self._value(Scalar(place, ""), None, 1)
        elif anchor not in self._anchors:
            self._problem(place, f"no &{anchor} stands before this *{anchor}", "define the anchor, or quote the text")
            self._value(Scalar(place, ""), None, 1)
        else:
            node, count = self._anchors[anchor]
            self._value(_copied(node, place), None, count)

    def _check_tag(self, tag: str | None, place: Place) -> None:
        if tag is not None and tag != "!" and not tag.startswith(_STANDARD_TAG):
            self._problem(place, f"the tag {shown(tag)} is not understood", "write the value without a tag")

    def _add_to_count(self, count: int, place: Place) -> None:
        self._count += count
        if self._count > NODES_MAX:
            self._problem(
                place,
                f"the file has more than {NODES_MAX} values, counting what its aliases stand for",
                "write less, or give the documents about VIPs in a file of their own",
            )
            raise _TooMuchError

    def _syntax_error(self, text: str, error: yaml.MarkedYAMLError, line: int, column: int) -> None:
        place = self._at(line, column)
        if error.problem == _LIBYAML_IS_TOO_DEEP:
            self._too_deep(place)
        rest = text[_line_index(text, line) + column :]
        before = text[_line_index(text, line) :][:column]
        if rest.startswith("\t") or before.endswith("\t") or (before and before.isspace() and "\t" in before):
            self._problem(place, "a tab where YAML wants spaces", "indent with spaces")
            return
        what = str(error.problem or "this is not YAML")
        if error.context and error.context_mark is not None and error.problem_mark is not None:
            what += f" ({error.context} that began in line {self._at(error.context_mark.line, 0).line})"
        self._problem(place, what, _SYNTAX_REMEDIES.get(str(error.problem), "check indentation, colons and quotes"))

    def _too_deep(self, place: Place) -> NoReturn:
        self._problem(place, f"more than {DEPTH_MAX} levels of nesting", "flatten the document")
        raise _TooMuchError

    def _problem(self, place: Place, message: str, remedy: str) -> None:
        self._findings.problem(place, message, remedy)

    def _at(self, line: int, column: int) -> Place:
        return Place(self._file, self._lines_before + line + 1, column + 1)


_SYNTAX_REMEDIES = {
    "mapping values are not allowed in this context": "put the value in quotes, or begin the key in a line of its own",
    "found character that cannot start any token": "put the value in quotes",
    "found unexpected document indicator": "close the quote before the next document",
}

_LIBYAML_IS_TOO_DEEP = "exceeded maximum nesting depth"
"""libyaml since PyYAML 6.0.4: it scans ahead of the events that we count by, and has a limit of its own, deeper than
ours: a line of brackets meets that one first."""


def _events(text: str) -> Iterator[yaml.Event]:
    return yaml.parse(text, Loader=_LOADER)


def _copied(node: YamlNode, place: Place) -> YamlNode:
    """The aliased value at the alias's place; what lies below it is shared, not copied."""
    if isinstance(node, Scalar):
        return Scalar(place, node.text, node.plain)
    if isinstance(node, Sequence):
        return Sequence(place, node.items)
    return Mapping(place, node.entries)


def _line_index(text: str, line: int) -> int:
    """The index at which a line (from 0) begins."""
    index = 0
    for _ in range(line):
        index = text.find("\n", index) + 1
        if index == 0:
            return len(text)
    return index
