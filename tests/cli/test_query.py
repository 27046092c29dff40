"""`collectord query`: how an answer is written, and what is said beside it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner, Result

from collectord.cli import query as module
from collectord.cli.main import main

LINES = [
    {"itemId": "1", "timestamp": "2026-11-21T17:50:04.123456Z", "message": "a,\"b\"\n\x1b[31mred", "severityLevel": 1,
     "customDimensions": {"Contents": {"input": [1]}}},
    {"itemId": "2", "timestamp": "2026-11-21T18:00:00Z", "message": "é"},
]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store" / "_collectord/telemetry/traces/s/g/w/svc/m/1/2026/11/21/17"
    folder.mkdir(parents=True)
    text = "".join(json.dumps(one) + "\n" for one in LINES)
    (folder / "w.jsonl").write_text(text + "{broken\n")
    return tmp_path / "store"


def run(store: Path, *words: str, **options: Any) -> Result:
    return CliRunner().invoke(main, ["query", "--store", str(store), *words], **options)


QUESTION = "traces | order by itemId asc | project timestamp, message, severityLevel, customDimensions.Contents, d = timestamp - timestamp"


def test_the_forms_of_an_answer(store: Path) -> None:
    objects = [
        {"timestamp": "2026-11-21T17:50:04.123456Z", "message": LINES[0]["message"], "severityLevel": 1,
         "customDimensions_Contents": {"input": [1]}, "d": "00:00:00"},
        {"timestamp": "2026-11-21T18:00:00.000000Z", "message": "é", "severityLevel": None, "customDimensions_Contents": None, "d": "00:00:00"},
    ]  # fmt: skip
    lines = run(store, QUESTION)
    assert lines.exit_code == 0
    assert [json.loads(line) for line in lines.stdout.splitlines()] == objects
    assert (
        "1 line is no JSON object and left out, the first in _collectord/telemetry/traces/s/g/w/svc/m/1/2026/11/21/17/w.jsonl"
        in lines.stderr
    )
    assert json.loads(run(store, QUESTION, "--format", "json").stdout) == objects
    assert json.loads(run(store, "requests", "--format", "json").stdout) == []
    header, first, second = csv.reader(io.StringIO(run(store, QUESTION, "--format", "csv").stdout))
    assert header == list(objects[0])
    assert first == ["2026-11-21T17:50:04.123456Z", LINES[0]["message"], "1", '{"input": [1]}', "00:00:00"]
    assert second == ["2026-11-21T18:00:00.000000Z", "é", "", "", "00:00:00"]
    table = run(store, "traces | order by itemId asc | project itemId, message, operation_Id", "--format", "table")
    assert "\x1b" not in table.stdout
    assert "\\u001b[31mred" in table.stdout
    assert "operation_Id" not in table.stdout
    assert "empty in all rows, and not shown: operation_Id" in table.stderr


def test_a_table_shows_a_bounded_number_of_rows(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SHOWN", 1)
    done = run(store, "traces | project message", "--format", "table")
    assert "1 rows more are not shown; --format jsonl or csv writes all" in done.stderr


def test_sql_tables_times_and_the_question_from_stdin(store: Path) -> None:
    done = run(
        store, "--sql", "SELECT count(*) AS n, max(timestamp) AS t, 1 AS n FROM traces", "--since", "2026-11-21T17:55"
    )
    assert list(json.loads(done.stdout).values()) == [1, "2026-11-21T18:00:00.000000Z", 1]
    assert json.loads(run(store, "-", input=b"traces\n| count").stdout) == {"Count": 2}
    assert json.loads(run(store, "traces | count", "--until", "2026-11-21T17:55").stdout) == {"Count": 1}
    tables = run(store, "--tables", "--format", "csv").stdout.splitlines()
    assert tables[:3] == [
        "table,without brackets,blobs,bytes,waits in the log",
        "requests,requests,,,",
        "dependencies,dependencies,,,",
    ]


def test_streams_that_differ_by_case_or_are_spelled_alike_are_not_taken_for_each_other(store: Path) -> None:
    for service in ("Svc", "svc", "s'c", "s c"):
        folder = store / "s/g/w" / quote(service, safe="") / "m/1/inputs/2026/11/21"
        folder.mkdir(parents=True)
        (folder / "data.csv").write_text(f"name,$aml_dc_correlation_id\n{service},1\n")
    for service in ("Svc", "svc"):
        done = run(store, "--sql", f'SELECT name FROM "{service}/m/inputs"')
        assert [json.loads(line) for line in done.stdout.splitlines()] == [{"name": service}]
    assert "'SVC/m/inputs' may be" in run(store, "--sql", 'SELECT * FROM "SVC/m/inputs"').stderr
    both = run(store, "--sql", 'SELECT * FROM "Svc/m/inputs", "svc/m/inputs"')
    assert (both.exit_code, "are one name in SQL" in both.stderr) == (1, True)
    spelled = {row[0]: row[1] for row in csv.reader(io.StringIO(run(store, "--tables", "--format", "csv").stdout))}
    assert spelled["['Svc/m/inputs']"] == "Svc_m_inputs"
    assert (spelled["['s c/m/inputs']"], spelled['["s\'c/m/inputs"]']) == ("", "")


@pytest.mark.parametrize(
    "words, status, said",
    [
        ((), 2, "give one question"),
        (("traces", "--tables"), 2, "give one question"),
        (("traces", "--since", "yesterday"), 2, "'yesterday' is neither a time such as"),
        (("traces | where x == 1",), 1, "line 1, column 16: there is no column 'x'"),
        (("select * from traces",), 1, "this looks like SQL, which is asked with --sql"),
        (("--sql", "SELECT 1; SELECT 2"), 1, "a question in SQL is one SELECT"),
        (("--sql", "SELECT * FROM '/etc/passwd'"), 1, "there is no table '/etc/passwd'"),
        (("traces", "--memory", "1"), 2, "1 is not in the range"),
    ],
)
def test_what_is_wrong_is_said_without_a_trace(store: Path, words: tuple[str, ...], status: int, said: str) -> None:
    done = run(store, *words)
    assert (done.exit_code, done.stdout) == (status, "")
    assert said in done.stderr
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_a_question_from_stdin_that_is_no_text(store: Path) -> None:
    done = run(store, "-", input=b"traces | where message == '\xff'")
    assert done.exit_code == 1
    assert "column 28: this is half a character" in done.stderr


def test_help_teaches_with_examples() -> None:
    text = CliRunner().invoke(main, ["query", "--help"]).stdout
    assert "collectord query 'traces | where customDimensions contains \"input\" | limit 10'" in text
    assert "--tables" in text
