"""What the quarantine holds: rows that could not land, each item a file under SPOOL/quarantine/rows (`docs/formats/quarantine.md`).

Read only, also beside a running daemon and without one; only the pipeline of a daemon puts items in and takes them out.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xxhash

from collectord.errors import FormatTooNew, NeverAgain
from collectord.model import Lsn, Partition
from collectord.spoolfiles import QUARANTINE_DIRECTORY

ROWS_DIRECTORY = Path(QUARANTINE_DIRECTORY, "rows")
SUFFIX = ".rows"
MAGIC = b"COLLROWS"
VERSION = 1

_FIXED = struct.Struct("<8sIIIIQ16s")
"""Magic, version, its complement, bytes of the JSON, of the schema, of all payloads, id."""
_CHECKSUM_BYTES = 16


class BadItem(NeverAgain):
    """A file of the quarantine that cannot be read, or an item that is not there."""


@dataclass(frozen=True, slots=True)
class HeldEntry:
    """Rows [start, stop) of the batch in `payload`, as they came."""

    lsn: Lsn
    client: bytes
    sequence: int
    """Number of the batch at its client; 0 where the damage took it."""
    start: int
    stop: int
    whole: bool
    """Whether the payload holds just these rows, so that it can go through the log again."""
    payload: bytes = field(repr=False)

    @property
    def rows(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Item:
    """Rows of one partition that were set aside together, for one reason."""

    id: bytes
    stream: str
    partition: Partition
    schema: bytes = field(repr=False)
    """Raw, as declared; empty if no declaration of it survived."""
    reason: str
    """A short word: `unencodable`, `damaged`, or the store's word."""
    detail: str
    time_ns: int
    """Wall time of the setting aside."""
    entries: tuple[HeldEntry, ...]

    @property
    def rows(self) -> int:
        return sum(entry.rows for entry in self.entries)

    @property
    def obstacle(self) -> str:
        """Why it cannot go through the log again; empty if it can."""
        if self.reason == "damaged":
            return "its bytes are not those that were acknowledged; export it to look at them, or drop it"
        if not self.schema:
            return "its schema is lost; export it, or drop it"
        if not all(entry.whole for entry in self.entries):
            return "a part of its rows has landed and cannot be cut off; export it, or drop it"
        return ""

    def pack(self) -> bytes:
        """The file's bytes."""
        head = json.dumps(
            {
                "stream": self.stream,
                "partition": [
                    self.partition.schema_id.hex(), self.partition.start_hour, self.partition.boundary_minutes,
                ],
                "reason": self.reason,
                "detail": self.detail,
                "time_ns": self.time_ns,
                "entries": [
                    [one.lsn, one.client.hex(), one.sequence, one.start, one.stop, one.whole, len(one.payload)]
                    for one in self.entries
                ],
            },
            separators=(",", ":"),
        ).encode()  # fmt: skip
        payloads = b"".join(entry.payload for entry in self.entries)
        fixed = _FIXED.pack(MAGIC, VERSION, VERSION ^ 0xFFFFFFFF, len(head), len(self.schema), len(payloads), self.id)
        content = fixed + head + self.schema + payloads
        return content + xxhash.xxh3_128_digest(content)

    def shown(self) -> dict[str, Any]:
        """Without the payloads, as JSON values."""
        return {
            "id": self.id.hex(),
            "stream": self.stream,
            "rows": self.rows,
            "bytes": sum(len(entry.payload) for entry in self.entries),
            "reason": self.reason,
            "detail": self.detail,
            "time_ns": self.time_ns,
            "schema_id": self.partition.schema_id.hex(),
            "start": self.partition.start.isoformat(),
            "boundary_minutes": self.partition.boundary_minutes,
            "retry": not self.obstacle,
            "obstacle": self.obstacle,
            "entries": [
                {"lsn": one.lsn, "client": one.client.hex(), "sequence": one.sequence, "rows": one.rows}
                for one in self.entries
            ],
        }

    def exported(self) -> Iterator[dict[str, Any]]:
        """One JSON document per entry, everything in it; bytes in base64."""
        for number, one in enumerate(self.entries, 1):
            yield {
                "id": self.id.hex(),
                # So that whoever has some of the lines can tell whether they are the whole item.
                "entry": number,
                "entries": len(self.entries),
                "stream": self.stream,
                "reason": self.reason,
                "detail": self.detail,
                "time_ns": self.time_ns,
                "schema_id": self.partition.schema_id.hex(),
                "start_hour": self.partition.start_hour,
                "boundary_minutes": self.partition.boundary_minutes,
                "lsn": one.lsn,
                "client": one.client.hex(),
                "sequence": one.sequence,
                "first_row": one.start,
                "rows": one.rows,
                "schema": base64.b64encode(self.schema).decode(),
                "batch": base64.b64encode(one.payload).decode(),
            }


