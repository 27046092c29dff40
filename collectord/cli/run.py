"""Run the daemon, or see what it would run with: serve, config, doctor, demo, version."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import click

from collectord import __version__
from collectord.cli.options import joined, json_option, load, settings_options
from collectord.cli.output import say
from collectord.errors import CallHuman


@click.command()
@settings_options()
def serve(config_file: Path | None, **given: Any) -> None:
    """Run the daemon. By default: unix socket, spool and store under ./collectord-data.

    \b
    collectord serve
    collectord serve --store az://modeldata --listen unix:/run/collectord/collectord.sock --admin 127.0.0.1:9808
    COLLECTORD_FLUSH_INTERVAL=10 collectord serve --config /etc/collectord.toml

    Every option is also an environment variable, COLLECTORD_ and its name, and a key of the TOML file; secrets are only
    those. SIGTERM uploads what fits into the drain deadline; the rest stays in the log for the next start.
    """
    from collectord import logs, notes, process
    from collectord.settings import Settings

    try:
        settings = load(config_file, given)
    except CallHuman as error:
        form = given["log_format"] or os.environ.get("COLLECTORD_LOG_FORMAT")
        logs.print_error("console" if form == "console" else "json", "the start failed", why=str(error))
        usual = Settings.model_fields["spool"].default
        notes.note_failed_start(
            Path(given["spool"] or os.environ.get("COLLECTORD_SPOOL") or usual), str(error), socket.gethostname()
        )
        raise
    logs.configure(settings.log_format, settings.log_level)
    process.serve(settings, config_file, lambda: load(config_file, given))


@click.group(invoke_without_command=True)
@settings_options()
@click.pass_context
def config(context: click.Context, /, config_file: Path | None, **given: Any) -> None:
    """Look at settings. Without a command: print those that `serve` would run with, secrets masked.

    \b
    collectord config
    COLLECTORD_CODEC=gzip collectord config --config /etc/collectord.toml
    collectord config check --config /etc/collectord.toml
    collectord config template > collectord.toml
    """
    if context.invoked_subcommand is None:
        _print(config_file, given)


@config.command("print")
@settings_options()
def print_(config_file: Path | None, **given: Any) -> None:
    """Print the settings that `serve` would run with, secrets masked, or say what is wrong with them."""
    _print(config_file, given)


@config.command()
@settings_options()
def check(config_file: Path | None, **given: Any) -> None:
    """Say whether `serve` would start with these settings, and of each that is set who says so.

    \b
    collectord config check --config /etc/collectord.toml

    Exits with 0 if all is well, 2 if not: then it names the setting, the value and what is allowed. Files and directories that the
    settings name are looked at here and as this user.
    """
    from collectord import assembly, coherence, config
    from collectord.settings import AT_ONCE

    settings = load(config_file, given)
    assembly.check(settings)
    for note in assembly.look_around(settings):
        click.echo(note)
    for name in config.unknown_environment():
        click.echo(f"warning: {name} looks like a setting and is none", err=True)
    for doubt in coherence.doubts(settings):
        click.echo(f"warning: {doubt}", err=True)
    said = config.origins(config_file, joined(given))
    for name, (counts, *others) in said.items():
        over = f", not {' or '.join(others)}" if others else ""
        click.echo(f"{name}: from {counts}{over}")
    at_once = [name for name in said if name in AT_ONCE]
    click.echo(f"ok: {len(said)} settings, the others are defaults")
    if at_once and config_file is not None:
        click.echo(f"in a running daemon a change in the file acts at once for {', '.join(at_once)}")


@config.command()
def schema() -> None:
    """Print the JSON schema of the file, for editors and pipelines."""
    from collectord import config

    click.echo(json.dumps(config.file_schema(), indent=2))


@config.command()
def template() -> None:
    """Print a file with every setting, its meaning and its default, commented out."""
    from collectord import config

    click.echo(config.template(), nl=False)


def _print(config_file: Path | None, given: dict[str, Any]) -> None:
    from collectord import assembly

    settings = load(config_file, given)
    assembly.check(settings)
    click.echo(json.dumps(settings.shown(), indent=2))


@click.command()
@settings_options()
@click.option(
    "--outside", is_flag=True, help="From where a client stands: the way in and the store, nothing of the daemon's own."
)
@json_option
def doctor(config_file: Path | None, outside: bool, as_json: bool, **given: Any) -> None:
    """Walk the chain from a client to the store; say of each link whether it holds, and what to do if not.

    \b
    collectord doctor
    collectord doctor --spool /var/lib/collectord/spool --store az://modeldata
    COLLECTORD_ENDPOINT=unix:/run/collectord/collectord.sock collectord doctor --outside    # as in a pod

    Give it the settings of the daemon. Works without one. Proves an append with a small blob under _collectord/doctor/;
    creates a container of Azure that is absent. Exits with 0 if all links hold, 1 if one is broken.
    """
    from collectord.doctor import examine

    links = []
    for link in examine(config_file, joined(given), outside=outside):
        links.append(link)
        if not as_json:
            say(link.line())
    if as_json:
        click.echo(
            json.dumps(
                [{"link": one.name, "ok": one.ok, "what": one.what, "todo": one.todo} for one in links], indent=2
            )
        )
    sys.exit(1 if any(link.ok is False for link in links) else 0)


@click.command()
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


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(f"collectord {__version__}")
