"""DuckDB, locked in: it sees the relations that it is given, and neither a file nor the network. The only file that imports it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from collectord.errors import CollectordError
from collectord.query.errors import NoDuckDB, OutOfMemory, QueryFailed
from collectord.query.landed import Lines
from collectord.query.syntax import Value

if TYPE_CHECKING:
    import duckdb

_JUDGE = "SELECT line FROM lines WHERE CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE false END"
_THREADS = 4
_ROWS = 10_000
"""Of a batch."""
_AHEAD_KB = 1000
"""Of an answer, that is made before somebody takes it. From its version 2 on DuckDB would make 10 MiB."""


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise NoDuckDB(
            "questions are answered by DuckDB, which is not installed: pip install 'collectord[query]'"
        ) from error
    return duckdb


class Relation:
    """Batches that are read again for each scan, while it goes on."""

    def __init__(
        self, schema: pa.Schema, batches: Callable[[], Iterator[pa.RecordBatch]], failed: list[BaseException]
    ) -> None:
        """`failed`: gets what a reading raises, which DuckDB would only tell as a text."""
        self._schema = schema
        self._batches = batches
        self._failed = failed

    def __arrow_c_schema__(self) -> object:
        """Without a reading."""
        return self._schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """A reading that begins with its first batch."""
        reader = pa.RecordBatchReader.from_batches(self._schema, self._guarded())
        capsule: object = reader.__arrow_c_stream__(requested_schema)  # type: ignore[no-untyped-call]
        return capsule

    def _guarded(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches()
        except (Exception, KeyboardInterrupt) as error:
            # Ctrl-C too: DuckDB would take it for a question that is wrong.
            self._failed.append(error)
            raise


class Engine:
    """A database of its own, in memory. One thread."""

    def __init__(self, memory_mb: int) -> None:
        """Raises NoDuckDB."""
        self._memory_mb = memory_mb
        self._failed: list[BaseException] = []
        self._connection = self._open(memory_mb)
        self._judging = self._open(max(64, memory_mb // 8))
        """Of its own, since lines are judged while a question is answered."""
        self._judges = threading.Lock()
        self._locked = False
        self._views: list[str] = []

    @staticmethod
    def _open(memory_mb: int) -> duckdb.DuckDBPyConnection:
        # Rows of users are not written to the disk of whoever asks: there is no directory to spill into.
        connection: duckdb.DuckDBPyConnection = _duckdb().connect(
            ":memory:", config={"memory_limit": f"{memory_mb}MB", "temp_directory": "", "threads": _THREADS}
        )
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET streaming_buffer_size = '{_AHEAD_KB}KB'")
        return connection

    def close(self) -> None:
        """Gives all memory back."""
        self._connection.close()
        self._judging.close()

    def judge(self, lines: Lines) -> Lines:
        """The lines that are JSON objects."""
        # Two readings of one question may come at once.
        with self._judges:
            self._judging.register("lines", pa.table({"line": lines}))
            found = pa.RecordBatchReader.from_stream(self._judging.sql(_JUDGE)).read_all()
        if found.num_rows == len(lines):
            return lines
        kept: Lines = found.column(0).cast(pa.string()).combine_chunks()
        return kept

    def register(self, name: str, schema: pa.Schema, batches: Callable[[], Iterator[pa.RecordBatch]]) -> None:
        """A relation to be asked for."""
        self._connection.register(name, Relation(schema, batches, self._failed))

    def view(self, name: str, select: str) -> None:
        """A name for a SELECT, until `forget`. Raises QueryFailed."""
        self._views.append(name)
        duckdb = _duckdb()
        try:
            self._connection.execute(f"CREATE OR REPLACE VIEW {quoted(name)} AS {select}")
        except duckdb.Error as error:
            raise self._failure(error) from None

    def forget(self) -> None:
        """Takes the views of an earlier question away."""
        while self._views:
            self._connection.execute(f"DROP VIEW IF EXISTS {quoted(self._views.pop())}")

    def lock(self) -> None:
        """From now on nothing but what is registered can be reached. Irrevocable; may be repeated."""
        if self._locked:
            return
        self._locked = True
        for setting in (
            "python_enable_replacements = false",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            self._connection.execute(f"SET {setting}")

    def tables_of(self, sql: str) -> set[str]:
        """The names that a statement, a single SELECT, reads from and does not define. Raises QueryFailed."""
        duckdb = _duckdb()
        try:
            # It is only parsed: to bind it, the tables would have to be there.
            found = self._connection.execute("SELECT json_serialize_sql($1::VARCHAR)", [sql]).fetchall()
        except duckdb.Error as error:
            raise QueryFailed(_message(error)) from None
        try:
            tree = json.loads(found[0][0])
            if tree["error"] or len(tree["statements"]) != 1:
                said = tree.get("error_message", "") if tree.get("error_type") == "parser" else ""
                raise QueryFailed(said or "a question in SQL is one SELECT")
            names, defined = set[str](), set[str]()
            _walk(tree, names, defined)
        except RecursionError:
            raise QueryFailed("the question is nested too deeply") from None
        return {name for name in names if name.lower() not in defined}

    def run(self, sql: str, parameters: Mapping[str, Value]) -> pa.RecordBatchReader:
        """What a statement gives, while it is read. Raises as `_failure` says; so does whoever reads."""
        duckdb = _duckdb()
        try:
            # Which of the two gives the first rows while the others are still read has changed with DuckDB 2.
            if int(duckdb.__version__.split(".")[0]) >= 2:
                return pa.RecordBatchReader.from_stream(self._connection.sql(sql, params=dict(parameters)))
            made: Any = self._connection.execute(sql, dict(parameters))
            give = getattr(made, "to_arrow_reader", None) or made.fetch_record_batch
            reader: pa.RecordBatchReader = give(_ROWS)
            return reader
        except (duckdb.Error, pa.ArrowException) as error:
            raise self._failure(error) from None

    def batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        """The answer, batch by batch. Raises likewise."""
        duckdb = _duckdb()
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except (duckdb.Error, pa.ArrowException, OSError, RuntimeError) as error:
                raise self._failure(error) from None
            if batch.num_rows:
                yield batch

    def _failure(self, error: Exception) -> BaseException:
        """What to raise for what DuckDB says."""
        if self._failed:
            # A reading has failed first: the store, or a bug of ours; or somebody has had enough.
            failed = self._failed[0]
            # The next question may be wrong by itself.
            self._failed.clear()
            return failed
        if isinstance(error, CollectordError):
            return error
        text = _message(error)
        if isinstance(error, _duckdb().OutOfMemoryException) or "Out of Memory" in text:
            return OutOfMemory(
                f"the question needs more than {self._memory_mb} MB of memory; ask about fewer hours (--since 1h, or "
                "`where timestamp > ago(1h)`), or fewer columns (project), or give it more (--memory 2048)"
            )
        return QueryFailed(text)


def _walk(tree: object, names: set[str], defined: set[str]) -> None:
    """Collects what a parsed statement reads from, and what it defines itself."""
    if isinstance(tree, list):
        for one in tree:
            _walk(one, names, defined)
    elif isinstance(tree, dict):
        if tree.get("type") == "BASE_TABLE" and not tree.get("schema_name"):
            names.add(str(tree["table_name"]))
        if isinstance(tree.get("cte_map"), dict):
            defined.update(str(one["key"]).lower() for one in tree["cte_map"].get("map", ()))
        for one in tree.values():
            _walk(one, names, defined)


_TRACE = re.compile(r"\n\s*(?:Stack Trace|Detail: Python).*", re.DOTALL)


def _message(error: Exception) -> str:
    return _TRACE.sub("", str(error)).strip()


def quoted(name: str) -> str:
    """An identifier."""
    return '"' + name.replace('"', '""') + '"'
