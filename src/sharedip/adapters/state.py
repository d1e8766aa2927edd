"""The state directory: one agent at a time, and what a restarted agent needs to know.

Role: holds `agent.lock`, writes and reads `state.json`; keeps `agent.key`, the private value by which agents agree on
secrets, for one boot.
Must never: end the agent because a disk is full or a file is damaged, or trust a file that another user may have
written. Counterparts: `core.messages.SaveState` (the content, which is the core's own JSON), `agent/executor.py`.

No fsync: the directory lies on a tmpfs (/run) by default, and a write that waits for a disk would stall the agent. On a
disk a power cut may leave an empty file, which reads as damaged, and the agent starts as if for the first time.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

FORMAT = 1
STATE_BYTES_MAX = 1 << 20
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class StateRefusedError(Exception):
    """The directory cannot be this agent's; the text says why and what to do. The agent must not start."""


@dataclass(frozen=True, slots=True)
class LoadedState:
    """What the former agent left. `reason` says why `content` is None; both are None when there was no former agent."""

    content: bytes | None
    reason: str | None
    same_boot: bool
    """Instants on CLOCK_BOOTTIME in the content mean something only if this is true."""


@dataclass(frozen=True, slots=True)
class KeptKey:
    """This boot's private value. `reason` says why the next agent may not find it, or why the former one was not used;
    None when all is well.
    """

    private: bytes
    reason: str | None


