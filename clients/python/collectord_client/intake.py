"""Whatever a scoring script hands over becomes a block, or an error with a reason that is counted.

numpy, pandas and pyarrow are looked up among what the host has loaded; they are not imported.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from . import arrays, frames, values
from .block import BOOL, MAX_COLUMNS, Block, Unread, all_read
from .errors import CollectError, unsupported_type
from .loaded import loaded
from .notices import trace
from .values import Memory

Names = tuple[str, ...] | None


def tabulate(
    data: Any, names: Names, request_rows: int | None, memory: Memory, drops: Unread = all_read
) -> tuple[Block, list[str]]:
    """A copy of `data` as a block, and the words for what was doubtful about it (they are counted).

    `names` are the feature names, `request_rows` the rows of the request this belongs to (0: there is none, None: it was
    refused and nobody knows), `memory` the column types of earlier lists. What stands in columns that it `drops`, where these
    have names of their own, is not looked at. Raises CollectError.
    """
    block, notes = _tabulate(data, names, request_rows, memory, drops)
    if block.changed:
        notes = [*notes, "types_changed"]
    if not block.rows:
        raise CollectError("no_rows", "there are no rows")
    if not block.types:
        raise CollectError("no_columns", "there are no columns", block.rows)
    if len(block.types) > MAX_COLUMNS:
        raise CollectError("too_many_columns", f"{len(block.types)} columns, at most {MAX_COLUMNS}", block.rows)
    return block, notes


def _tabulate(
    data: Any, names: Names, request_rows: int | None, memory: Memory, drops: Unread
) -> tuple[Block, list[str]]:
    if isinstance(data, (str, int, float)) or data is None:
        return values.rows_of([[data]], memory), []
    numpy = loaded("numpy")
    if numpy is not None and isinstance(data, (numpy.ndarray, numpy.generic)):
        # Of the subclasses, a matrix has columns of two dimensions, which are no columns here.
        made = data if arrays.is_masked(data) else numpy.asarray(data)
        return _array(numpy, made, names, request_rows, memory)
    if isinstance(data, Mapping):
        return values.named(data, memory, drops), []
    if isinstance(data, (list, tuple)):
        return _sequence(numpy, data, names, request_rows, memory, drops)
    if isinstance(data, (bytes, bytearray, memoryview)) or _is_image(data):
        raise CollectError("unsupported_media", "bytes, audio, images and video are not collected")
    pandas = loaded("pandas")
    if pandas is not None:
        if isinstance(data, pandas.DataFrame):
            return frames.frame(data, drops), []
        if isinstance(data, pandas.Series):
            column, notes = as_rows(len(data), names, request_rows)
            return frames.series(data, column, names, memory), notes
        if isinstance(data, (pandas.Index, pandas.api.extensions.ExtensionArray)):
            return _tabulate(pandas.Series(data), names, request_rows, memory, drops)
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        block = frames.arrow(data, drops)
        if block.names is None:
            column, notes = as_rows(block.rows, names, request_rows)
            # Of polars; where it has none, that is "". A single value is a column too.
            name = getattr(data, "name", None) or None
            if not column and (name is None or (names is not None and block.rows > 1)):
                return _tabulate(frames.to_list(data), names, request_rows, memory, drops)
            frames.call(block, name, names)
            return block, notes
        return block, []
    if numpy is not None and hasattr(data, "__array__"):
        try:
            made = _as_array(numpy, data)
        except CollectError as error:
            error.rows = count_rows(data, names, request_rows)
            raise
        return _array(numpy, made, names, request_rows, memory)
    try:
        return values.rows_of([[values.plain(data)]], memory), []
    except CollectError:
        raise unsupported_type(data) from None


def _as_array(numpy: Any, data: Any) -> Any:
    """The array of a tensor. Raises CollectError where it makes none."""
    try:
        return numpy.asarray(data)
    except (RuntimeError, TypeError, ValueError) as error:
        # It requires gradients, is on a GPU, or of a dtype that numpy lacks.
        trace(error)
        detail = f"a {type(data).__name__} makes no array of itself ({type(error).__name__})"
        raise CollectError("unsupported_type", detail) from None


def count_rows(data: Any, names: Names, request_rows: int | None) -> int:
    """How many rows `data` would be, without a look at its values: for what is not collected. 1 where that takes a look."""
    shape = getattr(data, "shape", None)
    try:
        if isinstance(shape, tuple) and len(shape) >= 2:
            return int(shape[0])
        if isinstance(data, (str, bytes, bytearray, memoryview)):
            return 1
        if isinstance(data, Mapping):
            first = next(iter(data.values()), None)
            return (
                1
                if first is None
                or isinstance(first, (str, bytes, bytearray, memoryview))
                or not hasattr(first, "__len__")
                else len(first)
            )
        count = len(data)
        if isinstance(data, (list, tuple)) and count:
            first = data[0]
            # Of arrays too: each is a row, unless it is a single number.
            if isinstance(first, (list, tuple, Mapping)) or getattr(first, "ndim", 0) > 0:
                return count
        if hasattr(data, "num_rows") or hasattr(data, "__dataframe__"):
            return int(getattr(data, "num_rows", count))
        return count if as_rows(count, names, request_rows)[0] else 1
    except (TypeError, ValueError):
        return 1


def as_rows(count: int, names: Names, request_rows: int | None) -> tuple[bool, list[str]]:
    """Whether `count` values in one dimension are that many rows (or one row), and whether that was doubtful."""
    if count > 1 and request_rows == count:
        return True, ["ambiguous"] if names is not None and len(names) == count else []
    if count > 1 and request_rows is None and (names is None or len(names) != count):
        # Without names to tell, predictions are one per row of their request far more often than all of one row.
        return True, ["ambiguous"] if names is None or len(names) > 1 else []
    return count > 1 and names is not None and len(names) == 1, []


def _array(numpy: Any, data: Any, names: Names, request_rows: int | None, memory: Memory) -> tuple[Block, list[str]]:
    if data.ndim > 2:
        raise CollectError("unsupported_media", f"an array of {data.ndim} dimensions is no table", len(data))
    if data.dtype.kind in "cV" or (data.dtype.kind in "fiu" and data.dtype.itemsize > 8):
        raise CollectError("unsupported_type", f"dtype {data.dtype} cannot be collected", len(data) if data.ndim else 1)
    notes: list[str] = []
    if data.ndim == 1:
        column, notes = as_rows(len(data), names, request_rows)
        data = data.reshape(-1, 1) if column else data.reshape(1, -1)
    elif data.ndim == 0:
        data = data.reshape(1, 1)
    if 0 in data.shape:
        if data.shape == (1, 0):
            raise CollectError("no_rows", "the array is empty")
        return Block(None, (BOOL,) * data.shape[1], data.shape[0], b""), notes
    if data.shape[1] > MAX_COLUMNS:
        raise CollectError("too_many_columns", f"{data.shape[1]} columns, at most {MAX_COLUMNS}", len(data))
    masked = arrays.is_masked(data)
    if masked:
        block = arrays.masked_table(data)
        if block is not None:
            return block, notes
    if masked or data.dtype.kind == "O":
        return values.rows_of(data.tolist(), memory), notes
    return arrays.table(data), notes


def _sequence(
    numpy: Any, data: Sequence[Any], names: Names, request_rows: int | None, memory: Memory, drops: Unread
) -> tuple[Block, list[str]]:
    if not data:
        raise CollectError("no_rows", "the list is empty")
    first = data[0]
    if isinstance(first, (list, tuple)):
        if not all(isinstance(row, (list, tuple)) for row in data):
            raise CollectError("ragged", "rows and single values are mixed", len(data))
        if first and all(isinstance(value, (list, tuple)) for value in first):
            raise CollectError("unsupported_media", "lists of three dimensions are no table", len(data))
        return values.rows_of(data, memory), []
    if isinstance(first, Mapping):
        if not all(isinstance(row, Mapping) for row in data):
            raise CollectError("ragged", "dictionaries and other values are mixed", len(data))
        keys = list(dict.fromkeys(chain.from_iterable(data)))
        if not keys:
            raise CollectError("no_columns", "the dictionaries are empty", len(data))
        own = tuple([str(key) for key in keys])
        positional = values.are_positions(keys)
        table = [[row.get(key) for key in keys] for row in data]
        for at in drops(own, positional):
            for row in table:
                row[at] = values.UNREAD
        block = values.rows_of(table, memory, own)
        block.positional = positional
        return block, []
    if numpy is not None and hasattr(first, "__array__") and all(_is_tensor(numpy, row) for row in data):
        if are_rows(data):
            if _are_alike(data):
                return frames.frame(sys.modules["pandas"].DataFrame(list(data)), drops), []
            rows = as_dictionaries(data)
            keys = list(dict.fromkeys(chain.from_iterable(rows)))
            table = [[row.get(key) for key in keys] for row in rows]
            return frames.frame(sys.modules["pandas"].DataFrame(table, columns=keys, dtype=object), drops), []
        try:
            data = [_as_array(numpy, row) for row in data]
        except CollectError as error:
            error.rows = len(data)
            raise
        first = data[0]
    if numpy is not None and isinstance(first, numpy.ndarray) and (first.ndim or _are_arrays(numpy, data)):
        if not _are_arrays(numpy, data) or any(row.shape != first.shape for row in data):
            raise CollectError("ragged", "the rows differ in shape", len(data))
        if first.ndim > 1:
            raise CollectError("unsupported_media", f"arrays of {first.ndim} dimensions are no rows", len(data))
        if _stack(numpy, {row.dtype for row in data}):
            # Of masked arrays, numpy's own forgets the masks.
            stacked = (numpy.ma if any(map(arrays.is_masked, data)) else numpy).stack(data)
            return _array(numpy, stacked, names, request_rows if first.ndim == 0 else len(data), memory)
        # Of the others a list has other values: of a float32 digits that nobody wrote.
        mixed: list[Any] = [
            row.tolist() if row.dtype.char in "?bhilqBHILQd" else list(row) if row.ndim else row[()] for row in data
        ]
        if first.ndim:
            return values.rows_of(mixed, memory), []
        data = mixed
    column, notes = as_rows(len(data), names, request_rows)
    return values.rows_of([[value] for value in data] if column else [data], memory), notes


def _are_arrays(numpy: Any, data: Sequence[Any]) -> bool:
    return all(isinstance(row, numpy.ndarray) for row in data)


def _stack(numpy: Any, dtypes: set[Any]) -> bool:
    """Whether arrays of these types are one of a type that numpy finds for all of them. It would make floats of whole numbers that
    these cannot hold, and spans of any that stand beside spans."""
    if len(dtypes) == 1:
        return True
    if any(dtype.kind not in "biuf" for dtype in dtypes):
        return False
    return numpy.result_type(*dtypes).kind != "f" or not any(d.kind in "iu" and d.itemsize == 8 for d in dtypes)


def _is_tensor(numpy: Any, value: Any) -> bool:
    """True for what makes an array of itself of at most one dimension, and is none of numpy's own: a tensor, a series."""
    own = isinstance(value, (numpy.ndarray, numpy.generic))
    return not own and hasattr(value, "__array__") and bool(getattr(value, "ndim", 2) < 2)


