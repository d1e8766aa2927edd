"""Facts and orders as text that two versions of the core have in common: kinds and fields, normalised.

Must never: know a kind of the core by its import (the two versions call them differently), or print what changes from
run to run, as an address in memory does: a value that it does not know is an error.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from operator import attrgetter
from typing import Any

from tests.differential.normalisations import (
    NORMALISATIONS,
    RANKS,
    Default,
    Field,
    Kind,
    Member,
    Normalisation,
    Text,
)

Render = Callable[[Any], str]


class Neutral:
    """Invariant: equal text means equal values but for what `used` tells."""

    def __init__(
        self,
        normalisations: Iterable[Normalisation] = NORMALISATIONS,
        ranks: Sequence[frozenset[str]] = RANKS,
        *,
        strict: bool = False,
    ) -> None:
        """`strict`: the order of a step's orders counts altogether."""
        self.used: set[str] = set()
        """What made a difference, one sentence each."""
        entries = tuple(normalisations)
        self._kinds = {each.today: each for each in entries if isinstance(each, Kind)}
        self._fields = {(each.kind, each.today): each for each in entries if isinstance(each, Field)}
        self._members = {(each.kind, each.today): each for each in entries if isinstance(each, Member)}
        self._defaults = {(each.kind, each.field): each for each in entries if isinstance(each, Default)}
        self._texts = [(re.compile(each.today), each) for each in entries if isinstance(each, Text)]
        self._rank = {} if strict else {kind: rank for rank, kinds in enumerate(ranks) for kind in kinds}
        self._renders: dict[type, Render] = {}
        self._ranks_of: dict[type, int | None] = {}
        self._said: dict[str, str] = {}

    def text(self, value: object) -> str:
        """One value, with all that is in it."""
        kind = type(value)
        render = self._renders.get(kind)
        if render is None:
            render = self._renders[kind] = self._render_of(kind)
        return render(value)

    def step(self, orders: Iterable[object]) -> list[str]:
        """The orders of one step; those that may change places stand in the order of their VIPs."""
        orders = list(orders)
        texts = [self.text(order) for order in orders]
        if len(orders) < 2 or not self._rank:
            return texts
        ranks = [self._rank_of(order) for order in orders]
        first = 0
        while first < len(orders):
            behind = first + 1
            while behind < len(orders) and ranks[behind] is not None and ranks[behind] == ranks[first]:
                behind += 1
            if behind - first > 1:
                texts[first:behind] = self._by_vip(orders[first:behind], texts[first:behind])
            first = behind
        return texts

    # -- the other way ------------------------------------------------------------------------------------------------

    def kind(self, value: object) -> str:
        """The base's name of a value's kind."""
        return self._name_of(type(value))

    def base_name(self, today: str) -> str:
        """What the base calls a kind of today's."""
        renamed = self._kinds.get(today)
        return today if renamed is None or renamed.sets else renamed.base

    def fields_today(self, kind: str, fields: dict[str, object]) -> dict[str, object]:
        """Fields of a kind (by its base name) as today's has them."""
        names = {entry.base: entry.today for (each, _), entry in self._fields.items() if each == kind}
        return {names.get(name, name): value for name, value in fields.items()}

    def member_today(self, kind: str, member: str) -> str:
        """A member of an enum, as today's calls it."""
        names = {entry.base: entry.today for (each, _), entry in self._members.items() if each == kind}
        return names.get(member, member)

    # -- the order of orders ------------------------------------------------------------------------------------------

    def _rank_of(self, order: object) -> int | None:
        kind = type(order)
        if kind not in self._ranks_of:
            self._ranks_of[kind] = self._rank.get(self._name_of(kind))
        return self._ranks_of[kind]

    def _by_vip(self, orders: list[Any], texts: list[str]) -> list[str]:
        concerned = [tuple(self.text(vip) for vip in _vips_of(order)) for order in orders]
        for one in concerned:
            if not one or any(one != other and set(one) & set(other) for other in concerned):
                return texts  # about no VIP, or about some in common: who comes first may matter
        places = sorted(range(len(texts)), key=concerned.__getitem__)
        ordered = [texts[place] for place in places]
        if ordered != texts:
            self.used.add("neighbours of one rank, about different VIPs, stand in the order of their VIPs")
        return ordered

    # -- one renderer a type, made when it is met first ---------------------------------------------------------------

    def _name_of(self, kind: type) -> str:
        renamed = self._kinds.get(kind.__name__)
        if renamed is None:
            return kind.__name__
        self.used.add(f"{renamed.today} is {renamed.base}: {renamed.why}")
        return renamed.base

    def _render_of(self, kind: type) -> Render:
        if kind in (int, bool, float, bytes, type(None)):
            return repr
        if kind is str:
            return self._string
        if kind in (IPv4Address, IPv6Address):
            return str
        if kind in (tuple, list):
            return lambda values: f"[{', '.join([self.text(each) for each in values])}]"
        if kind in (set, frozenset):
            return lambda values: f"{{{', '.join(sorted(self.text(each) for each in values))}}}"
        if kind is dict:
            return lambda values: f"{{{', '.join(f'{self.text(k)}: {self.text(v)}' for k, v in values.items())}}}"
        if issubclass(kind, Enum):
            return self._enum(kind)
        if dataclasses.is_dataclass(kind):
            return self._dataclass(kind)
        raise TypeError(f"{kind} has no neutral text")

    def _string(self, value: str) -> str:
        said = self._said.get(value)
        if said is None:
            said = value
            for pattern, entry in self._texts:
                said, count = pattern.subn(entry.base, said)
                if count:
                    self.used.add(f'"{entry.today}" reads "{entry.base}": {entry.why}')
            said = self._said[value] = repr(said)
        return said

    def _enum(self, kind: type[Enum]) -> Render:
        name = self._name_of(kind)
        texts = {}
        for member in kind:
            renamed = self._members.get((name, member.name))
            if renamed is not None:
                self.used.add(f"{name}.{renamed.today} is {name}.{renamed.base}: {renamed.why}")
            texts[member] = f"{name}.{member.name if renamed is None else renamed.base}"
        return texts.__getitem__

    def _dataclass(self, kind: type) -> Render:
        name = self._name_of(kind)
        renamed = self._kinds.get(kind.__name__)
        says = {} if renamed is None else {field: repr(value) for field, value in renamed.sets.items()}
        columns: list[tuple[str, Callable[[Any], object] | None, str | None]] = [
            (f"{field}={value}", None, None) for field, value in says.items()
        ]
        for field in dataclasses.fields(kind):
            other = self._fields.get((name, field.name))
            if other is not None:
                self.used.add(f"{name}.{other.today} is {name}.{other.base}: {other.why}")
            called = field.name if other is None else other.base
            default = self._defaults.get((name, called))
            silent = None if default is None else repr(default.value)
            if default is not None:
                self.used.add(f"{name}.{called}={silent} is left out: {default.why}")
            columns.append((f"{called}=", attrgetter(field.name), silent))
        columns.sort(key=lambda column: column[0])
        return lambda value: f"{name}({', '.join(self._columns(columns, value))})"

    def _columns(
        self, columns: list[tuple[str, Callable[[Any], object] | None, str | None]], value: object
    ) -> Iterable[str]:
        texts = []
        for label, get, silent in columns:
            if get is None:
                texts.append(label)
                continue
            text = self.text(get(value))
            if text != silent:
                texts.append(label + text)
        return texts


def _vips_of(order: Any) -> tuple[object, ...]:
    vip = getattr(order, "vip", None)
    return (vip,) if vip is not None else tuple(getattr(order, "vips", ()))
