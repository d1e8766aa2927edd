"""One line for each fact: as text for a person or the journal, or as JSON for a machine.

Role: turns `core.messages.Report` into lines on standard error.
Must never: stall the agent (a full pipe loses lines, counted), flood (an equal line is counted instead of repeated), or
let a name that came over the network break a line in two.
Counterparts: `core/messages.py` (Report), `cli/run.py` (chooses format and level).
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sharedip.core.messages import Level, Report

LOGGER_NAME = "sharedip"
REPEAT_WINDOW_S = 60.0
"""An equal line comes at most once in this time."""
ALIKE_MAX = 10
"""Of lines about one VIP that differ in names, numbers and addresses alone, so many come in that time."""
ALIKE_OF_NO_VIP_MAX = 200
"""A reload names each mistake in a line of its own."""
KINDS_REMEMBERED_MAX = 4096
REMEMBERED_LINES_MAX = 256
LINE_BYTES_MAX = 4096
"""PIPE_BUF: poll(2) promises that a write of so many bytes to a pipe which is ready does not block (pipe(7))."""
TEXT_CHARACTERS_MAX = 1500

_LEVELS = {
    Level.DEBUG: logging.DEBUG,
    Level.INFO: logging.INFO,
    Level.WARNING: logging.WARNING,
    Level.ERROR: logging.ERROR,
}
# syslog(3) priorities as systemd reads them before a line (sd-daemon(3)).
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
# C0, DEL and C1: a terminal obeys them, a log line ends at some of them. The line and paragraph separators end it for
# some readers; what turns the direction of writing shows another text than is there (Unicode TR 36, "bidirectional").
_CONTROL = {
    **{code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))},
    **{code: f"\\u{code:04x}" for code in (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))},
}
_JSON = {code: text for code, text in _CONTROL.items() if code > 0xFF}
"""In a string of JSON the same escapes are its own."""
_VIP_AT = 2
_CHOSEN = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}|[0-9A-Fa-f:.]*\d[0-9A-Fa-f:.]*|'[^']*'|\"[^\"]*\"")
"""What a line's author may choose in it."""


def printable(text: str) -> str:
    """`text` on one line, with control characters spelt out, and not endless."""
    clean = text.translate(_CONTROL)
    return clean if len(clean) <= TEXT_CHARACTERS_MAX else clean[: TEXT_CHARACTERS_MAX - 1] + "…"


class _FactFormatter(logging.Formatter):
    """Reads the fields that `write_report` adds; a record of a library has none of them."""

    @staticmethod
    def fields(record: logging.LogRecord) -> dict[str, str | int | None]:
        return {name: getattr(record, name, None) for name in ("vip", "epoch", "reason", "node")}

    def sentence(self, record: logging.LogRecord) -> str:
        fields = self.fields(record)
        about = " ".join(
            part for part in (str(fields["vip"] or ""), f"epoch {fields['epoch']}" if fields["epoch"] else "") if part
        )
        return printable(": ".join(str(part) for part in (about, record.getMessage(), fields["reason"]) if part))

    def trace(self, record: logging.LogRecord) -> list[str]:
        if not record.exc_info:
            return []
        return [line.translate(_CONTROL) for line in self.formatException(record.exc_info).splitlines()]


class TextFormatter(_FactFormatter):
    """`2026-11-21T03:12:05.123Z INFO  192.168.0.15 epoch 4711: took the address: n1 released it`."""

    def format(self, record: logging.LogRecord) -> str:
        """Give a time, a level and the sentence."""
        head = f"{_timestamp(record.created)} {record.levelname:<5} "
        return "\n".join([head + self.sentence(record), *self.trace(record)])


class JournalFormatter(_FactFormatter):
    """The journal has its own clock and level: a priority and the sentence, each line of a trace with its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Prefix every line with its syslog priority."""
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in [self.sentence(record), *self.trace(record)])


class JsonFormatter(_FactFormatter):
    """One JSON object a line, always with the same keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Give ts, level, msg, vip, epoch, reason, node, and a trace if there is one."""
        document: dict[str, object] = {
            "ts": _timestamp(record.created),
            "level": record.levelname.lower(),
            "msg": record.getMessage()[:TEXT_CHARACTERS_MAX],
            **self.fields(record),
        }
        if record.exc_info:
            document["trace"] = self.trace(record)[-20:]
        return json.dumps(document, ensure_ascii=False).translate(_JSON)


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class _Repetition:
    record: logging.LogRecord
    said_at: float
    suppressed: int = 0
    is_alike: bool = False
    """Whether what was suppressed differed in what its author may choose."""