def are_rows(data: Sequence[Any]) -> bool:
    """True for rows of a pandas frame, as `iterrows` hands them out: their indexes are the columns' names."""
    pandas = loaded("pandas")
    return pandas is not None and all(
        isinstance(row, pandas.Series) and row.index.inferred_type == "string" and row.index.is_unique for row in data
    )


def _are_alike(rows: Sequence[Any]) -> bool:
    """True for rows of numbers of one type under the same names."""
    first = rows[0]
    return arrays.is_plain(first.dtype) and all(
        row.dtype == first.dtype and (row.index is first.index or row.index.equals(first.index)) for row in rows
    )


def as_dictionaries(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows of a frame with their values as they are: a frame made of them would have floats in place of whole numbers with gaps."""
    return [dict(zip(row.index, _values_of(row), strict=True)) for row in rows]


def _values_of(row: Any) -> Any:
    """The values of a row. Where its type has a missing value of its own, as texts do, that is none, and no number."""
    if row.dtype == object or arrays.is_plain(row.dtype):
        return row.array
    return row.astype(object).where(row.notna(), None)


def _is_image(data: Any) -> bool:
    root = type(data).__module__.partition(".")[0]
    return root in ("PIL", "torchaudio", "soundfile", "av", "imageio") or (
        hasattr(data, "getpixel") and hasattr(data, "tobytes")
    )
