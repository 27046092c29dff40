"""How long what has landed is kept."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collectord.cli.options import load, settings_options
from collectord.cli.output import say
from collectord.errors import CallHuman

if TYPE_CHECKING:
    from collectord.model import BlobInfo
    from collectord.reader.retention import Plan
    from collectord.upload.localdir import LocalDirectory

SHOWN = 5
DAY = 86_400.0


@click.command()
@click.option(
    "--days", multiple=True, metavar="NAME=DAYS",
    help="How long to keep a designation, a table of telemetry events, or `telemetry`: all its other tables. Repeatable.",
)  # fmt: skip
@click.option("--default", type=click.IntRange(1, 36_500), help="How long to keep all else. Unless given: forever.")
@click.option(
    "--merge", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="The account's policy as it is (az storage account management-policy show): its other rules stay.",
)  # fmt: skip
@click.option("--apply", is_flag=True, help="Delete what is older, in a store that is a directory.")
@settings_options("store", "layout", "node", "azure_account_url")
def retention(
    days: tuple[str, ...], default: int | None, merge: Path | None, apply: bool, config_file: Path | None, **given: Any
) -> None:
    """Print the lifecycle rules by which a storage account deletes what is older. Changes nothing itself.

    \b
    collectord retention --store az://modeldata --days inputs=90 --days traces=30 --default 365 > policy.json
    az storage account management-policy create --account-name NAME --resource-group GROUP --policy @policy.json

    Days count from the last append to a blob. Rules name the folders that there are: make them again when models were added.
    A policy replaces the account's whole policy; --merge keeps its other rules.

    For a store that is a directory it lists what is older, and deletes it with --apply.
    """
    from collectord.destination import layout_of, open_landed
    from collectord.reader import retention as rules
    from collectord.reader.blobs import landed_blobs
    from collectord.telemetry.large import FOLDER as LARGE
    from collectord.upload.localdir import LocalDirectory
    from collectord.upload.location import Location

    settings = load(config_file, given)
    named = rules.parse_days(days)
    container = Location.parse(settings.store).container
    store = open_landed(settings)
    blobs = landed_blobs(store)
    plan = rules.plan(blobs, layout_of(settings, "0" * 32), named, default)
    _tell(plan)
    if isinstance(store, LocalDirectory):
        _delete(store, [*blobs, *store.list(LARGE)], plan, apply)
        return
    if apply or container is None:
        raise CallHuman(
            "--apply is for a store that is a directory; a storage account deletes by itself, by its policy"
        )
    click.echo(json.dumps(rules.policy(plan.kept, container, _rules_in(merge)), indent=2))


def _tell(plan: Plan) -> None:
    """On stderr, what a person has to know."""
    for what, names in (
        ("folders are kept forever, since nothing is said of them", plan.forever),
        ("blobs are kept forever, since no folder of theirs says a designation before the day", plan.strangers),
    ):
        if names:
            more = ", …" if len(names) > SHOWN else ""
            say(f"note: {len(names)} {what}: {', '.join(names[:SHOWN])}{more}", err=True)


def _rules_in(file: Path | None) -> list[dict[str, Any]]:
    """The rules of a policy as `az` prints it, or takes it."""
    if file is None:
        return []
    try:
        document = json.loads(file.read_bytes())
        rules = document.get("policy", document)["rules"]
        if not all(isinstance(rule, dict) for rule in rules):
            raise TypeError("a rule is no object")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CallHuman(f"--merge {file}: it is not a management policy: {error!r}") from None
    return list(rules)


def _delete(store: LocalDirectory, blobs: list[BlobInfo], plan: Plan, apply: bool) -> None:
    now = time.time()
    count = size = 0
    for kept in plan.kept:
        for blob in blobs:
            if blob.name.startswith(kept.folder):
                try:
                    removed = store.expire(blob.name, now - kept.days * DAY, only_look=not apply)
                except OSError as error:
                    raise CallHuman(f"{blob.name} in {store.describe()} cannot be deleted: {error}") from error
                if removed is not None:
                    say(f"{removed:>12,}  {blob.name}")
                    count, size = count + 1, size + removed
    done = "deleted" if apply else "would be deleted; --apply does it"
    click.echo(f"{size:>12,}  bytes in {count} blobs of {store.describe()} {done}")
