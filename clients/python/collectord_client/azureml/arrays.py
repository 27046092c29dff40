"""Data of the caller with correlations beside it, for what has no columns to hold them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

from ..loaded import loaded
from .correlations import CORRELATION, HEADERS, ROW, row_of

_array_type: list[type[Any]] = []


class CorrelatedList(list[Any]):
    """A list as it was, with the correlations that `add_correlations` was given."""

    correlations: Mapping[str, Any]


class Correlated:
    """Anything else, with its correlations: for `collect` only."""

    __slots__ = ("correlations", "data")

    def __init__(self, data: Any, correlations: Mapping[str, Any]) -> None:
        self.data = data
        self.correlations = correlations


def correlated(data: Any, correlations: Mapping[str, Any], name: str | None) -> Any:
    """`data` with its correlations: eight more columns for a pandas or Spark frame, else the same values.

    The v1 SDK put them into arrays as well, where every number became text. `name` is what a series without a name is
    called as a column.
    """
    numpy, pandas = loaded("numpy"), loaded("pandas")
    if is_spark(data):
        data = _as_pandas(from_spark(data))
        pandas = sys.modules["pandas"]
    if pandas is not None and isinstance(data, pandas.Series):
        data = data.to_frame(data.name if data.name is not None else name or "column_1")
    # Beside columns of several levels there is no room for more.
    if pandas is not None and isinstance(data, pandas.DataFrame) and data.columns.nlevels == 1:
        added = {header: correlations.get(header) for header in HEADERS}
        row = row_of(correlations)
        if row is not None and len(data) == 1:
            added[ROW] = row
        return data.assign(**added)
    if numpy is not None and type(data) is numpy.ndarray:
        made = data.view(_correlated_array(numpy))
    elif type(data) is list:
        made = CorrelatedList(data)
    else:
        return Correlated(data, correlations)
    made.correlations = correlations
    return made


def parted(data: Any) -> tuple[Any, Mapping[str, Any] | None]:
    """What `correlated` was given; None without correlations."""
    given = getattr(data, "correlations", None)
    if isinstance(data, Correlated):
        return data.data, given
    if isinstance(data, CorrelatedList):
        # A plain list is looked at faster.
        return list(data), given
    if _array_type and isinstance(data, _array_type[0]):
        return data.view(sys.modules["numpy"].ndarray), given
    return data, None


def is_spark(data: Any) -> bool:
    """True for a DataFrame of Spark. Without pyspark in the process there is none."""
    return any(
        (module := sys.modules.get(name)) is not None and isinstance(data, getattr(module, "DataFrame", ()))
        for name in ("pyspark.sql", "pyspark.sql.connect.dataframe")
    )


def from_spark(data: Any) -> Any:
    """The rows of a Spark DataFrame, as an Arrow table: beside nulls whole numbers stay whole, and times are UTC.

    A pandas frame where Spark or the host has no Arrow, and where the rows carry correlations.
    """
    if hasattr(data, "toArrow") and CORRELATION not in data.columns:
        try:
            return data.toArrow()
        except ImportError:
            # No pyarrow, or too old a one for this Spark.
            return data.toPandas()
    return data.toPandas()


def _as_pandas(data: Any) -> Any:
    """A table of Arrow as a pandas frame with the same types, nulls among them."""
    pyarrow = loaded("pyarrow")
    if pyarrow is not None and isinstance(data, pyarrow.Table):
        return data.to_pandas(types_mapper=importlib.import_module("pandas").ArrowDtype)
    return data


def _correlated_array(numpy: Any) -> type[Any]:
    """The type of arrays with correlations: made when there is numpy."""
    if not _array_type:
        # What is computed from such an array is another array: its correlations stay behind.
        _array_type.append(
            type(
                "CorrelatedArray",
                (numpy.ndarray,),
                {"correlations": None, "__module__": __name__, "__doc__": "An array with correlations."},
            )
        )
    return _array_type[0]
