"""A node goes: what waits on it is uploaded first, or by somebody else afterwards. drain, adopt."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import click

from collectord.cli.options import load, settings_options
from collectord.cli.output import say
from collectord.errors import CollectordError

TELL_SECONDS = 10.0
"""Between two different reasons why it takes long."""


@click.command()
@settings_options("spool")
@click.option("--timeout", type=click.FloatRange(0), default=600.0, show_default=True, help="Seconds to wait at most.")
@click.option("--cancel", is_flag=True, help="Take in again.")
def drain(config_file: Path | None, timeout: float, cancel: bool, **given: Any) -> None:
    """Empty a node before it is removed: the daemon takes nothing new and uploads all that it has.

    \b
    collectord drain
    collectord drain --timeout 1800 && kubectl delete node …
    collectord drain --cancel

    Clients are told why and keep what they have; /readyz says draining. Exits with 0 when nothing waits any more, neither rows
    for the store nor events for an exporter, with 1 and the reason if the timeout passes; what keeps it is told on stderr
    meanwhile. The daemon then goes on draining until --cancel or its end.
    """
    from collectord.cli.progress import RowsBar
    from collectord.control.client import ControlClient

    settings = load(config_file, given)
    deadline = time.monotonic() + timeout
    with ControlClient(settings.admin_socket) as control:
        if cancel:
            control.drain(0.0, cancel=True)
            click.echo("the daemon takes in again")
            return
        with RowsBar("draining") as bar:
            first = 0
            told, tell_at = "", -math.inf
            while True:
                answer = control.drain(min(1.0, max(0.0, deadline - time.monotonic())))
                first = max(first, answer.rows_waiting)
                bar.show(first - answer.rows_waiting, first)
                if answer.empty or time.monotonic() >= deadline:
                    break
                if answer.reason not in ("", told) and time.monotonic() >= tell_at:
                    told, tell_at = answer.reason, time.monotonic() + TELL_SECONDS
                    say(f"collectord: waiting: {_left(answer.rows_waiting, told)}", err=True)
                time.sleep(0.1)  # what waits for somebody to act is answered at once
    if not answer.empty:
        raise CollectordError(_left(answer.rows_waiting, answer.reason or "the timeout has passed"))
    click.echo("drained: everything has landed, and nothing new is taken in")


def _left(rows: int, why: str) -> str:
    return f"{rows:,} {'row has' if rows == 1 else 'rows have'} not landed: {why}" if rows else why


@click.command()
@click.argument("spool_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@settings_options(
    "store",
    "codec",
    "level",
    "layout",
    "mdc_output",
    "node",
    "uploads",
    "memory_budget",
    "claim_interval",
    "azure_account_url",
)
@click.option("--timeout", type=click.FloatRange(0), default=0.0, help="Seconds to try at most; 0: until it is done.")
@click.option(
    "--force",
    is_flag=True,
    help="Take the claim at once. Only if its daemon is certainly dead: if it still uploads, rows land twice.",
)
@click.option("--rebuild", is_flag=True, help="If its ledger was lost, find out from the store what has landed.")
def adopt(
    spool_dir: Path, config_file: Path | None, timeout: float, force: bool, rebuild: bool, **given: Any
) -> None:  # fmt: skip
    """Finish a spool that a dead daemon or node has left behind: everything that waits in it lands, exactly once.

    \b
    collectord adopt /mnt/old-node/spool --store az://modeldata --node old-node

    Give it the settings that its daemon had: store, codec, layout, mdc_output, and its node where the layout uses {node}. The spool
    is claimed in the store: at once if its daemon stopped in order, else after 150 seconds in which nobody renewed the
    claim. Refused while its daemon lives, and if somebody else has finished another copy of it. May be interrupted and
    begun again. Exits with 0 when everything has landed, 1 if not in time, 2 if somebody has to act.
    """
    import logging

    from collectord import adopting
    from collectord.cli.progress import RowsBar

    logging.getLogger("collectord").setLevel(logging.WARNING)
    settings = load(config_file, {**given, "spool": spool_dir})
    with RowsBar("opening") as bar:
        left = adopting.adopt(settings, bar.tell, force=force, rebuild=rebuild, timeout=timeout)
    click.echo(f"finished: {left.landed:,} rows have landed, and nothing waits in {spool_dir} any more")
    if left.quarantined:
        click.echo(
            f"{left.quarantined:,} rows are in quarantine or were lost before: keep {spool_dir}, and look at them with "
            "`collectord quarantine`"
        )
