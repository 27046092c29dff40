"""What erasing leaves for those who have to know: notes, one for each blob that was replaced.

A frame whose append got no answer is looked for at its place. If an erasure has replaced the blob since, the place is
another one, or the frame has fewer rows: the note says how, so that a frame which had landed is not sent once more. It also
says which rows are gone, by salted hashes, so that a rebuild of a ledger does not take them for rows that never landed.

A note is written before the blob is touched, and states a fact about the blob as it was then: "its bytes from here to there
have this salted hash, and all others stand there". It is never wrong, whatever comes of the erasure. The form is described in
docs/formats/erased.md.

Whatever is removed from a blob (an `Edit`) lies within one append: a frame, or of plain text a row.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import xxhash

from collectord.errors import CallHuman, TryAgain
from collectord.upload.store import CONTROL_PREFIX, MAX_APPEND, BlobStore, Blocked, Failure, Unknown

NOTES = CONTROL_PREFIX + "erased/"
_FORMAT = 1


class _Unanswered(TryAgain):
    """The store did not say what a note or a blob holds."""

    def __init__(self, name: str, unknown: Unknown) -> None:
        super().__init__(f"{name}: {unknown.detail}")
        self.unknown = Unknown(str(self), unknown.retry_after)


class Edit(NamedTuple):
    """Bytes of the blob that were taken out, and how many stand there instead."""

    offset: int
    length: int
    instead: int
    digest: bytes
    """Salted hash of the bytes that were taken out."""


@dataclass(frozen=True, slots=True)
class Note:
    """What was to become of a blob. `blob`: its name; `length`, `checksum`: what it was."""

    blob: str
    length: int
    checksum: str
    into: str | None
    """Where the rest of it went; None: nothing but a header was left."""
    into_length: int
    into_checksum: str
    salt: bytes
    edits: tuple[Edit, ...]
    rows: frozenset[bytes]
    """Salted hashes of the rows' digests: see `row_hash`."""
    count: int
    """Rows erased."""
    frames: int = 0
    """Frames that lost rows."""
    writers: Mapping[str, int] = field(default_factory=dict)
    """Rows erased by writer, in hexadecimal digits; of plain text none."""
    events: tuple[str, ...] = ()
    """Ids of the lines of JSON that are gone: they count the lines of a frame."""
    period: tuple[str, int] | None = None
    """Of the blob's rows: when it begins, and its minutes."""

    def pack(self) -> bytes:
        fields = {
            "format": _FORMAT,
            "blob": self.blob,
            "length": self.length,
            "checksum": self.checksum,
            "into": self.into,
            "into_length": self.into_length,
            "into_checksum": self.into_checksum,
            "salt": self.salt.hex(),
            "edits": [[one.offset, one.length, one.instead, one.digest.hex()] for one in self.edits],
            "rows": sorted(one.hex() for one in self.rows),
            "count": self.count,
            "frames": self.frames,
            "writers": dict(self.writers),
            "events": list(self.events),
            "period": self.period,
        }
        return (json.dumps(fields) + "\n").encode()

    @staticmethod
    def unpack(data: bytes) -> Note:
        """Raises ValueError for what is no note."""
        try:
            fields = json.loads(data)
            if fields.pop("format") != _FORMAT:
                raise ValueError("another format")
            edits = tuple(Edit(one[0], one[1], one[2], bytes.fromhex(one[3])) for one in fields.pop("edits"))
            rows = frozenset(bytes.fromhex(one) for one in fields.pop("rows"))
            period = fields.pop("period")
            return Note(
                salt=bytes.fromhex(fields.pop("salt")), edits=edits, rows=rows, events=tuple(fields.pop("events")),
                period=None if period is None else (str(period[0]), int(period[1])), **fields,
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"not a note of an erasure: {type(error).__name__}") from error

    def has_erased(self, row: int) -> bool:
        """Whether a row with this digest was erased."""
        return row_hash(self.salt, row) in self.rows


