"""The core and the simulation of a base, laid out so that they can be imported beside the working tree's.

The base's packages are called `base_sharedip` and `base_tests`, and what today's core does otherwise on purpose is
written into them. Counterparts: `normalisations.py` (what that is), `shadow.py` (which compares the two).
"""

from __future__ import annotations

import importlib
import io
import pkgutil
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.differential.neutral import Neutral, Translator
from tests.differential.normalisations import BEHAVIOURS, NORMALISATIONS, Behaviour, Normalisation, needed_at
from tests.differential.shadow import Comparison, stand_beside

ROOT = Path(__file__).parents[2]
FOLDERS = ("src/sharedip", "tests")
IMPORT = re.compile(r"^(\s*)(from|import) (sharedip|tests)\b", re.MULTILINE)


class UnknownBaseError(Exception):
    """The repository has no such commit; a shallow clone has few."""


def is_here(revision: str) -> bool:
    """Whether the repository, if there is one, has the commit."""
    command = ["git", "cat-file", "-e", f"{revision}^{{commit}}"]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode == 0


def files_of(revision: str) -> Iterator[tuple[str, str]]:
    """Path and text of every Python file of a commit that may be needed."""
    if not is_here(revision):
        raise UnknownBaseError(f"there is no commit {revision} here; `git fetch --unshallow` gets all there are")
    archive = subprocess.run(["git", "archive", revision, *FOLDERS], cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        for member in files:
            source = files.extractfile(member) if member.name.endswith(".py") else None
            if source is not None:
                yield member.name, source.read().decode()


def lay_out(files: Iterable[tuple[str, str]], folder: Path, behaviours: Iterable[Behaviour] = BEHAVIOURS) -> None:
    """Write the files under their other names, with the behaviours."""
    behaviours = tuple(behaviours)
    unmet = {each.file for each in behaviours}
    for path, source in files:
        inside = path.removeprefix("src/sharedip/")
        if inside != path:
            unmet.discard(inside)
            target = folder / "base_sharedip" / inside
            source = as_today(inside, source, behaviours)  # noqa: PLW2901 - the same file
        else:
            target = folder / f"base_{path}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(IMPORT.sub(r"\1\2 base_\3", source))
    if unmet:
        raise ValueError(f"the base has no {', '.join(sorted(unmet))}")


def as_today(file: str, source: str, behaviours: Iterable[Behaviour] = BEHAVIOURS) -> str:
    """A file of the base's package with the behaviours that were changed on purpose."""
    for each in behaviours:
        if each.file == file:
            if source.count(each.base) != 1:
                raise ValueError(f"{each.base!r} does not stand once in the base's {file}")
            source = source.replace(each.base, each.today)
    return source


def compare(
    folder: str,
    *,
    strict: bool = False,
    normalisations: Iterable[Normalisation] = NORMALISATIONS,
    needed_at: Callable[[Any], float] = needed_at,
) -> Comparison:
    """From now on every machine of the base's that is laid out in the folder has a shadow, in this process."""
    sys.path.insert(0, folder)
    neutral = Neutral(normalisations)
    comparison = Comparison(neutral, Translator(dict(_classes_today(neutral)), neutral), strict)
    base, today = importlib.import_module("base_sharedip.core.node"), importlib.import_module("sharedip.core.node")
    stand_beside(base.Node, today.Node, comparison, needed_at)
    return comparison


def _classes_today(neutral: Neutral) -> Iterator[tuple[str, type]]:
    """All of the core, by the base's names."""
    core = importlib.import_module("sharedip.core")
    for module in pkgutil.walk_packages(core.__path__, "sharedip.core."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, type) and value.__module__ == module.name:
                yield neutral.base_name(name), value
