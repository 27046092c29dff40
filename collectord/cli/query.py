"""Ask what was collected: KQL, or SQL."""

from __future__ import annotations

import csv
import json
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collectord.cli.options import load, settings_options
from collectord.cli.output import console, for_stdout, say

if TYPE_CHECKING:
    from collectord.query.question import Answer, Questions
    from collectord.query.waiting import Log
    from collectord.settings import Settings
    from collectord.upload.store import BlobStore

MOST_SHOWN = 1000
"""Rows of a table on a terminal."""
MEMORY = 512
SQL = re.compile(r"\s*(select|with)\s", re.IGNORECASE)
"""How a question begins that is no KQL."""
LOG_SHARE = 8
"""This part of the memory, at most, is of the log."""


@click.command()
@click.argument("kql", default="")
@click.option("--sql", default="", metavar="SELECT", help="Ask in SQL instead, by DuckDB.")
@click.option("--tables", "list_tables", is_flag=True, help="List the tables that can be asked.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "jsonl", "csv"]),
    help="How the answer is written; a table on a terminal, else jsonl.",
)  # fmt: skip
@click.option("--since", default="", metavar="WHEN", help="Nothing earlier: 30m, 12h, 7d ago, or 2026-11-21T08:00.")
@click.option("--until", default="", metavar="WHEN", help="Nothing later.")
@click.option(
    "--memory",
    type=click.IntRange(64, 1 << 20),
    default=MEMORY,
    show_default=True,
    metavar="MB",
    help="For the answer.",
)
@settings_options("store", "spool", "layout", "azure_account_url")
def query(
    kql: str, sql: str, list_tables: bool, form: str | None, since: str, until: str, memory: int,
    config_file: Path | None, **given: Any,
) -> None:  # fmt: skip
    """Ask what was collected, in KQL as in Application Insights or in SQL: what has landed, and what still waits in the log.

    \b
    collectord query 'traces | where customDimensions contains "input" | limit 10'
    collectord query 'requests | where timestamp > ago(1h) and success == false | project timestamp, name, resultCode'
    collectord query 'requests | summarize count(), percentile(duration, 95) by bin(timestamp, 5m) | order by timestamp'
    collectord query 'exceptions | join kind=inner requests on operation_Id | project timestamp, type, message, url'
    collectord query --tables
    collectord query "['my-service/model/inputs'] | where feat1 > 0.5 | count"
    collectord query --sql 'SELECT resultCode, count(*) FROM requests GROUP BY ALL' --format csv
    collectord query - < question.kql

    Tables: requests, dependencies, exceptions, traces, customMetrics, and one for each collected stream. Times are UTC. The
    part of KQL that is understood stands in docs/telemetry.md; what is not is an error that points at the word.

    Exits with 0 if it was answered, 1 if the question is wrong, 2 if the store cannot be read or DuckDB is missing.
    """
    from collectord.cli.progress import BytesBar
    from collectord.destination import demand, open_store, recall_disk
    from collectord.query.question import Asked, Questions
    from collectord.upload.location import Location

    if sum(map(bool, (kql, sql, list_tables))) != 1:
        raise click.UsageError("give one question: KQL, --sql SELECT, or --tables")
    settings = load(config_file, given)
    store = open_store(settings)
    recall_disk(store, settings)
    span = _span(since, until)
    log, layout = _log_of(settings, store, bool(given["spool"]), memory)
    if log is None:
        demand(store)
    form = form or ("table" if sys.stdout.isatty() else "jsonl")
    asked = Asked(store, layout, Location.parse(settings.store).prefix, memory, span)
    # A bar beside an answer that is being written to the same terminal would tear it.
    shown = form == "table" or not sys.stdout.isatty()
    with BytesBar("reading", shown=shown) as bar, Questions(asked, log, bar.read, bar.expect) as questions:
        if list_tables:
            _write_tables(questions, form)
        elif sql:
            _write(questions.sql(sql), form)
        else:
            _write_kql(questions, _stdin() if kql == "-" else kql, form)
        _tell(questions)


def _write_kql(questions: Questions, text: str, form: str) -> None:
    from collectord.query.errors import KqlError

    try:
        answer = questions.kql(text)
    except KqlError:
        if SQL.match(text):
            _say("this looks like SQL, which is asked with --sql")
        raise
    _write(answer, form)


def _stdin() -> str:
    # What is no UTF-8 is told with its place, as all that is wrong with a question.
    return sys.stdin.buffer.read().decode(errors="surrogateescape")


def _span(since: str, until: str) -> Any:
    from collectord.query.moments import moment_of
    from collectord.query.span import Span

    moments = []
    for option, text in (("--since", since), ("--until", until)):
        moment = moment_of(text) if text else None
        if text and moment is None:
            raise click.UsageError(
                f"{option}: {text!r} is neither a time such as 2026-11-21T08:00 nor as long ago as 12h"
            )
        moments.append(moment)
    return Span(*moments)


