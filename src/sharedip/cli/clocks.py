"""How fast chrony may turn this node's clock: one of the assumptions under "one owner".

Role: read chrony's configuration, and say what rate it allows. Must never: write, or run anything.
Counterparts: docs/safety.md ("Clocks"), `inspection.py` (asks), `checks.py` (runs the judge).

Only the lines that matter are understood (chrony.conf(5)): `maxslewrate`, and `include`, `confdir` and `sourcedir`,
which lead to other files. Where a line stands twice the last one counts, as for chronyd.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sharedip.cli.facts import Chrony, Finding, Severity

CHRONY_FILES = (Path("/etc/chrony/chrony.conf"), Path("/etc/chrony.conf"))
"""Debian's and Red Hat's place."""
SLEW_PPM_DEFAULT = 83333.333
"""chrony.conf(5), maxslewrate."""
SLEW_PPM_MAX = 500.0
"""What ntpd and systemd-timesyncd keep to; two nodes in opposite directions are CLOCK_DRIFT, 0.1 %, apart."""
FILES_MAX = 100
FILE_BYTES_MAX = 1 << 20


def read_chrony(root: Path = Path("/")) -> Chrony | None:
    """The rate that the first configuration that exists allows; None where there is no chrony."""
    for place in CHRONY_FILES:
        file = root / place.relative_to("/")
        if file.exists():
            reader = _Reader(root)
            reader.read(file)
            return Chrony(place, reader.slew_ppm, reader.error)
    return None


def judge_chrony(chrony: Chrony | None) -> Iterator[Finding]:
    """Whether the clocks of two nodes can drift further apart than the argument for one owner allows."""
    if chrony is None:
        return
    if chrony.error:
        yield Finding(
            Severity.WARNING,
            "clock",
            f"chrony's maxslewrate is not known: {chrony.error}",
            "run as root, and see that it is 500 at most (docs/safety.md, Clocks)",
        )
    elif chrony.slew_ppm > SLEW_PPM_MAX:
        yield Finding(
            Severity.WARNING,
            "clock",
            f"chrony may turn this node's clock {chrony.slew_ppm / 10000:.2g} % faster or slower (maxslewrate "
            f"{chrony.slew_ppm:g}); one owner is argued for 0.05 %",
            f"add the line `maxslewrate 500` to {chrony.file} and restart chrony (docs/safety.md, Clocks)",
        )
    else:
        yield Finding(
            Severity.OK,
            "clock",
            f"chrony turns this node's clock by at most {chrony.slew_ppm:g} ppm (500 is the limit)",
        )


class _Reader:
    """Reads one configuration and what it includes; never a file twice, never more than `FILES_MAX`."""

    def __init__(self, root: Path) -> None:
        self.slew_ppm = SLEW_PPM_DEFAULT
        self.error = ""
        self._root = root
        self._seen: set[Path] = set()

    def read(self, file: Path) -> None:
        if file in self._seen or len(self._seen) >= FILES_MAX:
            return
        self._seen.add(file)
        try:
            with file.open(encoding="utf-8", errors="replace") as opened:
                text = opened.read(FILE_BYTES_MAX)
        except OSError as error:
            self.error = f"{file}: {error.strerror}"
            return
        for line in text.splitlines():
            self._take(line.split())

    def _take(self, words: list[str]) -> None:
        if len(words) < 2 or words[0][0] in "!;#%":
            return
        name = words[0].lower()
        if name == "maxslewrate":
            try:
                self.slew_ppm = float(words[1])
            except ValueError:
                self.error = f"maxslewrate {words[1][:20]} is not a number"
        elif name == "include":
            self._read_all(words[1])
        elif name in ("confdir", "sourcedir"):
            suffix = "*.conf" if name == "confdir" else "*.sources"
            for directory in words[1:]:
                self._read_all(f"{directory}/{suffix}")

    def _read_all(self, pattern: str) -> None:
        for file in sorted(self._root.glob(pattern.lstrip("/"))):
            self.read(file)
