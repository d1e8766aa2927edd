"""What is wrong with a document, where, and what to do about it.

Role: the one form in which everything about documents reaches the operator. Must never: raise for an operator's
mistake; all of them are collected. Counterparts: `documents.py`, `fields.py` and the readers find them, `load.py` hands
them out.
"""

from __future__ import annotations

from dataclasses import dataclass

PROBLEMS_MAX = 500
"""A limit on everything: nobody reads further, and a hostile file must not fill the log."""

SHOWN_CHARACTERS_MAX = 60


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands. `line` and `column` count from 1; line 0 is the file or folder as a whole."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong (or, as a notice, worth knowing), its place and the way out."""

    place: Place
    message: str
    remedy: str
    may_pass: bool = False
    """It hangs on what the node has at this moment, and may mend itself without anybody touching the documents."""

    def __str__(self) -> str:
        return f"{self.place}: {self.message}; {self.remedy}"


class Findings:
    """Collects problems and notices while the readers go on reading.

    Invariant: a configuration is built only when `problems` is empty.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notices: list[Problem] = []

    def problem(self, place: Place, message: str, remedy: str, *, may_pass: bool = False) -> None:
        """Note a mistake: there will be no configuration."""
        self.problems.append(Problem(place, message, remedy, may_pass))

    def notice(self, place: Place, message: str, remedy: str) -> None:
        """Note something that the operator should know, and that stops nothing."""
        self.notices.append(Problem(place, message, remedy))


def in_order(problems: list[Problem], files: list[str]) -> tuple[Problem, ...]:
    """Sort as the files were given, then by line, each problem once; cut what nobody would read."""
    rank = {name: number for number, name in enumerate(files)}
    unique = list(dict.fromkeys(problems))
    unique.sort(key=lambda problem: (rank.get(problem.place.file, -1), problem.place))
    if len(unique) > PROBLEMS_MAX:
        rest = len(unique) - PROBLEMS_MAX
        last = Problem(unique[PROBLEMS_MAX].place, f"{rest} more from here on", "mend those above first")
        return (*unique[:PROBLEMS_MAX], last)
    return tuple(unique)


def printable(text: str) -> str:
    """Escape what would break a line of a terminal or a log."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shortened(text: str) -> str:
    """Cut a word of the operator's for a message: one line, printable, short."""
    return printable(text if len(text) <= SHOWN_CHARACTERS_MAX else text[: SHOWN_CHARACTERS_MAX - 1] + "…")


def shown(text: str) -> str:
    """Quote a value of the operator's for a message."""
    return f'"{shortened(text)}"'


def closest(word: str, known: list[str]) -> str | None:
    """Guess the name that was meant, or None when nothing is near."""
    from difflib import get_close_matches  # noqa: PLC0415  # only a document with a mistake pays for the import

    folded = {name.lower(): name for name in known}
    matches = get_close_matches(word.lower()[:100], list(folded), n=1, cutoff=0.7)
    return folded[matches[0]] if matches else None