def _log_of(settings: Settings, store: BlobStore, insists: bool, memory: int) -> tuple[Log | None, str]:
    """The log of the daemon at the spool, and the layout of its blobs, if one runs there and writes to this store."""
    from collectord.control.client import ControlClient, listens
    from collectord.query.waiting import Log

    if not insists and not listens(settings.admin_socket):
        _say("no daemon answers at the spool, so only what has landed is searched (--spool DIRECTORY names another)")
        return None, settings.layout
    with ControlClient(settings.admin_socket) as control:
        status = control.status()
    if status["store"] != store.describe():
        _say(
            f"the daemon at the spool writes to {status['store']}, so only what has landed in {store.describe()} is searched"
        )
        return None, settings.layout
    return Log(settings.admin_socket, (memory << 20) // LOG_SHARE), status["layout"]


def _tell(questions: Questions) -> None:
    """On stderr: what was left out."""
    effort = questions.effort
    for note in effort.notes:
        _say(note)
    if effort.broken:
        lines = "1 line is" if effort.broken == 1 else f"{effort.broken:,} lines are"
        _say(f"{lines} no JSON object and left out, the first in {effort.broken_in}")
    if questions.left_out:
        _say(
            f"{questions.left_out:,} rows that wait in the log were not looked at; ask about fewer hours, or give --memory"
        )


def _say(what: str) -> None:
    say(f"collectord: {what}", err=True)


# ---------------------------------------------------------------------- writing


def _write(answer: Answer, form: str) -> None:
    from collectord.query.values import plain, shown, unique

    names = unique([name for name, _ in answer.columns])
    kinds = [kind for _, kind in answer.columns]
    if form == "csv":
        writer = csv.writer(_Out(), lineterminator="\n")
        writer.writerow(names)
        writer.writerows([shown(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in _rows(answer))
    elif form == "table":
        _write_table(
            names, ([shown(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in _rows(answer))
        )
    else:
        objects = (
            {name: plain(value, kind) for name, value, kind in zip(names, row, kinds, strict=True)}
            for row in _rows(answer)
        )
        _write_objects(objects, form)
    sys.stdout.flush()


class _Out:
    """Where CSV goes."""

    def write(self, text: str) -> int:
        return sys.stdout.write(for_stdout(text))


def _rows(answer: Answer) -> Iterator[tuple[Any, ...]]:
    from collectord.query.values import rows_of

    for batch in answer.batches:
        yield from rows_of(batch)


def _write_objects(objects: Iterator[dict[str, Any]], form: str) -> None:
    if form == "jsonl":
        for one in objects:
            click.echo(for_stdout(json.dumps(one, ensure_ascii=False, default=str)))
        return
    click.echo("[", nl=False)
    for number, one in enumerate(objects):
        click.echo(
            ("," if number else "") + "\n  " + for_stdout(json.dumps(one, ensure_ascii=False, default=str)), nl=False
        )
    click.echo("\n]")


def _write_table(names: list[str], rows: Iterator[list[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    kept: list[list[str]] = []
    more = 0
    for row in rows:
        if len(kept) < MOST_SHOWN:
            kept.append(row)
        else:
            more += 1
    filled = [any(row[at] for row in kept) or not kept for at in range(len(names))]
    table = Table()
    for name, has in zip(names, filled, strict=True):
        if has:
            table.add_column(Text(_printable(name)), overflow="fold")
    for row in kept:
        table.add_row(*(Text(_printable(cell)) for cell, has in zip(row, filled, strict=True) if has))
    console(soft_wrap=False).print(table)
    empty = [name for name, has in zip(names, filled, strict=True) if not has]
    if empty:
        _say(f"empty in all rows, and not shown: {', '.join(_printable(name) for name in empty)}")
    if more:
        _say(f"{more:,} rows more are not shown; --format jsonl or csv writes all")


def _printable(text: str) -> str:
    """Nothing that a terminal would take as a command of its own."""
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs") else f"\\u{ord(char):04x}"
        for char in text
    )


def _write_tables(questions: Questions, form: str) -> None:
    from collectord.query.tables import EVENT_TABLES

    names = ["table", "without brackets", "blobs", "bytes", "waits in the log"]
    rows = [[table, table, "", "", ""] for table in EVENT_TABLES]
    rows += [
        [f"[{one.name!r}]", one.identifier, str(one.blobs), str(one.bytes), "yes" if one.waiting else ""]
        for one in questions.tables()
    ]
    if form == "table":
        _write_table(names, iter(rows))
    elif form == "csv":
        csv.writer(_Out(), lineterminator="\n").writerows([names, *rows])
    else:
        _write_objects((dict(zip(names, row, strict=True)) for row in rows), form)
