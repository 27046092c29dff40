"""DuckDB answers and reaches nothing: no file, no network, no setting, no variable of ours; and within its memory."""

from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from collectord.query.engine import Engine
from collectord.query.errors import NoDuckDB, OutOfMemory, QueryFailed
from collectord.query.question import Questions
from collectord.query.values import rows_of
from collectord.testing.store import MemoryStore
from tests.query.asking import asked, line, put, rows


@pytest.fixture(scope="module")
def questions() -> Iterator[Questions]:
    store = MemoryStore()
    put(store, "traces", [line(itemId=str(number), severityLevel=number, message="x" * 200) for number in range(3000)])
    with asked(store) as made:
        yield made


def test_sql_is_answered(questions: Questions) -> None:
    """Columns of one name come both; a table may be read several times."""
    found = questions.sql(
        "WITH t AS (SELECT severityLevel % 2 AS odd FROM traces) SELECT odd, count(*) AS n, 1 AS n FROM t GROUP BY ALL ORDER BY odd"
    )
    assert len(found.columns) == 3
    assert [row[:2] for batch in found.batches for row in rows_of(batch)] == [(0, 1500), (1, 1500)]
    assert rows(questions.sql("SELECT customDimensions IS NULL AS n, timestamp FROM traces LIMIT 1")) == [
        {"n": True, "timestamp": None}
    ]
    assert rows(questions.sql("SELECT count(*) AS n FROM traces a JOIN traces b USING (itemId)")) == [{"n": 3000}]


def test_sql_reaches_nothing_else(questions: Questions, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("password\nhunter2\n")
    frame = pa.table({"hidden": [1]})  # noqa: F841  (DuckDB would look for variables)
    refused = [
        f"SELECT * FROM '{secret}'", f"SELECT * FROM read_csv('{secret}')", f"SELECT * FROM read_text('{secret}')",
        f"SELECT * FROM read_blob('{secret}')", f"SELECT * FROM glob('{tmp_path}/*')", f"SELECT * FROM sniff_csv('{secret}')",
        f"SELECT * FROM read_json('{secret}')", "SELECT * FROM read_csv('https://example.com/x.csv')", "SELECT * FROM frame",
        f"COPY traces TO '{tmp_path}/out.csv'", f"ATTACH '{tmp_path}/db'", "INSTALL httpfs", "LOAD httpfs", "SET enable_external_access = true",
        "SELECT 1; SELECT 2", "CREATE TABLE t AS SELECT 1", "DROP VIEW traces", "", "SELECT FROM WHERE", "SELECT getenv('HOME')",
        "SELECT * FROM query('SELECT * FROM read_text(''" + str(secret) + "'')')",
    ]  # fmt: skip
    for sql in refused:
        with pytest.raises(QueryFailed):
            rows(questions.sql(sql))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.csv"]
    for sql in (
        "SELECT current_setting('enable_external_access') AS on_",
        "SELECT current_setting('lock_configuration') <> true AS on_",
    ):
        assert rows(questions.sql(sql))[0]["on_"] in (False, "false")


def test_a_wrong_statement_is_told_without_a_trace(questions: Questions) -> None:
    with pytest.raises(QueryFailed, match='Referenced column "nothing" not found') as raised:
        questions.sql("SELECT nothing FROM traces")
    assert "Stack Trace" not in str(raised.value)
    with pytest.raises(QueryFailed, match="Could not convert string 'x'"):
        rows(questions.sql("SELECT CAST('x' AS INTEGER) FROM traces"))


def test_a_question_that_needs_too_much_memory_says_how_to_narrow_it(questions: Questions) -> None:
    with pytest.raises(OutOfMemory, match=r"more than 256 MB of memory; ask about fewer hours .*--memory"):
        rows(
            questions.kql(
                "traces | extend k = 1 | join kind=inner (traces | extend k = 1) on k | order by strcat(message, message1)"
            )
        )


def test_ctrl_c_while_something_is_read_is_no_wrong_question() -> None:
    schema = pa.schema([("n", pa.int64())])

    def interrupted() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_arrays([pa.array([1])], schema=schema)
        raise KeyboardInterrupt

    engine = Engine(64)
    try:
        engine.register("t", schema, interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(engine.batches(engine.run("SELECT sum(n) FROM t", {})))
        # And is not told again of the next one.
        with pytest.raises(QueryFailed, match="nothing"):
            list(engine.batches(engine.run("SELECT nothing FROM t", {})))
    finally:
        engine.close()


def test_an_answer_begins_before_everything_was_read() -> None:
    """And a limit ends the reading."""
    asked_for: list[int] = []
    schema = pa.schema([("n", pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(1000):
            asked_for.append(number)
            yield pa.RecordBatch.from_arrays([pa.array([number] * 1000)], schema=schema)

    answered = threading.Event()
    in_time: list[bool] = []

    def slow() -> Iterator[pa.RecordBatch]:
        """The rest does not come before something is answered."""
        for number, batch in enumerate(batches()):
            if number == 900:
                in_time.append(answered.wait(20))
            yield batch

    engine = Engine(64)
    try:
        engine.register("t", schema, batches)
        assert sum(batch.num_rows for batch in engine.batches(engine.run("SELECT * FROM t LIMIT 3", {}))) == 3
        assert len(asked_for) < 200
        engine.register("slow", schema, slow)
        answer = engine.batches(engine.run("SELECT n + 1 FROM slow", {}))
        next(answer)
        answered.set()
        assert sum(batch.num_rows for batch in answer) > 900_000
        assert in_time == [True]
    finally:
        engine.close()


def test_without_duckdb_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "duckdb":
            raise ImportError(name)
        return whole(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "duckdb", raising=False)
    with pytest.raises(NoDuckDB, match=r"pip install 'collectord\[query\]'"):
        Engine(64)
