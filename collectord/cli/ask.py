"""Talk to a running daemon: status, flush."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from collectord.books import StreamBooks
from collectord.cli.options import json_option, load, settings_options
from collectord.cli.output import console, harmless_in
from collectord.errors import CollectordError
from collectord.logline import harmless


@click.command()
@settings_options("spool")
@json_option
def status(config_file: Path | None, as_json: bool, **given: Any) -> None:
    """Show what a running daemon is doing, and what troubles it.

    \b
    collectord status
    collectord status --spool /var/lib/collectord/spool
    collectord status --json | jq .troubles
    """
    from collectord.control.client import ControlClient

    settings = load(config_file, given)
    with ControlClient(settings.admin_socket) as control:
        answer = control.status()
        books = control.ledger()
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    from collectord.cli import screen

    out, answer = console(soft_wrap=True), harmless_in(answer)
    out.print(screen.head(answer))
    out.print(books_table(books, {row["stream"]: row for row in answer["streams"]}))
    for problem in screen.problems(answer):
        out.print(problem)
    out.print(f"[dim]{answer['cost']['advice']}[/]")


@click.command()
@settings_options("spool")
@click.option("--timeout", type=click.FloatRange(0.1, 3600), default=60.0, show_default=True, help="Seconds to wait.")
def flush(config_file: Path | None, timeout: float, **given: Any) -> None:
    """Upload now what the daemon has received so far, and wait until it has landed.

    \b
    collectord flush
    collectord flush --timeout 300

    Exits with 1 if something has not landed by then; it stays in the log and is tried again.
    """
    from collectord.control.client import ControlClient

    settings = load(config_file, given)
    with ControlClient(settings.admin_socket) as control:
        answer = control.flush(timeout)
    if not answer.complete:
        raise CollectordError(f"{answer.rows_waiting:,} rows have not landed: {answer.reason}")
    click.echo("everything received so far has landed")


def books_table(streams: Iterable[StreamBooks], told: Mapping[str, Mapping[str, Any]] | None = None) -> Any:
    """The books as a rich renderable: a line for the stream's name, a line for its numbers, since names are long. `told`: what
    the status says of some of them, harmless."""
    from rich.console import Group
    from rich.text import Text

    lines: list[Any] = []
    for books in streams:
        numbers = Text(
            f"  received {books.received:,}  landed {books.landed:,}  in the log {books.in_log:,}  "
            f"quarantined {books.quarantined:,}  "
        )
        for name in ("parked", "expired", "dropped_from_quarantine"):
            if rows := getattr(books, name):
                numbers.append(f"{name.replace('_', ' ')} {rows:,}  ")
        off = books.missing
        numbers.append("balanced" if off == 0 else f"off by {off:+,}", style="green" if off == 0 else "red")
        lines += [Text(harmless(books.stream) or "(stream unknown)", style="bold", overflow="ignore"), numbers]
        if books.rejected:
            lines.append(Text(f"  rejected {_reasons(books.rejected)}"))
        if books.dropped_by_clients:
            lines.append(Text(f"  dropped by clients {_reasons(books.dropped_by_clients)}"))
        if told and (row := told.get(harmless(books.stream))):
            cost = row["cost"]
            lines.append(
                Text(
                    f"  collected: {row['collected']}; {cost['operations_per_hour']:,.0f} appends and "
                    f"{cost['bytes_per_hour']:,.0f} bytes an hour, {cost['per_month']:,.2f} a month"
                )
            )
            if row["blob"]:
                lines.append(Text(f"  to {row['blob']}", style="dim"))
            if row["last_error"]:
                lines.append(Text(f"  last error: {row['last_error']}", style="red"))
    return Group(*lines) if lines else "nothing was received yet"


def _reasons(counts: Mapping[str, int]) -> str:
    return harmless(", ".join(f"{rows:,} {reason}" for reason, rows in sorted(counts.items()))) or "0"
