"""`collectord erase` as a command: what waits, what has landed, what is to be done about it, and what was."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from collectord.control.client import ControlClient
from collectord.errors import CallHuman, NeverAgain
from collectord.model import BlobInfo
from collectord.quarantine import BadItem, ids, read
from collectord.reader.blobs import data_blobs
from collectord.reader.cuts import Wanted
from collectord.reader.erase import Eraser, Refused, search
from collectord.reader.erasures import Keeper, Record, recorded
from collectord.reader.where import may_hold, needles
from collectord.telemetry.large import FOLDER as LARGE
from collectord.upload.naming import TELEMETRY_PREFIX
from collectord.upload.rewriting import RewritableStore
from collectord.uuids import raw_uuid


@dataclass(frozen=True, slots=True)
class Scope:
    """Where to look."""

    stream: str = "*"
    """A pattern of a shell, for the beginning of blobs' names; `*` stands for slashes too."""
    first: date | None = None
    last: date | None = None

    def __contains__(self, name: str) -> bool:
        """Whether a blob of this name is to be looked at."""
        if name.startswith(TELEMETRY_PREFIX):
            # Behind it and the name of a table, the levels are those of rows.
            name = name.removeprefix(TELEMETRY_PREFIX).partition("/")[2]
        return fnmatchcase(name, f"{self.stream}*") and self._in_days(name)

    def _in_days(self, name: str) -> bool:
        if self.first is None or self.last is None:
            return True
        days = (self.last - self.first).days + 1
        return any(may_hold(f"/{name}", self.first + timedelta(days=more)) for more in range(days))


@dataclass(slots=True)
class Affected:
    """A blob with such rows, before anything is done about it."""

    blob: str
    rows: int
    frames: int
    bytes: int


