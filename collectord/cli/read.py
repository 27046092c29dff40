"""Read what has landed: ls, cat, verify, where."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from collectord.cli.options import json_option, load, settings_options, store_of
from collectord.cli.output import for_stdout, say, standard_output
from collectord.errors import CallHuman


@click.command()
@click.argument("prefix", default="")
@settings_options("store", "azure_account_url")
@click.option("--telemetry", is_flag=True, help="The blobs of telemetry events instead.")
@json_option
def ls(prefix: str, config_file: Path | None, telemetry: bool, as_json: bool, **given: Any) -> None:
    """List what has landed under PREFIX, with the address of each blob for pandas, Spark or the portal.

    \b
    collectord ls
    collectord ls --store az://modeldata sub/group/workspace/service/model
    collectord ls --telemetry
    collectord ls _collectord/telemetry/traces
    """
    from collectord.reader.blobs import blobs_of
    from collectord.upload.naming import codec_of

    store = store_of(config_file, given)
    blobs = blobs_of(store, prefix, telemetry)
    rows = [
        {"name": blob.name, "bytes": blob.size, "codec": codec_of(blob.name), **store.addresses(blob.name)}
        for blob in blobs
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for blob in blobs:
        say(f"{blob.size:>12,}  {blob.name}")
        for scheme, address in store.addresses(blob.name).items():
            say(f"{'':14}{scheme:6} {address}")
    say(f"{sum(blob.size for blob in blobs):>12,}  bytes in {len(blobs)} blobs of {store.describe()}")


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@settings_options("store", "azure_account_url")
def cat(names: tuple[str, ...], config_file: Path | None, **given: Any) -> None:
    """Print blobs as CSV, whatever their compression, the header once; lines of JSON as they are. NAME is a blob or a
    beginning of names.

    \b
    collectord cat sub/group/ws/service/model/1/inputs/2026/11/21/data.csv.zst
    collectord cat sub/group/ws/service/model/1/inputs/2026/11 > november.csv
    collectord cat _collectord/telemetry/exceptions > exceptions.jsonl
    """
    from collectord.reader.blobs import blobs_of, select
    from collectord.reader.cat import cat as text_of

    store = store_of(config_file, given)
    chosen = [blob for name in names for blob in select(blobs_of(store, name), name)]
    if not chosen:
        raise CallHuman(
            f"no blob in {store.describe()} is called or begins with {' or '.join(names)}; try `collectord ls`"
        )
    out = standard_output()
    for text in text_of(store, chosen):
        out.write(text)
    out.flush()


@click.command()
@click.argument("prefix", default="")
@settings_options("store", "spool", "azure_account_url")
@json_option
def verify(prefix: str, config_file: Path | None, as_json: bool, **given: Any) -> None:
    """Read again what has landed under PREFIX: whole frames, right checksums, nothing twice, rows as counted.

    \b
    collectord verify
    collectord verify --store az://modeldata sub/group/workspace
    collectord verify --spool /var/lib/collectord/spool    # and compare with the books of the daemon there

    Exits with 0 if all is well, 1 if something was found, 2 if the store cannot be read.
    """
    from collectord.destination import open_landed
    from collectord.reader.audit import audit
    from collectord.upload.location import Location

    settings = load(config_file, given)
    found = audit(
        open_landed(settings, bool(given["spool"])), prefix, name_prefix=Location.parse(settings.store).prefix,
        spool_socket=settings.admin_socket if given["spool"] else None,
    )  # fmt: skip
    if as_json:
        click.echo(found.as_json())
    else:
        for line in found.lines():
            say(line)
    sys.exit(1 if found.findings else 0)


@click.command()
@click.argument("correlation_id")
@settings_options("store", "spool", "azure_account_url")
@click.option(
    "--date", "first", type=click.DateTime(["%Y-%m-%d"]), help="First day (UTC) to search; a UUIDv7 says its own."
)
@click.option("--days", type=click.IntRange(1, 3660), help="How many days from there on; without a day: how many back.")
@click.option("--stream", default="", metavar="PREFIX", help="Only blobs whose names begin so.")
@click.option("--telemetry", is_flag=True, help="Search telemetry events for their itemId, instead of rows.")
@click.option("--show", is_flag=True, help="Print the rows too.")
@json_option
def where(
    correlation_id: str, config_file: Path | None, first: Any, days: int | None, stream: str, telemetry: bool, show: bool,
    as_json: bool, **given: Any,
) -> None:  # fmt: skip
    """Find a record by its correlation id: blob, frame and rows, or that it still waits in the log; or why it may be nowhere.

    \b
    collectord where 019a9f3e-7c1b-7000-8000-000000000001 --show
    collectord where order-4711 --date 2026-11-20 --days 3 --stream sub/group/workspace
    collectord where order-4711 --spool /var/lib/collectord/spool    # asks the daemon there, which has to answer

    Without --spool the daemon of the usual spool is asked too, if it runs.

    Exits with 0 if it was found, 1 if not, 2 if the store cannot be read.
    """
    from collectord.control.client import listens
    from collectord.destination import open_landed
    from collectord.quarantine import ROWS_DIRECTORY
    from collectord.reader.find import find
    from collectord.upload.location import Location

    settings = load(config_file, given)
    asks = bool(given["spool"]) or listens(settings.admin_socket)
    found = find(
        open_landed(settings, asks), correlation_id, first.date() if first else None, days, stream,
        settings.admin_socket if asks else None, settings.spool / ROWS_DIRECTORY if asks else None,
        Location.parse(settings.store).prefix, telemetry,
    )  # fmt: skip
    if as_json:
        click.echo(found.as_json())
    else:
        for line in found.lines(show):
            click.echo(for_stdout(line))
    sys.exit(0 if found else 1)
