"""What has landed of a service's log: the events of all nodes, newest first, read from the ends of the blobs backwards.

Events lie in a folder per hour (docs/telemetry.md), one blob for each writer in it. So hours are read from the newest one back
until there are lines enough. In one blob events lie as they arrived: one that came late stands behind later ones, and may be
missed where only the newest are wanted.

Threads: one, and a few for the blobs of an hour.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from threading import Lock
from urllib.parse import unquote

from collectord.errors import CallHuman, TryAgain
from collectord.logline import TABLES, BadLine, LogLine, line_of
from collectord.model import HOUR_NS, BlobInfo
from collectord.reader.blobs import READ_BYTES
from collectord.upload.naming import TELEMETRY_PREFIX
from collectord.upload.store import BlobStore, Blocked, Unknown
from collectord.upload.template import escape

FIRST_READ = 256 << 10
"""From the end of a blob; each further one is twice as large."""
MAX_LINE = 8 << 20
"""None is longer than an append."""
MOST_BYTES = 256 << 20
"""That one question reads."""
AT_ONCE = 8
"""Blobs that are read together."""

_NAME = re.compile(
    re.escape(TELEMETRY_PREFIX) + r"(?P<table>[^/]+)/(?P<stream>[^/]+/[^/]+/[^/]+/(?P<service>[^/]+)/[^/]+/[^/]+)/"
    r"(?P<hour>\d{4}/\d\d/\d\d/\d\d)/[^/]+\.jsonl"
)


@dataclass(slots=True)
class Landed:
    """What a listing has shown."""

    hours: dict[str, list[BlobInfo]] = field(default_factory=lambda: defaultdict(list))
    """The service's blobs, by `yyyy/mm/dd/HH`."""
    folders: set[str] = field(default_factory=set)
    """Those of its streams, with a slash behind."""
    services: set[str] = field(default_factory=set)
    """The names of all services of which anything is there."""


@dataclass(slots=True)
class Effort:
    """What reading took. From any thread."""

    bytes_read: int = 0
    broken: int = 0
    """Lines that are no events of ours."""
    complete: bool = True
    """Whether `MOST_BYTES` was enough."""
    lock: Lock = field(default_factory=Lock)


def survey(store: BlobStore, webservice: str) -> Landed:
    """What there is of a service, by one listing of all telemetry that logs are made of. Raises TryAgain, CallHuman."""
    wanted = escape(webservice)
    found = Landed()
    for table in TABLES:
        for blob in store.list(f"{TELEMETRY_PREFIX}{table}/"):
            match = _NAME.fullmatch(blob.name)
            if match is None:
                continue
            found.services.add(unquote(match["service"]))
            if match["service"] == wanted:
                found.hours[match["hour"]].append(blob)
                found.folders.add(f"{TELEMETRY_PREFIX}{match['table']}/{match['stream']}/")
    return found


def newest(store: BlobStore, landed: Landed, lines: int, since_ns: int, severity: int, effort: Effort) -> list[LogLine]:
    """At most so many lines, oldest first, none of them earlier than `since_ns` or of a lower severity. Raises TryAgain,
    CallHuman. Of an event that was found twice one is given."""
    found: dict[str, LogLine] = {}
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="collectord-logs") as pool:
        for hour in sorted(landed.hours, reverse=True):
            if _end_of(hour) <= since_ns or len(found) >= lines or not effort.complete:
                break
            ends = pool.map(lambda blob: _newest_of(store, blob, lines, since_ns, severity, effort), landed.hours[hour])
            for end in ends:
                for line in end:
                    found.setdefault(line.id or f"{line.time_ns} {line.message}", line)
                if len(found) > 2 * lines + 1000:
                    found = dict(_last(found, lines))
    return [line for _, line in _last(found, lines)]


def _last(found: dict[str, LogLine], lines: int) -> list[tuple[str, LogLine]]:
    return sorted(found.items(), key=lambda one: one[1].order)[max(0, len(found) - lines) :]


def _newest_of(
    store: BlobStore, blob: BlobInfo, lines: int, since_ns: int, severity: int, effort: Effort
) -> list[LogLine]:
    found: list[LogLine] = []
    if not lines:
        return found
    for raw in _backwards(store, blob, effort):
        line = read_line(raw, effort)
        if line is not None and line.severity >= severity and line.time_ns >= since_ns:
            found.append(line)
            if len(found) == lines:
                break
    return found


