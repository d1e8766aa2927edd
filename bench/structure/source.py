"""A package read as text: its modules, their imports, classes and functions. Nothing of it is run.

Must never: guess. What a name stands for is told only where an import or a definition says so.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

Callable = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(eq=False)
class Module:
    """One file. `names`: what it imports, as (module, name in it or None for the module itself)."""

    name: str
    file: Path
    tree: ast.Module
    names: dict[str, tuple[str, str | None]] = field(default_factory=dict)

    @property
    def is_face(self) -> bool:
        """An `__init__.py`."""
        return self.file.name == "__init__.py"

    @property
    def parent(self) -> str:
        """The package in which its relative imports begin."""
        return self.name if self.is_face else self.name.rpartition(".")[0]


@dataclass(eq=False)
class Function:
    """A function, or a method of `owner`."""

    node: Callable
    module: Module
    owner: Class | None = None

    def __str__(self) -> str:
        return f"{self.owner.name}.{self.node.name}" if self.owner else self.node.name

    @property
    def parameters(self) -> list[ast.arg]:
        """All that have a place; of a method without `self`."""
        every = [*self.node.args.posonlyargs, *self.node.args.args]
        return every[1:] if self.owner is not None and not self._has("staticmethod") else every

    @property
    def is_property(self) -> bool:
        """Whether it is read like an attribute."""
        return self._has("property", "cached_property")

    def _has(self, *decorators: str) -> bool:
        return any(isinstance(each, ast.Name) and each.id in decorators for each in self.node.decorator_list)


@dataclass(eq=False)
class Class:
    """One class, with what stands in its own body."""

    node: ast.ClassDef
    module: Module

    @property
    def name(self) -> str:
        """As it is defined."""
        return self.node.name

    @property
    def lines(self) -> int:
        """From its name to its last line."""
        return (self.node.end_lineno or self.node.lineno) - self.node.lineno + 1

    @cached_property
    def methods(self) -> dict[str, Function]:
        """By name, properties included."""
        return {each.name: Function(each, self.module, self) for each in self.node.body if isinstance(each, Callable)}

    @cached_property
    def fields(self) -> dict[str, ast.expr]:
        """The annotated names of its body: a dataclass's fields."""
        return {
            each.target.id: each.annotation
            for each in self.node.body
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        }

    @cached_property
    def attributes(self) -> set[str]:
        """Fields, and every distinct `self.x` that a method assigns."""
        stored = (node for node in ast.walk(self.node) if isinstance(node, ast.Attribute))
        return set(self.fields) | {
            node.attr for node in stored if isinstance(node.ctx, ast.Store) and is_self(node.value)
        }

    @property
    def is_protocol(self) -> bool:
        """Whether it only says what somebody else can do."""
        return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in self.node.bases)


class Package:
    """All modules below one folder, under their dotted names."""

    def __init__(self, folder: Path, name: str) -> None:
        """`name` is what the folder is imported as."""
        self.name = name
        self.folder = folder
        self.modules: dict[str, Module] = {}
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            dotted = ".".join([name, *(parts[:-1] if parts[-1] == "__init__" else parts)])
            self.modules[dotted] = Module(dotted, file, ast.parse(file.read_text(), str(file)))
        self._found = {module.name: _definitions(module) for module in self.modules.values()}
        for module in self.modules.values():
            for local, target, symbol in _imports(module):
                is_module = symbol is not None and f"{target}.{symbol}" in self.modules
                module.names[local] = (f"{target}.{symbol}", None) if is_module else (target, symbol)

    @property
    def classes(self) -> list[Class]:
        """Of all modules, in the order of files and lines."""
        return [each for found in self._found.values() for each in found.values() if isinstance(each, Class)]

    def imports(self) -> dict[str, set[str]]:
        """For every module those of the package that it imports; a name that a package's face hands on counts as
        imported from the face.
        """
        return {
            module.name: {target for target, _ in module.names.values() if target in self.modules} - {module.name}
            for module in self.modules.values()
        }

    def find(self, module: Module, name: str) -> Class | Function | Module | None:
        """What a name means in a module, through all that hand it on; None if it is none of ours."""
        here: Module | None = module
        seen = set[tuple[str, str]]()
        while here is not None and (here.name, name) not in seen:
            seen.add((here.name, name))
            if name in self._found[here.name]:
                return self._found[here.name][name]
            target, symbol = here.names.get(name, ("", None))
            here = self.modules.get(target)
            if symbol is None:
                return here
            name = symbol
        return None


def is_self(node: ast.expr) -> bool:
    """Whether it is the name `self`."""
    return isinstance(node, ast.Name) and node.id == "self"


def _definitions(module: Module) -> dict[str, Class | Function]:
    found: dict[str, Class | Function] = {}
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = Class(node, module)
        elif isinstance(node, Callable):
            found[node.name] = Function(node, module)
    return found


def _imports(module: Module) -> list[tuple[str, str, str | None]]:
    """(local name, module, name in it) of every import statement, wherever it stands."""
    found: list[tuple[str, str, str | None]] = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found += [(alias.asname or alias.name.split(".")[0], alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = module.parent.split(".")
            base = parents[: len(parents) - node.level + 1] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            found += [(alias.asname or alias.name, target, alias.name) for alias in node.names]
    return found
