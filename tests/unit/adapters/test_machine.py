"""What names this machine in etcd, where every agent and every backup of etcd can read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sharedip.adapters import machine
from sharedip.adapters.machine import read_identity

MACHINE_ID = "6a3c5c0d7f1e4b8aa1b2c3d4e5f60718"


def identity(monkeypatch: pytest.MonkeyPatch, directory: Path, *texts: str) -> str | None:
    """Of a machine whose files say this, in their order of preference."""
    paths = [directory / str(number) for number, _ in enumerate(texts)]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    monkeypatch.setattr(machine, "_MACHINE_IDS", (*paths, directory / "missing"))
    return read_identity().machine


def test_the_machine_id_itself_is_never_published(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is confidential (machine-id(5)); a keyed hash stands for it, the same after each reboot."""
    published = identity(monkeypatch, tmp_path, MACHINE_ID + "\n")
    assert published is not None
    assert len(bytes.fromhex(published)) == 16
    assert MACHINE_ID not in published
    assert published == identity(monkeypatch, tmp_path, MACHINE_ID)
    assert published != identity(monkeypatch, tmp_path, MACHINE_ID[::-1])


@pytest.mark.parametrize("unset", ["", "\n", "uninitialized\n"])
def test_an_image_without_an_id_has_that_of_its_host(
    unset: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    of_host = identity(monkeypatch, tmp_path, MACHINE_ID)
    assert identity(monkeypatch, tmp_path, unset, MACHINE_ID) == of_host
    assert identity(monkeypatch, tmp_path, unset) is None
