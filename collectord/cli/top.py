"""`collectord top`: the status of a running daemon, again and again."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collectord.cli.options import load, settings_options
from collectord.cli.output import console, harmless_in
from collectord.errors import CollectordError

if TYPE_CHECKING:
    from rich.console import RenderableType

MARGIN = 22
"""Lines of the screen that are not streams', roughly."""
LINES = 3
"""Of a stream."""
TROUBLES = 5
"""Blobs in trouble that are shown: where the store is down it may be all of them, and no stream would be seen."""


@click.command()
@settings_options("spool")
@click.option(
    "--interval", type=click.FloatRange(0.1, 3600), default=2.0, show_default=True, help="Seconds between looks."
)
@click.option("--once", is_flag=True, help="Look once and leave, for scripts.")
def top(config_file: Path | None, interval: float, once: bool, **given: Any) -> None:
    """Watch a running daemon: throughput, freshness, streams, cost. q ends it.

    \b
    collectord top
    collectord top --spool /var/lib/collectord/spool
    collectord top --once

    A daemon that is restarted meanwhile is waited for.
    """
    from collectord.control.client import ControlClient

    settings = load(config_file, given)

    def ask() -> dict[str, Any]:
        with ControlClient(settings.admin_socket) as control:
            found: dict[str, Any] = harmless_in(control.status())
            return found

    screen = console(soft_wrap=False)
    if once:
        screen.print(shown(ask(), screen.height))
        return
    with keys() as wait:
        watch(ask, screen, lambda: wait(interval))


def watch(ask: Callable[[], dict[str, Any]], console: Any, wait: Callable[[], bool]) -> None:
    """Shows what `ask` says until `wait` is true, or Ctrl-C."""
    from rich.live import Live
    from rich.text import Text

    with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
        try:
            while True:
                try:
                    live.update(shown(ask(), console.height), refresh=True)
                except CollectordError as error:
                    live.update(Text(f"{error}\n\nwaiting for it; q ends this"), refresh=True)
                if wait():
                    return
        except KeyboardInterrupt:
            return


def shown(status: dict[str, Any], height: int) -> RenderableType:
    """As much of a status as fits."""
    from rich.console import Group
    from rich.text import Text

    from collectord.cli import screen

    room = max(3, (height - MARGIN) // LINES)
    return Group(
        screen.head(status), Text(), *screen.problems(status, TROUBLES), screen.streams(status, room),
        Text(status["cost"]["advice"], style="dim"),
    )  # fmt: skip


@contextmanager
def keys() -> Iterator[Callable[[float], bool]]:
    """Waits so many seconds; true if q was pressed meanwhile. Without a terminal nobody can press it."""
    if not sys.stdin.isatty():
        yield _nobody
        return
    # Here, so that the other commands need no more of the interpreter than they did.
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield lambda seconds: bool(select.select([fd], [], [], seconds)[0]) and os.read(fd, 64)[:1] in (b"q", b"Q")
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _nobody(seconds: float) -> bool:
    time.sleep(seconds)
    return False
