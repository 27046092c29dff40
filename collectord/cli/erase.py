"""Erase rows that have landed: erase."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TextIO

import click

from collectord.cli.options import json_option, load, settings_options
from collectord.cli.output import say
from collectord.errors import CallHuman

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.option("--correlation-id", "ids", multiple=True, metavar="ID", help="Rows with this id; may be repeated.")
@click.option(
    # What programs for Windows write begins with a byte order mark, which is no part of the first id.
    "--ids-from", type=click.File(encoding="utf-8-sig"), metavar="FILE",
    help="Rows with the ids in this file, one a line; - is standard input. Unlike options, nobody sees them in a list of processes.",
)  # fmt: skip
@click.option(
    "--where", "cells", multiple=True, metavar="COLUMN=VALUE",
    help="Rows with this value, as it stands in the CSV; repeated, all have to hold.",
)  # fmt: skip
@click.option(
    "--stream", default="*", metavar="PATTERN", help="Only blobs whose names begin so; * and ? as in a shell."
)
@click.option("--from", "first", type=_DAY, help="First day (UTC) to look at; all days if left out.")
@click.option("--to", "last", type=_DAY, help="Last day; that of --from if left out.")
@click.option("--yes", is_flag=True, help="Do it. Without this, only say what would be done.")
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write what was done to FILE too."
)
@settings_options("store", "spool", "azure_account_url")
@json_option
def erase(
    ids: tuple[str, ...], ids_from: TextIO | None, cells: tuple[str, ...], stream: str, first: Any, last: Any, yes: bool, report: Path | None,
    config_file: Path | None, as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Erase a person's rows from what has landed. Says what it would do; --yes does it.

    \b
    collectord flush                                                 # on every node: what waits lands
    collectord erase --correlation-id 019a9f3e-7c1b-7000-8000-000000000001
    collectord erase --where customer_id=4711 --stream 'sub/*/shop/*' --from 2026-10-01 --to 2026-11-20
    collectord erase --ids-from ids.txt --yes --report erased.json

    Each part of a day that has such rows is replaced by one without them; all other rows stay as they are, byte for byte. It may
    be done while daemons run. If it is interrupted, begin it again: it goes on where it was. A record without any personal data stays
    in the store, _collectord/erasures/ID.json. docs/erasing.md says which rights it needs and what it cannot reach.

    Without --spool the daemon of the usual spool is asked too, if it runs, what waits in its log.

    Exits with 0 if no such row is left (or, without --yes, if there are none), 1 if some are, 2 if it could not be done.
    """
    from collectord.control.client import listens
    from collectord.destination import open_landed
    from collectord.quarantine import ROWS_DIRECTORY
    from collectord.reader.erasure import Scope, wanted_of
    from collectord.reader.erasure import erase as run

    try:
        more = tuple(filter(None, map(str.strip, ids_from))) if ids_from is not None else ()
    except UnicodeDecodeError:
        raise CallHuman(f"--ids-from {getattr(ids_from, 'name', '')}: it is not UTF-8") from None
    wanted = wanted_of(ids + more, cells)
    if last is not None and (first is None or last < first):
        raise CallHuman("--to needs a --from that is not behind it")
    first_day = first.date() if first else None
    scope = Scope(stream, first_day, last.date() if last else first_day)
    settings = load(config_file, given)
    if report is not None:
        # What cannot be told is not begun.
        try:
            report.open("a").close()
        except OSError as error:
            raise CallHuman(f"--report {report}: {error.strerror}") from None
    asks = bool(given["spool"]) or listens(settings.admin_socket)
    result = run(
        open_landed(settings, asks), wanted, scope, do=yes, socket=settings.admin_socket if asks else None,
        quarantine=settings.spool / ROWS_DIRECTORY if asks else None,
    )  # fmt: skip
    fields = result.as_fields() | {"record": json.loads(result.record.as_json()) if result.record else None}
    if report is not None:
        report.write_text(json.dumps(fields, indent=2) + "\n")
    if as_json:
        click.echo(json.dumps(fields, indent=2))
    else:
        for line in result.lines():
            say(line)
    sys.exit(0 if result.complete else 1)
