"""What waits at one moment, as the text that it will land as: for questions that are asked of the log and the store together.

Whoever reads the store afterwards finds some of these rows there too, since they land meanwhile. Every row of theirs lies in
its blob behind the length that is told here, so that is where to look for it; and what lies before that length was not waiting
any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from collectord.buffer.index import Slice
from collectord.model import Partition, Stream
from collectord.pipeline.framer import Framer
from collectord.pipeline.known import Known
from collectord.pipeline.sources import Sources
from collectord.pipeline.state import State
from collectord.upload.ledger import Ledger
from collectord.upload.schemas import document
from collectord.wal.damage import DamagedEntry
from collectord.wal.writer import LogWriter

ENTRY_COST = 1024
"""Bytes that an entry counts more than it has, since many small ones cost too."""
PIECE_PAYLOAD = 256 << 10
"""Bytes of entries that become text at once."""


@dataclass(frozen=True, slots=True)
class WaitingStream:
    """A stream with rows that wait."""

    stream: Stream
    rows: int


@dataclass(frozen=True, slots=True)
class WaitingPiece:
    """Rows of a partition as text, a part of them."""

    stream: Stream
    partition: Partition
    base: str
    """Where they will land."""
    form: str
    """`csv` or `jsonl`."""
    header: bytes
    schema: bytes
    """What the columns are, as the document says that lies beside the data."""
    known: dict[int, int]
    """Bytes of each part of the blob that cannot hold these rows. Of a part that is not here: 0."""
    rows: int
    text: bytes


@dataclass(slots=True)
class WaitingEnd:
    """What else is to be said."""

    writer: bytes
    """Whose frames hold these rows once they land."""
    left_out: int = 0
    """Rows that wait and were not told: more than was asked for, or not readable."""


Wanted = Callable[[Stream], bool]


class Snapshots:
    """From any thread; the pipeline goes on meanwhile."""

    def __init__(
        self, state: State, *, log: LogWriter, ledger: Ledger, known: Known, sources: Sources, framer: Framer
    ) -> None:
        self._state = state
        self._log = log
        self._ledger = ledger
        self._known = known
        self._sources = sources
        self._framer = framer

    def streams(self) -> list[WaitingStream]:
        """The streams with rows that wait."""
        with self._state.lock:
            self._state.take_in(self._log.durable)
            waiting = [(partition.schema_id, rows) for partition, rows, _ in self._state.index.waiting_rows()]
        found: dict[Stream, int] = {}
        for schema_id, rows in waiting:
            if self._known.knows(schema_id):
                stream = self._known.schema(schema_id).stream
                found[stream] = found.get(stream, 0) + rows
        return [WaitingStream(stream, rows) for stream, rows in found.items()]

    def take(
        self, wanted: Wanted, first_hour: int, last_hour: int, most_bytes: int
    ) -> Iterator[WaitingPiece | WaitingEnd]:
        """The rows of the wanted streams that wait now, of periods that touch these hours, oldest first in each partition;
        at most `most_bytes` of the log, each entry counted `ENTRY_COST` larger. The end comes last.
        """
        with self._state.lock:
            self._state.take_in(self._log.durable)
            partitions = self._state.index.partitions()
        chosen = [one for one in partitions if self._is_wanted(one, wanted, first_hour, last_hour)]
        # The ledger is asked first. What is confirmed meanwhile leaves the index too, and is then in the blob only.
        known = {
            base: {part.part: part.length for part in self._ledger.parts(base)}
            for base in map(self._known.base, chosen)
        }
        end = WaitingEnd(self._ledger.writer_id)
        taken: list[tuple[Partition, list[Slice]]] = []
        with self._state.lock:
            left = most_bytes
            for partition in chosen:
                slices: list[Slice] = []
                for piece in self._state.index.slices(partition):
                    left -= piece.place.length + ENTRY_COST
                    if left < 0:
                        break
                    slices.append(piece)
                taken.append((partition, slices))
                rows = self._state.index.rows_of(partition)
                end.left_out += rows - sum(piece.stop - piece.start for piece in slices)
            under_way = {base: self._state.intents[base] for base in known if base in self._state.intents}
        for base, intent in under_way.items():
            # It may be in its blob already, and confirmed, though its rows are still counted as waiting.
            known[base] = {
                part: min(length, intent.position) if part == intent.part else length
                for part, length in known[base].items() if part <= intent.part
            }  # fmt: skip
        for partition, slices in taken:
            yield from self._pieces(partition, slices, known[self._known.base(partition)], end)
        yield end

    def _is_wanted(self, partition: Partition, wanted: Wanted, first_hour: int, last_hour: int) -> bool:
        return (
            first_hour < partition.end_hour
            and partition.start_hour <= last_hour
            and self._known.knows(partition.schema_id)
            and wanted(self._known.schema(partition.schema_id).stream)
        )

    def _pieces(
        self, partition: Partition, slices: list[Slice], known: dict[int, int], end: WaitingEnd
    ) -> Iterator[WaitingPiece]:
        schema, plan, base = (
            self._known.schema(partition.schema_id), self._known.plan(partition), self._known.base(partition),
        )  # fmt: skip
        form = "csv" if plan.header else "jsonl"
        described = document(schema, plan.header)
        for group in _grouped(slices):
            for rows, text in self._texts(partition, group, end):
                yield WaitingPiece(schema.stream, partition, base, form, plan.header, described, known, rows, text)

    def _texts(self, partition: Partition, slices: list[Slice], end: WaitingEnd) -> Iterator[tuple[int, bytes]]:
        rows = sum(piece.stop - piece.start for piece in slices)
        try:
            text = self._text(partition, slices)
        except ValueError:
            # One of them cannot be written at all; the pipeline sets it aside when its turn comes.
            if len(slices) == 1:
                end.left_out += rows
                return
            for piece in slices:
                yield from self._texts(partition, [piece], end)
            return
        if text:
            yield rows, text

    def _text(self, partition: Partition, slices: list[Slice]) -> bytes:
        payloads, there = [], []
        for piece in slices:
            try:
                payloads.append(self._sources.read_payload(piece.place))
                there.append(piece)
            except DamagedEntry:
                # It has landed meanwhile and is found in its blob, or the pipeline will say so when its turn comes.
                continue
        if not there:
            return b""
        schema, plan = self._known.schema(partition.schema_id), self._known.plan(partition)
        return bytes(self._framer.text(schema, plan, there, payloads))


def _grouped(slices: list[Slice]) -> Iterator[list[Slice]]:
    group: list[Slice] = []
    size = 0.0
    for piece in slices:
        if group and size + piece.bytes > PIECE_PAYLOAD:
            yield group
            group, size = [], 0.0
        group.append(piece)
        size += piece.bytes
    if group:
        yield group
