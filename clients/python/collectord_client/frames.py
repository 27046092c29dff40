"""pandas frames and series, and whatever speaks the Arrow C stream (pyarrow, polars, DuckDB), become blocks."""

from __future__ import annotations

import importlib
import sys
from array import array
from itertools import accumulate, pairwise
from typing import Any

from . import arrays, values
from .block import BOOL, STRING, Block, Part, Unread, all_read, unread
from .errors import CollectError, unsupported_type
from .loaded import loaded
from .values import Memory


def frame(data: Any, drops: Unread = all_read) -> Block:
    """The block of a pandas DataFrame, but for what it `drops`. The index is left out."""
    labels = data.columns.tolist()
    names = tuple([str(name) for name in labels])
    rows = len(data)
    if not rows or not names:
        return Block(names, (BOOL,) * len(names), rows, b"")
    positional = values.are_positions(labels)
    dtypes = data.dtypes.tolist()
    first = dtypes[0]
    if arrays.is_plain(first) and dtypes.count(first) == len(dtypes):
        block = arrays.table(data.to_numpy())
    else:
        dropped = drops(names, positional)
        columns = [
            unread(rows) if at in dropped else pandas_column(column) for at, (_, column) in enumerate(data.items())
        ]
        block = Block(None, tuple([kind for kind, _ in columns]), rows, None, tuple([part for _, part in columns]))
    block.names = names
    block.positional = positional
    return block


def series(data: Any, column: bool, names: tuple[str, ...] | None, memory: Memory) -> Block:
    """The block of a pandas Series: a column, or one row whose index names the values.

    Beyond the rule for one dimension (`column`), a Series with an index of numbers or times and without feature names
    is a column: that is what predictions look like.
    """
    if not column and names is None:
        column = not all(isinstance(label, str) for label in data.index.tolist()) or not len(data)
    if column:
        kind, part = pandas_column(data)
        block = Block(None, (kind,), len(data), None, (part,))
        call(block, data.name, names)
        return block
    labels = data.index.tolist()
    own = tuple(labels) if all(isinstance(label, str) for label in labels) else None
    if arrays.is_plain(data.dtype):
        block = arrays.table(data.to_numpy().reshape(1, -1))
        block.names = own
    else:
        block = values.rows_of([data.tolist()], memory, own)
    if own is None and len(data) == 1:
        # A single value is a column too: rules for its name are meant for it.
        call(block, data.name, names)
    return block


def call(block: Block, name: object, names: tuple[str, ...] | None) -> None:
    """Gives a block of one column the name of its series, None where that has none."""
    if name is not None:
        block.names = (str(name),)
    # The name of a series is no name of a column, unless the collector has one like it.
    block.positional = block.names is None or names is None or block.names[0] not in names


def pandas_column(data: Any) -> tuple[int, Part]:
    """The column of a Series of any type. Raises CollectError where there is no column type for it."""
    dtype = data.dtype
    kind = getattr(dtype, "kind", "O")
    numpy = sys.modules["numpy"]
    plain_numpy = isinstance(dtype, numpy.dtype)
    if plain_numpy and kind != "O":
        return arrays.column(data.to_numpy())
    name = type(dtype).__name__
    if name == "DatetimeTZDtype":
        return arrays.times(data.dt.tz_convert(None).to_numpy(), True)
    if name == "SparseDtype":
        return pandas_column(data.sparse.to_dense())
    pyarrow = loaded("pyarrow")
    if pyarrow is not None and (name == "ArrowDtype" or getattr(dtype, "storage", "") == "pyarrow"):
        return _arrow_column(pyarrow, data.array.__arrow_array__())
    if name == "CategoricalDtype":
        classes = dtype.categories.tolist()
        if set(map(type, classes)) == {str}:
            return _classes(numpy, data.array.codes, classes)
    if kind in "biuf" and not plain_numpy and name != "CategoricalDtype":
        # Nullable numbers: the masked arrays and those over Arrow.
        null = data.isna().to_numpy()
        plain = numpy.dtype(getattr(dtype, "numpy_dtype", "O"))
        if arrays.is_plain(plain):
            return arrays.masked(data.to_numpy(dtype=plain, na_value=plain.type(0)), null)
    items = data.tolist()
    if name in ("PeriodDtype", "IntervalDtype"):
        null = data.isna().tolist()
        return values.texts([None if gone else str(value) for value, gone in zip(items, null, strict=True)])
    types = set(map(type, items))
    if types <= {str, int, bool}:
        return values.column(items)
    null = data.isna().tolist()
    if any(null):
        textual = (str, bool, list, tuple, dict, numpy.ndarray)
        number = name != "CategoricalDtype" and not any(issubclass(kind, textual) for kind in types)
        # In a column of text, pandas' missing value is a float; in one of numbers NaN is a number like another.
        items = [
            None if gone and not (number and isinstance(value, float)) else value
            for value, gone in zip(items, null, strict=True)
        ]
    return values.column(items)


