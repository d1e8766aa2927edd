"""The state directory: one agent, a file that is whole or not used, and disks that are full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sharedip.adapters.state import STATE_BYTES_MAX, KeptKey, StateDirectory, StateRefusedError


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDirectory]:
    made = StateDirectory(tmp_path / "run" / "sharedip")
    made.open()
    yield made
    made.close()


def test_what_is_saved_is_what_the_next_agent_reads(state: StateDirectory) -> None:
    assert state.load().content is None
    assert state.load().reason is None
    assert state.save(b'{"drained": true, "lease": 7587}') is None
    state.close()
    after = StateDirectory(state.path)
    after.open()
    loaded = after.load()
    after.close()
    assert json.loads(loaded.content or b"") == {"drained": True, "lease": 7587}
    assert loaded.same_boot


def test_directory_and_files_are_the_agents_alone(state: StateDirectory) -> None:
    state.save(b"{}")
    assert state.path.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in state.path.iterdir()} == {
        "agent.lock": 0o600,
        "state.json": 0o600,
    }


def test_a_second_agent_is_refused_with_the_pid_of_the_first(state: StateDirectory) -> None:
    with pytest.raises(StateRefusedError, match=rf"another agent \(pid {os.getpid()}\)"):
        StateDirectory(state.path).open()


def test_a_killed_agent_leaves_the_directory_free(tmp_path: Path) -> None:
    path = tmp_path / "state"
    code = (
        "import os, sys; from pathlib import Path; from sharedip.adapters.state import StateDirectory\n"
        "StateDirectory(Path(sys.argv[1])).open(); os.kill(os.getpid(), 9)"
    )
    first = subprocess.run([sys.executable, "-c", code, path], env={"PYTHONPATH": "src"}, check=False)
    assert first.returncode == -9
    second = StateDirectory(path)
    second.open()
    second.close()


def test_a_child_does_not_keep_the_directory(state: StateDirectory) -> None:
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    state.close()
    again = StateDirectory(state.path)
    again.open()
    again.close()
    child.communicate()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "damaged"),
        (b'{"format": 1, "boot_id": "x", "sta', "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"[" * 100_000, "damaged"),
        (b"[]", "another program"),
        (b'{"drained": true}', "another program"),
        (b'{"format": 2, "state": {}}', "its format is 2, this version reads 1"),
        (b'{"format": 1, "state": []}', "damaged"),
        (b'"' + b"x" * STATE_BYTES_MAX + b'"', "larger than any"),
    ],
)
def test_a_file_that_makes_no_sense_is_not_used(state: StateDirectory, content: bytes, reason: str) -> None:
    (state.path / "state.json").write_bytes(content)
    loaded = state.load()
    assert loaded.content is None
    assert reason in str(loaded.reason)


def test_a_state_of_another_boot_says_so(state: StateDirectory) -> None:
    (state.path / "state.json").write_text('{"format": 1, "boot_id": "another", "state": {"drained": true}}')
    loaded = state.load()
    assert loaded.content is not None
    assert not loaded.same_boot


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "foreign"])
def test_what_another_user_may_have_put_there_is_not_used(state: StateDirectory, tmp_path: Path, kind: str) -> None:
    path = state.path / "state.json"
    if kind == "link":
        (tmp_path / "elsewhere").write_text('{"format": 1, "state": {}}')
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif os.geteuid() == 0:
        path.write_text('{"format": 1, "state": {}}')
        os.chown(path, 65534, 65534)
    else:
        pytest.skip("only root can give a file away")
    loaded = state.load()
    assert loaded.content is None
    assert "is not used" in str(loaded.reason)


def test_a_full_disk_is_a_fact_and_the_former_state_stays(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.save(b'{"drained": true}')
    real_open = os.open

    def full(path: str | Path, flags: int, mode: int = 0o777) -> int:
        return real_open("/dev/full", os.O_WRONLY) if str(path).endswith(".new") else real_open(path, flags, mode)

    monkeypatch.setattr("sharedip.adapters.state.os.open", full)
    assert "No space left on device" in str(state.save(b'{"drained": false}'))
    assert b"true" in (state.load().content or b"")


def test_a_directory_for_everybody_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "public"
    path.mkdir()
    path.chmod(0o1777)
    with pytest.raises(StateRefusedError, match="chmod 0700"):
        StateDirectory(path).open()
    assert path.stat().st_mode & 0o7777 == 0o1777


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateRefusedError, match="cannot make the state directory"):
        StateDirectory(tmp_path / "file" / "sharedip").open()


# -- the key of this boot ---------------------------------------------------------------------------------------------

FRESH, LATER = b"\1" * 32, b"\2" * 32


def test_a_restarted_agent_finds_the_key_of_its_boot(state: StateDirectory) -> None:
    assert state.keep_key(FRESH) == KeptKey(FRESH, None)
    assert state.keep_key(LATER) == KeptKey(FRESH, None)
    assert (state.path / "agent.key").stat().st_mode & 0o777 == 0o600


def test_each_boot_has_a_key_of_its_own(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has read the disk of last month speaks for nobody."""
    state.keep_key(FRESH)
    monkeypatch.setattr("sharedip.adapters.state._boot_id", lambda: "another")
    assert state.keep_key(LATER) == KeptKey(LATER, None)
    assert state.keep_key(FRESH) == KeptKey(LATER, None)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b'{"format": 1, "boot_id": "", "private": "00"}', b"[" * 9999]
)
def test_a_key_that_makes_no_sense_is_made_anew(state: StateDirectory, content: bytes) -> None:
    path = state.path / "agent.key"
    path.touch(0o600)
    path.write_bytes(content)
    assert state.keep_key(FRESH) == KeptKey(FRESH, None)
    assert state.keep_key(LATER) == KeptKey(FRESH, None)


