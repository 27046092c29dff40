"""`collectord verify` as a command: the store, if wanted the daemon, and the terminal brought together."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from collectord.control.client import ControlClient
from collectord.errors import CallHuman, TryAgain
from collectord.model import BlobInfo
from collectord.reader.blobs import landed_blobs
from collectord.reader.erasures import recorded, totals
from collectord.reader.tally import Tally, compare, layout_of
from collectord.reader.verify import Finding, Report, verify
from collectord.upload.store import BlobStore


class Audit:
    """What `collectord verify` found out."""

    def __init__(self, store: str, report: Report, tallies: list[Tally]) -> None:
        self.store = store
        self.report = report
        self.tallies = tallies

    @property
    def findings(self) -> list[Finding]:
        return self.report.findings

    def as_json(self) -> str:
        """For scripts; docs/operations.md describes the fields."""
        report = self.report
        document: dict[str, Any] = {
            "clean": not report.findings,
            "findings": [{"blob": one.blob, "offset": one.offset, "what": one.what} for one in report.findings],
            "notes": report.notes,
            "blobs": [
                {"name": one.name, "bytes": one.size, "codec": one.codec, "frames": one.frames, "rows": one.rows}
                for one in report.blobs
            ],
            "writers": [
                {"writer": writer.hex(), "frames": one.frames, "rows": one.rows, "first": one.first, "last": one.last}
                for writer, one in sorted(report.writers.items())
            ],
            "streams": [{"streams": list(one.streams), "rows": one.rows, "landed": one.after} for one in self.tallies],
        }
        return json.dumps(document, indent=2)

    def lines(self) -> Iterator[str]:
        """For people: a line per blob and writer, then what is wrong."""
        report = self.report
        for blob in report.blobs:
            yield f"{blob.rows:>12,} rows {blob.frames:>8,} frames {blob.size:>14,} bytes  {blob.name}"
        for writer, one in sorted(report.writers.items()):
            yield f"{one.rows:>12,} rows {one.frames:>8,} frames  of writer {writer.hex()}"
        for tally in self.tallies:
            yield f"{tally.rows:>12,} rows, {tally.after:,} landed says the ledger  {' + '.join(tally.streams)}"
        for note in report.notes:
            yield f"note: {note}"
        for finding in report.findings:
            place = "" if finding.offset is None else f" at byte {finding.offset}"
            yield f"WRONG: {finding.blob}{place}: {finding.what}"
        rows, size = sum(blob.rows for blob in report.blobs), sum(blob.size for blob in report.blobs)
        verdict = f"{len(report.findings)} findings" if report.findings else "clean"
        yield f"{rows:,} rows in {len(report.blobs)} blobs of {self.store}, {size:,} bytes read: {verdict}"


def audit(store: BlobStore, prefix: str, *, name_prefix: str = "", spool_socket: Path | None = None) -> Audit:
    """Verifies what lies under `prefix`, and with a `spool_socket` that it is what this daemon has landed.

    `name_prefix` is what stands before every blob's name in this store. A bar is drawn on stderr if that is a terminal.

    Raises:
        CallHuman: the store cannot be read, or no daemon answers.
    """
    try:
        if spool_socket is None or prefix:
            with _bar(blobs := landed_blobs(store, prefix)) as progress:
                report = verify(store, blobs, progress)
            if spool_socket is not None:
                report.notes.append("the books are not compared: they count all days of a stream; leave PREFIX out")
            return Audit(store.describe(), report, [])
        with ControlClient(spool_socket) as control:
            status = control.status()
            before = {books.stream: books for books in control.ledger()}
            with _bar(blobs := landed_blobs(store)) as progress:
                report = verify(store, blobs, progress)
            after = {books.stream: books for books in control.ledger()}
    except TryAgain as error:
        raise CallHuman(str(error)) from error
    if report.archived:
        # Their rows would be said to be lost.
        report.notes.append(f"the books are not compared: {report.archived} blobs could not be read")
        return Audit(store.describe(), report, [])
    if any(one.codec == "none" and one.rows for one in report.blobs):
        report.notes.append("the books are not compared: plain text does not say which rows are this daemon's")
        return Audit(store.describe(), report, [])
    if status.get("ledger_rebuild_needed") or status.get("ledger_rebuilt"):
        report.notes.append(
            "the books are not compared: the ledger was lost once, and rows from before have another writer"
        )
        return Audit(store.describe(), report, [])
    layout = layout_of(status, name_prefix)
    try:
        gone = totals(recorded(store))
    except TryAgain as error:
        raise CallHuman(str(error)) from error
    if gone:
        report.notes.append(f"{sum(one.rows for one in gone):,} rows were erased; they count as landed")
    tallies, strangers = compare([*report.blobs, *gone], bytes.fromhex(status["writer"]), layout, before, after)
    if strangers:
        report.notes.append(
            f"{strangers:,} rows of this daemon lie in blobs that its layout {status['layout']!r} gives to no stream: "
            "was another one set before? All streams are compared as one"
        )
    report.findings += [Finding(" + ".join(tally.streams), None, tally.wrong) for tally in tallies if tally.wrong]
    return Audit(store.describe(), report, tallies)


@contextlib.contextmanager
def _bar(blobs: list[BlobInfo]) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    with Progress(
        TextColumn("reading"), BarColumn(), DownloadColumn(binary_units=True), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal, transient=True,
    ) as bars:  # fmt: skip
        task = bars.add_task("reading", total=sum(blob.size for blob in blobs))
        yield lambda size: bars.advance(task, size)
