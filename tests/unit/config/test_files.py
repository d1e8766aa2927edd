"""Files and folders: what is read, in what order, and why something can't be."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from sharedip.config.documents import FILE_BYTES_MAX
from sharedip.config.files import FILES_MAX
from sharedip.config.load import load
from tests.unit.config.config_cases import AGENT, VIP


def problems(*paths: Path) -> list[str]:
    loaded = load(paths, "cp1")
    assert (loaded.config is None) == bool(loaded.problems)
    return [str(replace(p.place, file=Path(p.place.file).name)) + f": {p.message}" for p in loaded.problems]


def test_one_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "documents.conf"
    path.write_text(VIP)
    loaded = load([path], "cp1")
    assert loaded.config is not None
    assert str(loaded.config.vip_places[0]) == f"{path}:3:7"


def test_a_folder_is_read_by_name_without_dotfiles_and_other_files(tmp_path: Path) -> None:
    (tmp_path / "20-b.yml").write_text(VIP.replace(".15", ".16"))
    (tmp_path / "10-a.yaml").write_text(VIP)
    (tmp_path / ".hidden.yaml").write_text("[")
    (tmp_path / "README.md").write_text("[")
    (tmp_path / "b.yaml~").write_text("[")
    (tmp_path / "deeper").mkdir()
    loaded = load([tmp_path], "cp1")
    assert loaded.config is not None
    assert [str(vip) for vip in loaded.config.vips] == ["192.168.0.15", "192.168.0.16"]


def test_the_links_of_a_mounted_config_map_are_followed(tmp_path: Path) -> None:
    """A ConfigMap volume holds `vip.yaml -> ..data/vip.yaml` and `..data -> ..2024`."""
    (tmp_path / "..2024").mkdir()
    (tmp_path / "..2024" / "vip.yaml").write_text(VIP)
    (tmp_path / "..data").symlink_to("..2024")
    (tmp_path / "vip.yaml").symlink_to("..data/vip.yaml")
    assert problems(tmp_path) == []


def test_everything_that_can_not_be_read_is_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").symlink_to("nowhere")
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "latin1.yaml").write_bytes(VIP.encode() + "# sch\u00f6n\n".encode("latin-1"))
    (tmp_path / "wide.yaml").write_bytes(VIP.encode("utf-16"))
    with (tmp_path / "vast.yaml").open("wb") as stream:
        stream.truncate(FILE_BYTES_MAX + 1)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert sorted(problems(tmp_path, empty, tmp_path / "absent", tmp_path / "folder.yaml")) == [
        "absent: there is no such file or folder",
        "broken.yaml: this symbolic link leads nowhere",
        "empty: the folder has no *.yaml or *.yml file",
        "folder.yaml: the folder has no *.yaml or *.yml file",
        "folder.yaml: this is not a regular file",
        "latin1.yaml:5:6: byte 0xf6 is not UTF-8",
        "pipe.yaml: this is not a regular file",
        "vast.yaml: the file has more than 4 MiB",
        "wide.yaml:1:1: byte 0xff is not UTF-8",
    ]


def test_a_link_that_leads_to_itself_is_reported(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    assert problems(tmp_path) == ["loop.yaml: this can't be read: Too many levels of symbolic links"]


def test_a_file_without_permission_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.yaml").write_text(VIP)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything, so the kernel would not refuse here
    assert problems(tmp_path) == ["a.yaml: this can't be read: Permission denied"]


def test_a_path_that_no_kernel_takes_is_reported(tmp_path: Path) -> None:
    assert len(problems(Path("a\0b"), tmp_path / ("x" * 300))) == 2


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(VIP)
    (tmp_path / "b.yaml").symlink_to("a.yaml")
    loaded = load([path, tmp_path, path], "cp1")
    assert loaded.config is not None
    assert [notice.message for notice in loaded.notices] == [f"this is the same file as {path}, and is read once"]


def test_a_file_with_an_odd_name_is_named_in_print(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"odd\n\xff.yaml")).write_text("x: 1\n")
    (problem,) = load([tmp_path], "cp1").problems
    assert problem.place.file == f"{tmp_path}/odd\\n\\xff.yaml"


def test_a_folder_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "listdir", lambda _: [f"{n}.yaml" for n in range(FILES_MAX + 1)])
    assert problems(tmp_path) == [f"{tmp_path.name}: the folder has more than {FILES_MAX} YAML files"]


def test_problems_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(VIP.replace("eth0", "lo"))
    (tmp_path / "a.yaml").write_text(AGENT + "x: 1\ny: 2\n")
    (tmp_path / "c.yaml").write_text(VIP.replace("link", "lnk"))
    assert [line.split(": ")[0] for line in problems(tmp_path)] == [
        "a.yaml:3:1",
        "a.yaml:4:1",
        "b.yaml:4:7",
        "c.yaml:1:1",
        "c.yaml:4:1",
    ]


def test_a_thousand_mistakes_are_cut_with_a_count(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(AGENT + "".join(f"x{n}: 1\n" for n in range(1000)))
    found = problems(tmp_path)
    assert len(found) == 501
    assert found[-1] == "a.yaml:503:1: 500 more from here on"
