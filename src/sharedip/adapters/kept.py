"""What survives a boot: the last good documents, on which a start falls back, and the changes of owner that were seen.

Role: one file of each for each set of paths that an agent is started with, replaced in one step.
Must never: give out what another user may have written (a document can name a program to run), or end the agent because
a disk is full. Counterparts: `agent/reload.py` (keeps documents once they are in use), `agent/life.py` (the changes),
`cli/run.py` and `cli/history.py` (read them).
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

FORMAT = 1
BYTES_MAX = 16 << 20
CHANGES_MAX = 1000
TEXT_MAX = 1000


class Kept(NamedTuple):
    """What is kept: name of the file → its text, and since when."""

    texts: Mapping[str, str]
    kept_at: str


class PastChange(NamedTuple):
    """One change of owner, as this node saw it, with the wall clock."""

    at: str
    """ISO 8601."""
    vip: str
    text: str


class KeptFile:
    """Invariant: the file is absent, or whole. Calls wait for the disk: they belong in a thread."""

    def __init__(self, folder: Path, paths: Sequence[Path], kind: str) -> None:
        """`paths`: what the agent is started with; two agents of one machine have different ones."""
        self._folder = folder
        named = "\0".join(os.path.abspath(path) for path in paths)
        digest = hashlib.sha256(os.fsencode(named)).hexdigest()[:12]
        self.path = folder / f"{kind}-{digest}.json"

    def look_at(self, path: Path) -> None:
        """Another file of this kind: what an agent says of its own."""
        self._folder, self.path = path.parent, path

    def _write(self, fields: Mapping[str, object]) -> str:
        """Empty, or why it could not be done; then an older one may still be there."""
        content = json.dumps({"format": FORMAT, **fields}, ensure_ascii=False).encode("utf-8", "replace")
        if len(content) > BYTES_MAX:
            return f"{self.path} would have more than {BYTES_MAX >> 20} MiB"
        temporary = self.path.with_suffix(".new")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if (why := _why_not_ours(self._folder.stat())) is not None:
                return f"{self._folder} {why}"
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(fd)  # a power cut is when it is needed
            os.replace(temporary, self.path)
        except OSError as error:
            return f"{self.path}: {error.strerror or 'unwritable'}"
        return ""

    def _read(self) -> dict[str, Any] | str:
        """The fields, or why they are not used; empty where nothing is kept."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return ""
        except OSError as error:
            return f"{self.path}: {error.strerror or 'unreadable'}"
        try:
            with open(fd, "rb") as file:
                status = os.fstat(fd)
                why = "is no file" if not stat.S_ISREG(status.st_mode) else _why_not_ours(status)
                why = why or _why_not_ours(self._folder.stat())
                if why is not None:
                    return f"{self.path} {why}"
                content = file.read(BYTES_MAX + 1)
        except OSError as error:
            return f"{self.path}: {error.strerror or 'unreadable'}"
        try:
            fields = json.loads(content)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict) or fields.get("format") != FORMAT or len(content) > BYTES_MAX:
            return f"{self.path} is damaged"
        return fields


class KeptDocuments(KeptFile):
    """The documents that an agent runs by, or ran by last."""

    def __init__(self, folder: Path, paths: Sequence[Path]) -> None:
        super().__init__(folder, paths, "documents")

    def keep(self, texts: Mapping[str, str]) -> str:
        """Keep these from now on. Empty, or why they could not be kept."""
        return self._write({"keptAt": datetime.now(UTC).isoformat(timespec="seconds"), "documents": dict(texts)})

    def read(self) -> Kept | str:
        """What is kept, or why it is not used; empty where nothing is kept."""
        fields = self._read()
        if isinstance(fields, str):
            return fields
        documents = fields.get("documents")
        if not isinstance(documents, dict) or not documents:
            return f"{self.path} is damaged"
        texts = {str(name): str(text) for name, text in documents.items()}
        return Kept(texts, str(fields.get("keptAt", "?"))[:40])


class KeptHistory(KeptFile):
    """The last changes of owner, over restarts of agent and machine.

    Steps: `load`, then `note` as often as there is something, and `save` what `take` gives now and then.
    """

    def __init__(self, folder: Path, paths: Sequence[Path]) -> None:
        super().__init__(folder, paths, "history")
        self._changes: deque[PastChange] = deque(maxlen=CHANGES_MAX)
        self._is_saved = True

    def load(self) -> str:
        """Go on with what a former run kept. Empty, or why that is not used."""
        found = self.read()
        if isinstance(found, str):
            return found
        self._changes.extend(found)
        return ""

    def note(self, vip: str, text: str) -> None:
        """It has happened now."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._changes.append(PastChange(at, vip, text[:TEXT_MAX]))
        self._is_saved = False

    def take(self) -> tuple[PastChange, ...]:
        """What is to be saved; empty if nothing is new."""
        if self._is_saved:
            return ()
        self._is_saved = True
        return tuple(self._changes)

    def save(self, changes: Sequence[PastChange]) -> str:
        """Keep these from now on. Empty, or why they could not be kept."""
        return self._write({"changes": [list(each) for each in changes]})

    def read(self) -> list[PastChange] | str:
        """The oldest first; or why there is nothing, empty where nothing is kept."""
        fields = self._read()
        if isinstance(fields, str):
            return fields
        changes = fields.get("changes")
        if not isinstance(changes, list):
            return f"{self.path} is damaged"
        rows = (row for row in changes[-CHANGES_MAX:] if isinstance(row, list) and len(row) == len(PastChange._fields))
        return [PastChange(*(str(part)[:TEXT_MAX] for part in row)) for row in rows]


def _why_not_ours(status: os.stat_result) -> str | None:
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}, not to the agent's"
    return "may be written by others" if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else None


def kept_folder(environment: Mapping[str, str], default: Path) -> Path:
    """Where a service manager says that the agent may keep things (systemd.exec(5), STATE_DIRECTORY), else `default`"""
    named = environment.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(named) if named.startswith("/") else default
