"""What is switched on for which service: service show, service set, service capture."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
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


def _named(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """An empty name is a variable that was not set, as a rule, and no service."""
    if name is not None and not name.strip():
        raise click.BadParameter("it is empty; the streams that name no service are those of `default`")
    return name


def _one_service(context: click.Context, parameter: click.Parameter, name: str) -> str:
    """Says so where somebody may have meant several: the settings beside this take patterns."""
    _named(context, parameter, name)
    if any(sign in name for sign in "*?[/"):
        click.echo(
            f"collectord: {name!r} is taken as the name of one service: there are no patterns or paths here", err=True
        )
    return name


@service.command("show")
@click.argument("name", required=False, callback=_named)
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
        said["services"] = {name: said["services"].get(name, {})}
    if as_json:
        click.echo(json.dumps(said, indent=2))
        return
    _print(said)


@service.command("set")
@click.argument("name", callback=_one_service)
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
    said = services.update(load(config_file, given), name, patch, here=here)
    where = "on this node" if here else f"version {said['version']}"
    click.echo(f"{name}: {json.dumps(said['services'].get(name, {}))} ({where})")


def _events(service: dict[str, Any], default: bool | None) -> str:
    """What a daemon, if one was asked, tells the clients of a service about events."""
    said = service.get("enable_app_insights")
    if default is None or said is None:
        return ""
    return f" (events {'on' if said else 'off'} for all of its pods)"


@service.command("capture")
@click.argument("name", callback=_one_service)
@click.option("--requests", type=click.IntRange(1), metavar="N", help="The next N requests, of each client.")
@click.option("--where", metavar="CONDITION", help="Requests with a prediction of which this holds: 'score > 0.9'.")
@click.option("--failed", is_flag=True, help="Requests that fail.")
@click.option("--for", "duration", metavar="TIME", help="How long: 90s, 30m, 2h, 7d. [default: 24h]")
@click.option("--until", metavar="TIME", help="Until when instead: 2026-12-01T12:00:00Z.")
@click.option("--stop", is_flag=True, help="End it now.")
@click.option("--here", is_flag=True, help="Only on this node, until the document is changed again.")
@settings_options(*STORE_SETTINGS)
def capture(
    config_file: Path | None,
    name: str,
    requests: int | None,
    where: str | None,
    failed: bool,
    duration: str | None,
    until: str | None,
    stop: bool,
    here: bool,
    **given: Any,
) -> None:
    """Collect only certain requests of service NAME for a while; then what is switched counts again.

    \b
    collectord service capture my-service --requests 500
    collectord service capture my-service --where "score > 0.9 and label == 'fraud'" --for 2h
    collectord service capture my-service --failed --until 2026-12-01T12:00:00Z
    collectord service capture my-service --stop

    Each client counts its --requests by itself: three pods of four workers collect up to 12 times N. Of several conditions each
    must be met. It also collects where collecting is switched off, but nothing that the daemon's
    collect_only or a scoring process itself forbids.
    """
    from collectord import services

    told = {"requests": requests, "where": where, "failed": failed or None}
    conditions = {key: value for key, value in told.items() if value is not None}
    if stop == bool(conditions):
        raise click.UsageError("give --requests, --where or --failed, or --stop alone")
    if (duration is not None or until is not None) and (stop or (duration is not None and until is not None)):
        raise click.UsageError("an end is given by --for or --until, and --stop has none")
    if duration is not None:
        until = _end_of(duration).isoformat(timespec="seconds").replace("+00:00", "Z")
    patch = {"capture": None if stop else conditions | ({} if until is None else {"until": until})}
    said = services.update(load(config_file, given), name, patch, here=here)
    where_told = "on this node" if here else f"version {said['version']}"
    click.echo(f"{name}: {json.dumps(said['services'].get(name, {}))} ({where_told})")
    if requests is not None:
        click.echo(f"each client collects {requests:,} requests: every worker of every pod counts for itself", err=True)


def _end_of(text: str) -> datetime:
    """The time that is so long from now."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    try:
        if not found or not float(found[1]):
            raise ValueError
        unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[found[2]]
        return datetime.now(timezone.utc) + timedelta(**{unit: float(found[1])})
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is no time such as 90s, 30m, 2h or 7d", param_hint="--for") from None


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
    default = said.get("telemetry_default")
    for name, service in sorted(said["services"].items()):
        click.echo(f"{name}: {json.dumps(service)}{_events(service, default)}")
    for name, patch in sorted(said.get("here", {}).items()):
        click.echo(f"{name}, on this node only: {json.dumps(patch)}")
    if not said["services"]:
        click.echo("nothing is said of any service: all are as the settings say")
    if default is not None:
        shown = (
            f"{what} {'on' if on else 'off'}"
            for what, on in (("collecting", said["collect_default"]), ("events", default))
        )
        click.echo(f"where neither a service nor its pods say so: {', '.join(shown)}")
    click.echo(f"version {said['version']}")
    if said.get("problem"):
        click.echo(f"this may be old: {said['problem']}")
