"""The last good documents: whole, the agent's own, and for each set of paths its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sharedip.adapters.kept import BYTES_MAX, CHANGES_MAX, Kept, KeptDocuments, KeptHistory, PastChange, kept_folder

TEXTS = {"/etc/sharedip/vip.yaml": "name: 10.0.0.15\n", "/etc/sharedip/ä.yaml": "# ü\n"}


@pytest.fixture
def kept(tmp_path: Path) -> KeptDocuments:
    return KeptDocuments(tmp_path / "lib" / "sharedip", [Path("/etc/sharedip")])


def read(kept: KeptDocuments) -> Kept:
    found = kept.read()
    assert isinstance(found, Kept), found
    return found


def test_what_was_kept_last_is_what_the_next_start_reads(kept: KeptDocuments) -> None:
    assert kept.read() == ""
    assert kept.keep({"a": "old"}) == ""
    assert kept.keep(TEXTS) == ""
    assert read(kept).texts == TEXTS
    assert kept.path.stat().st_mode & 0o777 == 0o600
    assert kept.path.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(kept.path.parent) == [kept.path.name]


def test_agents_with_other_paths_keep_their_own(kept: KeptDocuments) -> None:
    other = KeptDocuments(kept.path.parent, [Path("/etc/sharedip"), Path("more.yaml")])
    kept.keep(TEXTS)
    other.keep({"x": "y"})
    assert read(kept).texts == TEXTS
    assert read(other).texts == {"x": "y"}
    assert read(KeptDocuments(kept.path.parent, [Path("/etc/../etc/sharedip")])).texts == TEXTS


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format":2,"keptAt":"","documents":{"a":"b"}}'])
def test_what_this_program_did_not_write_is_not_used(kept: KeptDocuments, content: bytes) -> None:
    kept.keep(TEXTS)
    kept.path.write_bytes(content)
    assert str(kept.read()).endswith("is damaged")


@pytest.mark.parametrize("spoil", ["file", "folder", "link"])
def test_what_others_may_have_written_is_not_used(kept: KeptDocuments, spoil: str, tmp_path: Path) -> None:
    """A document can name a program that the agent runs as root."""
    kept.keep(TEXTS)
    if spoil == "link":
        kept.path.rename(tmp_path / "elsewhere")
        kept.path.symlink_to(tmp_path / "elsewhere")
    else:
        (kept.path if spoil == "file" else kept.path.parent).chmod(0o777)
    assert isinstance(kept.read(), str)
    if spoil == "folder":
        assert "may be written by others" in kept.keep(TEXTS)


def test_a_disk_that_refuses_costs_nothing_but_the_copy(kept: KeptDocuments) -> None:
    kept.path.parent.parent.mkdir(parents=True)
    kept.path.parent.write_text("in the way")
    assert kept.keep(TEXTS).startswith(str(kept.path))
    assert "16 MiB" in kept.keep({"a": "x" * BYTES_MAX})


def test_the_service_manager_says_where() -> None:
    default = Path("/var/lib/sharedip")
    assert kept_folder({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, default) == Path("/var/lib/a")
    assert kept_folder({}, default) == default
    assert kept_folder({"STATE_DIRECTORY": "here"}, default) == default


def history_at(folder: Path) -> KeptHistory:
    return KeptHistory(folder, [Path("/etc/sharedip")])


def test_the_history_goes_on_after_a_restart(tmp_path: Path) -> None:
    first = history_at(tmp_path / "lib")
    assert first.load() == ""
    assert first.take() == ()
    first.note("10.0.0.15", "n1 took 10.0.0.15: it had no owner, epoch 7")
    assert first.save(first.take()) == ""
    assert first.take() == (), "nothing is new"
    second = history_at(tmp_path / "lib")
    assert second.load() == ""
    second.note("10.0.0.16", "n2 took 10.0.0.16: n1 was silent, epoch 7 → 9")
    second.save(second.take())
    found = history_at(tmp_path / "lib").read()
    assert isinstance(found, list)
    assert [(each.vip, each.text[:2]) for each in found] == [("10.0.0.15", "n1"), ("10.0.0.16", "n2")]
    assert found[0].at <= found[1].at


def test_the_history_has_an_end(tmp_path: Path) -> None:
    history = history_at(tmp_path / "lib")
    for number in range(CHANGES_MAX + 5):
        history.note("10.0.0.15", str(number) + "x" * 5000)
    history.save(history.take())
    found = history_at(tmp_path / "lib").read()
    assert isinstance(found, list)
    assert len(found) == CHANGES_MAX
    assert found[0].text.startswith("5x")
    assert len(found[0].text) == 1000


def test_of_a_spoilt_history_what_is_well_formed_counts(tmp_path: Path) -> None:
    history = history_at(tmp_path / "lib")
    history.save([PastChange("a", "b", "c")])
    history.path.write_text('{"format": 1, "changes": [["a", "b", "c"], ["a"], 7, [1, 2, 3]]}')
    assert history.read() == [PastChange("a", "b", "c"), PastChange("1", "2", "3")]
    history.path.write_text('{"format": 1}')
    assert str(history.read()).endswith("is damaged")
