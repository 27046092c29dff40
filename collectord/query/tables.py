"""The tables that can be asked: those of telemetry events, and one for each collected stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from collectord.encode.frame import JSONL
from collectord.encode.frame_reader import first_frame_text
from collectord.errors import CallHuman, TryAgain
from collectord.kinds import DIMENSIONS, EVENTS
from collectord.model import BlobInfo, ColumnType, Stream
from collectord.query.errors import listed, suggestion
from collectord.query.landed import LINE, Certain, CsvBlob, CsvText, Effort, Judge, Sieve, csv_rows, lines
from collectord.query.names import Names, Spoken, identifier_of, table_of
from collectord.query.span import SCORING_TIME, TIMESTAMP, Span
from collectord.query.syntax import TypeName
from collectord.reader.blobs import BlobFile, data_blobs, settled
from collectord.reader.correlation import cells
from collectord.upload.naming import codec_of
from collectord.upload.store import CONTROL_PREFIX, BlobStore, Blocked, Unknown

TELEMETRY: Final = f"{CONTROL_PREFIX}telemetry/"
EVENT_TABLES: Final = tuple(kind.table for kind in EVENTS.values())
_HEAD = 64 << 10
_MAX_HEAD = 1 << 20

_KINDS: Final[Mapping[ColumnType, TypeName]] = {
    ColumnType.STRING: "string", ColumnType.FLOAT64: "real", ColumnType.INT64: "long", ColumnType.BOOL: "bool"
}  # fmt: skip
_JSON_TYPES: Final[Mapping[TypeName, str]] = {
    "string": "VARCHAR", "real": "DOUBLE", "long": "BIGINT", "bool": "BOOLEAN", "dynamic": "JSON", "datetime": "VARCHAR",
}  # fmt: skip
_ENVELOPE: Final[Sequence[tuple[str, TypeName]]] = (
    (TIMESTAMP, "datetime"), ("itemId", "string"), ("itemType", "string"), ("cloud_RoleName", "string"),
    ("workspace", "string"), ("model", "string"), ("modelVersion", "string"),
)  # fmt: skip
"""What every event has besides the columns of its kind."""

_ARROW: Final[Mapping[str, pa.DataType]] = {
    "bool": pa.bool_(), "int8": pa.int8(), "int16": pa.int16(), "int32": pa.int32(), "int64": pa.int64(),
    "uint8": pa.uint8(), "uint16": pa.uint16(), "uint32": pa.uint32(), "uint64": pa.uint64(), "float16": pa.float32(),
    "float32": pa.float32(), "float64": pa.float64(), "string": pa.string(), "uuid": pa.string(),
    "timestamp": pa.timestamp("us"), "timestamp_utc": pa.timestamp("us", "UTC"),
}  # fmt: skip
"""The types that a schema's document names, as what CSV is read."""
_OURS: Final[Mapping[str, str]] = {
    SCORING_TIME: "timestamp", "$aml_dc_boundary": "int64", "$aml_dc_row": "uint32", "$aml_dc_sampling": "float64"
}  # fmt: skip
"""Columns of our own that are no texts, where there is no document."""

FOR_MONITORING: Final = "what is written for Azure ML's model monitoring (mdc_output) is for others"


@dataclass(slots=True)
class Reading:
    """What readings of one question share."""

    store: BlobStore
    judge: Judge
    effort: Effort
    sieve: Callable[[], Sieve] = Certain
    """One for each time that blobs are read."""
    _exact: dict[str, BlobInfo] = field(default_factory=dict)

    def settled(self, blob: BlobInfo) -> BlobInfo:
        """The blob as long as it was when it was first asked for: a second reading gives the same rows."""
        if blob.name not in self._exact:
            self._exact[blob.name] = settled(self.store, blob)
        return self._exact[blob.name]


@dataclass(slots=True)
class Table:
    """A table, to be read for some hours."""

    name: str
    columns: list[tuple[str, TypeName, str]]
    """Name, type, and SQL over `relation`. SQL of a text is never null."""
    plain: list[tuple[str, str]]
    """The same for SQL: name, and SQL that may be null."""
    schema: pa.Schema
    """Of what is read."""
    over: Callable[[str], str]
    """SQL of the relation that the columns are of, made of what is read."""
    batches: Callable[[], Iterator[pa.RecordBatch]]
    bytes: int
    """To be read for it."""


