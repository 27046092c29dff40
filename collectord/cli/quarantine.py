"""Rows that could not land: look at them, try them again, take them elsewhere, give them up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collectord.cli.options import Group, json_option, load, settings_options
from collectord.cli.output import private_output, say
from collectord.errors import CallHuman, CollectordError

if TYPE_CHECKING:
    from collectord.quarantine import Item

_AT_ONCE = 20


@click.group(cls=Group)
def quarantine() -> None:
    """Rows that could not land and were set aside: look at them, try again, export, drop.

    ls, show and export read SPOOL/quarantine/rows, with a daemon or without; retry and drop need the running daemon.
    """


@quarantine.command("ls")
@settings_options("spool")
@json_option
def quarantine_ls(config_file: Path | None, as_json: bool, **given: Any) -> None:
    """List what is in quarantine, oldest first.

    \b
    collectord quarantine ls
    collectord quarantine ls --json | jq '.[] | select(.retry)'
    """
    from collectord import quarantine

    directory = _directory(config_file, given)
    items = sorted(_items(directory, quarantine.ids(directory)), key=lambda item: item.time_ns)
    if as_json:
        click.echo(json.dumps([item.shown() for item in items], indent=2))
        return
    for item in items:
        say(f"{item.id.hex()}  {_when(item)}  {item.rows:>9,} rows  {item.reason:12}  {item.stream}")
    click.echo(f"{sum(item.rows for item in items):,} rows in {len(items)} items")


@quarantine.command()
@click.argument("item", metavar="ID")
@settings_options("spool")
@json_option
def show(item: str, config_file: Path | None, as_json: bool, **given: Any) -> None:
    """Say what is known of an item: whose rows, why, since when, and whether they can be tried again.

    \b
    collectord quarantine show 5f2c
    collectord quarantine show 5f2c0e61a3b94d7788ac01e2f3a4b5c6 --json

    The beginning of an ID is enough where it names one item.
    """
    from collectord.quarantine import ids, read

    directory = _directory(config_file, given)
    found = read(directory, _chosen(ids(directory), item))
    if as_json:
        click.echo(json.dumps(found.shown(), indent=2))
        return
    for name, value in (
        ("id", found.id.hex()), ("stream", found.stream), ("rows", f"{found.rows:,}"), ("period", found.partition.start.isoformat()),
        ("schema", found.partition.schema_id.hex()), ("set aside", _when(found)), ("reason", found.reason),
        ("detail", found.detail), ("retry", found.obstacle or "possible"),
    ):  # fmt: skip
        say(f"{name:10} {value}")
    for entry in found.entries:
        click.echo(
            f"{'entry':10} LSN {entry.lsn}, {entry.rows:,} rows, client {entry.client.hex()}, sequence {entry.sequence}"
        )


@quarantine.command()
@click.argument("item", required=False, metavar="[ID]")
@click.option("--all", "everything", is_flag=True, help="All items that can be tried again.")
@settings_options("spool")
@json_option
def retry(item: str | None, everything: bool, config_file: Path | None, as_json: bool, **given: Any) -> None:
    """Put items through the log again, exactly once, now that what kept them is mended.

    \b
    collectord quarantine retry 5f2c
    collectord quarantine retry --all

    Their rows wait in the log then, and land like any others. Exits with 1 if an item was not taken.
    """
    from collectord.control.client import ControlClient

    with ControlClient(load(config_file, given).admin_socket) as control:
        results = _act(control.retry_quarantined, item, everything)
    _report(results, "wait in the log again", as_json)


@quarantine.command()
@click.argument("item", required=False, metavar="[ID]")
@click.option("--all", "everything", is_flag=True, help="All items.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE", help="- for stdout."
)
@settings_options("spool")
def export(item: str | None, everything: bool, out: Path, config_file: Path | None, **given: Any) -> None:
    """Write items to a file as JSON lines, one per batch, schema and batch in base64. They stay in quarantine.

    \b
    collectord quarantine export 5f2c --out item.jsonl
    collectord quarantine export --all --out - | jq -r .reason | sort | uniq -c

    The file gets its name when it is whole, with mode 0600. Exits with 1 if an item cannot be read and was left out.
    """
    from collectord import quarantine

    directory = _directory(config_file, given)
    wanted = _wanted(quarantine.ids(directory), item, everything)
    items = number = 0
    with _writable(out), private_output(out) as file:
        for one in _items(directory, wanted):
            items += 1
            for line in one.exported():
                file.write(json.dumps(line).encode() + b"\n")
                number += 1
    click.echo(f"{number:,} batches written to {out}", err=True)
    if items < len(wanted):
        raise CollectordError(f"{len(wanted) - items} of {len(wanted)} items were left out")


@quarantine.command()
@click.argument("item", required=False, metavar="[ID]")
@click.option("--all", "everything", is_flag=True, help="All items.")
@click.option(
    "--exported",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Just the items that `export` has written to this file.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@settings_options("spool")
@json_option
def drop(
    item: str | None,
    everything: bool,
    exported: Path | None,
    yes: bool,
    config_file: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Give items up for good. Their rows are counted as dropped from quarantine, and the books still balance.

    \b
    collectord quarantine export --all --out kept.jsonl
    collectord quarantine drop --exported kept.jsonl --yes
    collectord quarantine drop 5f2c
    """
    from collectord.control.client import ControlClient

    if exported is not None and (item is not None or everything):
        raise click.UsageError("name one item by its ID, all of them with --all, or those of a file with --exported")
    chosen = None if exported is None else _exported(exported)
    if not yes:
        what = "all items" if everything else item if chosen is None else f"{len(chosen)} items of {exported}"
        click.confirm(f"drop {what} for good?", abort=True)
    with ControlClient(load(config_file, given).admin_socket) as control:
        results = _act(control.drop_quarantined, item, everything, chosen)
    _report(results, "were dropped", as_json)


