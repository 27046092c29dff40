"""A question and its answer: tables, DuckDB and what is read for them, brought together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import pyarrow as pa

from collectord.encode.frame import JSONL
from collectord.query.engine import Engine, quoted
from collectord.query.errors import KqlError, QueryFailed
from collectord.query.landed import Effort
from collectord.query.moments import now
from collectord.query.names import Names, identifier_of
from collectord.query.parse import parse
from collectord.query.span import Span, span_of
from collectord.query.syntax import Join, Query, TypeName
from collectord.query.tables import EVENT_TABLES, FOR_MONITORING, Catalog, Reading, Waiting
from collectord.query.translate import translate
from collectord.query.waiting import Log
from collectord.upload.naming import codec_of
from collectord.upload.store import BlobStore

DEFAULT_MEMORY = 512


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked, and where."""

    store: BlobStore
    layout: str
    prefix: str
    """What stands before every blob's name."""
    memory_mb: int = DEFAULT_MEMORY
    span: Span = field(default_factory=Span)
    """No rows of other times."""


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table of rows."""

    name: str
    identifier: str
    """The same without brackets; empty where other tables are spelled so too."""
    blobs: int
    bytes: int
    waiting: bool
    """Rows of it wait in the log."""


@dataclass(slots=True)
class Answer:
    """Columns, and rows that are made while they are read."""

    columns: list[tuple[str, TypeName | None]]
    """Name, and the type where it is known: not of SQL."""
    batches: Iterator[pa.RecordBatch]


class Questions:
    """Answers a question about one store, and what waits in one log. A context manager; one thread."""

    def __init__(
        self, asked: Asked, log: Log | None = None, told: Callable[[int], None] = lambda size: None,
        expected: Callable[[int], None] = lambda size: None,
    ) -> None:  # fmt: skip
        """`told` gets the bytes that are read of those `expected`. Raises NoDuckDB."""
        self._asked = asked
        self._log = log
        self._engine = Engine(asked.memory_mb)
        self._expected = expected
        self._names = Names(asked.layout, asked.prefix)
        self.effort = Effort(told)
        self.waiting = 0
        """Rows of the log that were looked at."""
        self.left_out = 0
        """Rows that wait in the log and were not looked at."""

    def __enter__(self) -> Questions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.close()

    def kql(self, text: str) -> Answer:
        """Raises KqlError, OutOfMemory, TryAgain, CallHuman; so does whoever reads the answer."""
        query, moment = parse(text), now()
        asked = list(_sources(query))
        spans = [span_of(one.operators, moment) for one in asked]
        catalog = self._catalog([one.table.name for one in asked], spans[0] if len(spans) == 1 else Span())
        statement = translate(text, query, catalog, moment)
        for source in statement.sources:
            self._engine.register(source.relation, source.table.schema, source.table.batches)
            self._expected(source.table.bytes)
        self._engine.lock()
        names: list[tuple[str, TypeName | None]] = [*statement.columns]
        try:
            return Answer(names, self._pointing(text, self._engine.run(statement.sql, statement.parameters)))
        except QueryFailed as error:
            raise KqlError(text, 0, str(error)) from None

    def _pointing(self, text: str, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._engine.batches(reader)
        except QueryFailed as error:
            raise KqlError(text, 0, str(error)) from None

    def sql(self, text: str) -> Answer:
        """Raises QueryFailed, OutOfMemory, TryAgain, CallHuman; so does whoever reads the answer."""
        self._engine.forget()
        names = sorted(self._engine.tables_of(text))
        catalog = self._catalog(names, Span())
        tables = [*EVENT_TABLES, *catalog.streams()] if names else []
        views: dict[str, str] = {}
        for number, name in enumerate(names):
            # SQL takes no notice of case; tables do. One that is spelled exactly so comes first.
            alike = [name] if name in tables else [one for one in tables if one.lower() == name.lower()] or [name]
            if len(alike) > 1:
                raise QueryFailed(f"{name!r} may be {' or '.join(map(quoted, alike))}; write one of them")
            if views.setdefault(name.lower(), alike[0]) != alike[0]:
                raise QueryFailed(f"{name!r} and {views[name.lower()]!r} are one name in SQL; ask about each by itself")
            found = catalog.find(alike[0], Span())
            if isinstance(found, str):
                raise QueryFailed(found)
            relation = f"source{number}"
            self._engine.register(relation, found.schema, found.batches)
            self._expected(found.bytes)
            columns = ", ".join(f"{value} AS {quoted(column)}" for column, value in found.plain)
            self._warn_of_case(found.name, [column for column, _ in found.plain])
            self._engine.view(name, f"SELECT {columns} FROM {found.over(relation)}")
        self._engine.lock()
        reader = self._engine.run(text, {})
        return Answer([(name, None) for name in reader.schema.names], self._engine.batches(reader))

    def _warn_of_case(self, table: str, columns: Sequence[str]) -> None:
        """Two columns that differ in nothing else: whoever names the second would get the first."""
        first: dict[str, str] = {}
        for column in columns:
            if (other := first.setdefault(column.lower(), column)) != column:
                self.effort.note(
                    f"SQL takes no notice of case: {quoted(column)} is {quoted(other)} of {quoted(table)}; SELECT * has both, and "
                    "KQL tells them apart"
                )

    def _catalog(self, names: Sequence[str], span: Span) -> Catalog:
        """The tables; what waits of those that are named is read now, before the store is."""
        reading = Reading(self._asked.store, self._engine.judge, self.effort)
        rows: Sequence[Waiting] = ()
        if self._log is not None:
            wanted = {name.lower() for name in names}

            def chosen(table: str) -> bool:
                return table.lower() in wanted or identifier_of(table).lower() in wanted

            snapshot = self._log.take(chosen, span.within(self._asked.span))
            reading.sieve, rows = snapshot.sieve, snapshot.rows
            self.waiting, self.left_out = sum(one.rows for one in rows), snapshot.left_out
        return Catalog(reading, self._names, self._asked.prefix, rows, self._asked.span)

    def tables(self) -> list[TableInfo]:
        """The tables of rows, by name. Raises TryAgain, CallHuman."""
        waiting = self._log.tables() if self._log is not None else {}
        streams = self._catalog((), Span()).streams()
        names = sorted({*streams, *(table for table in waiting if table not in EVENT_TABLES)})
        for name, every in streams.items():
            if every and all(codec_of(blob.name) == JSONL for blob, _ in every):
                names.remove(name)
                self.effort.note(f"[{name!r}] is no table: {FOR_MONITORING}")
        words = {name: identifier_of(name) for name in names}
        spelled = Counter(words.values())
        found = []
        for name, word in words.items():
            blobs = [blob for blob, _ in streams.get(name, ())]
            size = sum(blob.size for blob in blobs)
            found.append(TableInfo(name, word if spelled[word] == 1 else "", len(blobs), size, name in waiting))
        return found


def _sources(query: Query) -> Iterator[Query]:
    """The question, and those that are joined to it."""
    yield query
    for operator in query.operators:
        if isinstance(operator, Join):
            yield from _sources(operator.right)
