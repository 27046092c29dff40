"""How long what has landed is kept: the lifecycle rules of a storage account, and the same for a store that is a directory.

Azure deletes a blob some days after it was last appended to. A rule finds blobs by the beginning of their names and knows no
wildcards. Telemetry names its table first, so one beginning says a table; rows of a model name their designation behind the
names of workspace, service and model, so each of those folders is named in a rule, and folders that come later are not: the
rules have to be made again. (Tags that an index has would say it too, but a daemon would need more rights to write them, and
accounts with a hierarchical namespace have none.)

Rules only ever add up: one that is too wide cannot be narrowed by another. So no rule here is wider than one folder of one
designation or table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from collectord.encode.frame import TELEMETRY
from collectord.errors import CallHuman
from collectord.kinds import EVENTS
from collectord.model import BlobInfo
from collectord.telemetry.large import FOLDER as LARGE
from collectord.upload.naming import TELEMETRY_PREFIX, Layout, codec_of
from collectord.upload.template import escape

ALL_TABLES = "telemetry"
"""Stands for all tables that are not named themselves."""
TABLES = tuple(kind.table for kind in EVENTS.values())
MOST_DAYS = 36_500
BLOB_TYPES = ["appendBlob", "blockBlob"]
"""Daemons append; what an erasure has left of a part is a block blob."""
MOST_PREFIXES, MOST_RULES = 10, 100
"""Of a rule; of a policy."""
RULE_NAME = "collectord"
"""How the names of our rules begin, which may have letters and digits only."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A folder, and how long what lies in it is kept."""

    folder: str
    days: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be deleted some day, and what was found besides."""

    kept: list[Kept]
    forever: list[str]
    """Folders for which nothing was said."""
    strangers: list[str]
    """Blobs whose names do not say their designation where a rule could see it."""


def parse_days(texts: Iterable[str]) -> dict[str, int]:
    """`inputs=90`, a designation or table and its days. Raises CallHuman."""
    days: dict[str, int] = {}
    for text in texts:
        name, mark, number = text.rpartition("=")
        if not mark or not name or not number.isascii() or not number.isdigit() or not 1 <= int(number) <= MOST_DAYS:
            raise CallHuman(f"--days {text}: it is NAME=DAYS, such as inputs=90, with 1 to {MOST_DAYS} days")
        if name in days:
            raise CallHuman(f"--days {text}: {name} is named twice")
        days[name] = int(number)
    return days


def plan(blobs: Iterable[BlobInfo], layout: Layout, days: Mapping[str, int], default: int | None) -> Plan:
    """What to keep how long, of the rows among `blobs`, and of all tables of telemetry whether they are there or not.

    `days`: by designation, table, or `ALL_TABLES`; `default`: of all else, None: forever. A name that is a table's is meant as
    one. Raises CallHuman for a designation that no blob has.
    """
    spelled = {escape(name): number for name, number in days.items() if name not in (*TABLES, ALL_TABLES)}
    kept: dict[str, int] = {}
    forever: set[str] = set()
    strangers: list[str] = []
    found: set[str] = set()
    for blob in blobs:
        if codec_of(blob.name) == TELEMETRY:
            continue
        folder = layout.folder(blob.name)
        if folder is None:
            strangers.append(blob.name)
            continue
        found.add(folder.designation)
        number = spelled.get(folder.designation, default)
        if number is None:
            forever.add(folder.name)
        else:
            kept[folder.name] = number
    if missing := sorted(spelled.keys() - found):
        raise CallHuman(
            f"no blob of this layout has the designation {', '.join(missing)}; a table is one of {', '.join(TABLES)}"
        )
    tables = {table: days.get(table, days.get(ALL_TABLES, default)) for table in TABLES}
    kept |= {f"{TELEMETRY_PREFIX}{table}/": number for table, number in tables.items() if number is not None}
    if all(number is not None for number in tables.values()):
        # A large event lies there whole, whatever its table.
        kept[LARGE] = max(number for number in tables.values() if number is not None)
    return Plan([Kept(folder, number) for folder, number in sorted(kept.items())], sorted(forever), strangers)


def policy(kept: Sequence[Kept], container: str, others: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The document that `az storage account management-policy create` takes. `others`: rules that stay; those that were made
    here before do not. Raises CallHuman if a policy cannot hold so many."""
    rules = [dict(rule) for rule in others if not str(rule.get("name", "")).startswith(RULE_NAME)]
    rules += _rules(kept, container)
    if not rules:
        raise CallHuman("no rule: say how long what is kept, with --days or --default")
    if len(rules) > MOST_RULES:
        raise CallHuman(
            f"{len(rules)} rules of {MOST_PREFIXES} folders are needed, and a policy has at most {MOST_RULES}; with a layout "
            "that names the designation first, one folder is enough for each"
        )
    return {"rules": rules}


def _rules(kept: Sequence[Kept], container: str) -> Iterator[dict[str, Any]]:
    for days in sorted({one.days for one in kept}):
        folders = [f"{container}/{one.folder}" for one in kept if one.days == days]
        for at in range(0, len(folders), MOST_PREFIXES):
            yield {
                "enabled": True,
                "name": f"{RULE_NAME}{days}days{at // MOST_PREFIXES + 1}",
                "type": "Lifecycle",
                "definition": {
                    "filters": {"blobTypes": BLOB_TYPES, "prefixMatch": folders[at : at + MOST_PREFIXES]},
                    "actions": {"baseBlob": {"delete": {"daysAfterModificationGreaterThan": days}}},
                },
            }
