"""The recipes of docs/reading.md do what they say, for every codec, on blobs as the encode room makes them."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pytest

from collectord.encode.frame import CODECS, FrameEncoder
from collectord.model import SYSTEM_COLUMNS
from tests.docs import blobs

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reading.md"
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def recipes(page: str, info: str = "python") -> list[tuple[str, str]]:
    """The heading above each block of that kind, and its code."""
    found = []
    for block in FENCE.finditer(page):
        if block["info"] == info:
            found.append((HEADING.findall(FENCE.sub("", page[: block.start()]))[-1], block["code"]))
    if not found:
        raise AssertionError(f"there is no block of {info!r}")
    return found


def run(codec: str, recipe: str) -> list[dict[str, Any]]:
    """Runs the preamble and the blocks under one heading, in the order of the page; returns what each block made."""
    suffix = FrameEncoder(codec).suffix
    preamble, count = re.subn(r'^suffix = ".zst"', f'suffix = "{suffix}"', dict(ALL)["The recipes"], flags=re.MULTILINE)
    assert count == 1
    results = []
    for heading, code in ALL:
        if heading == recipe:
            namespace: dict[str, Any] = {}
            exec(compile(preamble, "reading.md", "exec"), namespace)
            exec(compile(code, f"reading.md: {heading}", "exec"), namespace)
            results.append(namespace)
    assert results
    return results


ALL = recipes(PAGE.read_text(encoding="utf-8"))
Cells = list[tuple[str, int, float, int, Any]]


def cells(records: list[dict[str, Any]]) -> Cells:
    return sorted(
        (
            str(one["$aml_dc_correlation_id"]),
            int(one["$aml_dc_row"]),
            float(one["feat1"]),
            int(one["feat2"]),
            one["comment"],
        )
        for one in records
    )


def wanted(null: Any = None, empty: Any = "") -> Cells:
    texts = {None: null, "": empty}
    return sorted(
        (row.id, row.row, row.feat1, row.feat2, texts.get(row.comment, row.comment)) for row in blobs.expected()
    )


def check_pandas(found: list[dict[str, Any]]) -> None:
    frame = found[0]["inputs"]
    assert cells(frame.assign(comment=frame["comment"].fillna("")).to_dict("records")) == wanted(null="")
    assert str(frame["$aml_dc_scoring_timestamp"].min()) == "2018-03-01 00:00:00+00:00"


def check_pyarrow(found: list[dict[str, Any]]) -> None:
    assert cells(found[0]["inputs"].to_pylist()) == wanted()


def check_polars(found: list[dict[str, Any]]) -> None:
    assert cells(found[0]["inputs"].to_dicts()) == wanted()


def relation(table: Any) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]


def check_duckdb(found: list[dict[str, Any]]) -> None:
    assert cells(relation(found[0]["inputs"])) == wanted()


def check_csv(found: list[dict[str, Any]]) -> None:
    assert cells(found[0]["inputs"]) == wanted(null="")


def check_join(found: list[dict[str, Any]]) -> None:
    pairs = [(row.feat1, row.prediction) for row in blobs.expected()]
    by_pandas, by_duckdb = (namespace["joined"] for namespace in found)
    first_day = pairs[: len(blobs.day_rows(0))]
    assert sorted(zip(by_pandas["feat1"], by_pandas["prediction"], strict=True)) == sorted(first_day)
    assert sorted((one["feat1"], one["prediction"]) for one in relation(by_duckdb)) == sorted(pairs)


def check_telemetry(found: list[dict[str, Any]]) -> None:
    by_duckdb, by_pandas = found
    traces = relation(by_duckdb["traces"])
    assert [(one["message"], one["request_id"]) for one in traces] == [("STDOUT", "r1"), ("STDOUT", None)]
    assert str(traces[0]["timestamp"]).startswith("2018-03-01 00:00:00")
    assert by_pandas["requests"]["operation_Id"].tolist() == [blobs.OPERATION] * 5
    slow = by_pandas["slow"]
    assert slow["duration"].tolist() == [40.5, 30.5, 20.5]
    assert slow["resultCode"].tolist() == ["200"] * 3
    assert str(slow["timestamp"].min()) == "2018-03-01 00:00:00.000002+00:00"


CHECKS: dict[str, Callable[[list[dict[str, Any]]], None]] = {
    "pandas": check_pandas,
    "pyarrow": check_pyarrow,
    "polars": check_polars,
    "DuckDB": check_duckdb,
    "csv and zstandard": check_csv,
    "Inputs with their predictions": check_join,
    "Telemetry events": check_telemetry,
}


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Blobs of this codec lie where the recipes look for them."""
    blobs.write(tmp_path, request.param)
    monkeypatch.chdir(tmp_path)
    return str(request.param)


