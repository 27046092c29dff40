"""Look into the log of a spool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from collectord.cli.options import json_option, load, settings_options
from collectord.errors import CallHuman


@click.group()
def wal() -> None:
    """Look into the log of a spool; works beside a running daemon and without one."""


@wal.command("ls")
@settings_options("spool")
@json_option
def wal_ls(config_file: Path | None, as_json: bool, **given: Any) -> None:
    """List the segments of the log: positions, entries, rows, damage. All checksums are verified.

    \b
    collectord wal ls
    collectord wal ls --spool /var/lib/collectord/spool --json
    """
    from collectord.daemon import LOG_DIRECTORY
    from collectord.wal.inspect import list_segments

    directory = load(config_file, given).spool / LOG_DIRECTORY
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
