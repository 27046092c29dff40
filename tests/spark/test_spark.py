"""Spark finds every row, by the recipe of docs/reading.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from collectord.encode.frame import CODECS, FrameEncoder
from tests.docs import blobs
from tests.docs.test_recipes import ALL, PAGE, recipes

RECIPE = "Spark"


@pytest.fixture(scope="module", params=CODECS)
def landed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The folder of a model with blobs of one codec, and their suffix."""
    folder = tmp_path_factory.mktemp(request.param)
    blobs.write(folder, request.param)
    return str(folder / blobs.MODEL), FrameEncoder(request.param).suffix


def by_recipe(spark: Any, landed: tuple[str, str], recipe: str) -> Any:
    namespace: dict[str, Any] = {"spark": spark, "model": landed[0], "suffix": landed[1]}
    exec(compile(recipe, "reading.md: Spark", "exec"), namespace)
    return namespace["inputs"]


def the_recipe() -> str:
    found = dict(recipes(PAGE.read_text(encoding="utf-8"), "python spark"))
    assert list(found) == [RECIPE]
    assert RECIPE not in dict(ALL)
    return found[RECIPE]


def by_pandas(landed: tuple[str, str]) -> pd.DataFrame:
    days = sorted(Path(landed[0]).glob(f"inputs/2018/*/*/data.csv{landed[1]}"))
    assert len(days) == 2
    return pd.concat(map(pd.read_csv, days), ignore_index=True)


KEYS = ["$aml_dc_correlation_id", "$aml_dc_row"]


def test_the_recipe_reads_what_pandas_reads(spark: Any, landed: tuple[str, str]) -> None:
    """Rows with quotes and line breaks included. Neither of the two tells null from the empty string."""
    expected = by_pandas(landed).sort_values(KEYS, ignore_index=True)
    table = by_recipe(spark, landed, the_recipe())
    assert table.columns == list(expected.columns)
    found = pd.DataFrame([row.asDict() for row in table.collect()]).sort_values(KEYS, ignore_index=True)
    assert len(found) == len(blobs.expected())
    for name in ("feat1", "feat2", "$aml_dc_boundary", *KEYS):
        assert found[name].tolist() == expected[name].tolist(), name
    assert found["comment"].fillna("").tolist() == expected["comment"].fillna("").tolist()
    assert any("\n" in text and '"' in text for text in found["comment"].dropna())
    times = pd.to_datetime(expected["$aml_dc_scoring_timestamp"], format="ISO8601")
    assert found["$aml_dc_scoring_timestamp"].tolist() == times.tolist()


def test_the_glob_of_the_azure_ml_page_takes_all_days_of_the_year(spark: Any, landed: tuple[str, str]) -> None:
    location = re.search(r'file_location = f"(.*)"', the_recipe())
    assert location is not None
    assert location[1].endswith("/inputs/2018/*/*/data.csv{suffix}")
    names = by_recipe(spark, landed, the_recipe()).inputFiles()
    assert sorted(name.split("/inputs/")[1] for name in names) == [f"2018/03/0{n}/data.csv{landed[1]}" for n in (1, 2)]


@pytest.mark.parametrize("option", ["multiLine", "escape"])
def test_without_its_options_the_recipe_finds_something_else(spark: Any, landed: tuple[str, str], option: str) -> None:
    """Both are needed: a default read splits rows at line breaks, or mistakes doubled quotes."""
    weaker, count = re.subn(rf'\n *\.option\("{option}", [^\n]*\)(?=\n)', "", the_recipe())
    assert count == 1
    comments = [row["comment"] or "" for row in by_recipe(spark, landed, weaker).collect()]
    assert sorted(comments) != sorted(row.comment or "" for row in blobs.expected())