@dataclass(slots=True)
class Waiting:
    """Rows of a stream that have not landed."""

    table: str
    begin: int
    end: int
    """The period that its rows lie in, in microseconds since 1970."""
    form: str
    """`csv` or `jsonl`."""
    header: bytes
    types: Mapping[str, str] | None
    """Of the columns, as a schema's document names them; None: that is not known."""
    text: bytes
    rows: int


class Catalog:
    """The tables of a store, and of what still waits. The store is listed when it is first asked."""

    def __init__(
        self, reading: Reading, names: Names, prefix: str, waiting: Sequence[Waiting] = (), span: Span | None = None
    ) -> None:
        """`prefix`: what stands before every blob's name; `span`: the hours that are asked for whatever the question."""
        self._reading = reading
        self._names = names
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._waiting = waiting
        self._span = span or Span()
        self._streams: dict[str, list[tuple[BlobInfo, Spoken]]] | None = None
        self._headers: dict[tuple[str, bytes], CsvText] = {}

    # ------------------------------------------------------------------ names

    def streams(self) -> dict[str, list[tuple[BlobInfo, Spoken]]]:
        """The blobs of each table of rows, in order. Raises TryAgain, CallHuman."""
        if self._streams is None:
            found: dict[str, list[tuple[BlobInfo, Spoken]]] = {}
            for blob in data_blobs(self._reading.store, self._prefix):
                spoken = self._names.read(blob.name)
                if spoken is not None:
                    found.setdefault(spoken.table, []).append((blob, spoken))
            for one in self._waiting:
                if one.table not in EVENT_TABLES:
                    found.setdefault(one.table, [])
            self._streams = dict(sorted(found.items()))
        return self._streams

    def find(self, name: str, span: Span) -> Table | str:
        """The table of this name, to be read for these hours; or what is wrong with the name.

        Raises:
            TryAgain, CallHuman: as the store does.
        """
        span = span.within(self._span)
        if name in EVENT_TABLES:
            return self._events(name, span)
        streams = self.streams()
        if name in streams:
            return self._rows(name, span)
        alike = [table for table in streams if identifier_of(table) == name]
        if len(alike) == 1:
            return self._rows(alike[0], span)
        if alike:
            return f"{name!r} may be {' or '.join(f'[{one!r}]' for one in alike)}; write one of them"
        known = [*EVENT_TABLES, *streams]
        spelled = [*known, *(identifier_of(table) for table in streams)]
        shown = listed([*EVENT_TABLES, *(f"[{table!r}]" for table in streams)], 12)
        return f"there is no table {name[:80]!r}{suggestion(name, spelled)}; there are {shown}"

    # ------------------------------------------------------------------ events

    def _events(self, name: str, span: Span) -> Table:
        kind = next(kind for kind in EVENTS.values() if kind.table == name)
        described: list[tuple[str, TypeName]] = list(_ENVELOPE)
        described += [
            (column.name, "dynamic" if column.name == DIMENSIONS else _KINDS[column.type]) for column in kind.columns
        ]
        structure = json.dumps({column: _JSON_TYPES[type_] for column, type_ in described})
        columns: list[tuple[str, TypeName, str]] = []
        plain = []
        for column, type_ in described:
            raw = f'e."{column}"'
            value = f"TRY_CAST({raw} AS TIMESTAMP)" if type_ == "datetime" else raw
            plain.append((column, value))
            columns.append((column, type_, f"coalesce({raw}, '')" if type_ == "string" else value))
        blobs = [blob for blob in self._event_blobs(name) if _touches(self._names.read_event(blob.name), span)]
        texts = [
            one.text for one in self._waiting
            if one.table == name and one.form == JSONL and span.touches(one.begin, one.end)
        ]  # fmt: skip

        def batches() -> Iterator[pa.RecordBatch]:
            reading = self._reading
            exact = (reading.settled(blob) for blob in blobs)
            return lines(reading.store, exact, texts, reading.sieve(), reading.judge, reading.effort)

        def over(relation: str) -> str:
            events = f"(SELECT json_transform(line, '{structure}') AS e FROM {relation})"
            return self._within(events, plain[0][1])

        return Table(name, columns, plain, LINE, over, batches, sum(blob.size for blob in blobs))

    def _event_blobs(self, name: str) -> list[BlobInfo]:
        # A store's own prefix may stand before it.
        prefixes = dict.fromkeys((f"{self._prefix}{TELEMETRY}{name}/", f"{TELEMETRY}{name}/"))
        found = [blob for prefix in prefixes for blob in self._reading.store.list(prefix)]
        return sorted((blob for blob in found if blob.name.endswith(".jsonl")), key=lambda blob: blob.name)

    # ------------------------------------------------------------------ rows

    def _rows(self, name: str, span: Span) -> Table | str:
        every = self.streams()[name]
        chosen = [blob for blob, spoken in every if _touches(spoken, span)]
        waiting = [one for one in self._waiting if one.table == name]
        # The columns are known also where no row is asked for.
        known = chosen or [blob for blob, _ in every[-1:]]
        blobs: list[CsvBlob] = []
        for blob in known:
            if codec_of(blob.name) == JSONL or not blob.size:
                continue
            exact = self._reading.settled(blob)
            header = self._header(exact)
            if header is not None:
                blobs.append(CsvBlob(exact, header, self._text_of(name, header)))
        texts = [(self._text_of(name, one.header), one) for one in waiting if one.form == "csv"]
        schema = _merged([one.text for one in blobs] + [text for text, _ in texts])
        if not schema.names:
            return f"[{name!r}] has no rows that can be asked: {_why_none([blob for blob, _ in every])}"
        if any(codec_of(blob.name) == JSONL for blob in chosen):
            self._reading.effort.note(f"some rows of [{name!r}] are not in the answer: {FOR_MONITORING}")
        columns: list[tuple[str, TypeName, str]] = []
        plain = []
        for number, column in enumerate(schema):
            value, kind = _value(f"v{number}", column.type)
            plain.append((column.name, value if kind == "datetime" else f"v{number}"))
            columns.append((column.name, kind, f"coalesce({value}, '')" if kind == "string" else value))
        if SCORING_TIME in schema.names and TIMESTAMP not in schema.names:
            number = schema.names.index(SCORING_TIME)
            plain.insert(0, (TIMESTAMP, plain[number][1]))
            columns.insert(0, (TIMESTAMP, columns[number][1], columns[number][2]))
        read = [one for one in blobs if chosen]
        asked = [(text, one.text) for text, one in texts if span.touches(one.begin, one.end)]
        numbered = pa.schema([pa.field(f"v{number}", column.type) for number, column in enumerate(schema)])

        times = [value for column, value in plain if column == SCORING_TIME]

        def over(relation: str) -> str:
            return self._within(relation, times[0]) if times else relation

        def batches() -> Iterator[pa.RecordBatch]:
            reading = self._reading
            for batch in csv_rows(reading.store, read, asked, reading.sieve(), schema, reading.effort):
                yield pa.RecordBatch.from_arrays(batch.columns, schema=numbered)

        return Table(name, columns, plain, numbered, over, batches, sum(one.blob.size for one in read))

    def _within(self, relation: str, time: str) -> str:
        """The rows of the hours that are asked for whatever the question."""
        first, last = self._span.first, self._span.last
        conditions = [] if first is None else [f"{time} >= make_timestamp({first})"]
        conditions += [] if last is None else [f"{time} <= make_timestamp({last})"]
        return f"(SELECT * FROM {relation} WHERE {' AND '.join(conditions)})" if conditions else relation

    def _header(self, blob: BlobInfo) -> bytes | None:
        """The header row of a blob; None, and a note, if it has none that can be read."""
        size = _HEAD
        while True:
            head = BlobFile(self._reading.store, blob).read(min(size, blob.size)) if size else b""
            self._reading.effort.read(len(head or b""))
            try:
                found = first_frame_text(codec_of(blob.name), head or b"")
            except ValueError as error:
                self._reading.effort.note(f"{blob.name} was left out: {error}")
                return None
            if found is not None:
                return found
            if size >= min(_MAX_HEAD, blob.size):
                self._reading.effort.note(f"{blob.name} was left out: it does not begin with a header")
                return None
            size *= 4

    def _text_of(self, table: str, header: bytes) -> CsvText:
        """What the columns of a header are in a table: as all its schemas that have the header say."""
        known = self._headers.get((table, header))
        if known is not None:
            return known
        merged: dict[str, str] = {}
        for types in self._documents(table, header):
            for name, kind in types.items():
                merged[name] = _wider(merged.get(name, kind), kind)
        if not merged:
            merged = dict(_OURS)
            self._reading.effort.note(
                "the columns of a stream have no schema document: they are texts; todouble(…) makes numbers of them"
            )
        names = cells(header)
        found = CsvText(names, [_ARROW.get(merged.get(name, "string"), pa.string()) for name in names])
        self._headers[table, header] = found
        return found

    def _documents(self, table: str, header: bytes) -> Iterator[Mapping[str, str]]:
        """What is written down, and what the rows that wait say: the document is written after the first rows."""
        waiting = [one.types for one in self._waiting if (one.table, one.header) == (table, header)]
        yield from (types for types in waiting if types is not None)
        prefix = f"{CONTROL_PREFIX}schemas/{hashlib.sha256(header).hexdigest()}/"
        read = (_document(self._reading.store, blob) for blob in self._reading.store.list(prefix))
        found = [one for one in read if one is not None]
        # Streams of others may have the same header, and other types. A document of an older daemon names no stream; and where
        # a layout leaves names out, no stream is called like the table.
        if any(one.table == table for one in found):
            found = [one for one in found if one.table in (table, None)]
        yield from (one.types for one in found)


