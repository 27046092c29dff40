"""The daemon's own messages, kept for whoever asks for the log of a service: the newest in memory, and in a file of the spool
for the time after a restart, or after a start that failed.

They are what `logs.event` says, so fixed sentences with named fields and never a payload. A message that names a stream or a
service belongs to that service; any other, such as a start or a setting that is wrong, to all.

Threads: any.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from collectord import files
from collectord.logline import CRITICAL, ERROR, INFO, OWN, WARNING, BadLine, LogLine
from collectord.logs import event

FILE = "messages.jsonl"
KEPT = 2000
"""Messages in memory."""
FILE_BYTES = 512 << 10
"""Of the file; when it has more, the older half of its messages goes."""
FIELD_CHARACTERS = 2000
FOLD_NS = 60_000_000_000
"""A message that says the same within that time is counted with the first."""
FOLDED = 500
"""Messages that are looked at for that."""

_log = logging.getLogger("collectord.notes")
_SEVERITIES = ((logging.CRITICAL, CRITICAL), (logging.ERROR, ERROR), (logging.WARNING, WARNING))


@dataclass(slots=True)
class Note:
    """A message."""

    number: int
    """Rises by one from message to message; a repeat has a higher one than what it repeats."""
    time_ns: int
    severity: int
    message: str
    service: str
    """Empty: it concerns all."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    node: str = ""
    """The one that speaks."""
    times: int = 1
    began_ns: int = 0

    def concerns(self, webservice: str) -> bool:
        return not self.service or self.service == (webservice or "default")

    def line(self) -> LogLine:
        more = {**self.fields, "times": self.times} if self.times > 1 else self.fields
        return LogLine(self.time_ns, self.severity, OWN, f"{OWN}@{self.node}", self.message, more=more)


class Notes(logging.Handler):
    """Takes in what the logger `collectord` says, from `open` to `close`."""

    def __init__(self, node: str, file: Path | None = None, now_ns: Callable[[], int] = time.time_ns) -> None:
        """`file`: where they outlive the process; None: nowhere."""
        super().__init__(logging.INFO)
        self._node = node
        self._file = file
        self._now_ns = now_ns
        self._notes: deque[Note] = deque(maxlen=KEPT)
        self._recent: dict[tuple[str, str, str], Note] = {}
        self._number = 0
        self._size = 0

    def open(self) -> None:
        """Takes what an earlier process has left, and begins."""
        if self._file is not None:
            for note in read(self._file):
                self._number += 1
                note.number = self._number
                self._notes.append(note)
            self._size = _end_line(self._file)
        logging.getLogger(OWN).addHandler(self)

    def close(self) -> None:
        """Nothing is taken in any more. May be repeated."""
        logging.getLogger(OWN).removeHandler(self)
        super().close()

    def lines(self, webservice: str, after: int = 0) -> tuple[list[LogLine], int]:
        """The messages about a service behind number `after`, oldest first; and the number of the newest of all."""
        assert self.lock is not None
        with self.lock:
            found = [note.line() for note in self._notes if note.number > after and note.concerns(webservice)]
            return found, self._number

    def emit(self, record: logging.LogRecord) -> None:
        """With the handler's lock held."""
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        message = record.getMessage()
        service = _service(fields)
        now = self._now_ns()
        severity = next((number for level, number in _SEVERITIES if record.levelno >= level), INFO)
        # What tells one occurrence from another by its words belongs to the message.
        key = (message, service, str(fields.get("reason", fields.get("blob", ""))))
        before = self._recent.get(key)
        self._number += 1
        if (
            before is not None
            and now - before.began_ns < FOLD_NS
            and self._notes
            and before.number >= self._notes[0].number
        ):
            self._notes.remove(before)
            before.number, before.time_ns, before.times = self._number, now, before.times + 1
            before.fields = _bounded(fields)
            self._notes.append(before)
            return
        kept = _bounded(fields)
        if record.exc_info and record.exc_info[1] is not None:
            kept["exception"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"[:FIELD_CHARACTERS]
        note = Note(self._number, now, severity, message[:FIELD_CHARACTERS], service, kept, self._node, began_ns=now)
        self._notes.append(note)
        self._recent.pop(key, None)
        self._recent[key] = note
        if len(self._recent) > FOLDED:
            del self._recent[next(iter(self._recent))]
        if self._file is not None:
            self._keep(self._file, note)

    def _keep(self, file: Path, note: Note) -> None:
        line = render(note)
        try:
            if self._size + len(line) > FILE_BYTES:
                kept: deque[bytes] = deque()
                size = 0
                for one in reversed(self._notes):
                    text = render(one)
                    size += len(text)
                    if size > FILE_BYTES // 2:
                        break
                    kept.appendleft(text)
                whole = b"".join(kept)
                files.write_unsynced(file, whole)
                self._size = len(whole)
            else:
                append(file, line)
                self._size += len(line)
        except OSError as error:
            # A full disk. They stay in memory, and in the log on stderr.
            self._file = None
            event(_log, logging.WARNING, "messages cannot be kept for the next start", why=str(error.strerror))


def append(file: Path, line: bytes) -> None:
    """Adds a message to a file, which only its owner may read. Raises OSError."""
    fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, files.PRIVATE_FILE)
    try:
        os.write(fd, line)
    finally:
        os.close(fd)


def _end_line(file: Path) -> int:
    """Ends a line that a crash has cut, so that the next one is whole. Returns the bytes of the file; what cannot be read has none."""
    try:
        with file.open("r+b") as opened:
            size = opened.seek(0, os.SEEK_END)
            if size and opened.seek(size - 1) >= 0 and opened.read(1) != b"\n":
                size += opened.write(b"\n")
            return size
    except OSError:
        return 0


def note_failed_start(spool: Path, why: str, node: str) -> None:
    """Leaves in a spool that a daemon could not even begin, so that the log of every service says so. Where there is no spool,
    or it is not ours, nobody can be told there."""
    note = Note(0, time.time_ns(), ERROR, "the start failed", "", {"why": why[:FIELD_CHARACTERS]}, node)
    try:
        append(spool / FILE, render(note))
    except OSError:
        return


def read(file: Path) -> list[Note]:
    """What a file holds, oldest first; nothing if it is absent. What cannot be read of it is left out."""
    try:
        raw = file.read_bytes()[-2 * FILE_BYTES :]
    except OSError:
        return []
    found = []
    for line in raw.splitlines()[-KEPT:]:
        try:
            fields = json.loads(line)
            made = LogLine.from_json(json.dumps(fields["line"]))
            found.append(
                Note(
                    0,
                    made.time_ns,
                    made.severity,
                    made.message,
                    str(fields["service"]),
                    made.more,
                    made.source.removeprefix(f"{OWN}@"),
                )
            )
        except (ValueError, KeyError, TypeError, RecursionError, BadLine):
            # A line that a crash has cut.
            continue
    return found


def render(note: Note) -> bytes:
    """The message as a line of the file."""
    return json.dumps({"service": note.service, "line": note.line().as_json()}).encode() + b"\n"


def _service(fields: Mapping[str, Any]) -> str:
    webservice = fields.get("webservice")
    if isinstance(webservice, str):
        return webservice or "default"
    stream = fields.get("stream")
    parts = stream.split("/") if isinstance(stream, str) else []
    return unquote(parts[3]) if len(parts) == 8 else ""


def _bounded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as JSON values of a size that can be kept."""
    return {
        name: value if isinstance(value, (int, float, bool)) or value is None else str(value)[:FIELD_CHARACTERS]
        for name, value in fields.items()
    }
