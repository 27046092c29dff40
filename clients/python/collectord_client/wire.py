"""The messages a client sends, written by hand in protobuf's wire format.

Only `Hello`, `Follow`, `Declare`, `Batch` and `Dropped` are written here, from bytes that are already packed: so nothing is copied
into message objects, and protobuf need not be imported before there is an answer to read.
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field

NO_IDS, UUIDS, TEXTS = 0, 1, 2
"""Id layouts, with the numbers of `IdLayout` in the proto."""

Buffer = bytes | bytearray | memoryview

MESSAGE_ROOM = 64
"""What a batch needs beside its body: tags, lengths and the sequence number."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Who speaks, in the order of the proto's fields, and of what. An empty part means `default`."""

    subscription: str = ""
    resource_group: str = ""
    workspace: str = ""
    webservice: str = ""
    model: str = ""
    version: str = ""
    designation: str = ""
    collection: str = ""
    kind: int = 0
    """With the numbers of `StreamKind` in the proto: 0 rows, above it events."""

    def encode(self) -> bytes:
        *parts, _ = astuple(self)
        named = b"".join(blob(tag, part.encode()) for tag, part in enumerate(parts, 2) if part)
        return number(1, self.kind) + named


@dataclass(frozen=True, slots=True)
class Schema:
    """What a batch's bytes mean; `id` is computed from `raw`."""

    stream: Stream
    names: tuple[str, ...]
    types: tuple[int, ...]
    tensor: bool
    correlation: int
    request: int
    sampled: bool = False
    """Each request has the fraction that it stands for."""
    raw: bytes = field(init=False, repr=False)
    id: bytes = field(init=False)

    def __post_init__(self) -> None:
        raw = blob(1, self.stream.encode())
        raw += b"".join(
            blob(2, blob(1, name.encode()) + number(2, kind)) for name, kind in zip(self.names, self.types, strict=True)
        )
        raw += number(3, 1 if self.tensor else 2) + number(4, self.correlation) + number(5, self.request)
        raw += number(6, self.sampled)
        object.__setattr__(self, "raw", raw)
        object.__setattr__(self, "id", hashlib.sha256(raw).digest()[:16])


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(tag: int, value: int) -> bytes:
    """A numeric field; zero is what an absent field means."""
    return varint(tag << 3) + varint(value) if value else b""


def blob(tag: int, value: bytes | bytearray) -> bytes:
    """A field of bytes, text or a message."""
    return b"".join((varint(tag << 3 | 2), varint(len(value)), value))


def blobs(fields: Iterable[tuple[int, Buffer]]) -> list[Buffer]:
    """The pieces of several such fields, empty ones left out, ready for one join."""
    pieces: list[Buffer] = []
    for tag, value in fields:
        if value:
            pieces += (varint(tag << 3 | 2), varint(len(value)), value)
    return pieces


def hello(client_id: bytes, pid: int, version: str, token: str, webservices: Iterable[str] = ()) -> bytes:
    """ClientMessage.hello"""
    return blob(
        1,
        blob(1, client_id)
        + number(2, pid)
        + blob(3, b"collectord-client")
        + blob(4, version.encode())
        + (blob(5, token.encode()) if token else b"")
        + b"".join(blob(6, name.encode()) for name in webservices),
    )


def follow(webservices: Iterable[str]) -> bytes:
    """ClientMessage.follow"""
    return blob(5, b"".join(blob(1, name.encode()) for name in webservices))


def declare(schema: Schema) -> bytes:
    """ClientMessage.declare"""
    return blob(2, blob(1, schema.raw))


def batch(sequence: int, *body: Buffer) -> tuple[bytes, int]:
    """ClientMessage.batch, and where in it the body begins; `body` holds the pieces of the fields from `schema_id` on."""
    size = sum(map(len, body))
    first = number(1, sequence)
    head = b"".join((b"\x1a", varint(len(first) + size), first))
    return b"".join((head, *body)), len(head)


def dropped(totals: Mapping[tuple[Stream, str], int]) -> bytes:
    """ClientMessage.dropped: running totals by stream and reason."""
    counts = b"".join(
        blob(1, blob(1, stream.encode()) + blob(2, reason.encode()) + number(3, rows))
        for (stream, reason), rows in totals.items()
    )
    return blob(4, counts)
