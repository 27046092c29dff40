"""The command line. Heavy parts are imported by the command that needs them."""

from __future__ import annotations

import click

from collectord.cli import ask, node, read, run, wal
from collectord.cli.erase import erase
from collectord.cli.ledger import ledger
from collectord.cli.logs import logs, tail
from collectord.cli.options import Group
from collectord.cli.quarantine import quarantine
from collectord.cli.query import query
from collectord.cli.retention import retention
from collectord.cli.service import service
from collectord.cli.top import top


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def main() -> None:
    """Collects what models see and say in production, exactly once, into compressed CSV blobs.

    \b
    Try it:      collectord demo
    Run it:      collectord serve --store ./landed
    Ask it:      collectord status
    Read it:     collectord ls; collectord cat PREFIX
    """


for command in (
    run.serve, run.demo, run.doctor, run.config, run.version, ask.status, top, ask.flush, node.drain, node.adopt, ledger, quarantine, service, read.ls, read.cat,
    read.verify, read.where, query, logs, tail, retention, erase, wal.wal,
):  # fmt: skip
    main.add_command(command)