def test_every_recipe_of_the_page_has_a_check_and_every_check_a_recipe() -> None:
    assert {heading for heading, _ in ALL} == {*CHECKS, "The recipes"}


@pytest.mark.parametrize("recipe", CHECKS)
def test_a_recipe_finds_every_row_with_its_line_breaks_quotes_and_floats(recipe: str, codec: str) -> None:
    CHECKS[recipe](run(codec, recipe))


@pytest.mark.parametrize("first", ["data", "data.2"])
def test_the_join_finds_the_rows_of_all_parts_of_a_day(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day may have further parts, and after an erasure its first part is gone."""
    blobs.write(tmp_path, "none")
    monkeypatch.chdir(tmp_path)
    path = blobs.MODEL / "predictions/2018/03/01/data.csv"
    header, *rows = path.read_bytes().splitlines(keepends=True)
    path.unlink()
    path.with_name(f"{first}.csv").write_bytes(header + b"".join(rows[:20]))
    path.with_name("data.1.csv").write_bytes(header + b"".join(rows[20:]))
    check_join(run("none", "Inputs with their predictions"))


def test_a_recipe_that_forgets_quoted_line_breaks_would_be_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blobs hold what goes wrong most often: reading them line by line finds other rows."""
    blobs.write(tmp_path, "none")
    monkeypatch.chdir(tmp_path)
    lines = [
        line for path in sorted(blobs.MODEL.glob("inputs/*/*/*/data.csv")) for line in path.read_text().splitlines()
    ]
    assert len(lines) - 2 > len(blobs.expected())


def test_a_page_without_recipes_fails() -> None:
    with pytest.raises(AssertionError, match="no block"):
        recipes("# Title\n\n```text\nnothing to run\n```\n")


def test_pyarrow_dataset_opens_all_codecs_but_zstd_as_the_page_says(codec: str) -> None:
    """When this fails because zstd works, the page and the default of some users can change."""
    names = sorted(map(str, blobs.MODEL.glob("inputs/*/*/*/data.csv*")))
    form = pa.dataset.CsvFileFormat(parse_options=pa.csv.ParseOptions(newlines_in_values=True))

    def count() -> int:
        return int(pa.dataset.dataset(names, format=form).to_table().num_rows)

    if codec == "zstd":
        with pytest.raises(pa.ArrowInvalid):
            count()
    else:
        assert count() == len(blobs.expected())


def test_the_example_joins_a_month_from_the_command_line(codec: str) -> None:
    command = [sys.executable, str(ROOT / "examples" / "join.py"), str(blobs.MODEL), "2018/03"]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60)
    rows = list(csv.DictReader(io.StringIO(done.stdout, newline="")))
    found = sorted((float(row["feat1"]), float(row["prediction"])) for row in rows)
    assert found == sorted((row.feat1, row.prediction) for row in blobs.expected())


def test_the_example_may_be_appended_to_a_file(codec: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "join.py"), str(blobs.MODEL), "2018/03"]
    target = tmp_path / "year.csv"
    target.write_text("what was there\n")
    with target.open("a") as file:
        subprocess.run(command, stdout=file, check=True, timeout=60)
    assert target.read_text(encoding="utf-8").startswith("what was there\n")
    assert len(target.read_text(encoding="utf-8").splitlines()) > len(blobs.expected())


def test_the_example_says_so_where_nothing_has_landed(codec: str) -> None:
    command = [sys.executable, str(ROOT / "examples" / "join.py"), str(blobs.MODEL), "2018/04"]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == 1
    assert "nothing has landed" in done.stderr


def test_the_power_bi_query_names_columns_that_exist_and_a_padded_month() -> None:
    query = (ROOT / "examples" / "power-bi-inputs.pq").read_text(encoding="utf-8")
    named = set(re.findall(r"\$aml_\w+", query))
    assert named
    assert named <= set(SYSTEM_COLUMNS)
    assert re.search(r'Path = "[^"]*/\d{4}/\d{2}/"', query)
