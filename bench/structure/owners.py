"""Classes that hold their owner: whose constructor is handed the object, or a way back into it, that constructs them.

In a method of a class O, a call `C(...)` of a class C of the package with an argument that has in it
- `self`: C holds O;
- `self.method`, a method of O that is not called there: C holds a callable into O;
- a lambda that names `self`: the same.
A method of a *part* of O (`self.part.method`) leads to the part, not back into O, and does not count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from bench.structure.source import Class, Package


@dataclass(frozen=True, slots=True, order=True)
class Hold:
    """`held` as it is written at the call: `self`, `self._out`, or `lambda`."""

    holder: str
    owner: str
    held: str

    def __str__(self) -> str:
        return f"{self.holder} holds {'its owner ' if self.held == 'self' else f'{self.held} of '}{self.owner}"


def holds(package: Package) -> list[Hold]:
    """Every one once, by name."""
    return sorted({hold for owner in package.classes for hold in _holds_of(package, owner)})


def _holds_of(package: Package, owner: Class) -> list[Hold]:
    found = []
    for call in ast.walk(owner.node):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            continue
        made = package.find(owner.module, call.func.id)
        if isinstance(made, Class):
            arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
            found += [
                Hold(made.name, owner.name, way) for each in arguments for way in _ways_back(package, owner, each)
            ]
    return found


def _ways_back(package: Package, owner: Class, node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id="self"):
            yield "self"
        case ast.Lambda():
            if any(isinstance(each, ast.Name) and each.id == "self" for each in ast.walk(node)):
                yield "lambda"
        case ast.Attribute(value=ast.Name(id="self")):
            method = owner.methods.get(node.attr)
            if method is not None and not method.is_property:
                yield f"self.{node.attr}"
        case ast.Call(func=ast.Name()) if _is_class(package, owner, node.func):
            return  # one that is made in between is looked at by itself
        case ast.Call(func=ast.Attribute(value=ast.Name(id="self"))):
            for argument in [*node.args, *node.keywords]:
                yield from _ways_back(package, owner, argument)
        case _:
            for child in ast.iter_child_nodes(node):
                yield from _ways_back(package, owner, child)


def _is_class(package: Package, owner: Class, called: ast.expr) -> bool:
    return isinstance(called, ast.Name) and isinstance(package.find(owner.module, called.id), Class)
