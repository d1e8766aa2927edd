"""Whose files these are: what the agent runs or trusts is root's, or its own user's, alone (as sshd's StrictModes).

Role: say who else may write a document, its folder or a program, or read a key. Must never: change a mode, or take a
file that can't be looked at for a sound one's opposite: whoever reads it says that.
Counterparts: `load.py` (refuses documents and programs), `cli/check_rights.py` (warns of keys and passwords).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path


def who_may_write(path: Path) -> str | None:
    """How somebody else may put another file there; None if nobody may, or it can't be looked at.

    Each folder on the way counts, as does what a symbolic link leads to. In a folder with the sticky bit (/tmp) others
    may make files of their own and touch none of ours.
    """
    for place, is_parent in _places(path):
        reason = _reason(place, is_parent=is_parent)
        if reason is not None:
            return reason
    return None


def who_may_read(path: Path) -> str | None:
    """Who else may read it: a group that is not ours, or everybody."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    if facts.st_mode & stat.S_IROTH:
        return "everybody may read it"
    if facts.st_mode & stat.S_IRGRP and facts.st_gid not in {0, os.getegid()}:
        return f"group {facts.st_gid} may read it"
    return None


def _places(path: Path) -> Iterator[tuple[Path, bool]]:
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # a loop of links; no path at all
        return
    yield real, False
    seen: set[Path] = set()
    for parent in (*real.parents, *path.absolute().parents):
        if parent not in seen:
            seen.add(parent)
            yield parent, True


def _reason(place: Path, *, is_parent: bool) -> str | None:
    try:
        facts = place.stat()
        if os.statvfs(place).f_flag & os.ST_RDONLY:  # such as a ConfigMap in a pod, whose folder says 0777
            return None
    except OSError:
        return None
    if facts.st_uid not in {0, os.geteuid()}:
        return f"{place} belongs to user {facts.st_uid}"
    if is_parent and facts.st_mode & stat.S_ISVTX:
        return None
    if facts.st_mode & stat.S_IWOTH:
        return f"everybody may write {place}"
    is_own_group = facts.st_gid == 0 or (os.geteuid() != 0 and facts.st_gid == os.getegid())
    if facts.st_mode & stat.S_IWGRP and not is_own_group:
        return f"group {facts.st_gid} may write {place}"
    return None