def name_of(blob: str, number: int) -> str:
    """Where the how-manieth note about blobs of a name lies, from 0 on. The name is hashed: it may be as long as the store
    allows."""
    return f"{NOTES}{xxhash.xxh3_128_hexdigest(blob.encode())}/{number}.json"


def salted(salt: bytes, data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=16, key=salt).digest()


def row_hash(salt: bytes, row: int) -> bytes:
    """`row`: the digest that the rebuild of a ledger makes of it."""
    return salted(salt, row.to_bytes(8, "big"))


def notes_about(store: BlobStore, blob: str) -> Iterator[tuple[str, Note]]:
    """The notes about blobs of this name, with their own names. Needs no right to list.

    Raises:
        TryAgain: the store did not answer.
        CallHuman: it refused, or a note cannot be read.
    """
    for number in itertools.count():
        name = name_of(blob, number)
        note = _note(store, name)
        if note is None:
            return
        yield name, note


def notes(store: BlobStore) -> Iterator[tuple[str, Note]]:
    """All notes. Raises as `notes_about` does."""
    for info in list(store.list(NOTES)):
        note = _note(store, info.name)
        if note is not None:
            yield info.name, note


def _note(store: BlobStore, name: str) -> Note | None:
    data = bytearray()
    while True:
        piece = store.read(name, len(data), MAX_APPEND)
        if isinstance(piece, Unknown):
            raise _Unanswered(name, piece)
        if isinstance(piece, Blocked):
            raise CallHuman(f"{name}: {piece.detail}")
        if piece is None:
            return None
        data += piece
        if len(piece) < MAX_APPEND:
            break
    try:
        return Note.unpack(bytes(data))
    except ValueError as error:
        raise CallHuman(f"{name}: {error}") from error


def was_replaced(store: BlobStore, blob: str) -> bool | Failure:
    """Whether an erasure has ever taken a blob of this name away, or was about to."""
    try:
        return next(notes_about(store, blob), None) is not None
    except _Unanswered as error:
        return error.unknown
    except CallHuman as error:
        return Blocked("forbidden", str(error))


def held(store: BlobStore, blob: str, position: int, data: bytes | memoryview) -> bool | Failure:
    """Whether a blob of this name held `data` at `position` before it was replaced by an erasure."""
    try:
        return _held(store, blob, position, memoryview(data))
    except _Unanswered as error:
        return error.unknown
    except CallHuman as error:
        return Blocked("forbidden", str(error))


def _held(store: BlobStore, blob: str, position: int, data: memoryview) -> bool:
    return any(_held_by(store, note, position, data) for _, note in notes_about(store, blob))


def _held_by(store: BlobStore, note: Note, position: int, data: memoryview) -> bool:
    end = position + len(data)
    if end > note.length:
        return False
    kept: list[tuple[int, memoryview]] = []
    at, shift, gone = position, 0, 0
    for edit in note.edits:
        if edit.offset >= end:
            break
        behind = edit.offset + edit.length
        if behind > position:
            if edit.offset < position or behind > end:
                return False  # Appends hold whole frames and rows: this one is somebody else's.
            if salted(note.salt, data[edit.offset - position : behind - position]) != edit.digest:
                return False
            kept.append((at + shift, data[at - position : edit.offset - position]))
            at, gone = behind, gone + 1
        shift += edit.instead - edit.length
    kept.append((at + shift, data[at - position :]))
    if note.into is None:
        # What is left is a header, which is written nowhere.
        return gone > 0
    return all(_stands(store, note.into, place, piece) for place, piece in kept if len(piece))


def _stands(store: BlobStore, blob: str, position: int, data: memoryview) -> bool:
    """Whether these bytes stand in a blob that an erasure has made, or stood there until the next one."""
    found = store.read(blob, position, len(data))
    if isinstance(found, Unknown):
        raise _Unanswered(blob, found)
    if isinstance(found, Blocked):
        raise CallHuman(f"{blob}: {found.detail}")
    return found == bytes(data) or _held(store, blob, position, data)
