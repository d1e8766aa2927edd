"""The way of one value: which files it comes to when its parameter is followed through the calls that pass it on.

A stop is a run of entered functions of one file; a return is a stop in a file already left. The walk goes depth first,
in the order in which the code is written, through every branch. What counts as the value: the parameter itself, its
attributes, items and elements, a name that is given one of these, a collection or a `replace` made of them; not what is
computed from it. It goes on where it is an argument, or where a method of it is called. A function that was walked with
the same names before is a stop again, but is not walked again. Where the callee is not told by imports, annotations and
constructor calls, the way is lost; what is stored in an attribute ends there.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from bench.structure.source import Class, Function, Package
from bench.structure.types import Types, in_order

COLLECTIONS = {"tuple", "list", "sorted", "set", "frozenset", "iter", "reversed", "enumerate", "zip", "dict", "next"}
"""What these give is made of what they are given."""
OF_COLLECTIONS = {"add", "append", "discard", "extend", "get", "pop", "remove", "setdefault", "update"}
"""Methods behind which no code of ours stands."""


@dataclass(slots=True)
class Way:
    """`stops` are files, as they are come to; `lost` the calls behind which nothing is known."""

    stops: list[str] = field(default_factory=list)
    entered: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def files(self) -> int:
        """How many different ones."""
        return len(set(self.stops))

    @property
    def returns(self) -> int:
        """Stops in files that were left before."""
        return len(self.stops) - self.files


def walk(package: Package, start: Function, parameter: str) -> Way:
    """Follow one parameter of one function."""
    walker = _Walker(package)
    walker.enter(start, {parameter})
    return walker.way


class _Walker:
    def __init__(self, package: Package) -> None:
        self.way = Way()
        self._package = package
        self._types = Types(package)
        self._walked: set[tuple[Function, frozenset[str]]] = set()

    def enter(self, function: Function, names: set[str]) -> None:
        file = function.module.file.relative_to(self._package.folder).as_posix()
        if not self.way.stops or self.way.stops[-1] != file:
            self.way.stops.append(file)
        self.way.entered.append(f"{file}: {function}({', '.join(sorted(names))})")
        if (function, frozenset(names)) in self._walked:
            return
        self._walked.add((function, frozenset(names)))
        for node in in_order(function.node):
            self._name(node, names)
            if isinstance(node, ast.Call):
                self._follow(node, function, names)

    def _name(self, node: ast.AST, names: set[str]) -> None:
        """Other names of the value."""
        match node:
            case ast.Assign() if _is_part(node.value, names):
                for target in node.targets:
                    names |= _named(target)
            case ast.AnnAssign() | ast.NamedExpr() if node.value is not None and _is_part(node.value, names):
                names |= _named(node.target)
            case ast.For() | ast.comprehension() if _is_part(node.iter, names):
                names |= _named(node.target)
            case ast.Match() if _is_part(node.subject, names):
                patterns = (each for case in node.cases for each in ast.walk(case.pattern))
                names |= {each.name for each in patterns if isinstance(each, ast.MatchAs | ast.MatchStar) and each.name}

    def _follow(self, call: ast.Call, function: Function, names: set[str]) -> None:
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        is_given = any(_is_part(each, names) for each in given)
        is_asked = isinstance(call.func, ast.Attribute) and _is_part(call.func.value, names)
        if not is_given and not is_asked:
            return
        called = self._types.called(call, function.module, self._types.scope(function))
        if isinstance(called, Class):
            called = self._types.method(called, "__init__")
            is_asked = False
        elif called is None and is_given and _is_method(call.func):
            self.way.lost.append(f"{function}: {ast.unparse(call.func)}")
        if called is not None:
            taken = _parameters(called, call, names)
            if taken or is_asked:
                self.enter(called, taken | ({"self"} if is_asked else set()))


def _is_method(called: ast.expr) -> bool:
    return isinstance(called, ast.Attribute) and called.attr not in OF_COLLECTIONS


def _is_part(node: ast.expr, names: set[str]) -> bool:
    match node:
        case ast.Name():
            return node.id in names
        case ast.Attribute() | ast.Subscript() | ast.Starred() | ast.NamedExpr() | ast.Await():
            return _is_part(node.value, names)
        case ast.Tuple() | ast.List() | ast.Set():
            return any(_is_part(each, names) for each in node.elts)
        case ast.BoolOp():
            return any(_is_part(each, names) for each in node.values)
        case ast.IfExp():
            return _is_part(node.body, names) or _is_part(node.orelse, names)
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
            inner = names.union(*(_named(each.target) for each in node.generators if _is_part(each.iter, names)))
            return _is_part(node.elt, inner)
        case ast.Call(func=ast.Name(id=name)):
            return name in COLLECTIONS | {"replace"} and any(_is_part(each, names) for each in node.args)
        case ast.Call(func=ast.Attribute(attr="items" | "values" | "get" | "pop")):
            return isinstance(node.func, ast.Attribute) and _is_part(node.func.value, names)
    return False


def _named(target: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _parameters(called: Function, call: ast.Call, names: set[str]) -> set[str]:
    """Under which names the callee gets the value."""
    places, arguments = called.parameters, called.node.args
    taken = set[str]()
    for place, argument in enumerate(call.args):
        if not _is_part(argument, names):
            continue
        if place < len(places):
            taken.add(places[place].arg)
        elif arguments.vararg is not None:
            taken.add(arguments.vararg.arg)
    known = {each.arg for each in [*places, *arguments.kwonlyargs]}
    for keyword in call.keywords:
        if keyword.arg in known and _is_part(keyword.value, names):
            taken.add(keyword.arg)
    return taken
