"""The lab's import law: nothing of the agent's package, and within the lab from a higher level to a lower one only."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.unit.test_import_law import Import, imports_of

SOURCE = Path(__file__).parents[2] / "lab" / "sharedip_lab"

LEVELS = (
    {"world"},
    {"observe"},
    {"stage", "programs"},
    {"machine_stage"},
    {"faults"},
    {"scenarios"},
    {"report"},
    {"bench", "parallel"},
    {"commands"},
)
"""The map on the package's face, lowest first. Parts of one level do not know each other."""
LEVEL = {part: number for number, parts in enumerate(LEVELS) for part in parts}


def part(module: str) -> str:
    """The folder, or the module beside the folders; nothing for the package itself."""
    return module.split(".")[1] if "." in module else ""


def offence(each: Import) -> str | None:
    """Why this import is against the law; None if it is not."""
    top = each.imported.split(".")[0]
    if top == "sharedip":
        return f"{each}: the lab judges the shipped command from outside and imports none of it"
    if top != "sharedip_lab":
        return None
    importer, imported = part(each.importer), part(each.imported)
    if importer == imported != "programs":
        return None
    if not importer:
        return f"{each}: the package's face costs `sharedip --help` nothing"
    if imported == "programs":
        return f"{each}: a program is started, never imported"
    if LEVEL.get(imported, len(LEVELS)) >= LEVEL[importer]:
        return f"{each}: {imported} does not stand below {importer}"
    return None


def test_every_import_of_the_lab_is_lawful() -> None:
    """All offences at once, each with its line."""
    offences = [text for each in imports_of(SOURCE) if (text := offence(each)) is not None]
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize(
    ("file", "line", "is_lawful"),
    [
        ("world/x.py", "from sharedip_lab.world.runs import Run", True),
        ("world/x.py", "from sharedip_lab.observe.points import Points", False),
        ("world/x.py", "from ..stage import Stage", False),
        ("world/x.py", "from sharedip.core.model import Vip", False),
        ("world/x.py", "def f():\n    import sharedip.cli.main", False),
        ("observe/x.py", "from sharedip_lab.world import frames", True),
        ("programs/x.py", "from sharedip_lab.observe.wire import Wire", True),
        ("programs/x.py", "from sharedip_lab.programs.echo import main", False),
        ("programs/x.py", "from sharedip_lab.stage import Stage", False),
        ("stage.py", "from sharedip_lab.observe.feeds import Feeds", True),
        ("stage.py", "def f():\n    from sharedip_lab.faults.strikes import Undo", False),
        ("faults/x.py", "from sharedip_lab.programs.backend import main", False),
        ("report/x.py", "import rich", True),
        ("report/x.py", "from sharedip_lab.bench.sections import SECTIONS", False),
        ("parallel.py", "from sharedip_lab.bench import thousand", False),
        ("commands.py", "from sharedip_lab.parallel import in_parallel", True),
        ("__init__.py", "from sharedip_lab.commands import run", False),
    ],
)
def test_the_labs_law_is_seen_to_bite(tmp_path: Path, file: str, line: str, is_lawful: bool) -> None:
    """A negative assertion has been seen red once."""
    place = tmp_path / "sharedip_lab" / file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(line + "\n")
    offences = [offence(each) for each in imports_of(tmp_path / "sharedip_lab")]
    assert offences
    assert (offences == [None]) == is_lawful, offences


def test_every_part_of_the_lab_has_a_level() -> None:
    """A new folder says where it stands, in the test and on the package's face."""
    parts = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts - {"__init__"} == LEVEL.keys()
    face = ast.get_docstring(ast.parse((SOURCE / "__init__.py").read_text())) or ""
    drawn = [set(line[:28].split()) for line in face.splitlines() if line.startswith("  ")]
    assert drawn == list(reversed(LEVELS))


def test_programs_have_a_main_and_nothing_else_has() -> None:
    """The folder alone says what is a process of its own."""
    with_main = {path.parent.name for path in SOURCE.rglob("*.py") if "\ndef main(" in path.read_text()}
    assert with_main == {"programs"}
    programs = [path for path in (SOURCE / "programs").glob("*.py") if path.stem != "__init__"]
    assert programs
    assert all("\ndef main(" in path.read_text() for path in programs)


def test_every_module_and_every_class_of_the_lab_has_a_name_of_its_own() -> None:
    """Whoever reads a name in a log or a sentence knows which one is meant."""
    files = [path for path in SOURCE.rglob("*.py") if path.stem != "__init__"]
    modules = Counter(path.stem for path in files)
    classes = Counter(
        node.name for path in files for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in (modules + classes).items() if count > 1] == []
    assert not modules.keys() & {path.name for path in SOURCE.iterdir() if path.is_dir()}