@dataclass(slots=True)
class Erasure:
    """What was found, and with `done` what was done."""

    store: str
    affected: list[Affected] = field(default_factory=list)
    blobs: int = 0
    """Looked at."""
    record: Record | None = None
    unread: list[dict[str, str]] = field(default_factory=list)
    remains: list[dict[str, Any]] = field(default_factory=list)
    asked: bool = False
    """Whether a daemon was asked what waits in its log."""
    notes: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether no such row is left, as far as was looked."""
        done = self.record is not None and self.record.finished is not None and not self.record.refused
        return (done or not self.affected) and not self.unread and not self.remains

    def as_fields(self) -> dict[str, Any]:
        """For scripts; docs/erasing.md describes them."""
        return {
            "complete": self.complete,
            "affected": [
                {"blob": one.blob, "rows": one.rows, "frames": one.frames, "bytes": one.bytes} for one in self.affected
            ],
            "blobs": self.blobs,
            "unread": self.unread,
            "remains": self.remains,
            "log_asked": self.asked,
            "notes": self.notes,
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        for one in self.remains:
            if one["where"] == "exporter":
                yield (
                    f"not delivered yet: events for {one['stream']}; those too large for it are written into {LARGE} when it "
                    "takes them, with these ids too: mend or remove it, `collectord flush`, then erase again"
                )
            else:
                yield f"not landed yet: {one['where']}, {one['stream']}, {one['rows']:,} rows"
        if any(one["where"] == "log" for one in self.remains):
            yield "  `collectord flush` brings what waits in the log into its blobs; then erase again"
        if any(one["where"] == "quarantine" for one in self.remains):
            yield "  `collectord quarantine drop ITEM` removes an item; or requeue and flush it, then erase again"
        if not self.asked:
            yield "no daemon was asked: what waits in the logs of daemons lands later; flush them all before you erase"
        for note in self.notes:
            yield f"note: {note}"
        for blob in self.unread:
            yield f"UNREAD: {blob['blob']}: {blob['why']}"
        if self.record is None:
            for found in self.affected:
                yield f"{found.rows:>10,} rows in {found.frames:>6,} frames  {found.blob}"
            rows = sum(one.rows for one in self.affected)
            yield f"{rows:,} rows in {len(self.affected)} of {self.blobs} blobs of {self.store} would be erased"
            if self.affected:
                yield "nothing was changed; --yes does it"
            return
        for part in self.record.parts:
            where = part.into or "nothing left of it"
            mark = " (begun by an earlier erasure)" if part.resumed else ""
            yield f"{part.rows:>10,} rows erased  {part.blob} -> {where}{mark}"
        for refused in self.record.refused:
            yield f"REFUSED: {refused['blob']}: {refused['why']}"
        yield (
            f"{sum(part.rows for part in self.record.parts):,} rows erased from {len(self.record.parts)} blobs of "
            f"{self.store}; record {self.record.erasure}"
        )


def erase(
    store: RewritableStore, wanted: Wanted, scope: Scope, *, do: bool, socket: Path | None = None,
    quarantine: Path | None = None,
) -> Erasure:  # fmt: skip
    """Looks for the rows and, with `do`, erases them. `socket`: of the daemon whose log is to be looked at; `quarantine`: the
    directory of its items. A bar is drawn on stderr if that is a terminal.

    Raises:
        CallHuman: the store refuses to be read or written, no daemon answers, or another erasure is at work.
        TryAgain: the store did not answer. What was begun is finished by the next erasure.
    """
    result = Erasure(store.describe(), asked=socket is not None)
    # First the log, then the store: what lands in between is seen twice, not missed.
    if socket is not None:
        result.remains += _in_log(socket, wanted, result.notes)
    if quarantine is not None:
        result.remains += _in_quarantine(quarantine, wanted, result.notes)
    if not do or next(iter(store.list("")), None) is None:
        _look(store, wanted, scope, result)
        return result
    with Eraser(store, wanted) as eraser:
        result.record = record = Record(eraser.id, _now(), _sought(wanted, scope))
        keeper = Keeper(store, record)
        known = {part.note for part in recorded(store)}
        for part in eraser.finish():
            if part.note not in known:
                record.parts.append(part)
        keeper.save()
        _look(store, wanted, scope, result)
        record.unread, record.remains = result.unread, result.remains
        names = {blob.name for blob in store.list("")}
        with _bar("erasing", sum(one.bytes for one in result.affected)) as tell:
            for one in result.affected:
                try:
                    done = eraser.erase(one.blob, names)
                except Refused as error:
                    record.refused.append({"blob": one.blob, "why": str(error)})
                except NeverAgain as error:
                    result.unread.append({"blob": one.blob, "why": str(error)})
                else:
                    if done is not None:
                        record.parts.append(done)
                        names.update(filter(None, (done.into,)))
                tell(one.bytes)
                keeper.save()
        record.finished = _now()
        keeper.save()
    return result


def _look(store: RewritableStore, wanted: Wanted, scope: Scope, result: Erasure) -> None:
    blobs = _blobs(store, wanted, scope)
    result.blobs = len(blobs)
    seen = having = 0
    with _bar("looking", sum(blob.size for blob in blobs)) as tell:

        def troubled(blob: str, why: str) -> None:
            result.unread.append({"blob": blob, "why": why})

        for blob, found in search(store, blobs, wanted, troubled, tell):
            seen += 1
            having += not found.columnless
            if found.cuts:
                result.affected.append(Affected(blob.name, found.rows, found.frames, blob.size))
    if not blobs and scope.stream != "*":
        result.notes.append(f"no blob of these days has a name that begins like {scope.stream}; see `collectord ls`")
    if not result.affected:
        result.notes += _doubts(wanted, having) if wanted.cells and seen else _otherwise_spelled(wanted.ids)


def _otherwise_spelled(ids_: Sequence[str]) -> Iterator[str]:
    count = sum(raw_uuid(one) is None and raw_uuid(one.strip("{}").lower()) is not None for one in ids_)
    if count:
        yield f"ids are compared as texts, and {count} of these are uuids that are not spelled in lower case without braces"


def _doubts(wanted: Wanted, having: int) -> Iterator[str]:
    """Why there may be such rows although none was found."""
    names = " and ".join(repr(name) for name, _ in wanted.cells)
    if not having:
        yield f"none of these blobs has the column {names}; is it spelled as in their headers?"
    elif any(_is_number(text) for _, text in wanted.cells):
        yield "values are compared as texts: of a column of reals 4711.0 stands in the blobs, not 4711"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _blobs(store: RewritableStore, wanted: Wanted, scope: Scope) -> list[BlobInfo]:
    blobs = [blob for blob in data_blobs(store) if blob.name in scope]
    if wanted.ids:
        blobs += [blob for blob in store.list(TELEMETRY_PREFIX) if blob.name in scope]
    return blobs


def _in_log(socket: Path, wanted: Wanted, notes: list[str]) -> Iterator[dict[str, Any]]:
    """Entries of a daemon's log that may hold such rows: ids are found as they stand, values only as text."""
    with ControlClient(socket) as control:
        for sought in _sought_in_payloads(wanted):
            answer = control.where(sought)
            if not answer.complete:
                notes.append(f"of what waits in the log only {answer.bytes_searched:,} bytes were searched")
            for one in answer.entries:
                yield {"where": "log", "stream": one.stream, "entry": one.lsn, "rows": one.rows}
        status = control.status()
        if wanted.ids:
            # A flush waits for an exporter unless that cannot go on. What it has not settled it reads from the log again, landed or
            # not, so a blob of a large event may come back.
            for exporter in status.get("exports", ()):  # a daemon of an earlier version has none
                if exporter["trouble"] and exporter["lag_bytes"]:
                    yield {"where": "exporter", "stream": exporter["name"], "entry": None, "rows": 0}
        if wanted.cells and status["waiting"]["rows"]:
            notes.append("rows wait in the log; numbers in them are not text and were not looked for")


