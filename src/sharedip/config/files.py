"""Files and folders → texts, or why they can't be read.

Role: the only place in this package that reads a file. Must never: open what is no regular file (a pipe might never
end), read without a limit, or follow the order of the directory instead of the names'.
Counterparts: `load.py` parses the texts, `modes.py` looks at whose they are.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from sharedip.config.documents import FILE_BYTES_MAX, place_in
from sharedip.config.problems import Findings, Place, printable

FILES_MAX = 4096
_SUFFIXES = (".yaml", ".yml")


def read_files(paths: Sequence[Path], findings: Findings) -> dict[str, str]:
    """Read every file, and every YAML file of every folder, in order: name as messages show it → text."""
    documents: dict[str, str] = {}
    seen: dict[tuple[int, int], str] = {}
    for path in paths:
        for file in _files_of(path, findings):
            text = _read(file, seen, findings)
            if text is not None:
                documents[_name(file)] = text
    return documents


Signature = tuple[tuple[str, int, int, int], ...]
"""Of each file: name, inode, size, and when it was written; the numbers are 0 for one that can't be looked at.
Empty: there is no document."""


def signature_of(paths: Sequence[Path]) -> Signature:
    """By which a change is seen without reading anything."""
    found = []
    for path in paths:
        for file in _files_of(path, Findings()):
            try:
                facts = file.stat()
            except (OSError, ValueError):
                found.append((_name(file), 0, 0, 0))
            else:
                found.append((_name(file), facts.st_ino, facts.st_size, facts.st_mtime_ns))
    return tuple(found)


def _files_of(path: Path, findings: Findings) -> list[Path]:
    """The path itself, or what is to be read in the folder."""
    place = Place(_name(path), 0, 0)
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            return [path]
        names = sorted(name for name in os.listdir(path) if name.endswith(_SUFFIXES) and not name.startswith("."))
    except (OSError, ValueError) as error:
        _report_unreadable(path, error, findings)
        return []
    if not names:
        findings.problem(
            place, "the folder has no *.yaml or *.yml file", "put the documents there, or name another folder"
        )
    if len(names) > FILES_MAX:
        findings.problem(
            place, f"the folder has more than {FILES_MAX} YAML files", "put several documents into one file"
        )
        return []
    return [path / name for name in names]


def _read(file: Path, seen: dict[tuple[int, int], str], findings: Findings) -> str | None:
    place = Place(_name(file), 0, 0)
    try:
        facts = file.stat()
        if not stat.S_ISREG(facts.st_mode):
            # Opening a pipe or a device might never end.
            findings.problem(place, "this is not a regular file", "name a file or a folder of YAML documents")
            return None
        earlier = seen.setdefault((facts.st_dev, facts.st_ino), _name(file))
        if earlier != place.file:
            findings.notice(place, f"this is the same file as {earlier}, and is read once", "name it once")
            return None
        with file.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        _report_unreadable(file, error, findings)
        return None
    if len(content) > FILE_BYTES_MAX:
        findings.problem(
            place,
            f"the file has more than {FILE_BYTES_MAX // 1024 // 1024} MiB",
            "give the documents about VIPs in files of their own",
        )
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace")
        findings.problem(
            place_in(place.file, before, len(before)),
            f"byte 0x{content[error.start]:02x} is not UTF-8",
            "save the file as UTF-8 text",
        )
        return None


def _report_unreadable(path: Path, error: OSError | ValueError, findings: Findings) -> None:
    place = Place(_name(path), 0, 0)
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        findings.problem(place, "this symbolic link leads nowhere", "restore what it points to, or remove it")
    elif isinstance(error, FileNotFoundError):
        findings.problem(place, "there is no such file or folder", "write the documents there, or name them with -c")
    else:
        reason = (error.strerror or "unreadable") if isinstance(error, OSError) else "no usable path"
        findings.problem(place, f"this can't be read: {reason}", "check the path and its permissions (ls -l)")


def _name(path: Path) -> str:
    """The path as messages show it: printable whatever bytes it has."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return printable(text)