def read_line(raw: bytes, effort: Effort) -> LogLine | None:
    """The line of a log that a landed line makes, if it makes one; what is none of ours is counted."""
    try:
        item = json.loads(raw)
        if not isinstance(item, dict):
            raise BadLine("it is no JSON object")
        return line_of(item)
    except (ValueError, RecursionError, BadLine):
        with effort.lock:
            effort.broken += 1
        return None


def _backwards(store: BlobStore, blob: BlobInfo, effort: Effort) -> Iterator[bytes]:
    """The whole lines of a blob, the last one first. What stands behind the last line end is an append under way."""
    at, size, rest, torn = blob.size, FIRST_READ, b"", True
    while at > 0 and effort.complete:
        begin = max(0, at - size)
        size = min(2 * size, READ_BYTES)
        rest = _read(store, blob.name, begin, at - begin, effort) + rest
        at = begin
        pieces = rest.split(b"\n")
        rest = pieces.pop(0) if at else b""
        if torn and pieces:
            pieces.pop()
            torn = False
        yield from (piece for piece in reversed(pieces) if piece)
        if len(rest) > MAX_LINE:
            # Not ours; what lies before it is not looked for.
            with effort.lock:
                effort.broken += 1
            return


def _read(store: BlobStore, name: str, begin: int, length: int, effort: Effort) -> bytes:
    got = store.read(name, begin, length)
    if isinstance(got, Unknown):
        raise TryAgain(f"{name}: {got.detail}")
    if isinstance(got, Blocked):
        raise CallHuman(f"{name}: {got.detail}")
    with effort.lock:
        # Gone, or shorter than it was: retention has removed it meanwhile.
        effort.bytes_read += len(got or b"")
        effort.complete = effort.complete and effort.bytes_read < MOST_BYTES
    return got or b""


def _end_of(hour: str) -> int:
    """Nanoseconds since 1970 at which an hour of a name ends; 0 for what is none."""
    try:
        begin = datetime.strptime(hour, "%Y/%m/%d/%H").replace(tzinfo=timezone.utc)
    except ValueError:
        return 0
    return int(begin.timestamp()) * 1_000_000_000 + HOUR_NS


class Follower:
    """What lands of a service from now on, in the folders that were known at the beginning and in what `survey` finds later.

    Looks at the running hour and the one before: an event of an earlier hour is not told. One thread.
    """

    def __init__(self, store: BlobStore, webservice: str, landed: Landed) -> None:
        self._store = store
        self._webservice = webservice
        self._folders = set(landed.folders)
        self._read_to = {blob.name: blob.size for blobs in landed.hours.values() for blob in blobs}
        self._found: list[LogLine] = []
        self.effort = Effort()

    def survey(self) -> None:
        """Looks for streams that have come since."""
        self._folders |= survey(self._store, self._webservice).folders

    def look(self, now_ns: int) -> list[LogLine]:
        """What has landed since the last look. Raises TryAgain, CallHuman; then nothing is passed over."""
        self.effort.bytes_read, self.effort.complete = 0, True
        for blob in self._now(now_ns):
            self._take(blob)
        found, self._found = self._found, []
        return sorted(found, key=lambda line: line.order)

    def _take(self, blob: BlobInfo) -> None:
        read_to = self._read_to.get(blob.name, 0)
        if blob.size < read_to:
            # It was replaced.
            read_to = 0
        text = b""
        while (at := read_to + len(text)) < blob.size:
            more = _read(self._store, blob.name, at, min(READ_BYTES, blob.size - at), self.effort)
            if not more:
                break
            text += more
            end = text.rfind(b"\n") + 1
            lines = (read_line(raw, self.effort) for raw in text[:end].split(b"\n") if raw)
            self._found += [line for line in lines if line is not None]
            read_to, text = read_to + end, text[end:]
            if len(text) > MAX_LINE:
                # Not ours.
                self.effort.broken += 1
                read_to, text = read_to + len(text), b""
            # Each time, so that after an answer that did not come nothing is told twice.
            self._read_to[blob.name] = read_to

    def _now(self, now_ns: int) -> Iterable[BlobInfo]:
        for hour_ns in (now_ns - HOUR_NS, now_ns):
            hour = datetime.fromtimestamp(hour_ns // 1_000_000_000, timezone.utc).strftime("%Y/%m/%d/%H/")
            for folder in sorted(self._folders):
                yield from self._store.list(folder + hour)