def _directory(config_file: Path | None, given: dict[str, Any]) -> Path:
    from collectord.quarantine import ROWS_DIRECTORY

    spool = load(config_file, given).spool
    if not spool.is_dir():
        raise CallHuman(f"spool: there is no {spool}; name a spool directory with --spool")
    return spool / ROWS_DIRECTORY


def _items(directory: Path, ids: Iterable[bytes]) -> Iterator[Item]:
    """Items that are there and whole; of the others it is said why not."""
    from collectord import quarantine

    for id_ in ids:
        try:
            yield quarantine.read(directory, id_)
        except quarantine.BadItem as error:
            say(f"collectord: {error}", err=True)


def _chosen(known: list[bytes], item: str) -> bytes:
    found = [id_ for id_ in known if id_.hex().startswith(item.lower())]
    if len(found) != 1:
        raise CallHuman(
            f"{len(found) or 'no'} items have an id that begins with {item!r}; see `collectord quarantine ls`"
        )
    return found[0]


def _wanted(known: list[bytes], item: str | None, everything: bool) -> list[bytes]:
    if (item is None) != everything:
        raise click.UsageError("name one item by its ID, or all of them with --all")
    return known if item is None else [_chosen(known, item)]


def _exported(path: Path) -> list[bytes]:
    """The items that are whole in a file that `export` has written: of one that was cut off, nothing is dropped."""
    seen: dict[str, tuple[set[int], int]] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                found = json.loads(line)
                bytes.fromhex(found["id"])
                seen.setdefault(found["id"], (set(), int(found["entries"])))[0].add(int(found["entry"]))
    except OSError as error:
        raise CallHuman(f"--exported: {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CallHuman(f"--exported: {path} is not what `collectord quarantine export` writes: {error!r}") from error
    for id_, (numbers, entries) in seen.items():
        if numbers != set(range(1, entries + 1)):
            raise CallHuman(f"--exported: {path} holds {len(numbers)} of the {entries} batches of item {id_}")
    return [bytes.fromhex(id_) for id_ in seen]


@contextmanager
def _writable(out: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CallHuman(f"{error.filename or out}: {error.strerror}") from error


def _act(
    action: Callable[[Iterable[bytes]], Any], item: str | None, everything: bool, chosen: list[bytes] | None = None
) -> list[Any]:
    """A few at a time, so that no request takes long. `chosen`: these, as far as they are still there."""
    known = [one.id for one in action([]).results]
    if chosen is None:
        ids = _wanted(known, item, everything)
    else:
        ids = [id_ for id_ in chosen if id_ in known]
        for id_ in chosen:
            if id_ not in known:
                click.echo(f"collectord: item {id_.hex()} is not in quarantine any more", err=True)
    results: list[Any] = []
    for begin in range(0, len(ids), _AT_ONCE):
        results += action(ids[begin : begin + _AT_ONCE]).results
    return results


def _report(results: list[Any], done: str, as_json: bool) -> None:
    if as_json:
        click.echo(
            json.dumps(
                [{"id": one.id.hex(), "rows": one.rows, "problem": one.problem or None} for one in results], indent=2
            )
        )
    else:
        for one in results:
            say(f"{one.id.hex()}  {one.problem or f'{one.rows:,} rows {done}'}")
    failed = sum(bool(one.problem) for one in results)
    if failed:
        raise CollectordError(f"{failed} of {len(results)} items stay in quarantine")


def _when(item: Item) -> str:
    return datetime.fromtimestamp(item.time_ns / 1e9, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
