"""One word, one idea: a class or an alias of a type is named once in the whole agent."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "sharedip"


def homonyms(root: Path) -> list[str]:
    """Names of classes and of unions that stand at two places below `root`, each with its places."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for file in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(), str(file))):
            match node:
                case ast.ClassDef(name=name):
                    pass
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.BinOp(op=ast.BitOr())) if name[0].isupper():
                    pass
                case _:
                    continue
            places[name].append(f"{file.relative_to(root)}:{node.lineno}")
    return [f"{name}: {', '.join(found)}" for name, found in sorted(places.items()) if len(found) > 1]


def test_no_class_shares_its_name_with_another() -> None:
    """A reader who knows the word knows the thing."""
    assert not homonyms(SOURCE)


@pytest.mark.parametrize(
    ("first", "second", "is_lawful"),
    [
        ("class Fence: ...", "class Gate: ...", True),
        ("class Fence: ...", "class Fence: ...", False),
        ("class Fact: ...", "Fact = Put | Get", False),
        ("Fact = Put | Get", "Fact = Put | Delete", False),
        ("FLAGS = READ | WRITE", "FLAGS = READ", True),
        ("class _Picture: ...", "class _Picture: ...", False),
    ],
)
def test_the_law_is_seen_to_bite(tmp_path: Path, first: str, second: str, is_lawful: bool) -> None:
    """A negative assertion has been seen red once."""
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "one.py").write_text(first + "\n")
    (tmp_path / "other.py").write_text(second + "\n")
    assert (homonyms(tmp_path) == []) == is_lawful
