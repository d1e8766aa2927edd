"""Which class of the package an expression has, as far as annotations and constructor calls tell.

A protocol stands for the one class that has all its members; where several have, nothing is told.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from bench.structure.source import Class, Function, Module, Package, is_self

SAME_ELEMENTS = {"sorted", "list", "tuple", "set", "frozenset", "reversed", "iter", "enumerate"}
ONE_ELEMENT = {"next", "min", "max"}
TAKES_ONE_OUT = {"get", "pop", "popleft", "setdefault"}
GIVES_THEM_ALL = {"values", "items", "copy"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A class, or a collection `of` something; of a dict its values count."""

    of_class: Class | None = None
    of: Kind | None = None


UNKNOWN = Kind()
Scope = dict[str, Kind]


class Types:
    """Everything is looked up once; what asks for itself in turn is unknown."""

    def __init__(self, package: Package) -> None:
        self._package = package
        self._attributes: dict[tuple[Class, str], Kind] = {}
        self._scopes: dict[Function, Scope] = {}
        self._real: dict[Class, Class] = {}

    def scope(self, function: Function) -> Scope:
        """The names in a function. A name has one kind, the first that is told."""
        if function not in self._scopes:
            scope = self._scopes[function] = {}
            if function.owner is not None:
                scope["self"] = Kind(function.owner)
            arguments = function.node.args
            for each in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
                if each.annotation is not None:
                    scope[each.arg] = self.annotated(function.module, each.annotation)
            for node in in_order(function.node):
                for target, kind in self._bindings(node, function.module, scope):
                    if isinstance(target, ast.Name) and scope.get(target.id, UNKNOWN) == UNKNOWN:
                        scope[target.id] = kind
        return self._scopes[function]

    def kind(self, node: ast.expr | None, module: Module, scope: Scope) -> Kind:
        """Of an expression."""
        match node:
            case ast.Name():
                return scope.get(node.id, UNKNOWN)
            case ast.Attribute():
                return self._attribute(self.kind(node.value, module, scope), node.attr)
            case ast.Call():
                return self._returned(node, module, scope)
            case ast.Subscript():
                return self.kind(node.value, module, scope).of or UNKNOWN
            case ast.IfExp():
                return self._first([node.body, node.orelse], module, scope)
            case ast.BoolOp():
                return self._first(node.values, module, scope)
            case ast.Starred() | ast.NamedExpr() | ast.Await():
                return self.kind(node.value, module, scope)
        return self._collection(node, module, scope)

    def annotated(self, module: Module, node: ast.expr | None) -> Kind:
        """Of an annotation."""
        match node:
            case ast.Constant(value=str()):
                return self.annotated(module, ast.parse(str(node.value), mode="eval").body)
            case ast.Name():
                found = self._package.find(module, node.id)
                return Kind(self._behind(found)) if isinstance(found, Class) else UNKNOWN
            case ast.BinOp():
                left = self.annotated(module, node.left)
                return left if left != UNKNOWN else self.annotated(module, node.right)
            case ast.Subscript(value=ast.Name(id="Callable")):
                return UNKNOWN
            case ast.Subscript():
                inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                inner = [each for each in inner if not (isinstance(each, ast.Constant) and each.value is Ellipsis)]
                return Kind(self.annotated(module, node.value).of_class, self.annotated(module, inner[-1]))
        return UNKNOWN

    def method(self, of_class: Class, name: str) -> Function | None:
        """In the class or in what it inherits from."""
        if name in of_class.methods:
            return of_class.methods[name]
        for base in of_class.node.bases:
            found = self._package.find(of_class.module, base.id) if isinstance(base, ast.Name) else None
            if isinstance(found, Class) and (method := self.method(found, name)) is not None:
                return method
        return None

    def called(self, call: ast.Call, module: Module, scope: Scope) -> Class | Function | None:
        """What a call calls: a class that it makes one of, a function, or a method."""
        match call.func:
            case ast.Name():
                found = self._package.find(module, call.func.id)
                return None if isinstance(found, Module) else found
            case ast.Attribute():
                owner = self.kind(call.func.value, module, scope).of_class
                if owner is not None:
                    return self.method(owner, call.func.attr)
                if isinstance(call.func.value, ast.Name):
                    place = self._package.find(module, call.func.value.id)
                    if isinstance(place, Class):
                        return self.method(place, call.func.attr)
                    found = self._package.find(place, call.func.attr) if isinstance(place, Module) else None
                    return None if isinstance(found, Module) else found
        return None

    def _collection(self, node: ast.expr | None, module: Module, scope: Scope) -> Kind:
        match node:
            case ast.Tuple() | ast.List() | ast.Set():
                return Kind(of=self._first(node.elts, module, scope))
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp():
                return Kind(of=self.kind(node.elt, module, scope))
            case ast.DictComp():
                return Kind(of=self.kind(node.value, module, scope))
        return UNKNOWN

    def _first(self, nodes: list[ast.expr], module: Module, scope: Scope) -> Kind:
        kinds = (self.kind(node, module, scope) for node in nodes)
        return next((kind for kind in kinds if kind != UNKNOWN), UNKNOWN)

    def _attribute(self, kind: Kind, name: str) -> Kind:
        owner = kind.of_class
        if owner is None:
            return UNKNOWN
        if (owner, name) not in self._attributes:
            self._attributes[owner, name] = UNKNOWN
            self._attributes[owner, name] = self._look_for_attribute(owner, name)
        return self._attributes[owner, name]

    def _look_for_attribute(self, owner: Class, name: str) -> Kind:
        if name in owner.fields:
            return self.annotated(owner.module, owner.fields[name])
        method = self.method(owner, name)
        if method is not None:
            return self.annotated(method.module, method.node.returns) if method.is_property else UNKNOWN
        for each in owner.methods.values():
            for node in in_order(each.node):
                for target, kind in self._bindings(node, owner.module, self.scope(each)):
                    is_it = isinstance(target, ast.Attribute) and target.attr == name and is_self(target.value)
                    if is_it and kind != UNKNOWN:
                        return kind
        return UNKNOWN

    def _returned(self, call: ast.Call, module: Module, scope: Scope) -> Kind:
        called = self.called(call, module, scope)
        if isinstance(called, Class):
            return Kind(called)
        if called is not None:
            return self.annotated(called.module, called.node.returns)
        first = self.kind(call.args[0], module, scope) if call.args else UNKNOWN
        match call.func:
            case ast.Name(id=name) if name in SAME_ELEMENTS:
                return first
            case ast.Name(id=name) if name in ONE_ELEMENT:
                return first.of or UNKNOWN
            case ast.Attribute(attr=name) if name in TAKES_ONE_OUT:
                return self.kind(call.func.value, module, scope).of or UNKNOWN
            case ast.Attribute(attr=name) if name in GIVES_THEM_ALL:
                return self.kind(call.func.value, module, scope)
        return UNKNOWN

    def _bindings(self, node: ast.AST, module: Module, scope: Scope) -> Iterator[tuple[ast.expr, Kind]]:
        match node:
            case ast.Assign():
                for target in node.targets:
                    yield target, self.kind(node.value, module, scope)
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                        yield from zip(
                            target.elts, (self.kind(each, module, scope) for each in node.value.elts), strict=False
                        )
            case ast.AnnAssign():
                yield node.target, self.annotated(module, node.annotation)
            case ast.NamedExpr():
                yield node.target, self.kind(node.value, module, scope)
            case ast.For() | ast.comprehension():
                element = self.kind(node.iter, module, scope).of or UNKNOWN
                # Of `items()` and `enumerate()` the second is what counts.
                last = node.target.elts[-1] if isinstance(node.target, ast.Tuple) else node.target
                yield last, element

    def _behind(self, protocol: Class) -> Class | None:
        if not protocol.is_protocol:
            return protocol
        if protocol not in self._real:
            wanted = {*protocol.methods, *protocol.fields}
            real = [
                each
                for each in self._package.classes
                if not each.is_protocol and wanted <= {*each.methods, *each.attributes}
            ]
            self._real[protocol] = real[0] if len(real) == 1 else protocol
        return self._real[protocol]


@cache
def in_order(function: ast.AST) -> tuple[ast.AST, ...]:
    """All nodes below, as they are written; of a comprehension what it iterates over comes first."""
    return tuple(_below(function))


def _below(node: ast.AST) -> Iterator[ast.AST]:
    for child in _children(node):
        yield child
        yield from _below(child)


def _children(node: ast.AST) -> list[ast.AST]:
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
        return [*node.generators, *(child for child in children if not isinstance(child, ast.comprehension))]
    return children
