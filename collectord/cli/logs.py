"""What services say, and rows as they arrive: logs, tail."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Event
from typing import Any

import click

from collectord.cli.options import load, settings_options
from collectord.cli.output import Terminal, say
from collectord.logline import LEVELS, BadLine, LogLine, text_of, time_of

_COLOURS = {"debug": "bright_black", "warning": "yellow", "error": "red", "critical": "red"}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_AGAIN_SECONDS = 1.0


def _since(context: click.Context, option: click.Parameter, text: str | None) -> int:
    """A time, or how long ago, as nanoseconds since 1970."""
    if text is None:
        return 0
    if match := re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhdw])", text):
        return max(0, time.time_ns() - int(float(match[1]) * _UNITS[match[2]] * 1e9))
    try:
        return max(0, time_of(text))
    except BadLine:
        raise click.BadParameter(
            f"{text!r} is neither a time (UTC), such as 2026-11-21T17:50, nor 30s, 10m, 2h, 3d or 1w ago"
        ) from None


@click.command()
@click.argument("service")
@settings_options("spool", "store", "azure_account_url")
@click.option(
    "--lines", "-n", type=click.IntRange(0, 100_000), default=100, show_default=True, help="The newest so many."
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--since", callback=_since, metavar="TIME", help="Nothing earlier: 10m, 2h, 3d ago, or a time (UTC).")
@click.option("--level", type=click.Choice(LEVELS), default="debug", show_default=True, help="Nothing less severe.")
@click.option(
    "--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True,
    help="json: one object a line, nothing cut.",
)  # fmt: skip
def logs(
    service: str, config_file: Path | None, lines: int, follow: bool, since: int, level: str, form: str, **given: Any
) -> None:  # fmt: skip
    """Print the log of SERVICE: what its scripts printed and logged, exceptions, failed requests, and what the collector has to
    say about it, from all nodes.

    \b
    collectord logs my-service
    collectord logs my-service --follow --level warning
    collectord logs my-service --since 2h -n 1000 --store az://modeldata
    collectord logs my-service --format json | jq -r 'select(.kind == "exception").message'

    What has landed is read from the store; what has not, and the collector's messages, come from the daemon of this
    machine if one runs (--spool), else from what its last run left. Without a daemon it works for every service whose
    events have landed.
    """
    from collectord import servicelogs

    settings = load(config_file, given)
    severity = LEVELS.index(level)
    try:
        if follow:
            began, stop = Event(), Event()

            def end(*_: object) -> None:
                # No exception: one that is raised while an object is cleared away would be lost.
                if stop.is_set():
                    os._exit(130)
                stop.set()
                if not began.is_set():
                    # A daemon or a store may take long to say the first word, and nothing is half written.
                    os._exit(0)

            signal.signal(signal.SIGINT, end)
            for one in servicelogs.follow(settings, service, lines, since, severity, stop):
                began.set()
                _notice(one) if isinstance(one, str) else _print(one, form)
                sys.stdout.flush()
            # Threads may wait for a daemon or a store that does not answer, and the interpreter for them.
            sys.stderr.flush()
            os._exit(0)
        found = servicelogs.read_log(settings, service, lines, since, severity)
        for line in found.lines:
            _print(line, form)
        for notice in found.notices:
            _notice(notice)
    except KeyboardInterrupt:
        # That is how a person ends it.
        return


def _print(line: LogLine, form: str) -> None:
    if form == "json":
        click.echo(json.dumps(line.as_json()))
        return
    word = LEVELS[line.severity]
    # click leaves the colours out where no terminal reads.
    level = click.style(f"{word:8}", fg=_COLOURS[word]) if word in _COLOURS else f"{word:8}"
    click.echo(text_of(line, level=level))


def _notice(text: str) -> None:
    say(f"collectord: {text}", err=True)


@click.command()
@click.argument("stream", default="*/*/*")
@settings_options("spool")
@click.option("--format", "form", type=click.Choice(("csv", "jsonl")), default="csv", show_default=True)
def tail(stream: str, config_file: Path | None, form: str, **given: Any) -> None:
    """Print rows as they arrive, until Ctrl-C. STREAM is webservice/model/designation, where * ? and [...] are as in a shell;
    parts that are left out are *.

    \b
    collectord tail
    collectord tail 'my-service/*/inputs'
    collectord tail my-service --format jsonl | jq .data
    collectord tail 'my-service/*/traces'          # events too; `collectord logs` is made for reading them

    Needs the admin socket of the daemon on this machine (--spool), so its user or root: rows are data of customers. Columns that
    rules drop, mask or hash are so here too. Who reads slowly misses rows, and is told how many; the daemon waits
    for nobody, and what is not shown lands all the same.
    """
    from collectord.control.client import ControlClient, NoDaemon, listens
    from collectord.errors import TryAgain

    settings = load(config_file, given)
    pattern = "/".join([*(part or "*" for part in stream.split("/")), "*", "*"][: max(3, stream.count("/") + 1)])
    screen = _Screen(sys.stdout.isatty())
    before = False
    try:
        while True:
            try:
                with ControlClient(settings.admin_socket) as control:
                    for answer in control.tail(pattern, form):
                        if not (answer.stream or answer.missed):
                            _notice(f"rows of {pattern} as they arrive; Ctrl-C ends it")
                            if not before:
                                _tell_unknown(settings.admin_socket, pattern)
                            before = True
                        elif answer.missed:
                            _notice(f"… {answer.missed} rows not shown")
                        else:
                            screen.show(answer.stream, answer.header, answer.text)
            except (NoDaemon, TryAgain) as error:
                if not before:
                    raise
                _notice(f"{error}; waiting for it")
                time.sleep(_AGAIN_SECONDS)
                while not listens(settings.admin_socket):
                    time.sleep(_AGAIN_SECONDS)
    except KeyboardInterrupt:
        return


def _tell_unknown(socket: Path, pattern: str) -> None:
    """Where no stream of that pattern was ever received: which were. One may come yet."""
    from collectord.control.client import ControlClient

    with ControlClient(socket) as control:
        streams = [book.stream.split("/") for book in control.ledger()]
    names = sorted({"/".join((parts[3], parts[4], parts[6])) for parts in streams if len(parts) == 8})
    wanted = pattern.split("/")
    if not any(all(map(fnmatchcase, name.split("/"), wanted)) for name in names):
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        _notice(f"none has come yet; known are {', '.join(names[:20]) or 'no streams'}{more}")


class _Screen:
    """Where rows are shown. On a terminal nothing of theirs acts on it."""

    def __init__(self, terminal: bool) -> None:
        self._out = Terminal() if terminal else sys.stdout.buffer
        self._above: tuple[str, bytes] | None = None

    def show(self, stream: str, header: bytes, text: bytes) -> None:
        """Rows of a stream, under their header if it is another one than that of the last ones."""
        if (stream, header) != self._above:
            self._above = (stream, header)
            _notice(f"stream {stream}")
            self._out.write(header)
        self._out.write(text)
        sys.stdout.flush()