def _why_none(blobs: Sequence[BlobInfo]) -> str:
    """Of blobs that have no header. Without any the rows have not landed."""
    lines = [blob.name for blob in blobs if codec_of(blob.name) == JSONL]
    if blobs and not lines:
        return "its blobs have no header of ours"
    # Above the hours, which stand in these names whatever the layout.
    above = f"; `collectord cat {lines[-1].rsplit('/', 5)[0]}` prints them" if lines else ""
    return f"{FOR_MONITORING}{above}"


_NAMING: Final = ("webservice", "model", "designation", "collection")
"""What a stream's table is called after."""


@dataclass(frozen=True, slots=True)
class _Document:
    table: str | None
    """None: it does not say."""
    types: Mapping[str, str]


def _document(store: BlobStore, blob: BlobInfo) -> _Document | None:
    """What a schema's document says; None: it is none."""
    got = store.read(blob.name, 0, min(blob.size, 4 << 20)) if blob.size else b""
    if isinstance(got, Unknown):
        raise TryAgain(f"{blob.name}: {got.detail}")
    if isinstance(got, Blocked):
        raise CallHuman(f"{blob.name}: {got.detail}")
    try:
        said = json.loads(got or b"")
        types = {str(column["name"]): str(column["type"]) for column in said["columns"]}
        stream = said.get("stream")
        if stream is None:
            return _Document(None, types)
        webservice, model, designation, collection = (str(stream[part]) for part in _NAMING)
        named = Stream(webservice=webservice, model=model, designation=designation, collection=collection)
        return _Document(table_of(named), types)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _wider(one: str, other: str) -> str:
    """A type for the text of both."""
    kinds = {one, other}
    if one == other:
        return one
    if kinds <= {"string", "uuid"}:
        return "string"
    numbers = {kind for kind in kinds if kind.startswith(("int", "uint", "float"))}
    if numbers == kinds:
        return "float64" if any(kind.startswith("float") for kind in kinds) or "uint64" in kinds else "int64"
    return "string"


