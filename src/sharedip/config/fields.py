"""A mapping, read field by field: types, what is missing, what is not known.

Role: the step from trees to values, with the dotted path of every field in the message. Must never: stop at the first
mistake; a reader gets None for what could not be read and goes on.
Counterparts: `documents.py` gives the trees, `values.py` reads the words, `layer2.py`, `agent_config.py` and
`machine_config.py` ask.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sharedip.config.documents import Mapping, Scalar, Sequence, YamlNode
from sharedip.config.problems import Findings, Place, closest, shown
from sharedip.config.values import UnusableError, absolute_path

_T = TypeVar("_T")
_D = TypeVar("_D")

ITEMS_MAX = 1000
"""Of one list, whatever it holds."""


class Fields:
    """One mapping and the names that were asked for; `close` reports the others."""

    def __init__(self, mapping: Mapping, path: str, findings: Findings) -> None:
        self.mapping = mapping
        self.path = path
        self.findings = findings
        self._asked: list[str] = []

    @property
    def here(self) -> Place:
        """Where the mapping begins."""
        return self.mapping.place

    def named(self, name: str) -> str:
        """Give the dotted path of a field, for messages."""
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        """Tell whether the field stands there with something in it."""
        return self._node(name) is not None

    def is_word(self, name: str, text: str) -> bool:
        """Tell whether the field is this very word, unquoted or quoted."""
        node = self._node(name)
        return isinstance(node, Scalar) and node.text == text

    def place(self, name: str) -> Place:
        """Where the field's value stands; the mapping's place when it is absent."""
        entry = self.mapping.entries.get(name)
        return entry.value.place if entry is not None else self.here

    def read(self, name: str, value: Callable[[str], _T], default: _D) -> _T | _D | None:
        """Read a word; `default` when it is absent, None (and a problem) when it is unusable."""
        node = self._node(name)
        if node is None:
            return default
        return word(node, self.named(name), value, self.findings)

    def require(self, name: str, value: Callable[[str], _T], remedy: str) -> _T | None:
        """Read a word that must be there."""
        node = self._node(name)
        if node is None:
            entry = self.mapping.entries.get(name)
            what, place = ("is missing", self.here) if entry is None else ("is empty", entry.key_place)
            self.findings.problem(place, f"{self.named(name)} {what}", remedy)
            return None
        return word(node, self.named(name), value, self.findings)

    def section(self, name: str) -> Fields:
        """Open a mapping below; an empty one when it is absent or is none."""
        node = self._node(name)
        if isinstance(node, Mapping):
            return Fields(node, self.named(name), self.findings)
        if node is not None:
            self.findings.problem(node.place, f"{self.named(name)} is {_is(node)}", "indent its fields below it")
            # What would be missing in it is no news to anybody.
            return Fields(Mapping(node.place), self.named(name), Findings())
        return Fields(Mapping(self.place(name)), self.named(name), self.findings)

    def items(self, name: str) -> list[YamlNode]:
        """Open a list; the empty list when it is absent, and (with a problem) when it is none or too long."""
        node = self._node(name)
        if node is None:
            return []
        if not isinstance(node, Sequence):
            self.findings.problem(node.place, f"{self.named(name)} is {_is(node)}", 'write a list, each item with "- "')
            return []
        if len(node.items) > ITEMS_MAX:
            self.findings.problem(
                node.place, f"{self.named(name)} has more than {ITEMS_MAX} items", "write fewer of them"
            )
            return []
        return node.items

    def require_items(self, name: str, remedy: str) -> list[YamlNode]:
        """Open a list that must hold something."""
        node = self._node(name)
        if node is None or (isinstance(node, Sequence) and not node.items):
            self.findings.problem(self.place(name), f"{self.named(name)} has nothing in it", remedy)
            return []
        return self.items(name)

    def unasked(self) -> list[str]:
        """List the fields that nobody asked for, in the order of the file."""
        return [name for name in self.mapping.entries if name not in self._asked]

    def suggestion(self, name: str) -> str | None:
        """Guess which of the fields asked for was meant."""
        return closest(name, [known for known in self._asked if known not in self.mapping.entries])

    def unknown(self, name: str) -> None:
        """Report one field as unknown."""
        guess = self.suggestion(name)
        self.findings.problem(
            self.mapping.entries[name].key_place,
            f"{shown(self.named(name))} is not a field of this document",
            f'did you mean "{guess}"?' if guess else "remove it; known here: " + ", ".join(self._asked),
        )

    def close(self) -> None:
        """Report every field that nobody asked for. Call it last."""
        for name in self.unasked():
            self.unknown(name)

    def _node(self, name: str) -> YamlNode | None:
        if name not in self._asked:
            self._asked.append(name)
        entry = self.mapping.entries.get(name)
        if entry is None or (isinstance(entry.value, Scalar) and entry.value.is_null):
            return None
        return entry.value


def word(node: YamlNode, path: str, value: Callable[[str], _T], findings: Findings) -> _T | None:
    """Read one word; None (and a problem) when it is unusable."""
    if not isinstance(node, Scalar):
        findings.problem(node.place, f"{path} is {_is(node)}", "write a single word; put braces in quotes")
        return None
    try:
        return value(node.text)
    except UnusableError as error:
        findings.problem(node.place, f"{path}: {error.message}", error.remedy)
        return None


def read_tls_files(fields: Fields) -> tuple[Path | None, Path | None, Path | None]:
    """Read caFile, certFile and keyFile; a certificate and its key come together or not at all."""
    ca_file = fields.read("caFile", absolute_path, None)
    cert_file = fields.read("certFile", absolute_path, None)
    key_file = fields.read("keyFile", absolute_path, None)
    if fields.has("certFile") != fields.has("keyFile"):
        present, absent = ("certFile", "keyFile") if fields.has("certFile") else ("keyFile", "certFile")
        fields.findings.problem(
            fields.place(present),
            f"{fields.named(present)} stands without {absent}",
            f"add {absent}, or drop {present}: a client certificate needs both",
        )
    return ca_file, cert_file, key_file


def _is(node: YamlNode) -> str:
    if isinstance(node, Scalar):
        return f"the word {shown(node.text)}"
    return "a list" if isinstance(node, Sequence) else "a mapping"
