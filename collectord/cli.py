"""The command line. Heavy parts are imported by the command that needs them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from collectord import __version__
from collectord.errors import CallHuman, CollectordError

if TYPE_CHECKING:
    from collectord.config import Settings
    from collectord.upload.store import BlobStore

F = TypeVar("F", bound=Callable[..., Any])


class _Group(click.Group):
    """Turns our errors into one line on stderr and an exit status: 1 for a fault, 2 for something a person must mend."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CollectordError as error:
            click.echo(f"collectord: {error}", err=True)
            sys.exit(2 if isinstance(error, CallHuman) else 1)
        except BrokenPipeError:
            # The reader of our output has enough, as `collectord cat … | head` does.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)


def _settings_options(*names: str) -> Callable[[F], F]:
    """Options for settings, all of them if none is named; their text is that of `config.py`."""

    def decorate(command: F) -> F:
        from collectord.config import Settings

        fields = {name: Settings.model_fields[name] for name in names} if names else Settings.model_fields
        for name, field in reversed(fields.items()):
            secret = name.startswith("azure_") and name != "azure_account_url"
            if secret:
                continue  # A secret on a command line is seen by every user of the machine.
            command = click.option(
                f"--{name.replace('_', '-')}",
                name,
                multiple=name == "listen",
                metavar=name.upper(),
                help=field.description,
            )(command)
        return click.option(
            "--config", "config_file", type=click.Path(path_type=Path), envvar="COLLECTORD_CONFIG", metavar="FILE",
            help="TOML file of settings.",
        )(command)  # fmt: skip

    return decorate


def _load(config_file: Path | None, given: dict[str, Any]) -> Settings:
    from collectord import config

    listen = given.get("listen")
    return config.load(config_file, {**given, "listen": ",".join(listen) if listen else None})


_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """Collects what models see and say in production, exactly once, into compressed CSV blobs.

    \b
    Try it:      collectord demo
    Run it:      collectord serve --store ./landed
    Ask it:      collectord status
    Read it:     collectord ls; collectord cat PREFIX
    """


@main.command()
@_settings_options()
def serve(config_file: Path | None, **given: Any) -> None:
    """Run the daemon. By default: unix socket, spool and store under ./collectord-data.

    \b
    collectord serve
    collectord serve --store az://modeldata --listen unix:/run/collectord/collectord.sock --admin 127.0.0.1:9808
    COLLECTORD_FLUSH_INTERVAL=10 collectord serve --config /etc/collectord.toml

    Every option is also an environment variable, COLLECTORD_ and its name, and a key of the TOML file; secrets are only
    those. SIGTERM uploads what fits into the drain deadline; the rest stays in the log for the next start.
    """
    from collectord import daemon, logs

    settings = _load(config_file, given)
    logs.configure(settings.log_format, settings.log_level)
    daemon.serve(settings)


@main.command()
@_settings_options("spool")
@_json_option
def status(config_file: Path | None, as_json: bool, **given: Any) -> None:
    """Show what a running daemon is doing, and what troubles it.

    \b
    collectord status
    collectord status --spool /var/lib/collectord/spool
    collectord status --json | jq .troubles
    """
    from collectord.control.client import ControlClient

    settings = _load(config_file, given)
    with ControlClient(settings.admin_socket) as control:
        answer = control.status()
        books = control.ledger()
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    waiting, log = answer["waiting"], answer["log"]
    console.print(
        f"[bold]collectord {answer['version']}[/] is [bold]{answer['state']}[/], pid {answer['pid']}, "
        f"up {answer['uptime_seconds']:.0f} s"
    )
    facts = Table.grid(padding=(0, 2))
    facts.add_row("listens on", ", ".join(answer["listen"]))
    facts.add_row("store", answer["store"])
    facts.add_row("clients", str(len(answer["clients"])))
    facts.add_row(
        "waiting",
        f"{waiting['rows']:,} rows of {waiting['partitions']:,} partitions, oldest {waiting['oldest_seconds']:.1f} s",
    )
    facts.add_row("log", f"{log['bytes'] / 2**20:,.0f} of {log['budget_bytes'] / 2**20:,.0f} MiB")
    console.print(facts)
    console.print(books_table(books.streams))
    for trouble in answer["troubles"]:
        word = "[red]blocked[/]" if trouble["blocked"] else "[yellow]retrying[/]"
        console.print(f"{word} {trouble['blob']}: {trouble['detail']} (again in {trouble['again_in_seconds']} s)")
    if answer["last_error"] and not answer["troubles"]:
        console.print(f"last error: {answer['last_error']}", style="dim")


