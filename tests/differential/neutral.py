"""Values of either core in the base's words, so that the two can be compared; and the base's facts for today's core.

Must never: know a kind of the core by its import (the two versions call them differently), or pass over a value that it
does not know: that is an error. Counterpart: `normalisations.py`, the list of names that it applies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from operator import attrgetter
from types import NoneType
from typing import Any, NamedTuple

from tests.differential.normalisations import NORMALISATIONS, Default, Field, Kind, Member, Normalisation

NUMBERS = ("request", "watch", "number")
"""Fields by which an answer finds its order; each core counts for itself."""
SAME = frozenset({int, bool, float, str, bytes, NoneType, IPv4Address, IPv6Address})
"""Neither core has a class of its own for these."""


class Value(NamedTuple):
    """A dataclass, or a member of an enum, which has no fields. Without the fields that count."""

    kind: str
    fields: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()

    def get(self, name: str) -> Any:
        """A field, which it has."""
        return self.values[self.fields.index(name)]

    def having(self, name: str, value: object) -> Value:
        """The same with another value of a field."""
        at = self.fields.index(name)
        return self._replace(values=(*self.values[:at], value, *self.values[at + 1 :]))


_NUMBERS_OF: dict[type, str | None] = {}


def number_of(kind: Any) -> str | None:
    """The field by which an answer finds its order, if the kind has one."""
    if kind not in _NUMBERS_OF:
        names = {each.name for each in dataclasses.fields(kind)}
        _NUMBERS_OF[kind] = next((name for name in NUMBERS if name in names), None)
    return _NUMBERS_OF[kind]


class Neutral:
    """Invariant: equal neutral values mean equal values, but for what `met` tells."""

    def __init__(self, normalisations: Iterable[Normalisation] = NORMALISATIONS) -> None:
        """What may be called differently."""
        self.met: set[str] = set()
        """What made a difference, one sentence each."""
        entries = tuple(normalisations)
        self._kinds = {each.today: each for each in entries if isinstance(each, Kind)}
        self._fields = {(each.kind, each.today): each for each in entries if isinstance(each, Field)}
        self._members = {(each.kind, each.today): each for each in entries if isinstance(each, Member)}
        self._defaults = {(each.kind, each.field): each for each in entries if isinstance(each, Default)}
        self._readers: dict[type, Callable[[Any], Any]] = {}

    def value(self, value: Any) -> Any:
        """One value of either core, with all that is in it."""
        kind = type(value)
        if kind in SAME:
            return value
        reader = self._readers.get(kind)
        if reader is None:
            reader = self._readers[kind] = self._reader(kind)
        return reader(value)

    # -- the other way ------------------------------------------------------------------------------------------------

    def base_name(self, today: str) -> str:
        """What the base calls a kind of today's."""
        renamed = self._kinds.get(today)
        return today if renamed is None or renamed.sets else renamed.base

    def name(self, kind: type) -> str:
        """What the base calls a class of either core that is met."""
        renamed = self._kinds.get(kind.__name__)
        if renamed is None:
            return kind.__name__
        self.met.add(f"{renamed.today} is {renamed.base}: {renamed.why}")
        return renamed.base

    def field_today(self, kind: str, name: str) -> str:
        """What today's core calls a field of a kind of the base's."""
        return next((each.today for each in self._fields.values() if (each.kind, each.base) == (kind, name)), name)

    def member_today(self, kind: str, name: str) -> str:
        """What today's core calls a member of an enum of the base's."""
        return next((each.today for each in self._members.values() if (each.kind, each.base) == (kind, name)), name)

    # -- one reader a type, made when it is met first -----------------------------------------------------------------

    def _reader(self, kind: type) -> Callable[[Any], Any]:
        if kind in (tuple, list):
            return lambda values: tuple([self.value(each) for each in values])
        if kind in (set, frozenset):
            return lambda values: frozenset([self.value(each) for each in values])
        if kind is dict:
            return lambda values: tuple([(self.value(key), self.value(each)) for key, each in values.items()])
        if issubclass(kind, Enum):
            return self._enum(kind)
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind)
        raise TypeError(f"{kind} has no neutral value")

    def _enum(self, kind: type[Enum]) -> Callable[[Any], Any]:
        name = self.name(kind)
        values: dict[Any, Value] = {}

        def read(member: Enum) -> Value:
            if member not in values:
                renamed = self._members.get((name, member.name))
                if renamed is not None:
                    self.met.add(f"{name}.{renamed.today} is {name}.{renamed.base}: {renamed.why}")
                values[member] = Value(f"{name}.{member.name if renamed is None else renamed.base}")
            return values[member]

        return read

    def _dataclass(self, kind: Any) -> Callable[[Any], Any]:
        name = self.name(kind)
        renamed = self._kinds.get(kind.__name__)
        said = {} if renamed is None else renamed.sets
        attributes: dict[str, Callable[[Any], Any]] = {}
        for each in dataclasses.fields(kind):
            other = self._fields.get((name, each.name))
            if other is not None:
                self.met.add(f"{name}.{other.today} is {name}.{other.base}: {other.why}")
            if each.name not in NUMBERS:
                attributes[each.name if other is None else other.base] = attrgetter(each.name)
        fields = tuple(sorted({*attributes, *said}))
        getters = [attributes.get(field) or _always(said[field]) for field in fields]
        value = self.value

        def read(order: Any) -> Value:
            return Value(name, fields, tuple([value(get(order)) for get in getters]))

        defaults = {field: self._defaults[name, field] for field in fields if (name, field) in self._defaults}
        return (lambda order: self._without(read(order), defaults)) if defaults else read

    def _without(self, value: Value, defaults: dict[str, Default]) -> Value:
        told = []
        for field, each in zip(value.fields, value.values, strict=True):
            default = defaults.get(field)
            if default is not None and each == default.value:
                self.met.add(f"{value.kind}.{field}={each!r} is left out: {default.why}")
            else:
                told.append((field, each))
        return Value(value.kind, tuple(field for field, _ in told), tuple(each for _, each in told))


