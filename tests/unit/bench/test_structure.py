"""The structure's figures, on small packages of our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.structure.__main__ import main
from bench.structure.figures import between_folders, graph
from bench.structure.owners import holds
from bench.structure.source import Class, Package
from bench.structure.walk import Way, walk

NODE = '''
from sharedip.core.session import Session
from sharedip.core.messages import Found

class Node:
    def __init__(self):
        self.session = Session(self)
        self.seen = 0

    def handle_in_steps(self, events, now):
        for event in events:
            self._apply(event, now)

    def _apply(self, event, now):
        self.seen += 1
        self.session.heard(event, now)

    def found(self, name):
        """What the session has found."""

    def lost(self):
        """Nothing is left."""
'''
SESSION = """
from typing import Protocol
from sharedip.core.keys import Keys
from sharedip.core.messages import Found

class Listener(Protocol):
    def found(self, name): ...
    def lost(self): ...

class Session:
    def __init__(self, listener: Listener):
        self._listener = listener
        self._keys = Keys()

    def heard(self, event: Found, now):
        key, _ = event.key, now
        self._keys.note(key=key)
        self._keys.count(now)
        self._listener.found(event.name)
        strange.register(event)
"""
CORE = {
    "__init__.py": "",
    "node.py": NODE,
    "session.py": SESSION,
    "keys.py": "class Keys:\n    def note(self, key): ...\n    def count(self, now): ...\n",
    "messages.py": "from dataclasses import dataclass\n\n@dataclass\nclass Found:\n    key: str\n    name: str\n",
}


def package(folder: Path, files: dict[str, str]) -> Package:
    """Written below a folder, as `sharedip.core`."""
    core = folder / "src" / "sharedip" / "core"
    for name, text in files.items():
        (core / name).parent.mkdir(parents=True, exist_ok=True)
        (core / name).write_text(text)
    return Package(core, "sharedip.core")


def way_of(core: Package, parameter: str) -> Way:
    """From where facts come in."""
    node = core.find(core.modules["sharedip.core.node"], "Node")
    assert isinstance(node, Class)
    return walk(core, node.methods["handle_in_steps"], parameter)


def test_a_value_is_followed_down_and_up_again(tmp_path: Path) -> None:
    """Through other names, parts, keywords, attributes' classes, and the one class behind a protocol."""
    way = way_of(package(tmp_path, CORE), "events")
    assert way.entered == [
        "node.py: Node.handle_in_steps(events)",
        "node.py: Node._apply(event)",
        "session.py: Session.heard(event)",
        "keys.py: Keys.note(key)",
        "node.py: Node.found(name)",
    ]
    assert way.stops == ["node.py", "session.py", "keys.py", "node.py"]
    assert (way.files, way.returns) == (3, 1)
    assert way.lost == ["Session.heard: strange.register"]


def test_a_class_is_known_through_a_classmethod_and_an_assignment_of_several_names(tmp_path: Path) -> None:
    node = """
from sharedip.core.lease import Lease

class Node:
    def __init__(self):
        self._held: Lease | None = None

    def handle_in_steps(self, events, now):
        self._held = Lease.granted(events)
        seen, held = now, self._held
        held.confirmed(events)
"""
    lease = """
class Lease:
    @classmethod
    def granted(cls, event) -> Lease: ...
    def confirmed(self, event): ...
"""
    way = way_of(package(tmp_path, {"__init__.py": "", "node.py": node, "lease.py": lease}), "events")
    assert way.entered[1:] == ["lease.py: Lease.granted(event)", "lease.py: Lease.confirmed(event)"]
    assert way.lost == []


def test_a_function_that_calls_itself_is_walked_once(tmp_path: Path) -> None:
    """It is a stop each time, but the walk ends."""
    files = {"node.py": "class Node:\n    def handle_in_steps(self, events):\n        self.handle_in_steps(events)\n"}
    assert len(way_of(package(tmp_path, files), "events").entered) == 2


def test_imports_are_counted_between_files_and_between_folders(tmp_path: Path) -> None:
    """However they are written; a chain is as long as its files are many."""
    core = package(
        tmp_path,
        {
            "__init__.py": "",
            "node.py": "from .etcd import keys\nfrom .etcd.session import Session\nimport sharedip.core.model\n",
            "model.py": "import heapq\n",
            "etcd/__init__.py": "",
            "etcd/keys.py": "from ..model import Vip\n",
            "etcd/session.py": "def f():\n    from sharedip.core.etcd.keys import Keys\n",
        },
    )
    files, folders = graph(core.imports()), graph(between_folders(core, core.imports()))
    assert files.imports == 5
    assert [name.rpartition(".")[2] for name in files.chain] == ["node", "session", "keys", "model"]
    assert folders.imports == 3
    assert [name.rpartition(".")[2] for name in folders.chain] == ["node", "etcd", "model"]


def test_a_circle_is_told_instead_of_a_chain() -> None:
    """There is no longest way in it."""
    found = graph({"a": {"b"}, "b": {"a"}})
    assert found.chain == ()
    assert set(found.circle) == {"a", "b"}


@pytest.mark.parametrize(
    ("argument", "held"),
    [
        ("self", ["self"]),
        ("owner=self", ["self"]),
        ("self.told", ["self.told"]),
        ("partial(self.told, 1)", ["self.told"]),
        ("lambda: self.part", ["lambda"]),
        ("[self]", ["self"]),
        ("self.told()", []),
        ("self.part", []),
        ("self.part.told", []),
        ("self.size", []),
        ("lambda: 1", []),
        ("Part(self)", ["self"]),
    ],
)
def test_a_class_that_holds_its_owner_is_found(tmp_path: Path, argument: str, held: list[str]) -> None:
    """Or a way back into it; not what is asked before, nor a part."""
    files = {
        "part.py": "class Part:\n    def __init__(self, owner): ...\n",
        "whole.py": f"""
from functools import partial
from sharedip.core.part import Part

class Whole:
    def __init__(self):
        self.made = {{1: Part({argument})}}

    def told(self): ...

    @property
    def size(self): ...
""",
    }
    assert [(each.holder, each.owner, each.held) for each in holds(package(tmp_path, files))] == [
        ("Part", "Whole", way) for way in held
    ]


def test_the_figures_of_a_tree_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For people, and as JSON."""
    package(tmp_path, CORE)
    assert main(["--tree", str(tmp_path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["returns", "to", "a", "file", "left", "1"] in lines
    assert ["Node", "18", "5", "2"] in lines
    assert main(["--tree", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tree"]["holds"] == ["Session holds its owner Node"]
