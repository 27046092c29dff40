"""`collectord where` as a command: asks the daemon what waits, then searches the store."""

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
from collectord.reader.blobs import data_blobs
from collectord.reader.where import Hit, days_of, may_hold, needles, where
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

    def as_json(self) -> str:
        """For scripts; docs/operations.md describes the fields."""
        hits = [{"blob": one.blob, "offset": one.offset, "row": one.row, "text": one.text} for one in self.hits]
        searched = {"days": [str(day) for day in self.days], "blobs": len(self.blobs), "bytes": self.size}
        return json.dumps(
            {
                "landed": hits,
                "waiting": self.waiting,
                "quarantined": self.held,
                "searched": searched,
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
        span = f"{min(self.days)} to {max(self.days)}"
        looked = f"{len(self.blobs)} blobs of {span}, {self.size:,} bytes"
        yield f"searched {looked}" if self else f"not known: {self.wanted} is not in {looked}"


def find(
    store: BlobStore, wanted: str, first: date | None, count: int | None, stream: str, socket: Path | None,
    quarantine: Path | None = None,
) -> Found:  # fmt: skip
    """Looks for a correlation id in the blobs of some days (see `days_of`); before that, with `socket`, in the log, and
    with `quarantine`, the directory of its items, there.

    Raises:
        CallHuman: the id is empty, the store cannot be read, or no daemon answers.
    """
    if not wanted:
        raise CallHuman("an empty text is no correlation id")
    days = days_of(wanted, first, count, datetime.now(timezone.utc).date())
    found = Found(wanted, days, [])
    try:
        if socket is not None:
            # First the log, then the store: what lands in between is seen twice, not missed.
            with ControlClient(socket) as control:
                answer = control.where(needles(wanted))
            found.waiting = [{"stream": one.stream, "lsn": one.lsn, "rows": one.rows} for one in answer.entries]
            if not answer.complete:
                found.notes.append(f"of what waits in the log only {answer.bytes_searched:,} bytes were searched")
        if quarantine is not None:
            found.held = list(_held(quarantine, wanted, found.notes))
        found.blobs = [blob for blob in data_blobs(store, stream) if any(may_hold(blob.name, day) for day in days)]
        with contextlib.closing(store):
            found.hits = list(
                where(store, found.blobs, wanted, lambda blob, why: found.notes.append(f"{blob} is damaged: {why}"))
            )
    except TryAgain as error:
        raise CallHuman(str(error)) from error
    return found


def _held(quarantine: Path, wanted: str, notes: list[str]) -> Iterator[dict[str, Any]]:
    for one in ids(quarantine):
        try:
            item = read(quarantine, one)
        except BadItem as error:
            notes.append(str(error))
            continue
        if any(needle in entry.payload for entry in item.entries for needle in needles(wanted)):
            yield {"stream": item.stream, "item": item.id.hex(), "reason": item.reason, "rows": item.rows}
