"""`collectord where` as a command: asks the daemon what waits and what never landed, then searches the store."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from itertools import groupby
from pathlib import Path
from typing import Any

from collectord.control.client import ControlClient
from collectord.errors import CallHuman, TryAgain
from collectord.model import BlobInfo
from collectord.quarantine import BadItem, ids, read
from collectord.reader.absence import Absence, absences
from collectord.reader.blobs import blobs_of
from collectord.reader.tally import layout_of
from collectord.reader.where import Effort, Hit, days_of, may_hold, needles, time_of, where
from collectord.upload.store import BlobStore


@dataclass(slots=True)
class Found:
    """The answer, and how far was looked."""

    wanted: str
    days: list[date]
    blobs: list[BlobInfo]
    hits: list[Hit] = field(default_factory=list)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    """Entries of the log that hold the id: `stream`, `lsn`, `rows`."""
    held: list[dict[str, Any]] = field(default_factory=list)
    """Items of the quarantine that hold the id: `stream`, `item`, `reason`, `rows`."""
    notes: list[str] = field(default_factory=list)
    effort: Effort = field(default_factory=Effort)
    absences: list[Absence] | None = None
    """What never landed of the streams in question; None: no daemon was asked."""

    def as_json(self) -> str:
        """For scripts; docs/operations.md describes the fields."""
        hits = [{"blob": one.blob, "offset": one.offset, "row": one.row, "text": one.text} for one in self.hits]
        searched = {
            "days": [str(day) for day in self.days],
            "blobs": len(self.blobs),
            "bytes": self.size,
            "bytes_read": self.effort.bytes_read,
            "frames": self.effort.frames,
            "frames_passed": self.effort.passed,
        }
        return json.dumps(
            {
                "landed": hits,
                "waiting": self.waiting,
                "quarantined": self.held,
                "searched": searched,
                "never_landed": None if self.absences is None else [one.as_json() for one in self.absences if one],
                "notes": self.notes,
            },
            indent=2,
        )

    def __bool__(self) -> bool:
        """Whether it was found anywhere."""
        return bool(self.hits or self.waiting or self.held)

    @property
    def size(self) -> int:
        return sum(blob.size for blob in self.blobs)

    def lines(self, show: bool) -> Iterator[str]:
        """For people."""
        for (blob, offset), group in groupby(self.hits, lambda hit: (hit.blob, hit.offset)):
            hits = list(group)
            yield f"landed: {blob}, frame at byte {offset}, rows {', '.join(str(hit.row) for hit in hits)}"
            if show:
                yield from (f"  {hit.text}" for hit in hits)
        for one in self.waiting:
            yield f"waits in the log: {one['stream']}, entry {one['lsn']} of {one['rows']:,} rows"
        for one in self.held:
            yield f"in quarantine: {one['stream']}, item {one['item']} of {one['rows']:,} rows: {one['reason']}"
        for note in self.notes:
            yield f"note: {note}"
        looked = f"{len(self.blobs)} blobs of {self._span}, {self.size:,} bytes"
        read = f"{self.effort.bytes_read:,} bytes read"
        if self.effort.frames:
            read += f", {self.effort.passed:,} of {self.effort.frames:,} frames passed over by their index"
        if self:
            yield f"searched {looked} ({read})"
            return
        yield f"not known: {self.wanted} is not in {looked} ({read})"
        yield from self._why_not()

    @property
    def _span(self) -> str:
        return f"{min(self.days)} to {max(self.days)}"

    def _why_not(self) -> Iterator[str]:
        """What could be why it was not found."""
        made = time_of(self.wanted)
        says = f"the id says that it was made on {made.date()}" if made else "the id says nothing about its day"
        yield f"the days searched were {self._span} (UTC); {says}; --date YYYY-MM-DD --days N searches others"
        if self.absences is None:
            yield "no daemon was asked: --spool DIRECTORY also searches its log and quarantine, and says what never landed"
        elif not self.absences:
            yield "the daemon knows no stream whose blobs have such names"
        elif not any(self.absences):
            yield (
                f"the daemon's books of {len(self.absences)} streams know of no row that was rejected, dropped by clients, "
                "lost, expired or dropped from quarantine"
            )
        else:
            yield "what never landed, by the daemon's books, in rows of any id since its spool was made:"
            yield from (f"  {one.line()}" for one in self.absences if one)


def find(
    store: BlobStore, wanted: str, first: date | None, count: int | None, stream: str, socket: Path | None,
    quarantine: Path | None = None, name_prefix: str = "", telemetry: bool = False,
) -> Found:  # fmt: skip
    """Looks for a correlation id in the blobs of some days (see `days_of`); before that, with `socket`, in the log, and
    with `quarantine`, the directory of its items, there. `name_prefix` is what stands before every blob's name in this
    store. `telemetry`: the blobs of events are searched for their ids, instead of those of rows.

    Raises:
        CallHuman: the id is empty, the store cannot be read, or no daemon answers.
    """
    if not wanted:
        raise CallHuman("an empty text is no correlation id")
    days = days_of(wanted, first, count, datetime.now(timezone.utc).date())
    found = Found(wanted, days, [])
    held_rows: dict[str, int] = {}
    try:
        if socket is not None:
            # First the log, then the store: what lands in between is seen twice, not missed.
            with ControlClient(socket) as control:
                answer = control.where(needles(wanted))
                books, status = control.ledger(), control.status()
            found.waiting = [{"stream": one.stream, "lsn": one.lsn, "rows": one.rows} for one in answer.entries]
            if not answer.complete:
                found.notes.append(f"of what waits in the log only {answer.bytes_searched:,} bytes were searched")
        if quarantine is not None:
            found.held = list(_held(quarantine, wanted, found.notes, held_rows))
        if socket is not None:
            layout = layout_of(status, name_prefix)
            found.absences = absences(books, held_rows, layout, stream)
        found.blobs = [
            blob for blob in blobs_of(store, stream, telemetry) if any(may_hold(blob.name, day) for day in days)
        ]
        with contextlib.closing(store):
            found.hits = list(
                where(
                    store, found.blobs, wanted, found.effort,
                    lambda blob, why: found.notes.append(f"{blob} could not be read to its end: {why}"),
                )
            )  # fmt: skip
    except TryAgain as error:
        raise CallHuman(str(error)) from error
    return found


def _held(quarantine: Path, wanted: str, notes: list[str], rows: dict[str, int]) -> Iterator[dict[str, Any]]:
    """The items with this id; `rows` gets those of all items, by stream."""
    for one in ids(quarantine):
        try:
            item = read(quarantine, one)
        except BadItem as error:
            notes.append(str(error))
            continue
        rows[item.stream] = rows.get(item.stream, 0) + item.rows
        if any(needle in entry.payload for entry in item.entries for needle in needles(wanted)):
            yield {"stream": item.stream, "item": item.id.hex(), "reason": item.reason, "rows": item.rows}