@main.command()
@_settings_options("spool")
@click.option("--timeout", type=click.FloatRange(0, 3600), default=60.0, show_default=True, help="Seconds to wait.")
def flush(config_file: Path | None, timeout: float, **given: Any) -> None:
    """Upload now what the daemon has received so far, and wait until it has landed.

    \b
    collectord flush
    collectord flush --timeout 300

    Exits with 1 if something has not landed by then; it stays in the log and is tried again.
    """
    from collectord.control.client import ControlClient

    settings = _load(config_file, given)
    with ControlClient(settings.admin_socket) as control:
        answer = control.flush(timeout)
    if not answer.complete:
        raise CollectordError(f"{answer.rows_waiting:,} rows have not landed: {answer.reason}")
    click.echo("everything received so far has landed")


@main.command()
@_settings_options("spool")
@_json_option
def ledger(config_file: Path | None, as_json: bool, **given: Any) -> None:
    """Print the books of every stream, in rows: received = landed + in the log + parked + quarantined + expired.

    \b
    collectord ledger
    collectord ledger --json | jq '.[] | select(.balanced | not)'

    Exits with 1 if the books of any stream do not balance.
    """
    from collectord.control.client import ControlClient

    settings = _load(config_file, given)
    with ControlClient(settings.admin_socket) as control:
        streams = control.ledger().streams
    if as_json:
        click.echo(json.dumps([_books_json(books) for books in streams], indent=2))
    else:
        from rich.console import Console

        Console().print(books_table(streams))
    wrong = [books.stream for books in streams if _balance(books)]
    if wrong:
        raise CollectordError(f"the books do not balance: {', '.join(wrong)}")


def _balance(books: Any) -> int:
    return int(books.received - books.landed - books.in_log - books.parked - books.quarantined - books.expired)


def _books_json(books: Any) -> dict[str, Any]:
    numbers = ("received", "landed", "in_log", "parked", "quarantined", "expired")
    return {
        "stream": books.stream,
        **{name: getattr(books, name) for name in numbers},
        "rejected": dict(books.rejected),
        "dropped_by_clients": dict(books.dropped_by_clients),
        "balanced": not _balance(books),
    }


def books_table(streams: Any) -> Any:
    """The books as a rich renderable: a line for the stream's name, a line for its numbers, since names are long."""
    from rich.console import Group
    from rich.text import Text

    lines: list[Any] = []
    for books in streams:
        off = _balance(books)
        numbers = Text(
            f"  received {books.received:,}  landed {books.landed:,}  in the log {books.in_log:,}  "
            f"quarantined {books.quarantined:,}  "
        )
        numbers.append("balanced" if off == 0 else f"off by {off:+,}", style="green" if off == 0 else "red")
        lines += [Text(books.stream or "(stream unknown)", style="bold", overflow="fold"), numbers]
        if books.rejected:
            lines.append(Text(f"  rejected {_reasons(books.rejected)}"))
        if books.dropped_by_clients:
            lines.append(Text(f"  dropped by clients {_reasons(books.dropped_by_clients)}"))
    return Group(*lines) if lines else "nothing was received yet"


def _reasons(counts: Any) -> str:
    return ", ".join(f"{rows:,} {reason}" for reason, rows in sorted(counts.items())) or "0"


def _open_store(config_file: Path | None, given: dict[str, Any]) -> BlobStore:
    from collectord.daemon import open_store

    return open_store(_load(config_file, given))


