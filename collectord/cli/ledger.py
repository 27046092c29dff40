"""The books of a running daemon, and what to do when they were lost: ledger, ledger rebuild."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from collectord.cli.ask import books_table
from collectord.cli.options import Group, json_option, load, settings_options
from collectord.cli.output import console
from collectord.errors import CollectordError


@click.group(cls=Group, invoke_without_command=True)
@settings_options("spool")
@json_option
@click.pass_context
def ledger(context: click.Context, /, config_file: Path | None, as_json: bool, **given: Any) -> None:
    """Print the books of every stream, in rows: received = landed + in the log + parked + quarantined + expired +
    dropped from quarantine.

    \b
    collectord ledger
    collectord ledger --json | jq '.[] | select(.balanced | not)'
    collectord ledger rebuild                             # when ledger.sqlite was lost

    Exits with 1 if the books of any stream do not balance.
    """
    if context.invoked_subcommand is not None:
        return
    from collectord.control.client import ControlClient

    settings = load(config_file, given)
    with ControlClient(settings.admin_socket) as control:
        streams = control.ledger()
        held = control.status().get("held")
    if as_json:
        click.echo(json.dumps([asdict(books) | {"balanced": not books.missing} for books in streams], indent=2))
    else:
        console(soft_wrap=True).print(books_table(streams))
    if held:
        click.echo(f"nothing is uploaded: {held}", err=True)
    wrong = [books.stream for books in streams if books.missing]
    if wrong:
        raise CollectordError(f"the books do not balance: {', '.join(wrong)}")


@ledger.command()
@settings_options("spool")
@click.option("--dry-run", is_flag=True, help="Only find out and report; change nothing.")
@click.option(
    "--doubtful", type=click.Choice(["repeat", "skip"]), default="repeat", show_default=True,
    help="Where what is found of a partition is not its beginning: repeat what comes after the first gap, so that "
    "nothing is lost and some rows may land twice; or skip the gap, so that nothing lands twice and the gap's rows "
    "are counted as quarantined.",
)  # fmt: skip
@click.option("--everywhere", is_flag=True, help="Search all blobs with the same header; use it if the layout changed.")
@json_option
def rebuild(
    config_file: Path | None, dry_run: bool, doubtful: str, everywhere: bool, as_json: bool, **given: Any
) -> None:
    """Find out from log and store what has landed, after ledger.sqlite was lost or damaged. Then uploads go on.

    \b
    collectord ledger rebuild --dry-run
    collectord ledger rebuild

    The daemon must run, with the settings it had; it takes in rows meanwhile. Every row that waits in the log is looked
    for in the blobs it may have gone to. May be interrupted and begun again: nothing is changed before the end.
    """
    from collectord._pb import collector_pb2 as pb
    from collectord.cli.progress import RowsBar
    from collectord.control.client import ControlClient

    settings = load(config_file, given)
    request = pb.RebuildLedgerRequest(
        begin=True, dry_run=dry_run, doubtful=doubtful, everywhere=everywhere, wait_seconds=0.2
    )
    with ControlClient(settings.admin_socket) as control, RowsBar("looking for what has landed") as bar:
        answer = control.rebuild_ledger(request)
        request.begin, request.wait_seconds = False, 0.5
        while not answer.done:
            bar.show(answer.looked_for, answer.rows)
            answer = control.rebuild_ledger(request)
        bar.show(answer.looked_for, answer.rows)
    if as_json:
        numbers = ("applied", "error", "rows", "blob_bytes", "landed", "waiting", "given_up", "again")
        click.echo(
            json.dumps({name: getattr(answer, name) for name in numbers} | {"notes": list(answer.notes)}, indent=2)
        )
    else:
        for note in answer.notes:
            click.echo(f"note: {note}")
        click.echo(
            f"{answer.rows:,} rows waited: {answer.landed:,} have landed, {answer.waiting:,} are to be uploaded"
            + (f", of which {answer.again:,} land a second time" if answer.again else "")
            + (f", {answer.given_up:,} are given up" if answer.given_up else "")
            + f"; {answer.blob_bytes:,} bytes read"
        )
    if answer.error:
        raise CollectordError(f"nothing was changed: {answer.error}")
    if not as_json:
        click.echo("the ledger is whole, and uploads go on" if answer.applied else "nothing was changed")