def _merged(texts: Sequence[CsvText]) -> pa.Schema:
    """The columns of all of them, by name, in the order in which they come; one that has several types gets a wider one."""
    fields: dict[str, pa.DataType] = {}
    for text in texts:
        for name, kind in zip(text.names, text.types, strict=True):
            known = fields.setdefault(name, kind)
            if known != kind:
                fields[name] = _wider_arrow(known, kind)
    return pa.schema([pa.field(name, kind) for name, kind in fields.items()])


def _wider_arrow(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    kinds = (one, other)
    if all(pa.types.is_integer(kind) for kind in kinds) and pa.uint64() not in kinds:
        return pa.int64()
    if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds):
        return pa.float64()
    if all(pa.types.is_timestamp(kind) for kind in kinds):
        return pa.timestamp("us")
    return pa.string()


def _value(column: str, kind: pa.DataType) -> tuple[str, TypeName]:
    """SQL and type of a column that was read."""
    if pa.types.is_boolean(kind):
        return column, "bool"
    if kind == pa.uint64():
        # A long has no room for all of them.
        return f"CAST({column} AS DOUBLE)", "real"
    if pa.types.is_integer(kind):
        return f"CAST({column} AS BIGINT)", "long"
    if pa.types.is_floating(kind):
        return f"CAST({column} AS DOUBLE)", "real"
    if pa.types.is_timestamp(kind):
        return f"make_timestamp(epoch_us({column}))", "datetime"
    return column, "string"


def _touches(spoken: Spoken, span: Span) -> bool:
    return spoken.begin is None or spoken.end is None or span.touches(spoken.begin, spoken.end)
