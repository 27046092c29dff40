"""The entries of the golden log, and how its file was made: `python -m tests.wal.golden` writes what is missing.

A file under `tests/wal/golden/` is what a released version wrote. It is never made again: a format that changes gets a
version number and a file of its own.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from collectord.model import Entry, EntryKind
from tests.wal.spool import CLIENT, SCHEMA, Spool, batch, schema

GOLDEN = Path(__file__).parent / "golden"
VERSION_1 = GOLDEN / "00000000000000004096.v1.seg"

GROUPS: list[list[Entry]] = [
    [batch(1, b"first payload", rows=2)],
    [
        batch(2, bytes(range(256)), rows=7, of=schema("näher")),
        Entry(EntryKind.REJECT, CLIENT, 3, 4, b"row_too_large", SCHEMA),
        Entry(EntryKind.REJECT, CLIENT, 4, 1, b"unknown_schema"),
    ],
    [Entry(EntryKind.DROPPED, CLIENT, 0, 5, b"counts by reason"), batch(5, b"", rows=0)],
]


def build(folder: Path) -> bytes:
    """Writes the golden log and returns its one segment."""
    spool = Spool(folder, segment_bytes=8192)
    for group in GROUPS:
        failure = spool.commit(*group)
        if failure is not None:
            raise failure
    spool.writer.close()
    (path,) = spool.files()
    return path.read_bytes()


if __name__ == "__main__":
    if VERSION_1.exists():
        sys.exit(f"{VERSION_1} exists and is never made again")
    scratch = Path(tempfile.mkdtemp())
    VERSION_1.parent.mkdir(exist_ok=True)
    VERSION_1.write_bytes(build(scratch))
    shutil.rmtree(scratch)
