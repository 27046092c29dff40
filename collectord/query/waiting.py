"""What still waits in the log of a running daemon, read once, before the store.

Rows that are read here land while the store is read, and would count twice. The daemon says from which byte on a blob may hold
them; there a record of the daemon's is left out if its text is among those that were read here, as often as it is among them. No
row is missed: the store is looked at after the log, and what has left the log is in the store.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import xxhash

from collectord._pb import collector_pb2 as pb
from collectord.control.client import ControlClient
from collectord.errors import TryAgain
from collectord.kinds import EVENTS
from collectord.model import Stream, StreamKind
from collectord.query.names import table_of
from collectord.query.records import lines_of, records_of
from collectord.query.span import Span
from collectord.query.tables import Waiting
from collectord.reader.tally import base_of

HOUR_US = 3_600_000_000
_EVER = 1 << 40
_PART = re.compile(r"\.(\d+)(?=\.(?:csv|jsonl)(?:\.\w+)?\Z)")

T = TypeVar("T")


@dataclass(slots=True)
class Snapshot:
    """Rows that waited at one moment."""

    rows: list[Waiting] = field(default_factory=list)
    writer: bytes = b""
    left_out: int = 0
    """Rows that wait and are not here."""
    places: dict[str, dict[int, int]] = field(default_factory=dict)
    """By base of the blob: bytes of each part that cannot hold these rows."""
    texts: dict[str, list[bytes]] = field(default_factory=dict)
    """The same rows by that base."""
    _counted: dict[str, Counter[bytes]] = field(default_factory=dict)

    def records(self, base: str) -> Counter[bytes]:
        """How often each record is among the rows that will land there."""
        if base not in self._counted:
            csv = not base.endswith(".jsonl")
            self._counted[base] = Counter(
                _digest(record) for text in self.texts[base] for record in (records_of(text) if csv else lines_of(text))
            )
        return self._counted[base]

    def sieve(self) -> LogSieve:
        """For one reading of the store."""
        return LogSieve(self)


class LogSieve:
    """`landed.Sieve` for the rows of a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._left: dict[str, Counter[bytes]] = {}
        """What has not been met yet."""

    def first_doubtful(self, blob: str) -> int | None:
        places = self._snapshot.places.get(base_of(blob))
        if places is None:
            return None
        part = _PART.search(blob)
        return places.get(int(part[1]) if part else 0, 0)

    def wrote(self, writer: bytes | None) -> bool:
        return writer is None or writer == self._snapshot.writer

    def without_waiting(self, blob: str, records: list[bytes]) -> list[bytes]:
        base = base_of(blob)
        if base not in self._left:
            self._left[base] = Counter(self._snapshot.records(base))
        left = self._left[base]
        kept = []
        for record in records:
            digest = _digest(record)
            if left.get(digest, 0):
                left[digest] -= 1
            else:
                kept.append(record)
        return kept


class Log:
    """The log of the daemon whose admin socket is at `path`."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        """`most_bytes`: of the log, that may be read for a question."""
        self._path = path
        self._most_bytes = most_bytes
        self._keys: dict[str, list[str]] | None = None

    def tables(self) -> dict[str, list[str]]:
        """The tables with rows that wait, and the keys of their streams. Raises NoDaemon, TryAgain."""
        if self._keys is None:
            found: dict[str, list[str]] = {}
            with ControlClient(self._path) as control:
                for answer in control.waiting(pb.WaitingRequest(names_only=True)):
                    found.setdefault(_table(_stream(answer.stream.stream)), []).append(answer.stream.key)
            self._keys = found
        return self._keys

    def take(self, chosen: Callable[[str], bool], span: Span) -> Snapshot:
        """The rows of the chosen tables that wait now. Raises NoDaemon, TryAgain."""
        keys = [key for table, keys in self.tables().items() if chosen(table) for key in keys]
        if not keys:
            return Snapshot()
        request = pb.WaitingRequest(
            streams=keys, first_hour=-_EVER if span.first is None else span.first // HOUR_US,
            last_hour=_EVER if span.last is None else span.last // HOUR_US, most_bytes=self._most_bytes,
        )  # fmt: skip
        with ControlClient(self._path) as control:
            return _read(control.waiting(request))


def _read(answers: Iterable[pb.WaitingResponse]) -> Snapshot:
    snapshot = Snapshot()
    head: pb.WaitingRows | None = None
    pieces: list[bytes] = []
    documents: dict[bytes, Mapping[str, str] | None] = {}
    ended = False
    for answer in answers:
        if answer.WhichOneof("answer") == "end":
            snapshot.writer, snapshot.left_out = answer.end.writer, answer.end.left_out
            ended = True
            continue
        if head is None:
            head = answer.rows
        pieces.append(answer.rows.text)
        if answer.rows.more:
            continue
        if head.schema not in documents:
            documents[head.schema] = _types(head.schema)
        _add(snapshot, head, b"".join(pieces), documents[head.schema])
        head, pieces = None, []
    if not ended:
        raise TryAgain("the daemon has ended while it told what waits in its log")
    return snapshot


def _add(snapshot: Snapshot, head: pb.WaitingRows, text: bytes, types: Mapping[str, str] | None) -> None:
    begin = head.start_hour * HOUR_US
    end = begin + head.boundary_minutes * 60_000_000
    table = _table(_stream(head.stream))
    snapshot.rows.append(Waiting(table, begin, end, head.form, head.header, types, text, head.rows))
    base = base_of(head.base)
    snapshot.texts.setdefault(base, []).append(text)
    places = snapshot.places.setdefault(base, dict(head.known))
    for part, length in head.known.items():
        # Two partitions in one blob are told one after the other.
        places[part] = min(places.get(part, length), length)


def _types(document: bytes) -> Mapping[str, str] | None:
    try:
        return {str(column["name"]): str(column["type"]) for column in json.loads(document)["columns"]}
    except (ValueError, KeyError, TypeError):
        return None


def _stream(message: pb.Stream) -> Stream:
    return Stream(
        message.subscription, message.resource_group, message.workspace, message.webservice, message.model,
        message.version, message.designation, message.collection, StreamKind(message.kind),
    )  # fmt: skip


def _table(stream: Stream) -> str:
    kind = EVENTS.get(stream.kind)
    return table_of(stream) if kind is None else kind.table


def _digest(record: bytes) -> bytes:
    return xxhash.xxh3_128_digest(record)
