"""pandas frames and series, and whatever speaks the Arrow C stream (pyarrow, polars, DuckDB), become blocks."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from . import arrays, values
from .block import INT64, TIMESTAMP, TIMESTAMP_UTC, Block, Part
from .errors import CollectError, unsupported_type


def frame(data: Any) -> Block:
    """The block of a pandas DataFrame. The index is left out."""
    names = tuple([str(name) for name in data.columns.tolist()])
    rows = len(data)
    if not rows or not names:
        return Block(names, (1,) * len(names), rows, b"")
    dtypes = data.dtypes.tolist()
    first = dtypes[0]
    if arrays.is_plain(first) and all(dtype == first for dtype in dtypes):
        block = arrays.table(data.to_numpy())
    else:
        columns = [_pandas_column(data.iloc[:, at]) for at in range(len(names))]
        block = Block(None, tuple(kind for kind, _ in columns), rows, None, tuple(part for _, part in columns))
    block.names = names
    return block


def series(data: Any, column: bool, names: tuple[str, ...] | None) -> Block:
    """The block of a pandas Series: a column, or one row whose index names the values.

    Beyond the rule for one dimension (`column`), a Series with an index of numbers or times and without feature names
    is a column: that is what predictions look like.
    """
    if not column and names is None:
        column = not all(isinstance(label, str) for label in data.index.tolist()) or not len(data)
    if column:
        kind, part = _pandas_column(data)
        name = None if data.name is None else (str(data.name),)
        return Block(name, (kind,), len(data), None, (part,))
    labels = data.index.tolist()
    own = tuple(labels) if all(isinstance(label, str) for label in labels) else None
    if arrays.is_plain(data.dtype):
        block = arrays.table(data.to_numpy().reshape(1, -1))
        block.names = own
        return block
    block = values.rows_of([data.tolist()], [])
    block.names = own
    return block


def _pandas_column(data: Any) -> tuple[int, Part]:
    dtype = data.dtype
    kind = getattr(dtype, "kind", "O")
    name = type(dtype).__name__
    numpy = sys.modules["numpy"]
    if arrays.is_plain(dtype) or (isinstance(dtype, numpy.dtype) and kind in "M"):
        return arrays.column(data.to_numpy())
    if isinstance(dtype, numpy.dtype) and kind in "SVcf":
        return arrays.column(data.to_numpy())
    if name == "DatetimeTZDtype":
        part = arrays.timestamps(data.dt.tz_convert(None).to_numpy())
        return TIMESTAMP_UTC, part
    if name == "SparseDtype":
        return _pandas_column(data.sparse.to_dense())
    if kind in "biuf" and name != "CategoricalDtype":
        # Nullable numbers: the masked arrays and those over Arrow.
        null = data.isna().to_numpy()
        plain = numpy.dtype(getattr(dtype, "numpy_dtype", "O"))
        if arrays.is_plain(plain):
            return arrays.masked(data.to_numpy(dtype=plain, na_value=plain.type(0)), null)
    if kind == "m" or name in ("PeriodDtype", "IntervalDtype"):
        null = data.isna().tolist()
        return values.column([None if gone else str(value) for value, gone in zip(data.tolist(), null, strict=True)])
    null = data.isna().tolist()
    items = data.tolist()
    if any(null):
        number = not any(isinstance(value, (str, bool)) for value in items)
        # In a column of text, pandas' missing value is a float; in one of numbers NaN is a number like another.
        items = [
            None if gone and not (number and isinstance(value, float)) else value
            for value, gone in zip(items, null, strict=True)
        ]
        if name == "CategoricalDtype":
            items = [None if gone else value for value, gone in zip(items, null, strict=True)]
    return values.column(items)


def arrow(data: Any) -> Block:
    """The block of a table or batch with an Arrow C stream (or array). One without columns' names has `names` None."""
    pyarrow: Any = sys.modules.get("pyarrow")
    if type(data).__module__.partition(".")[0] == "polars" and pyarrow is None:
        return _polars(data)
    if pyarrow is None:
        try:
            pyarrow = importlib.import_module("pyarrow")
        except ImportError:
            raise unsupported_type(data) from None
    try:
        table = pyarrow.table(data)
        names: tuple[str, ...] | None = tuple(table.column_names)
    except (TypeError, ValueError, pyarrow.ArrowInvalid):
        stream = hasattr(data, "__arrow_c_stream__")
        column = pyarrow.chunked_array(data) if stream else pyarrow.array(data)
        table, names = pyarrow.table({"values": column}), None
    columns = [_arrow_column(pyarrow, column) for column in table.columns]
    return Block(names, tuple(kind for kind, _ in columns), table.num_rows, None, tuple(part for _, part in columns))


def to_list(data: Any) -> list[Any]:
    """A one-dimensional Arrow-like thing as a list."""
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(data, method):
            return list(getattr(data, method)())
    raise unsupported_type(data)


def _arrow_column(pyarrow: Any, data: Any) -> tuple[int, Part]:
    types = pyarrow.types
    kind = data.type
    if types.is_dictionary(kind):
        return values.column(data.to_pylist())
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        raise CollectError("unsupported_media", "raw bytes are not collected", max(1, len(data)))
    if types.is_nested(kind):
        raise CollectError("unsupported_type", f"an Arrow column of type {kind} cannot be collected", max(1, len(data)))
    numpy = sys.modules.get("numpy")
    if numpy is None or not (types.is_primitive(kind) or types.is_boolean(kind)):
        return values.column(data.to_pylist())
    mask = None
    if data.null_count:
        mask = bytes(data.is_valid().to_numpy().astype("?").tobytes())
    if types.is_timestamp(kind):
        wide = data.cast(pyarrow.timestamp("ns", kind.tz)).cast(pyarrow.int64())
        filled = wide.fill_null(0) if mask is not None else wide
        return TIMESTAMP_UTC if kind.tz else TIMESTAMP, Part(arrays.raw(filled.to_numpy().astype("<i8")), None, mask)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        if mask is not None:
            zero = False if types.is_boolean(kind) else numpy.dtype(kind.to_pandas_dtype()).type(0)
            data = data.fill_null(pyarrow.scalar(zero, kind))
        plain = data.to_numpy()
        return arrays.column_type(plain.dtype) or INT64, Part(arrays.raw(plain), None, mask)
    return values.column([None if v is None else v if isinstance(v, str) else str(v) for v in data.to_pylist()])


def _polars(data: Any) -> Block:
    """polars without pyarrow, through what it offers itself."""
    if not hasattr(data, "columns"):
        data, names = data.to_frame(), None
    else:
        if not hasattr(data, "height"):
            raise unsupported_type(data)
        names = tuple(data.columns)
    columns = []
    numpy = sys.modules.get("numpy")
    for column in data.get_columns():
        if str(column.dtype) == "Binary":
            raise CollectError("unsupported_media", "raw bytes are not collected", max(1, data.height))
        if numpy is not None and column.dtype.is_numeric() and not column.null_count():
            columns.append(arrays.column(column.to_numpy()))
        else:
            columns.append(values.column(column.to_list()))
    return Block(names, tuple(kind for kind, _ in columns), data.height, None, tuple(part for _, part in columns))