def item_id(spool_id: bytes, entries: Sequence[tuple[int, int, int]]) -> bytes:
    """The id of an item of these `(LSN, start, stop)`: setting the same rows aside once more makes the same item.

    Rows are counted as in the log, not as in a payload that was cut: two parts of one entry are two items.
    """
    text = b"".join(struct.pack("<QII", lsn, start, stop) for lsn, start, stop in entries)
    return hashlib.sha256(spool_id + text).digest()[:16]


def places_of(item: Item, spool_id: bytes, rows: Mapping[Lsn, int]) -> list[tuple[Lsn, int, int]] | None:
    """`(LSN, start, stop)` of an item's entries, counted as in the log, where those still there have so many `rows`.

    Of an entry that was cut the file does not say where its rows stood; the item's id proves it. None if it does not.
    """
    given = [(one.lsn, one.start, one.stop) for one in item.entries]
    lsn, start, stop = given[0]
    if lsn not in rows:
        # Only the first one can have lost rows in front.
        return given
    last = rows[lsn] - stop
    for shift in range(last + 1) if len(given) == 1 else (0, last):
        places = [(lsn, start + shift, stop + shift), *given[1:]]
        if item_id(spool_id, places) == item.id:
            return places
    return None


def rest_id(id_: bytes, lsns: Sequence[int]) -> bytes:
    """The id of what is left of an item when only its entries at these LSNs stay in quarantine."""
    text = b"".join(struct.pack("<Q", lsn) for lsn in lsns)
    return hashlib.sha256(b"rest" + id_ + text).digest()[:16]


def unpack(data: bytes) -> Item:
    """An item from its file's bytes. Raises BadItem, and FormatTooNew for a later version."""
    if len(data) < _FIXED.size + _CHECKSUM_BYTES or data[:8] != MAGIC:
        raise BadItem("this is not an item of the quarantine")
    _, version, complement, head_bytes, schema_bytes, payload_bytes, id_ = _FIXED.unpack_from(data)
    if version != complement ^ 0xFFFFFFFF:
        raise BadItem("its version is damaged")
    if version > VERSION:
        raise FormatTooNew(f"an item of version {version}: this program reads up to {VERSION}")
    end = _FIXED.size + head_bytes + schema_bytes + payload_bytes
    if len(data) != end + _CHECKSUM_BYTES or xxhash.xxh3_128_digest(data[:end]) != data[end:]:
        raise BadItem("it does not fit its checksum")
    try:
        at = _FIXED.size + head_bytes
        head = json.loads(data[_FIXED.size : at])
        schema = data[at : at + schema_bytes]
        at += schema_bytes
        entries = []
        for lsn, client, sequence, start, stop, whole, length in head["entries"]:
            payload = data[at : at + length]
            entries.append(HeldEntry(Lsn(lsn), bytes.fromhex(client), sequence, start, stop, whole, payload))
            at += length
        schema_id, start_hour, boundary = head["partition"]
        partition = Partition(bytes.fromhex(schema_id), start_hour, boundary)
        return Item(
            id_, head["stream"], partition, schema, head["reason"], head["detail"], head["time_ns"], tuple(entries)
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BadItem(f"its description cannot be read: {error!r}") from error


def path_of(directory: Path, id_: bytes) -> Path:
    """The file of an item in SPOOL/quarantine/rows."""
    return directory / f"{id_.hex()}{SUFFIX}"


def ids(directory: Path) -> list[bytes]:
    """The items in SPOOL/quarantine/rows, sorted; files with other names are left out."""
    if not directory.is_dir():
        return []
    found = []
    for path in directory.iterdir():
        if path.suffix == SUFFIX and len(path.stem) == 32:
            try:
                found.append(bytes.fromhex(path.stem))
            except ValueError:
                continue
    return sorted(found)


def read(directory: Path, id_: bytes) -> Item:
    """An item, verified. Raises BadItem if it is not there or damaged, FormatTooNew, OSError."""
    path = path_of(directory, id_)
    try:
        return unpack(path.read_bytes())
    except FileNotFoundError:
        raise BadItem(f"there is no item {id_.hex()} in {directory}") from None
    except BadItem as error:
        raise BadItem(f"{path}: {error}") from None


def used_bytes(directory: Path) -> int:
    """Bytes of all items."""
    return sum(path.stat().st_size for path in directory.iterdir()) if directory.is_dir() else 0
