"""What has landed, compared with the books of the daemon that wrote it: the second half of `collectord verify --spool`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Protocol

from collectord.encode.frame import JSONL, TELEMETRY
from collectord.errors import NeverAgain
from collectord.model import MINUTES_PER_HOUR, Partition, stream_of_key
from collectord.outputs import Outputs
from collectord.reader import events, telemetry
from collectord.reader.verify import BlobTotals
from collectord.upload.naming import Layout

_PART = re.compile(r"(?:\.\d+)?(\.csv|\.jsonl)\Z")
_TIME, _BOUNDARY = "$aml_dc_scoring_timestamp", "$aml_dc_boundary"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Books(Protocol):
    """A stream's books, as the daemon tells them."""

    stream: str
    landed: int
    in_log: int


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows of one stream, or of streams that share their blobs. `before`, `after`: landed when reading began and ended."""

    streams: tuple[str, ...]
    rows: int
    before: int
    after: int
    in_log: int

    @property
    def wrong(self) -> str:
        """What is wrong, empty if nothing is."""
        if self.rows < self.before:
            return (
                f"the ledger says that {self.before:,} rows have landed, the store holds {self.rows:,}: "
                f"{self.before - self.rows:,} are missing"
            )
        if self.rows > self.after + self.in_log:
            return (
                f"the store holds {self.rows:,} rows, {self.rows - self.after:,} more than the ledger says have landed"
            )
        return ""


def layout_of(status: Mapping[str, Any], prefix: str) -> Layout:
    """The names that a daemon gives to its blobs, but for the codec's suffix, from its status."""
    return Layout(
        status["layout"], suffix="", node=status["node"], writer=status["writer"], prefix=prefix,
        outputs=Outputs(status.get("mdc_output", ())),
    )  # fmt: skip


def start_of(blob: BlobTotals) -> Partition | None:
    """The period that a blob covers, from the time in its first row; None if it has none."""
    if blob.codec in (JSONL, TELEMETRY):
        line = blob.first_record
        try:
            time = events.read(line).time if blob.codec == JSONL else telemetry.read(line)["timestamp"]
            return _period(time, MINUTES_PER_HOUR)
        except (NeverAgain, ValueError):
            return None
    found = period_of(blob.header, blob.first_record)
    return None if found is None else _period(*found)


def period_of(header: bytes, record: bytes) -> tuple[str, int] | None:
    """The time of a row and the minutes that its blob covers; None if it does not say."""
    limit = csv.field_size_limit(1 << 30)
    try:
        names, row = (next(csv.reader(io.StringIO(one.decode(), newline="")), []) for one in (header, record))
    finally:
        csv.field_size_limit(limit)
    cells = dict(zip(names, row, strict=False))
    try:
        return cells[_TIME], int(cells[_BOUNDARY])
    except (KeyError, ValueError):
        return None


def _period(time: str, minutes: int) -> Partition | None:
    try:
        since = datetime.fromisoformat(time.removesuffix("Z")).replace(tzinfo=timezone.utc) - _EPOCH
    except ValueError:
        return None
    return Partition.of(b"", (since.days * 86_400 + since.seconds) * 1_000_000_000, minutes) if minutes >= 60 else None


def compare(
    blobs: Iterable[BlobTotals], writer: bytes, layout: Layout, before: Mapping[str, Books], after: Mapping[str, Books]
) -> tuple[list[Tally], int]:
    """The rows of `writer`, stream by stream, and how many of them lie in blobs that the layout gives to no stream.

    `layout` is made without a suffix. Codecs may have changed; plain text, which names no writer, is not compared. What was
    refused before its stream was known is in the books under no name, and no row of it lands.
    """
    streams = {key: stream_of_key(key) for key in after if key}
    known: dict[Partition, dict[str, list[str]]] = {}
    rows: dict[tuple[str, ...], int] = {}
    shared: dict[str, tuple[str, ...]] = {}
    strangers = 0
    for blob in blobs:
        ours = blob.writers.get(writer, 0)
        partition = start_of(blob) if ours else None
        if partition is None:
            strangers += ours
            continue
        if partition not in known:
            names = known[partition] = {}
            for key, stream in streams.items():
                names.setdefault(layout.base(stream, partition), []).append(key)
        keys = tuple(known[partition].get(base_of(blob.name), ()))
        if not keys:
            strangers += ours
            continue
        rows[keys] = rows.get(keys, 0) + ours
        shared.update(dict.fromkeys(keys, keys))

    def total(keys: tuple[str, ...], books: Mapping[str, Books], number: Callable[[Books], int]) -> int:
        return sum(number(books[key]) for key in keys if key in books)

    groups = sorted({shared.get(key, (key,)) for key in streams})
    tallies = [
        Tally(
            keys, rows.get(keys, 0), total(keys, before, lambda one: one.landed),
            total(keys, after, lambda one: one.landed), total(keys, after, lambda one: one.in_log),
        )
        for keys in groups
    ]  # fmt: skip
    if strangers:
        # With another layout than the daemon's nothing can be said of a single stream, only of all together.
        everything = tuple(sorted(streams))
        return [
            Tally(
                everything, strangers + sum(rows.values()), total(everything, before, lambda one: one.landed),
                total(everything, after, lambda one: one.landed), total(everything, after, lambda one: one.in_log),
            )
        ], strangers  # fmt: skip
    return tallies, 0


def base_of(name: str) -> str:
    """The first part's name without the codec's suffix."""
    for suffix in (".zst", ".gz"):
        name = name.removesuffix(suffix)
    return _PART.sub(r"\1", name)