class StateDirectory:
    """Invariant: between `open` and `close` no other agent has this directory.

    Steps: `open` (create, look at the owner, lock), `load`, `save` as often as needed, `close`. The lock is flock(2)'s:
    the kernel gives it back however the process ends. A forked child that keeps the descriptor keeps the lock as well,
    so a child must be made with close_fds (as subprocess does), or close `lock_fd` itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock_fd = -1

    def open(self) -> None:
        """Take the directory, or raise StateRefusedError."""
        try:
            # Parents come into being with the umask's mode; only the directory itself holds secrets.
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            status, itself = self.path.stat(), self.path.lstat()
        except OSError as error:
            raise StateRefusedError(
                f"cannot make the state directory {self.path} ({error.strerror}); create it, or set stateDir"
            ) from error
        if status.st_uid != os.geteuid():
            raise StateRefusedError(
                f"{self.path} belongs to user {status.st_uid}, not to the agent's; set stateDir to another"
            )
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            # Not repaired: an operator who wrote /tmp by mistake would not thank us for its new mode.
            raise StateRefusedError(
                f"others may write to {self.path}; run: chmod 0700 {self.path}, or set stateDir to another"
            )
        if itself.st_uid not in {0, os.geteuid()}:
            # Where others may make files, such as /tmp, it may lead to any folder of ours.
            raise StateRefusedError(f"{self.path} is a link of user {itself.st_uid}'s; set stateDir to another")
        for parent in self.path.resolve().parents:
            if _others_may_exchange(parent.stat()):
                raise StateRefusedError(f"others may write to {parent}; set stateDir to where they may not")
        self._lock()

    def close(self) -> None:
        """Give the directory back; what is saved stays."""
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1

    def save(self, content: bytes) -> str | None:
        """Replace the saved state by `content` (JSON) in one step; give the reason when it could not be done."""
        document = b'{"format": %d, "boot_id": %s, "state": %s}\n' % (FORMAT, json.dumps(_boot_id()).encode(), content)
        return self._replace("state.json", document)

    def _replace(self, name: str, document: bytes) -> str | None:
        assert self.lock_fd >= 0, "save before open"
        temporary = self.path / f"{name}.new"
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:
                file.write(document)
            os.replace(temporary, self.path / name)
        except OSError as error:
            return f"cannot save {self.path / name}: {error.strerror}"
        return None

    def discard(self) -> str | None:
        """Drop what is saved, since something newer could not be: an old state would be believed by the next run.

        None when nothing is there any more, else why it may still be there.
        """
        try:
            (self.path / "state.json").unlink(missing_ok=True)
        except OSError as error:
            return f"cannot delete {self.path / 'state.json'}: {error.strerror}"
        return None

    def load(self) -> LoadedState:
        """Read what the former agent left."""
        path = self.path / "state.json"
        read = self._read(path)
        if read is None:
            return LoadedState(None, None, same_boot=False)
        return _unusable(path, read) if isinstance(read, str) else _decode(path, read)

    def keep_key(self, fresh: bytes) -> KeptKey:
        """The private value of this boot: the one that a former agent kept, else `fresh`, which is kept from now on."""
        path, boot = self.path / "agent.key", _boot_id()
        read = self._read(path, is_secret=True)
        kept = None if read is None or isinstance(read, str) else _decode_key(read, boot, len(fresh))
        if kept is not None:
            return KeptKey(kept, None)
        refused = f"{path} is not used: {read}" if isinstance(read, str) else None
        if not boot:
            return KeptKey(fresh, "nothing tells one boot from another here (no /proc)")
        document = json.dumps({"format": FORMAT, "boot_id": boot, "private": fresh.hex()}).encode() + b"\n"
        return KeptKey(fresh, self._replace("agent.key", document) or refused)

    @staticmethod
    def _read(path: Path, *, is_secret: bool = False) -> bytes | str | None:
        """The file's content, None without one, or why it is not to be used."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            return error.strerror or "unreadable"
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                return "it is not a file of the agent's own user"
            if is_secret and status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                return "others may have read it"
            return os.read(fd, STATE_BYTES_MAX + 1)
        except OSError as error:
            return error.strerror or "unreadable"
        finally:
            os.close(fd)

    def _lock(self) -> None:
        path = self.path / "agent.lock"
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateRefusedError(
                f"cannot open {path} ({error.strerror}); make it writable, or set stateDir"
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StateRefusedError(
                    f"cannot lock {path} ({error.strerror}); set stateDir to a local directory"
                ) from error
            raise StateRefusedError(
                f"another agent (pid {holder}) uses {self.path}; stop it, or give this one its own stateDir"
            ) from error
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        except OSError:  # a full disk: the lock holds, only its holder stays unnamed
            pass
        self.lock_fd = fd


def _decode(path: Path, data: bytes) -> LoadedState:
    if len(data) > STATE_BYTES_MAX:
        return _unusable(path, "it is larger than any that this program writes")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return _unusable(path, "it is damaged")
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        return _unusable(path, "another program wrote it")
    if document["format"] != FORMAT:
        return _unusable(path, f"its format is {document['format']}, this version reads {FORMAT}")
    if not isinstance(document.get("state"), dict):
        return _unusable(path, "it is damaged")
    return LoadedState(json.dumps(document["state"]).encode(), None, same_boot=document.get("boot_id") == _boot_id())


def _decode_key(data: bytes, boot: str, length: int) -> bytes | None:
    """The private value, if it was made in this boot: an old copy of the disk has an older one."""
    try:
        document = json.loads(data)
        if document["format"] != FORMAT or document["boot_id"] != boot or not boot:
            return None
        private = bytes.fromhex(document["private"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return private if len(private) == length else None


def _others_may_exchange(folder: os.stat_result) -> bool:
    """Whether others may put another thing in the place of what is in that folder; with the sticky bit they may not."""
    if folder.st_uid not in {0, os.geteuid()}:
        return True
    is_open = folder.st_mode & stat.S_IWOTH or (folder.st_mode & stat.S_IWGRP and folder.st_gid != 0)
    return bool(is_open) and not folder.st_mode & stat.S_ISVTX


def _unusable(path: Path, why: str) -> LoadedState:
    return LoadedState(None, f"{path} is not used: {why}", same_boot=False)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:  # no /proc: nothing is known to be of this boot
        return ""
