"""A DataFrame of Spark is taken as Arrow where that can be had. `make test-spark` has the real one."""

from __future__ import annotations

import sys
import types
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from tests.client.azureml.conftest import Landed, Make
from tests.client.fakedaemon import Row

WHOLE = 2**53 + 1


class DataFrame:
    """As much of Spark's as matters; `arrow=False`: the host has no pyarrow, or an old Spark."""

    def __init__(self, table: pa.Table, arrow: bool = True) -> None:
        self._table = table
        self.columns = table.column_names
        self._arrow = arrow

    def toArrow(self) -> pa.Table:
        if not self._arrow:
            raise ImportError("PyArrow >= 18.0.0 must be installed")
        return self._table

    def toPandas(self) -> pd.DataFrame:
        return self._table.to_pandas()


@pytest.fixture(autouse=True)
def spark(monkeypatch: pytest.MonkeyPatch) -> None:
    sql: Any = types.ModuleType("pyspark.sql")
    sql.DataFrame = DataFrame
    monkeypatch.setitem(sys.modules, "pyspark.sql", sql)


def keys(rows: list[Row]) -> list[tuple[str, int]]:
    return [(row.correlation, row.row) for row in rows]


TABLE = pa.table({"whole": [WHOLE, None], "share": [float("nan"), None]})


def test_nulls_change_no_types(make: Make, landed: Landed) -> None:
    """Through pandas, whole numbers beside a null are fractions, which cannot hold all of them."""
    told = make().collect(DataFrame(TABLE))
    labels = make("labels")
    added = labels.add_correlations(DataFrame(TABLE), told)
    assert isinstance(added, pd.DataFrame)
    labels.collect(added)
    for rows in (landed("inputs"), landed("labels")):
        assert [row.values[0] for row in rows] == [WHOLE, None]
        assert str(rows[0].values[1]) == "nan"
        assert rows[1].values[1] is None
    assert keys(landed("inputs")) == keys(landed("labels"))


def test_without_arrow_it_is_a_pandas_frame(make: Make, landed: Landed) -> None:
    inputs, labels = make(), make("labels")
    told = inputs.collect(DataFrame(pa.table({"a": [1.5, 2.5]}), arrow=False))
    labels.collect(labels.add_correlations(DataFrame(pa.table({"b": [1, 0]}), arrow=False), told))
    assert [row.values for row in landed("inputs")] == [(1.5,), (2.5,)]
    assert [row.values for row in landed("labels")] == [(1,), (0,)]
    assert keys(landed("inputs")) == keys(landed("labels"))


def test_rows_that_carry_correlations_say_what_they_belong_to(make: Make, landed: Landed) -> None:
    """Inputs that a job has read with Spark, with its labels beside them."""
    told = make().collect(pd.DataFrame({"a": [1.0, 2.0]}))
    carried = pa.table({"label": [1, 0], "$aml_dc_correlation_id": [told["$aml_dc_correlation_id"]] * 2})
    make("labels").collect(DataFrame(carried))
    assert [row.values for row in landed("labels")] == [(1,), (0,)]
    assert {row.correlation for row in landed("labels")} == {told["$aml_dc_correlation_id"]}
