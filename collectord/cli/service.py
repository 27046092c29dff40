"""What is switched on for which service: service show, service set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from collectord.cli.options import json_option, load, settings_options

STORE_SETTINGS = ("spool", "store", "azure_account_url")


SWITCH = click.Choice(("true", "false", "default"), case_sensitive=False)
"""default: as the settings say."""
_VALUES: dict[str, bool | None] = {"true": True, "false": False, "default": None}


@click.group()
def service() -> None:
    """Switch collecting and Application Insights on and off, per service, on all nodes, without a restart.

    The switches are one document in the store, _collectord/services.json. Running clients follow within seconds.
    """


@service.command("show")
@click.argument("name", required=False)
@settings_options(*STORE_SETTINGS)
@json_option
def show(config_file: Path | None, name: str | None, as_json: bool, **given: Any) -> None:
    """Show what is switched on for service NAME, or for all of which something is said.

    \b
    collectord service show
    collectord service show my-service --store az://modeldata
    """
    from collectord import services

    said = services.show(load(config_file, given))
    if name is not None:
        name = name or "default"
        said["services"] = {name: said["services"].get(name, {})}
    if as_json:
        click.echo(json.dumps(said, indent=2))
        return
    _print(said)


@service.command("set")
@click.argument("name")
@click.option("--collect-model-data", type=SWITCH, help="Whether its clients collect.")
@click.option("--enable-app-insights", type=SWITCH, help="Whether its telemetry goes to Application Insights.")
@click.option(
    "--sampling",
    multiple=True,
    metavar="DESIGNATION=FRACTION",
    help="Fraction of requests of which a designation is collected; DESIGNATION=default removes it.",
)
@click.option("--here", is_flag=True, help="Only on this node, until the document is changed again.")
@settings_options(*STORE_SETTINGS)
def set_(
    config_file: Path | None,
    name: str,
    collect_model_data: str | None,
    enable_app_insights: str | None,
    sampling: tuple[str, ...],
    here: bool,
    **given: Any,
) -> None:
    """Change what is switched on for service NAME.

    \b
    collectord service set my-service --collect-model-data=false
    collectord service set my-service --enable-app-insights=true --sampling inputs=0.1
    collectord service set my-service --collect-model-data=default

    With a daemon on this machine (--spool) it is asked to, and follows at once; else the store is written to. What was
    acknowledged before lands all the same.
    """
    from collectord import services

    patch: dict[str, Any] = {
        switch: _VALUES[value]
        for switch, value in (("collect_model_data", collect_model_data), ("enable_app_insights", enable_app_insights))
        if value is not None
    }
    if sampling:
        patch["sampling"] = dict(map(_fraction, sampling))
    if not patch:
        raise click.UsageError("nothing to change: give --collect-model-data, --enable-app-insights or --sampling")
    name = name or "default"
    said = services.update(load(config_file, given), name, patch, here=here)
    where = "on this node" if here else f"version {said['version']}"
    click.echo(f"{name}: {json.dumps(said['services'].get(name, {}))} ({where})")


def _fraction(text: str) -> tuple[str, float | None]:
    designation, equals, fraction = text.rpartition("=")
    try:
        if not equals or not designation:
            raise ValueError
        return designation, None if fraction == "default" else float(fraction)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not DESIGNATION=FRACTION, such as inputs=0.1", param_hint="--sampling"
        ) from None


def _print(said: dict[str, Any]) -> None:
    for name, service in sorted(said["services"].items()):
        click.echo(f"{name}: {json.dumps(service)}")
    for name, patch in sorted(said.get("here", {}).items()):
        click.echo(f"{name}, on this node only: {json.dumps(patch)}")
    if not said["services"]:
        click.echo("nothing is said of any service: all are as the settings say")
    click.echo(f"version {said['version']}")
    if said.get("problem"):
        click.echo(f"this may be old: {said['problem']}")
