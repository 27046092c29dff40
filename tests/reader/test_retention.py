"""Lifecycle rules: each names what it deletes and nothing else, in the form that a storage account takes."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from collectord.cli.main import main
from collectord.errors import CallHuman
from collectord.kinds import EVENTS
from collectord.model import BlobInfo, Partition, Stream, StreamKind
from collectord.outputs import Outputs
from collectord.reader.retention import MOST_RULES, Kept, Plan, parse_days, plan, policy
from collectord.upload.naming import Layout
from collectord.upload.template import Folder

DAY = Partition.of(b"", 1_519_887_600_000_000_000, 1440)
HOUR = Partition.of(b"", 1_519_887_600_000_000_000, 60)
WRITER = "0123456789abcdef" * 2
STREAM = Stream("sub", "rg", "ws", "svc", "best", "10", "inputs")
TABLES = sorted(kind.table for kind in EVENTS.values())


def blobs_of(layout: Layout, *designations: str, models: int = 1) -> list[BlobInfo]:
    """Two days, one of them in two parts, and an hour, of each stream."""
    names = []
    for designation in designations:
        for model in range(models):
            stream = Stream("sub", "rg", "ws", "svc", f"m{model}", "10", designation)
            base = layout.base(stream, DAY)
            names += [base, layout.blob(base, 1), layout.base(stream, HOUR)]
            names.append(layout.base(stream, Partition(b"", DAY.start_hour + 24, 1440)))
    return [BlobInfo(name, 1, {}) for name in names]


def folders(plan: Plan) -> dict[str, int]:
    return {one.folder: one.days for one in plan.kept}


@pytest.mark.parametrize("prefix", ["", "some/prefix"])
@pytest.mark.parametrize("suffix", ["", ".zst", ".gz"])
@pytest.mark.parametrize(
    ("template", "folder"),
    [
        ("documented", "sub/rg/ws/svc/m0/10/in%2Fputs/"), ("sdk-v1", "sub/rg/ws/svc/m0/10/in%2Fputs/"),
        ("{designation}/{model}/{yyyy}/{mm}/{dd}/{HH}/d.csv", "in%2Fputs/"),
        ("{model}/d={designation}/{yyyy}-{mm}-{dd}/{writer}.csv", "m0/d=in%2Fputs/"),
        ("{yyyy}/{designation}/{mm}/{dd}/data.csv", None), ("{model}/{yyyy}/{mm}/{dd}/{designation}.csv", None),
        ("{model}@{designation}/{yyyy}/{mm}/{dd}/data.csv", None), ("{designation}-{yyyy}/{mm}/{dd}/data.csv", None),
    ],
)  # fmt: skip
def test_the_folder_is_that_of_a_designation_and_of_nothing_else(
    template: str, folder: str | None, suffix: str, prefix: str
) -> None:
    """Days, hours and parts lie in it; where the day comes first there is none."""
    layout = Layout(template, suffix=suffix, writer=WRITER, prefix=prefix)
    found = {layout.folder(blob.name) for blob in blobs_of(layout, "in/puts")}
    assert found == {None if folder is None else Folder(f"{prefix}/{folder}".lstrip("/"), "in%2Fputs")}
    assert layout.folder("a/b/c.csv") is layout.folder(f"{prefix}/x/inputs/2018/03/01/data.parquet") is None


def test_lines_for_azure_ml_have_folders_too() -> None:
    layout = Layout(suffix=".zst", writer=WRITER, outputs=Outputs(["*/*/*"]))
    found = {layout.folder(layout.blob(layout.base(STREAM, HOUR), part)) for part in (0, 3)}
    assert found == {Folder("modelDataCollector/svc/best/inputs/", "inputs")}
    assert Layout(suffix="", writer=WRITER).folder(layout.base(STREAM, HOUR)) in found, "also where none is chosen now"


def test_every_blob_is_kept_as_long_as_was_said_of_it() -> None:
    layout = Layout(suffix=".zst", writer=WRITER)
    trace = layout.base(Stream("s", kind=StreamKind.TRACE), HOUR)
    blobs = [
        *blobs_of(layout, "inputs", "labels", "inputs2", models=2),
        BlobInfo(trace, 1, {}),
        BlobInfo("x.csv", 1, {}),
    ]
    found = plan(blobs, layout, {"inputs": 90, "traces": 30}, None)
    assert folders(found) == {
        "sub/rg/ws/svc/m0/10/inputs/": 90, "sub/rg/ws/svc/m1/10/inputs/": 90, "_collectord/telemetry/traces/": 30,
    }  # fmt: skip
    assert len(found.forever) == 4
    assert found.strangers == ["x.csv"]
    for blob in blobs:
        named = [one.days for one in found.kept if blob.name.startswith(one.folder)]
        assert named == ([90] if "/inputs/" in blob.name else [30] if blob.name == trace else [])
    by_default = plan(blobs, layout, {"inputs": 90, "telemetry": 7, "traces": 30}, 365)
    assert set(folders(by_default).values()) == {90, 365, 7, 30}
    assert not by_default.forever
    telemetry = {one.folder.split("/")[2]: one.days for one in by_default.kept if one.folder.startswith("_collectord/")}
    # A large event lies whole beside the tables, and outlives none of them.
    assert telemetry == {table: 30 if table == "traces" else 7 for table in TABLES} | {"large": 30}


def test_control_documents_are_never_named() -> None:
    layout = Layout("{designation}/{yyyy}/{mm}/{dd}/data.csv", suffix="", writer=WRITER)
    found = plan(blobs_of(layout, "inputs"), layout, {}, 1)
    for name in ("_collectord/services.json", "_collectord/schemas/aa/bb.json"):
        assert not [one for one in found.kept if name.startswith(one.folder)]


def test_a_designation_without_a_blob_is_no_rule() -> None:
    """A slip of the pen would keep for ever what was to be deleted."""
    layout = Layout(suffix="", writer=WRITER)
    with pytest.raises(CallHuman, match=r"designation input; .*customMetrics"):
        plan(blobs_of(layout, "inputs"), layout, {"input": 1}, None)


@pytest.mark.parametrize(
    "text", ["inputs", "inputs=", "=3", "inputs=0", "inputs=-1", "inputs=1.5", "inputs=²", "a=99999"]
)
def test_what_is_no_number_of_days_is_refused(text: str) -> None:
    with pytest.raises(CallHuman, match="--days"):
        parse_days([text])
    with pytest.raises(CallHuman, match="twice"):
        parse_days(["a=1", "a=2"])
    assert parse_days(["a=b=3", "c=4"]) == {"a=b": 3, "c": 4}


def check_policy(document: dict[str, Any]) -> None:
    """What a storage account takes (API 2023-05-01, and the limits that its documentation names)."""
    assert list(document) == ["rules"]
    rules = document["rules"]
    assert 1 <= len(rules) <= 100
    assert len({rule["name"] for rule in rules}) == len(rules)
    for rule in rules:
        assert set(rule) == {"enabled", "name", "type", "definition"}
        assert (rule["enabled"], rule["type"]) == (True, "Lifecycle")
        assert re.fullmatch("[A-Za-z0-9]{1,256}", rule["name"])
        assert set(rule["definition"]) == {"filters", "actions"}
        filters, actions = rule["definition"]["filters"], rule["definition"]["actions"]
        assert filters["blobTypes"] == ["appendBlob", "blockBlob"], (
            "daemons write the first, an erasure the second: its rows must not stay for ever"
        )
        assert set(filters) == {"blobTypes", "prefixMatch"}
        assert 1 <= len(filters["prefixMatch"]) <= 10
        assert all(re.match(r"[a-z0-9-]+/.+/\Z", one) and "*" not in one for one in filters["prefixMatch"])
        (days,) = actions["baseBlob"]["delete"].values()
        assert actions == {"baseBlob": {"delete": {"daysAfterModificationGreaterThan": days}}}
        assert isinstance(days, int)
        assert days > 0


@pytest.mark.parametrize("count", [1, 10, 11, 1000])
def test_a_policy_is_of_the_form_that_a_storage_account_takes(count: int) -> None:
    kept = [Kept(f"a/{number}/inputs/", 90 if number % 2 else 30) for number in range(count)]
    found = policy(kept, "modeldata")
    check_policy(found)
    named = [
        (prefix, rule["definition"]["actions"]["baseBlob"]["delete"]["daysAfterModificationGreaterThan"])
        for rule in found["rules"]
        for prefix in rule["definition"]["filters"]["prefixMatch"]
    ]
    assert sorted(named) == sorted((f"modeldata/{one.folder}", one.days) for one in kept)


def test_other_rules_stay_and_ours_are_replaced() -> None:
    before = policy([Kept("a/", 1)], "c")["rules"]
    other = {"name": "somebodys", "enabled": True, "type": "Lifecycle", "definition": {"x": 1}}
    found = policy([Kept("b/", 2)], "c", [other, *before])["rules"]
    assert [rule["name"] for rule in found] == ["somebodys", "collectord2days1"]
    assert found[0] == other


def test_more_than_a_policy_can_hold_is_refused() -> None:
    kept = [Kept(f"a/{number}/inputs/", 1) for number in range(10 * MOST_RULES + 1)]
    with pytest.raises(CallHuman, match="at most 100"):
        policy(kept, "modeldata")
    with pytest.raises(CallHuman, match="no rule"):
        policy([], "modeldata")


# ---------------------------------------------------------------- the command


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["retention", *map(str, words)], catch_exceptions=False)


def write(store: Path, names: Sequence[str], age_days: float) -> None:
    for name in names:
        path = store / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 7)
        os.utime(path, (time.time() - age_days * 86_400,) * 2)


def test_a_directory_loses_what_is_older_and_only_when_told(tmp_path: Path) -> None:
    layout = Layout(suffix=".zst", writer=WRITER)
    base = layout.base(STREAM, DAY)
    trace = layout.base(Stream(kind=StreamKind.TRACE), HOUR)
    old, kept = (
        [base, trace],
        [layout.blob(base, 1), layout.base(STREAM, HOUR), "_collectord/schemas/a/b.json", "x.csv"],
    )
    write(tmp_path, old, 91)
    write(tmp_path, kept[:2], 89)
    write(tmp_path, kept[2:], 1000)
    words = ("--store", tmp_path, "--days", "inputs=90", "--days", "traces=30")
    for apply in (False, True):
        found = run(*words, *(["--apply"] if apply else []))
        assert found.exit_code == 0, found.output
        assert [name for name in (*old, *kept) if f"{name}\n" in found.stdout] == old
        assert ("would be deleted" in found.stdout) is not apply
        assert "1 blobs are kept forever" in found.stderr
        assert {name for name in (*old, *kept) if (tmp_path / name).exists()} == {*kept, *([] if apply else old)}
    assert "in 0 blobs" in run(*words, "--apply").stdout


def test_a_wrong_policy_to_merge_is_named(tmp_path: Path) -> None:
    from collectord.cli.retention import _rules_in

    file = tmp_path / "policy.json"
    rule = {"name": "somebodys"}
    for text in (json.dumps({"policy": {"rules": [rule]}, "id": "x"}), json.dumps({"rules": [rule]})):
        file.write_text(text)
        assert _rules_in(file) == [rule]
    for text in ("", "[]", "{}", '{"rules": 1}', '{"rules": ["x"]}', "\xff"):
        file.write_text(text)
        with pytest.raises(CallHuman, match="--merge"):
            _rules_in(file)
