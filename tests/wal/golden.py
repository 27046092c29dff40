"""The entries of the golden logs, and how their files were made: `python -m tests.wal.golden` writes what is missing.

What lies under `tests/golden/log/` is what a released version wrote. It is never made again: a format that changes gets a
version number and a folder of its own. `one` is a log of one segment with every kind of entry; `many` has been through
rotation, a failed sync, retired segments and a file that was used again.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from collectord.model import Entry, EntryKind
from tests.wal.faults import EIO, FaultyDisk
from tests.wal.spool import CLIENT, SCHEMA, Spool, batch, payload_of, schema

GOLDEN = Path(__file__).parents[1] / "golden" / "log"
VERSION_1 = GOLDEN / "v1"
SEGMENT_BYTES = 8192
MANY = 13
RETIRED = 8
"""Of the entries of `many`, so many had landed before the last segments were begun."""

GROUPS: list[list[Entry]] = [
    [batch(1, b"first payload", rows=2)],
    [
        batch(2, bytes(range(256)), rows=7, of=schema("näher")),
        Entry(EntryKind.REJECT, CLIENT, 3, 4, b"row_too_large", SCHEMA),
        Entry(EntryKind.REJECT, CLIENT, 4, 1, b"unknown_schema"),
    ],
    [Entry(EntryKind.DROPPED, CLIENT, 0, 5, b"counts by reason"), batch(5, b"", rows=0)],
]


def one(folder: Path) -> dict[str, bytes]:
    """Writes the log of one segment and returns its files."""
    spool = Spool(folder, segment_bytes=SEGMENT_BYTES)
    for group in GROUPS:
        _must(spool.commit(*group))
    return _closed(spool)


def entry_of_many(number: int) -> Entry:
    """The entries of `many`, 1 to MANY."""
    return batch(number, payload_of(number, 1000), rows=number, of=schema("ab"[number % 2]))


def many(folder: Path) -> dict[str, bytes]:
    """Writes the log of several segments and returns its files."""
    disk = FaultyDisk()
    spool = Spool(folder, segment_bytes=SEGMENT_BYTES, disk=disk)
    for number in range(1, MANY + 1):
        if number == RETIRED + 1:
            spool.writer.retire(spool.writer.durable)
        if number == MANY - 1:
            disk.fail("sync", EIO)
            if spool.commit(entry_of_many(number)) is None:
                raise AssertionError("the sync did not fail")
        _must(spool.commit(entry_of_many(number)))
    return _closed(spool)


def _must(failure: Exception | None) -> None:
    if failure is not None:
        raise failure


def _closed(spool: Spool) -> dict[str, bytes]:
    spool.writer.close()
    return {path.name: path.read_bytes() for path in sorted(spool.log.iterdir())}


LOGS = {"one": one, "many": many}


if __name__ == "__main__":
    for name, make in LOGS.items():
        target = VERSION_1 / name
        if target.exists():
            print(f"{target} exists and is never made again")
            continue
        scratch = Path(tempfile.mkdtemp())
        target.mkdir(parents=True)
        for file, content in make(scratch).items():
            (target / file).write_bytes(content)
        shutil.rmtree(scratch)