def _always(value: object) -> Callable[[Any], Any]:
    return lambda _: value


def text(value: object) -> str:
    """A neutral value for people."""
    match value:
        case Value():
            fields = [f"{name}={text(each)}" for name, each in zip(value.fields, value.values, strict=True)]
            return f"{value.kind}({', '.join(fields)})" if fields else value.kind
        case tuple():
            return f"[{', '.join(map(text, value))}]"
        case frozenset():
            return f"{{{', '.join(sorted(map(text, value)))}}}"
        case IPv4Address() | IPv6Address():
            return str(value)
    return repr(value)


class Translator:
    """Values of the base's classes as values of the working tree's."""

    def __init__(self, classes: dict[str, type], neutral: Neutral) -> None:
        """`classes`: the working tree's, by the base's names."""
        self._classes = classes
        self._neutral = neutral
        self._makers: dict[type, Callable[[Any], Any]] = {}

    def value(self, value: Any) -> Any:
        """Anything that goes into a machine."""
        kind = type(value)
        if kind in SAME:
            return value
        maker = self._makers.get(kind)
        if maker is None:
            maker = self._makers[kind] = self._maker(kind)
        return maker(value)

    def _maker(self, kind: Any) -> Callable[[Any], Any]:
        if kind in (tuple, list, set, frozenset):
            return lambda values: kind([self.value(each) for each in values])
        if kind is dict:
            return lambda values: {self.value(key): self.value(each) for key, each in values.items()}
        if not issubclass(kind, Enum) and not dataclasses.is_dataclass(kind):
            return lambda value: value  # a callable, as the identity has
        other: Any = self._classes.get(kind.__name__)
        if other is None:
            raise TypeError(f"the working tree has no {kind.__name__}")
        if issubclass(kind, Enum):
            return lambda member: other[self._neutral.member_today(kind.__name__, member.name)]
        self._neutral.name(other)
        names = [each.name for each in dataclasses.fields(kind)]
        pairs = [(self._neutral.field_today(kind.__name__, name), attrgetter(name)) for name in names]
        return lambda value: other(**{name: self.value(get(value)) for name, get in pairs})
