"""Talk to a running daemon: status, flush."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from collectord.books import StreamBooks
from collectord.cli.options import json_option, load, settings_options
from collectord.errors import CollectordError


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
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True)
    waiting, log = answer["waiting"], answer["log"]
    console.print(
        f"[bold]collectord {answer['version']}[/] is [bold]{answer['state']}[/], pid {answer['pid']}, "
        f"up {answer['uptime_seconds']:.0f} s"
    )
    facts = Table.grid(padding=(0, 2))
    facts.add_row(
        "listens on", ", ".join([*answer["listen"], *([f"{answer['mdc']} (v2 SDK)"] if answer["mdc"] else [])])
    )
    facts.add_row("store", answer["store"])
    facts.add_row("clients", str(len(answer["clients"])))
    facts.add_row(
        "waiting",
        f"{waiting['rows']:,} rows of {waiting['partitions']:,} partitions, oldest {waiting['oldest_seconds']:.1f} s",
    )
    facts.add_row("log", f"{log['bytes'] / 2**20:,.0f} of {log['budget_bytes'] / 2**20:,.0f} MiB")
    parked, shelf = answer["parked"], answer["quarantine"]
    if parked["files"]:
        room = f"{parked['bytes'] / 2**20:,.0f} of {parked['budget_bytes'] / 2**20:,.0f} MiB"
        facts.add_row("parked", f"{parked['rows']:,} rows of blocked streams, {room}")
    if shelf["items"]:
        facts.add_row("quarantine", f"{shelf['rows']:,} rows in {shelf['items']:,} items; `collectord quarantine ls`")
    for export in answer["exports"]:
        lag = f"{export['lag_bytes'] / 2**20:,.1f} MiB behind" if export["lag_bytes"] else "nothing waits"
        facts.add_row(f"events to {export['name']}", f"{export['delivered']:,} delivered, {lag}; {export['target']}")
    console.print(facts)
    console.print(books_table(books))
    if answer["held"]:
        console.print(f"[red]nothing is uploaded[/]: {answer['held']}")
    if answer["log_lost"]:
        console.print("[red]the log was gone at the start[/]: rows that had not landed by then are lost")
    if parked["refused_partitions"]:
        console.print(
            f"[red]rows of {parked['refused_partitions']} blocked partitions are rejected[/]: no more may wait"
        )
    for export in answer["exports"]:
        if export["trouble"]:
            word = "[red]blocked[/]" if export["blocked"] else "[yellow]retrying[/]"
            console.print(f"{word} events to {export['name']}: {export['trouble']}")
        if lost := export["refused"] + export["expired"]:
            console.print(f"[red]{lost:,} events to {export['name']} were given up[/]: docs/telemetry.md")
    for trouble in answer["troubles"]:
        word = "[red]blocked[/]" if trouble["blocked"] else "[yellow]retrying[/]"
        console.print(f"{word} {trouble['blob']}: {trouble['detail']} (again in {trouble['again_in_seconds']} s)")
    if answer["last_error"] and not answer["troubles"]:
        console.print(f"last error: {answer['last_error']}", style="dim")


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


def books_table(streams: Iterable[StreamBooks]) -> Any:
    """The books as a rich renderable: a line for the stream's name, a line for its numbers, since names are long."""
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
        lines += [Text(books.stream or "(stream unknown)", style="bold", overflow="fold"), numbers]
        if books.rejected:
            lines.append(Text(f"  rejected {_reasons(books.rejected)}"))
        if books.dropped_by_clients:
            lines.append(Text(f"  dropped by clients {_reasons(books.dropped_by_clients)}"))
    return Group(*lines) if lines else "nothing was received yet"


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{rows:,} {reason}" for reason, rows in sorted(counts.items())) or "0"
