"""What chrony's configuration allows, and what `sharedip check` says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sharedip.cli.capabilities import missing_capabilities
from sharedip.cli.clocks import judge_chrony, read_chrony
from sharedip.cli.facts import Severity


def configure(root: Path, **files: str) -> None:
    for name, text in files.items():
        file = root / "etc/chrony" / name.replace("__", "/").replace("_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_without_chrony_nothing_is_said(tmp_path: Path) -> None:
    assert read_chrony(tmp_path) is None
    assert not list(judge_chrony(None))


@pytest.mark.parametrize(
    ("main", "ppm"),
    [
        ("pool ntp.example\n", 83333.333),
        ("# maxslewrate 500\n! maxslewrate 1\n", 83333.333),
        ("maxslewrate 500\n", 500.0),
        ("MaxSlewRate 200 # slow\n", 200.0),
        ("maxslewrate 100\nmaxslewrate 1000\n", 1000.0),
        ("confdir /etc/chrony/conf.d /etc/chrony/more\n", 400.0),
        ("include /etc/chrony/conf.d/*.conf\n", 400.0),
        ("include /etc/chrony/chrony.conf\nmaxslewrate 300\n", 300.0),
        ("confdir /etc/nowhere\nmaxslewrate\n", 83333.333),
    ],
)
def test_the_last_line_counts_wherever_it_stands(tmp_path: Path, main: str, ppm: float) -> None:
    configure(tmp_path, chrony_conf=main, conf_d__vip_conf="maxslewrate 400\n", conf_d__other_txt="maxslewrate 1\n")
    chrony = read_chrony(tmp_path)
    assert chrony is not None
    assert (chrony.slew_ppm, chrony.error) == (ppm, "")
    (finding,) = judge_chrony(chrony)
    assert finding.level is (Severity.OK if ppm <= 500 else Severity.WARNING)
    assert bool(finding.remedy) is (ppm > 500)


def test_what_cannot_be_read_is_not_taken_for_good(tmp_path: Path) -> None:
    configure(tmp_path, chrony_conf="maxslewrate 500\nmaxslewrate fast\n")
    (finding,) = judge_chrony(read_chrony(tmp_path))
    assert (finding.level, "not known" in finding.text) == (Severity.WARNING, True)
    (tmp_path / "etc/chrony/chrony.conf").unlink()
    (tmp_path / "etc/chrony/chrony.conf").mkdir()
    (finding,) = judge_chrony(read_chrony(tmp_path))
    assert "Is a directory" in finding.text


@pytest.mark.parametrize(
    ("effective", "missing"),
    [
        ("000001ffffffffff", []),
        ("0000000000000000", ["NET_ADMIN", "NET_RAW"]),
        ("0000000000001000", ["NET_RAW"]),
        ("0000000000003000", []),
        ("?", []),
    ],
)
def test_capabilities_are_read_off_proc(tmp_path: Path, effective: str, missing: list[str]) -> None:
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t{effective}\n")
    assert missing_capabilities(status) == missing
    assert missing_capabilities(tmp_path / "absent") == []