def _classes(numpy: Any, codes: Any, names: list[str]) -> tuple[int, Part]:
    """A text column from numbers of names; -1 is null."""
    part = values.strings(names, None)
    assert part.lengths is not None
    ends = list(accumulate(part.lengths, initial=0))
    # The last one, which is also the one numbered -1, is what stands under a null.
    encoded = [part.data[at:end] for at, end in pairwise(ends)] + [b""]
    lengths = array("i")
    lengths.frombytes(numpy.array([*part.lengths, 0], "i")[codes].tobytes())
    mask = (codes >= 0).tobytes() if int(codes.min()) < 0 else None
    return STRING, Part(b"".join(numpy.array(encoded, "O")[codes].tolist()), lengths, mask)


def arrow(data: Any, drops: Unread = all_read) -> Block:
    """The block of a table or batch with an Arrow C stream (or array), but for what it `drops`. One without columns' names has
    `names` None."""
    pyarrow: Any = loaded("pyarrow")
    polars = type(data).__module__.partition(".")[0] == "polars"
    if polars and pyarrow is None:
        return _polars(data, drops)
    if pyarrow is None:
        try:
            pyarrow = importlib.import_module("pyarrow")
        except ImportError:
            raise unsupported_type(data) from None
    try:
        table = pyarrow.table(data)
        names: tuple[str, ...] | None = tuple(table.column_names)
    except (TypeError, ValueError, pyarrow.ArrowException):
        stream = hasattr(data, "__arrow_c_stream__")
        try:
            column = pyarrow.chunked_array(data) if stream else pyarrow.array(data)
        except pyarrow.ArrowException as error:
            if polars:
                # Its whole numbers of 128 bits are unknown to pyarrow.
                return _polars(data, drops)
            raise CollectError("unsupported_type", f"its Arrow data cannot be read ({type(error).__name__})") from None
        table, names = pyarrow.table({"values": column}), None
    dropped = frozenset() if names is None else drops(names, _counted(names))
    try:
        columns = [
            unread(table.num_rows) if at in dropped else _arrow_column(pyarrow, column)
            for at, column in enumerate(table.columns)
        ]
    except (pyarrow.ArrowException, OverflowError) as error:
        # Its message may quote the value.
        detail = f"an Arrow column cannot be converted ({type(error).__name__})"
        raise CollectError("unsupported_type", detail, table.num_rows) from None
    parts = tuple([part for _, part in columns])
    return Block(names, tuple([kind for kind, _ in columns]), table.num_rows, None, parts, _counted(names))


def _counted(names: tuple[str, ...] | None) -> bool:
    """True for the names that polars gives to columns without: they only count."""
    return names is not None and names == tuple([f"column_{at}" for at in range(len(names))])


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
        if types.is_temporal(kind.value_type):
            return _arrow_column(pyarrow, data.cast(kind.value_type))
        return values.column(data.to_pylist())
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        raise CollectError("unsupported_media", "raw bytes are not collected", len(data))
    if types.is_nested(kind):
        return values.column(data.to_pylist())
    if types.is_temporal(kind):
        return _arrow_time(pyarrow, data)
    numpy = loaded("numpy")
    if numpy is not None and not data.null_count and (types.is_string(kind) or types.is_large_string(kind)):
        return _arrow_text(numpy, data, "<i4" if types.is_string(kind) else "<i8")
    if numpy is None or not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
        return values.column(data.to_pylist())
    mask = None
    if data.null_count:
        mask = bytes(data.is_valid().to_numpy(zero_copy_only=False).astype("?").tobytes())
        zero = False if types.is_boolean(kind) else numpy.dtype(kind.to_pandas_dtype()).type(0)
        data = data.fill_null(pyarrow.scalar(zero, kind))
    found, part = arrays.column(data.to_numpy(zero_copy_only=False))
    part.mask = mask
    return found, part