class FactHandler(logging.Handler):
    """Writes lines to a file descriptor without ever waiting for its reader.

    Invariant: of equal lines at most one is written in `REPEAT_WINDOW_S`, of lines that are alike a few: nobody outside
    decides how many there are (law 11). What was left out is counted in `suppressed`; it is said as a number once the
    window is over and something is logged again, or at `say_repetitions` (which the agent may call from its own tick).
    """

    def __init__(self, fd: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._fd = fd
        self._clock = clock
        self._said: dict[tuple[object, ...], _Repetition] = {}
        self._kinds: dict[tuple[object, ...], tuple[float, int]] = {}
        self.suppressed = 0
        self._lost = 0
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, unless an equal one was written a moment ago."""
        now = self._clock()
        self.say_repetitions(now)
        key: tuple[object, ...] = (record.levelno, record.getMessage(), *_FactFormatter.fields(record).values())
        kind = self._kind(record)
        is_alike = key not in self._said and self._is_one_too_many(kind, now)
        if is_alike:
            key = kind
        if (repetition := self._said.get(key)) is not None:
            repetition.suppressed += 1
            self.suppressed += 1
            return
        while len(self._said) >= REMEMBERED_LINES_MAX:
            self._forget(next(iter(self._said)))
        if is_alike:
            self._said[key] = _Repetition(record, now, 1, is_alike=True)
            self.suppressed += 1
            return
        self._said[key] = _Repetition(record, now)
        self._write(record)

    @staticmethod
    def _kind(record: logging.LogRecord) -> tuple[object, ...]:
        fields = _FactFormatter.fields(record)
        text = f"{record.getMessage()[:TEXT_CHARACTERS_MAX]} {str(fields['reason'] or '')[:TEXT_CHARACTERS_MAX]}"
        return "alike", record.levelno, fields["vip"], _CHOSEN.sub("#", text)

    def _is_one_too_many(self, kind: tuple[object, ...], now: float) -> bool:
        began_at, count = self._kinds.get(kind, (now, 0))
        if now - began_at >= REPEAT_WINDOW_S:
            began_at, count = now, 0
        elif kind not in self._kinds and len(self._kinds) >= KINDS_REMEMBERED_MAX:
            self._kinds = {each: told for each, told in self._kinds.items() if now - told[0] < REPEAT_WINDOW_S}
            while len(self._kinds) >= KINDS_REMEMBERED_MAX:
                del self._kinds[next(iter(self._kinds))]
        self._kinds[kind] = (began_at, count + 1)
        return count >= (ALIKE_OF_NO_VIP_MAX if kind[_VIP_AT] is None else ALIKE_MAX)

    def say_repetitions(self, now: float | None = None) -> None:
        """Say how often a line came again, for every line whose window is over."""
        instant = self._clock() if now is None else now
        # Insertion order is time order: the first that is young enough ends the search.
        while self._said:
            key, repetition = next(iter(self._said.items()))
            if instant - repetition.said_at < REPEAT_WINDOW_S:
                return
            self._forget(key)

    def close(self) -> None:
        """Say what is still unsaid."""
        while self._said:
            self._forget(next(iter(self._said)))
        super().close()

    def _forget(self, key: tuple[object, ...]) -> None:
        repetition = self._said.pop(key)
        if repetition.suppressed:
            old = repetition.record
            times = "once more" if repetition.suppressed == 1 else f"{repetition.suppressed} times"
            count = f"{repetition.suppressed} lines like this one" if repetition.is_alike else f"repeated {times}"
            again = logging.makeLogRecord({**old.__dict__, "created": time.time(), "exc_info": None})
            again.msg, again.args = f"{old.getMessage()} ({count})", ()
            self._write(again)

    def _write(self, record: logging.LogRecord) -> None:
        for line in self.format(record).split("\n"):
            self._write_line(line)

    def _write_line(self, line: str) -> None:
        if not any(event & select.POLLOUT for _, event in self._poll.poll(0)):
            self._lost += 1
            return
        if self._lost:
            line, self._lost = f"{line} ({self._lost} lines before this one were lost: nobody read the log)", 0
        data = line.encode("utf-8", "replace")
        if len(data) >= LINE_BYTES_MAX:
            data = data[: LINE_BYTES_MAX - 1]
        try:
            os.write(self._fd, data + b"\n")
        except OSError:  # the log's reader is gone, or its disk is full: no reason to give an address up
            self._lost += 1


def to_journal(fd: int, environ: Mapping[str, str]) -> bool:
    """Tell whether `fd` is the very stream that systemd connected to the journal (JOURNAL_STREAM, systemd.exec(5))."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def configure(log_format: str, log_level: str, fd: int = 2, environ: Mapping[str, str] = os.environ) -> FactHandler:
    """Send every record of this process to `fd`; `log_format` is text or json, `log_level` a name of `Level`."""
    handler = FactHandler(fd)
    if log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(JournalFormatter() if to_journal(fd, environ) else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    level = _LEVELS[Level(log_level)]
    logging.getLogger(LOGGER_NAME).setLevel(level)
    # Libraries speak of their own inner life, HTTP/2 headers with etcd's tokens among it: only what is wrong is told.
    root.setLevel(logging.WARNING)
    return handler


def write_report(report: Report, node: str) -> None:
    """Write one fact of the core."""
    logging.getLogger(LOGGER_NAME).log(
        _LEVELS[report.level],
        "%s",
        report.text,
        extra={
            "vip": str(report.vip) if report.vip else None,
            "epoch": report.epoch,
            "reason": report.reason,
            "node": node,
        },
    )