def _in_quarantine(directory: Path, wanted: Wanted, notes: list[str]) -> Iterator[dict[str, Any]]:
    for one in ids(directory):
        try:
            item = read(directory, one)
        except BadItem as error:
            notes.append(str(error))
            continue
        sought = [needle for needles_ in _sought_in_payloads(wanted) for needle in needles_]
        if any(needle in entry.payload for entry in item.entries for needle in sought):
            yield {"where": "quarantine", "stream": item.stream, "entry": item.id.hex(), "rows": item.rows}


def _sought_in_payloads(wanted: Wanted) -> list[list[bytes]]:
    return [needles(one) for one in wanted.ids] or [[text.encode()] for _, text in wanted.cells[:1]]


def _sought(wanted: Wanted, scope: Scope) -> dict[str, Any]:
    """What the record says of what was looked for: nothing that names anybody."""
    return {
        "correlation_ids": len(wanted.ids),
        "columns": sorted({name for name, _ in wanted.cells}),
        "stream": scope.stream,
        "from": scope.first and str(scope.first),
        "to": scope.last and str(scope.last),
    }


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@contextlib.contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal, transient=True,
    ) as bars:  # fmt: skip
        task = bars.add_task(what, total=total)
        yield lambda size: bars.advance(task, size)


def wanted_of(ids_: Sequence[str], cells: Sequence[str]) -> Wanted:
    """What a person asked for: ids, or conditions as `COLUMN=VALUE`. Raises CallHuman, saying how it is done right."""
    if bool(ids_) == bool(cells):
        raise CallHuman("say whose rows: either --correlation-id ID, or --where COLUMN=VALUE; not both")
    if not all(ids_):
        raise CallHuman("an empty text is no correlation id")
    pairs = []
    for cell in cells:
        column, equals, text = cell.partition("=")
        if not column or not equals or not text:
            raise CallHuman(f"--where {cell!r} is not COLUMN=VALUE; a value cannot be empty")
        pairs.append((column, text))
    return Wanted(tuple(dict.fromkeys(ids_)), tuple(pairs))