@main.command()
@click.argument("prefix", default="")
@_settings_options("store", "azure_account_url")
@_json_option
def ls(prefix: str, config_file: Path | None, as_json: bool, **given: Any) -> None:
    """List what has landed under PREFIX, with the address of each blob for pandas, Spark or the portal.

    \b
    collectord ls
    collectord ls --store az://modeldata sub/group/workspace/service/model
    """
    from collectord.reader.blobs import codec_of, data_blobs

    store = _open_store(config_file, given)
    blobs = data_blobs(store, prefix)
    rows = [
        {"name": blob.name, "bytes": blob.size, "codec": codec_of(blob.name), **store.addresses(blob.name)}
        for blob in blobs
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for blob in blobs:
        click.echo(f"{blob.size:>12,}  {blob.name}")
        for scheme, address in store.addresses(blob.name).items():
            click.echo(f"{'':14}{scheme:6} {address}")
    click.echo(f"{sum(blob.size for blob in blobs):>12,}  bytes in {len(blobs)} blobs of {store.describe()}")


@main.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_settings_options("store", "azure_account_url")
def cat(names: tuple[str, ...], config_file: Path | None, **given: Any) -> None:
    """Print blobs as CSV, whatever their compression, the header once. NAME is a blob or a beginning of names.

    \b
    collectord cat sub/group/ws/service/model/1/inputs/2026/11/21/data.csv.zst
    collectord cat sub/group/ws/service/model/1/inputs/2026/11 > november.csv
    """
    from collectord.reader.blobs import data_blobs, select
    from collectord.reader.cat import cat as text_of

    store = _open_store(config_file, given)
    chosen = [blob for name in names for blob in select(data_blobs(store, name), name)]
    if not chosen:
        raise CallHuman(
            f"no blob in {store.describe()} is called or begins with {' or '.join(names)}; try `collectord ls`"
        )
    for text in text_of(store, chosen):
        sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


@main.command()
@click.argument("prefix", default="")
@_settings_options("store", "spool", "azure_account_url")
@_json_option
def verify(prefix: str, config_file: Path | None, as_json: bool, **given: Any) -> None:
    """Read again what has landed under PREFIX: whole frames, right checksums, nothing twice, rows as counted.

    \b
    collectord verify
    collectord verify --store az://modeldata sub/group/workspace
    collectord verify --spool /var/lib/collectord/spool    # and compare with the books of the daemon there

    Exits with 0 if all is well, 1 if something was found, 2 if the store cannot be read.
    """
    from collectord.daemon import open_store
    from collectord.reader.audit import audit
    from collectord.upload.location import Location

    settings = _load(config_file, given)
    found = audit(
        open_store(settings), prefix, name_prefix=Location.parse(settings.store).prefix,
        spool_socket=settings.admin_socket if given["spool"] else None,
    )  # fmt: skip
    if as_json:
        click.echo(found.as_json())
    else:
        for line in found.lines():
            click.echo(line)
    sys.exit(1 if found.findings else 0)


@main.command()
@_settings_options()
@_json_option
def doctor(config_file: Path | None, as_json: bool, **given: Any) -> None:
    """Walk the chain from a client to the store; say of each link whether it holds, and what to do if not.

    \b
    collectord doctor
    collectord doctor --spool /var/lib/collectord/spool --store az://modeldata
    COLLECTORD_ENDPOINT=unix:/run/collectord/collectord.sock collectord doctor    # as in a pod

    Give it the settings of the daemon. Works without one. Proves an append with a small blob under _collectord/doctor/;
    creates a container of Azure that is absent. Exits with 0 if all links hold, 1 if one is broken.
    """
    from collectord.doctor import examine

    listen = given.get("listen")
    links = []
    for link in examine(config_file, {**given, "listen": ",".join(listen) if listen else None}):
        links.append(link)
        if not as_json:
            click.echo(link.line())
    if as_json:
        click.echo(
            json.dumps(
                [{"link": one.name, "ok": one.ok, "what": one.what, "todo": one.todo} for one in links], indent=2
            )
        )
    sys.exit(1 if any(link.ok is False for link in links) else 0)


@main.command()
@click.argument("correlation_id")
@_settings_options("store", "spool", "azure_account_url")
@click.option(
    "--date", "first", type=click.DateTime(["%Y-%m-%d"]), help="First day (UTC) to search; a UUIDv7 says its own."
)
@click.option("--days", type=click.IntRange(1, 3660), help="How many days from there on; without a day: how many back.")
@click.option("--stream", default="", metavar="PREFIX", help="Only blobs whose names begin so.")
@click.option("--show", is_flag=True, help="Print the rows too.")
@_json_option
def where(
    correlation_id: str, config_file: Path | None, first: Any, days: int | None, stream: str, show: bool, as_json: bool,
    **given: Any,
) -> None:  # fmt: skip
    """Find a record by its correlation id: blob, frame and rows, or that it still waits in the log.

    \b
    collectord where 019a9f3e-7c1b-7000-8000-000000000001 --show
    collectord where order-4711 --date 2026-11-20 --days 3 --stream sub/group/workspace
    collectord where order-4711 --spool /var/lib/collectord/spool    # and ask the daemon there

    Exits with 0 if it was found, 1 if not, 2 if the store cannot be read.
    """
    from collectord.daemon import open_store
    from collectord.reader.find import find

    settings = _load(config_file, given)
    found = find(
        open_store(settings), correlation_id, first.date() if first else None, days, stream,
        settings.admin_socket if given["spool"] else None,
    )  # fmt: skip
    if as_json:
        click.echo(found.as_json())
    else:
        for line in found.lines(show):
            click.echo(line)
    sys.exit(0 if found.hits or found.waiting else 1)


@main.group()
def wal() -> None:
    """Look into the log of a spool; works beside a running daemon and without one."""


@wal.command("ls")
@_settings_options("spool")
@_json_option
def wal_ls(config_file: Path | None, as_json: bool, **given: Any) -> None:
    """List the segments of the log: positions, entries, rows, damage. All checksums are verified.

    \b
    collectord wal ls
    collectord wal ls --spool /var/lib/collectord/spool --json
    """
    from collectord.daemon import LOG_DIRECTORY
    from collectord.wal.inspect import list_segments

    directory = _load(config_file, given).spool / LOG_DIRECTORY
    if not directory.is_dir():
        raise CallHuman(f"spool: there is no log in {directory.parent}; name a spool directory with --spool")
    segments = list_segments(directory)
    if as_json:
        click.echo(json.dumps([_segment_json(segment) for segment in segments], indent=2))
        return
    click.echo(f"{'first LSN':>20} {'end':>20} {'entries':>9} {'batches':>9} {'rows':>12} {'damaged':>8}")
    for segment in segments:
        click.echo(
            f"{segment.base:>20} {segment.end:>20} {segment.entries:>9,} {segment.batches:>9,} {segment.rows:>12,} "
            f"{len(segment.damages):>8}"
        )


def _segment_json(segment: Any) -> dict[str, Any]:
    return {
        "base": segment.base, "end": segment.end, "bytes": segment.file_bytes, "entries": segment.entries,
        "batches": segment.batches, "rows": segment.rows, "damages": len(segment.damages), "problem": segment.problem or None,
    }  # fmt: skip


@main.command()
@_settings_options()
def config(config_file: Path | None, **given: Any) -> None:
    """Print the settings that `serve` would run with, secrets masked, or say what is wrong with them.

    \b
    collectord config
    COLLECTORD_CODEC=gzip collectord config --config /etc/collectord.toml
    """
    click.echo(json.dumps(_load(config_file, given).shown(), indent=2))


@main.command()
@click.option(
    "--store",
    default=None,
    metavar="STORE",
    help="A directory (default: ./demo-data/store), az://CONTAINER, or azurite to start the emulator.",
)
@click.option("--requests", type=click.IntRange(10, 1_000_000), default=4000, show_default=True)
def demo(store: str | None, requests: int) -> None:
    """Score real rows with a real model, kill the daemon in the middle, and show what landed.

    \b
    collectord demo
    collectord demo --store azurite --requests 20000

    Needs scikit-learn, pandas and collectord-client.
    """
    from collectord.demo.run import run

    run(store, requests)


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(f"collectord {__version__}")


if __name__ == "__main__":
    main()