@pytest.mark.parametrize("kind", ["link", "fifo", "readable"])
def test_a_key_that_others_may_know_is_replaced_and_said(state: StateDirectory, tmp_path: Path, kind: str) -> None:
    path = state.path / "agent.key"
    state.keep_key(FRESH)
    if kind == "readable":
        path.chmod(0o640)
    elif kind == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.unlink()
        os.mkfifo(path)
    kept = state.keep_key(LATER)
    assert kept.private == LATER
    assert "is not used" in str(kept.reason)
    assert state.keep_key(FRESH) == KeptKey(LATER, None)


def test_a_key_that_can_not_be_kept_is_used_and_said(state: StateDirectory) -> None:
    (state.path / "agent.key").mkdir()
    kept = state.keep_key(FRESH)
    assert kept.private == FRESH
    assert "cannot save" in str(kept.reason)


def test_without_a_boot_id_no_key_is_kept(state: StateDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """It might be another boot's."""
    monkeypatch.setattr("sharedip.adapters.state._boot_id", lambda: "")
    assert state.keep_key(FRESH).private == FRESH
    assert "one boot from another" in str(state.keep_key(LATER).reason)
    assert state.keep_key(LATER).private == LATER


def test_a_folder_below_one_that_others_may_write_is_refused(tmp_path: Path) -> None:
    """They could put another one in its place, or a link to any folder of root's."""
    between = tmp_path / "between"
    between.mkdir()
    between.chmod(0o777)
    with pytest.raises(StateRefusedError, match=f"others may write to {between}"):
        StateDirectory(between / "state").open()
    between.chmod(0o1777)
    made = StateDirectory(between / "state")
    made.open()
    made.close()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_link_of_somebody_else_s_is_refused(tmp_path: Path) -> None:
    real = tmp_path / "roots"
    real.mkdir(mode=0o700)
    link = tmp_path / "state"
    link.symlink_to(real)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    with pytest.raises(StateRefusedError, match="a link of user 65534"):
        StateDirectory(link).open()
