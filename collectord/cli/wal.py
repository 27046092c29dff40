"""Look into the log of a spool, mend it, and get out of it what can be read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collectord.cli.options import json_option, load, settings_options
from collectord.cli.output import private_output, say
from collectord.errors import CallHuman

if TYPE_CHECKING:
    from collectord.model import Lsn
    from collectord.wal.damage import Damage, Loss
    from collectord.wal.parkedstate import ParkedState
    from collectord.wal.verify import Verdict

SPOOL = click.argument("spool_directory", required=False, type=click.Path(path_type=Path), metavar="[SPOOL]")


@click.group()
def wal() -> None:
    """Look into the log of a spool, and mend it.

    \b
    collectord wal ls                       # what is in it
    collectord wal verify                   # is all of it whole
    collectord wal export SPOOL --out -     # everything that can still be read
    collectord wal repair SPOOL             # while no daemon runs
    """


@wal.command("ls")
@settings_options("spool")
@json_option
def wal_ls(config_file: Path | None, as_json: bool, **given: Any) -> None:
    """List the segments of the log, then parked files: positions, entries, rows, damage. All checksums are verified.

    \b
    collectord wal ls
    collectord wal ls --spool /var/lib/collectord/spool --json
    """
    from collectord.wal.inspect import list_segments
    from collectord.wal.verify import look_at_parked

    spool = load(config_file, given).spool
    log, _ = _log_of(spool)
    with _readable(log):
        segments = list_segments(log)
        parked, missing = look_at_parked(log, None, lambda: _noted(spool))
    if as_json:
        listed = [_segment_json(segment) for segment in segments]
        listed += [_parked_json(one) | {"damages": len(one.damages)} for one in parked]
        click.echo(json.dumps(listed, indent=2))
        return
    click.echo(f"{'first LSN':>20} {'end':>20} {'entries':>9} {'batches':>9} {'rows':>12} {'damaged':>8}")
    for segment in segments:
        click.echo(
            f"{segment.base:>20} {segment.end:>20} {segment.entries:>9,} {segment.batches:>9,} {segment.rows:>12,} "
            f"{len(segment.damages):>8}"
        )
    for one in parked:
        click.echo(
            f"{one.base:>20} {one.end:>20} {one.entries:>9,} {one.batches:>9,} {one.rows:>12,} {len(one.damages):>8}  parked"
            + (f": {one.problem}" if one.problem else "")
        )
    for line in _missing_lines(missing):
        say(line)


@wal.command("verify")
@SPOOL
@settings_options("spool")
@json_option
def wal_verify(spool_directory: Path | None, config_file: Path | None, as_json: bool, **given: Any) -> None:
    """Read every byte of the log and of parked files, and judge them as a start would. Changes nothing; works beside a
    running daemon.

    \b
    collectord wal verify
    collectord wal verify /var/lib/collectord/spool
    collectord wal verify --json | jq '.segments[] | select(.damages != [])'

    Does not look at rows in quarantine: see `collectord quarantine`.

    Exits with 0 if all is whole, 1 if something is damaged, missing or does not belong there, 2 if it cannot be read.
    """
    from collectord.upload.ledger import peek_needed_from
    from collectord.wal.verify import verify

    spool = spool_directory or load(config_file, given).spool
    log, quarantine = _log_of(spool)
    with _readable(log):
        found = verify(log, quarantine, noted=lambda: _noted(spool), needed_from=lambda: peek_needed_from(spool))
    if as_json:
        click.echo(json.dumps(_verdict_json(found), indent=2))
    else:
        for line in _verdict_lines(found):
            say(line)
    sys.exit(0 if found.clean else 1)


@wal.command("export")
@click.argument("source", type=click.Path(exists=True, path_type=Path), metavar="SPOOL|FILE")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, allow_dash=True), metavar="FILE|-", help="Where to."
)
@click.option(
    "--format", "kind", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True,
    help="One JSON object per batch, or nothing but rows.",
)  # fmt: skip
@click.option(
    "--stream", default="", metavar="PREFIX", help="Only streams whose names begin so (as `ledger` prints them)."
)
@click.option(
    "--raw", is_flag=True, help="In each JSON object the batch and its schema as they were sent, too (base64)."
)
def wal_export(source: Path, out: Path, kind: str, stream: str, raw: bool) -> None:
    """Write out every batch that can still be read: of a spool's log, what is parked, and what of the log is in quarantine; or
    of a single file of the log or its quarantine. Rows that the daemon set aside: see `collectord quarantine`.

    \b
    collectord wal export /var/lib/collectord/spool --out rows.jsonl
    collectord wal export /var/lib/collectord/spool --out - | jq -r .csv
    collectord wal export spool/quarantine/log/00000000000000024576.bin --out - --raw
    collectord wal export spool --format csv --stream sub/group/ws/service/model/1/inputs --out inputs.csv

    A JSON object has the batch's position (lsn), source (log, or the file parked or in quarantine), stream, client, sequence, rows,
    period, header and csv: the text that would have landed. What cannot be made text (its schema is lost, or it is
    telemetry) has its payload instead. csv takes one header only: narrow it with --stream.

    Batches from the log may have landed already, those from quarantine may never have been acknowledged: compare by
    correlation id before you add them to anything. Read only; works beside a running daemon.
    """
    from collectord.cli.wal_text import Writer
    from collectord.wal.export import batches_of_file, batches_of_spool, bytes_of

    files: tuple[Path, Path] | None = _log_of(source) if source.is_dir() else None
    total = bytes_of(*files) if files else source.stat().st_size
    with _readable(source), _writable(out), private_output(out) as file:
        writer = Writer(file, kind, stream, raw)
        bar = click.progressbar(length=total, label="reading", file=sys.stderr, hidden=not sys.stderr.isatty())
        with bar:
            for batch in batches_of_spool(*files, bar.update) if files else batches_of_file(source, bar.update):
                writer.take(batch)
    click.echo(writer.summary(), err=True)


@wal.command("repair")
@click.argument("spool_directory", type=click.Path(path_type=Path), metavar="SPOOL")
@click.option("--dry-run", is_flag=True, help="Say what would be done, change nothing.")
@json_option
def wal_repair(spool_directory: Path, dry_run: bool, as_json: bool) -> None:
    """Mend the log of a spool that no daemon uses: put back what copies still hold, then do what a start would do.

    \b
    collectord wal repair /var/lib/collectord/spool --dry-run
    collectord wal repair /var/lib/collectord/spool

    Put a good copy of a damaged segment (from a backup, say) beside it into SPOOL/log under any name that ends in .seg:
    what is damaged is taken from there. Whatever is changed is kept in SPOOL/quarantine/repair/. What a start has already
    reported as lost stays so in the books; `wal export` reads it. Never put back segments that had landed and left the log
    if the ledger was lost since: their rows may land twice.

    Damage in parked files is told and left: of these nothing is ever written again, and the daemon's next start goes on with
    what is left of them and counts the rest as lost.

    Exits with 0 if all is whole now, 1 if something stays damaged (or, in a dry run, is), 2 if it cannot be mended.
    """
    from collectord.upload.ledger import peek_needed_from
    from collectord.wal.repair import locked, plan_repair, repair
    from collectord.wal.verify import look_at_parked

    log, quarantine = _log_of(spool_directory)
    with locked(spool_directory, writable=not dry_run), _readable(log):
        spool_id, floor = _of_ledger(spool_directory, dry_run)
        plan = plan_repair(log, quarantine, spool_id, peek_needed_from(spool_directory))
        walk = plan.found.walk
        said, damages, losses = plan.lines(), tuple(walk.damages), tuple(walk.losses)
        aside = [(one.path, one.reason) for one in plan.found.refused]
        backup = None
        if not dry_run:
            done = repair(
                log, quarantine, spool_id or plan.found.spool_id, floor, needed_from=peek_needed_from(spool_directory)
            )
            said, damages, losses = done.plan.lines(), done.recovered.damages, done.recovered.losses
            aside, backup = [(one.path, one.reason) for one in done.recovered.set_aside], done.backup
        parked, missing = look_at_parked(log, spool_id or plan.found.spool_id or None, lambda: _noted(spool_directory))
        parked = tuple(one for one in parked if not one.clean)
    if as_json:
        content = {
            "dry_run": dry_run, "changes": said, "damages": [_damage_json(one) for one in damages],
            "losses": _losses_json(losses), "set_aside": [{"path": str(path), "reason": reason} for path, reason in aside],
            "backup": str(backup) if backup else None,
            "parked": [_parked_json(one) for one in parked], "missing": [_name_of(base) for base in missing],
        }  # fmt: skip
        click.echo(json.dumps(content, indent=2))
    else:
        bad = damages or aside or parked or missing
        for line in said or ["nothing can be put back" if bad else "nothing to mend"]:
            say(line)
        for path, reason in aside:
            click.echo(f"{path}: {reason}, {'would be set aside' if dry_run else 'set aside'}")
        for line in [*_damage_lines(damages), *_loss_lines(losses), *_parked_lines(parked), *_missing_lines(missing)]:
            say(line)
        if backup:
            click.echo(f"what was changed is kept in {backup}")
    sys.exit(1 if damages or losses or parked or missing or (dry_run and (said or aside)) else 0)


def _log_of(spool: Path) -> tuple[Path, Path]:
    """Where a spool has its log, and what was taken out of it."""
    from collectord.spoolfiles import LOG_DIRECTORY, QUARANTINE_DIRECTORY

    log = spool / LOG_DIRECTORY
    with _readable(log):
        there = log.is_dir()
    if not there:
        raise CallHuman(f"spool: there is no log in {spool}; name a spool directory")
    return log, spool / QUARANTINE_DIRECTORY / LOG_DIRECTORY


def _of_ledger(spool: Path, dry_run: bool) -> tuple[bytes | None, int]:
    """Whose log it is, as its ledger says (None: it is lost or damaged), and where at least the log goes on."""
    from collectord.upload.database import Database, LedgerDamaged
    from collectord.upload.ledger import Ledger, peek_spool_id

    # Whoever opens a ledger writes to it; a dry run needs no floor.
    if dry_run:
        return peek_spool_id(spool), 0
    if not Database.exists(spool):
        return None, 0
    try:
        ledger = Ledger(spool)
    except LedgerDamaged as error:
        # A fault of the disk seldom hits one file alone, and a start, which sets this one aside, would write damage off.
        click.echo(f"{error}; the log is mended without it, and the next start sets it aside", err=True)
        return None, 0
    try:
        return ledger.spool_id, ledger.lsn_floor()
    finally:
        ledger.close()


def _noted(spool: Path) -> frozenset[Lsn]:
    """The parked files that there should be."""
    from collectord.upload.ledger import peek_parked

    return peek_parked(spool)


def _name_of(base: Lsn) -> str:
    from collectord.wal.parkedfile import parked_name

    return parked_name(base)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        todo = "; run as the owner of the spool" if isinstance(error, PermissionError) else ""
        raise CallHuman(f"{error.filename or path}: {error.strerror}{todo}") from error


@contextmanager
def _writable(out: Path) -> Iterator[None]:
    from collectord.wal.disk import NO_SPACE

    try:
        yield
    except OSError as error:
        # What is read needs no room.
        if error.errno not in NO_SPACE:
            raise
        raise CallHuman(f"--out {out}: {error.strerror}; make room there, or name another place") from error


def _segment_json(segment: Any) -> dict[str, Any]:
    return {
        "file": segment.path.name, "base": segment.base, "end": segment.end, "bytes": segment.file_bytes, "entries": segment.entries,
        "batches": segment.batches, "rows": segment.rows, "damages": len(segment.damages), "problem": segment.problem or None,
    }  # fmt: skip


def _parked_json(one: ParkedState) -> dict[str, Any]:
    return {
        "file": one.path.name, "base": one.base, "end": one.end, "bytes": one.file_bytes, "entries": one.entries,
        "batches": one.batches, "rows": one.rows, "damages": [_damage_json(damage) for damage in one.damages],
        "problem": one.problem or None,
    }  # fmt: skip


def _damage_json(damage: Damage) -> dict[str, Any]:
    return {
        "segment": damage.segment, "from": damage.from_lsn, "to": damage.to_lsn, "reason": damage.reason, "rows": damage.rows,
        "copy": str(damage.copy) if damage.copy else None,
    }  # fmt: skip


def _losses_json(losses: Iterable[Loss]) -> list[dict[str, Any]]:
    return [{"segment": one.segment, "stream": one.stream, "rows": one.rows} for one in losses]


def _verdict_json(found: Verdict) -> dict[str, Any]:
    segments = [
        {
            "file": one.path.name, "base": one.base, "end": one.end, "bytes": one.file_bytes, "entries": one.entries,
            "batches": one.batches, "rows": one.rows, "tail_bytes": one.tail_bytes,
            "damages": [_damage_json(damage) for damage in one.damages],
        }
        for one in found.segments
    ]  # fmt: skip
    return {
        "clean": found.clean, "segments": segments, "losses": _losses_json(found.losses),
        "foreign": [{"file": one.path.name, "reason": one.reason, "bytes": one.size} for one in found.refused],
        "quarantined": [path.name for path in found.quarantined],
        "parked": [_parked_json(one) for one in found.parked], "missing": [_name_of(base) for base in found.missing],
    }  # fmt: skip


def _verdict_lines(found: Verdict) -> Iterator[str]:
    for one in found.segments:
        state = "damaged" if one.damages else "whole"
        yield f"{one.path.name}  {one.entries:>8,} entries {one.batches:>8,} batches {one.rows:>10,} rows  {state}"
        yield from _damage_lines(one.damages)
        if one.tail_bytes:
            yield f"  {one.tail_bytes:,} bytes behind a torn entry were never acknowledged"
    for file in found.refused:
        yield f"{file.path.name}  {file.reason}: not part of this log, the next start sets it aside"
    yield from _loss_lines(found.losses)
    rows = sum(one.rows for one in found.segments)
    verdict = "the log is whole" if found.log_clean else "the log is damaged; `collectord wal repair` may help"
    yield f"{verdict}: {len(found.segments)} segments, {rows:,} rows can be read"
    if found.parked or found.missing:
        yield from _parked_lines(found.parked)
        yield from _missing_lines(found.missing)
        rows = sum(one.rows for one in found.parked)
        verdict = "is whole" if found.parked_clean else "is damaged; the next start counts as lost what cannot be read"
        yield f"what is parked {verdict}: {len(found.parked)} files, {rows:,} rows can be read"
    if found.quarantined:
        yield f"{len(found.quarantined)} files in quarantine from earlier starts"


def _parked_lines(parked: Iterable[ParkedState]) -> Iterator[str]:
    for one in parked:
        state = one.problem or ("damaged" if one.damages else "whole")
        yield f"{one.path.name}  {one.entries:>8,} entries {one.batches:>8,} batches {one.rows:>10,} rows  {state}"
        yield from _damage_lines(one.damages)


def _missing_lines(missing: Iterable[Lsn]) -> Iterator[str]:
    for base in missing:
        yield f"{_name_of(base)}  is gone: the next start counts as lost what waited there, and the books say so"


def _damage_lines(damages: Iterable[Damage]) -> Iterator[str]:
    for damage in damages:
        rows = f"{damage.rows:,} rows" if damage.rows is not None else "rows unknown"
        yield f"  {damage.reason}: {damage.from_lsn} to {damage.to_lsn}, {rows}" + (
            f", copied to {damage.copy}" if damage.copy else ""
        )


def _loss_lines(losses: Iterable[Loss]) -> Iterator[str]:
    for loss in losses:
        # The log does not know what of them has landed.
        stream = loss.stream or "(stream unknown)"
        yield f"  lost for certain, unless they have landed: {loss.rows:,} rows of {stream} from segment {loss.segment}"
