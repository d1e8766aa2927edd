"""What root will run or trust must be root's alone; what others may read is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sharedip.config.load import load
from sharedip.config.modes import who_may_read, who_may_write

VIP = "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 192.168.0.15\nlink: eth0\n"
AGENT = (
    "---\napiVersion: v1alpha1\nkind: AgentConfig\nhealthChecks:\n  - {{name: disk, exec: {{command: [{program}]}}}}\n"
)


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """A folder with one document, and a program that a check runs."""
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o755)
    program = tmp_path / "check"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (folder / "vip.yaml").write_text(VIP + AGENT.format(program=program))
    return folder


def test_what_is_root_s_alone_is_taken(documents: Path) -> None:
    assert load([documents], "n1").problems == ()
    assert load([documents / "vip.yaml"], "n1").problems == ()


@pytest.mark.parametrize(
    ("what", "mode", "word"),
    [
        (".", 0o777, "others may write this"),
        (".", 0o1777, "others may write this"),
        ("vip.yaml", 0o666, "others may write this"),
        ("../check", 0o777, "others may write what a check runs"),
    ],
)
def test_what_others_may_write_is_refused_and_offline_it_is_told(
    documents: Path, what: str, mode: int, word: str
) -> None:
    """Once user nobody rewrote a program, and the agent ran it as root."""
    (documents / what).resolve().chmod(mode)
    loaded = load([documents], "n1")
    assert loaded.config is None
    assert [word in str(problem) for problem in loaded.problems] == [True]
    lenient = load([documents], "n1", is_strict=False)
    assert lenient.config is not None
    assert any(word in str(notice) for notice in lenient.notices)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(
    ("uid", "gid", "mode", "is_sound"),
    [
        (0, 0, 0o664, True),
        (0, 65534, 0o664, False),
        (65534, 0, 0o644, False),
        (0, 65534, 0o644, True),
    ],
)
def test_owner_and_group_count(tmp_path: Path, uid: int, gid: int, mode: int, is_sound: bool) -> None:
    file = tmp_path / "vip.yaml"
    file.write_text(VIP)
    os.chown(file, uid, gid)
    file.chmod(mode)
    assert (who_may_write(file) is None) is is_sound


def test_a_link_counts_as_what_it_leads_to_and_its_own_folder_as_well(tmp_path: Path) -> None:
    real, open_folder = tmp_path / "real.yaml", tmp_path / "open"
    real.write_text(VIP)
    open_folder.mkdir()
    link = open_folder / "vip.yaml"
    link.symlink_to(real)
    assert who_may_write(link) is None
    open_folder.chmod(0o777)
    assert who_may_write(link) is not None
    open_folder.chmod(0o755)
    real.chmod(0o666)
    assert who_may_write(link) is not None
    assert who_may_write(tmp_path / "nothing") is None


@pytest.mark.parametrize(("mode", "is_secret"), [(0o600, True), (0o640, True), (0o644, False)])
def test_who_else_reads_a_key_is_told(tmp_path: Path, mode: int, is_secret: bool) -> None:
    key = tmp_path / "key"
    key.write_text("secret")
    key.chmod(mode)
    assert (who_may_read(key) is None) is is_secret
    assert who_may_read(tmp_path / "nothing") is None