def _arrow_text(numpy: Any, data: Any, offset: str) -> tuple[int, Part]:
    """Texts without nulls, taken over as they lie there: UTF-8 behind offsets."""
    pieces, lengths = [], array("i")
    for chunk in getattr(data, "chunks", [data]):
        if len(chunk):
            _, offsets, content = chunk.buffers()
            ends = numpy.frombuffer(offsets, offset)[chunk.offset : chunk.offset + len(chunk) + 1]
            lengths.frombytes(numpy.diff(ends).astype("i").tobytes())
            pieces.append(b"" if content is None else content[int(ends[0]) : int(ends[-1])].to_pybytes())
    return STRING, Part(b"".join(pieces), lengths)


def _arrow_time(pyarrow: Any, data: Any) -> tuple[int, Part]:
    """Times, days, times of day and spans, from the whole numbers that Arrow has for them: nothing is cut."""
    types = pyarrow.types
    kind = data.type
    numpy = loaded("numpy")
    if not (types.is_timestamp(kind) or types.is_date(kind) or types.is_time(kind) or types.is_duration(kind)):
        return values.texts([None if value is None else str(value) for value in data.to_pylist()])
    narrow = types.is_time32(kind) or types.is_date32(kind)
    whole = data.cast(pyarrow.int32()).cast(pyarrow.int64()) if narrow else data.cast(pyarrow.int64())
    unit = "D" if types.is_date32(kind) else "ms" if types.is_date64(kind) else kind.unit
    size = arrays.NANOSECONDS[unit]
    if types.is_time(kind):
        return values.texts([None if n is None else values.clock(n * size) for n in whole.to_pylist()])
    if types.is_duration(kind):
        return values.texts([None if n is None else values.span(n * size) for n in whole.to_pylist()])
    if numpy is None:
        numbers = [None if n is None else n * size for n in whole.to_pylist()]
        if types.is_timestamp(kind):
            return values.times(numbers, bool(kind.tz))
        return values.texts([None if n is None else values.moment(n)[:10] for n in numbers])
    moments = whole.fill_null(arrays.MISSING).to_numpy(zero_copy_only=False).astype("<i8").view(f"<M8[{unit}]")
    if types.is_timestamp(kind):
        return arrays.times(moments, bool(kind.tz))
    days = numpy.datetime_as_string(moments, unit="D", casting="unsafe").tolist()
    return values.texts([None if day == "NaT" else day for day in days])


def _polars(data: Any, drops: Unread) -> Block:
    """polars without pyarrow, through what it offers itself."""
    if not hasattr(data, "columns"):
        data, names = data.to_frame(), None
    else:
        if not hasattr(data, "height"):
            raise unsupported_type(data)
        names = tuple(data.columns)
    dropped = frozenset() if names is None else drops(names, _counted(names))
    columns = [
        unread(data.height) if at in dropped else _polars_column(column) for at, column in enumerate(data.get_columns())
    ]
    parts = tuple([part for _, part in columns])
    return Block(names, tuple([kind for kind, _ in columns]), data.height, None, parts, _counted(names))


def _polars_column(data: Any) -> tuple[int, Part]:
    kind = data.dtype.base_type().__name__
    if kind == "Binary":
        raise CollectError("unsupported_media", "raw bytes are not collected", len(data))
    if kind in ("Datetime", "Duration", "Time"):
        size = arrays.NANOSECONDS[getattr(data.dtype, "time_unit", "ns")]
        whole = [None if n is None else n * size for n in data.to_physical().to_list()]
        if kind == "Datetime":
            return values.times(whole, data.dtype.time_zone is not None)
        shown = values.clock if kind == "Time" else values.span
        return values.texts([None if n is None else shown(n) for n in whole])
    if loaded("numpy") is not None and data.dtype.is_numeric() and kind not in ("Decimal", "Int128", "UInt128"):
        if not data.null_count():
            return arrays.column(data.to_numpy())
        # Of the same type as without nulls, and as by way of Arrow.
        return arrays.masked(data.fill_null(0).to_numpy(), data.is_null().to_numpy())
    return values.column(data.to_list())
