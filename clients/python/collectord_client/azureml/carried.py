"""Rows that carry correlations: each says in columns of ours which request it belongs to, as the frames of the v1 SDK do.

A container is asked by its own means: plain lists and dictionaries need neither pandas nor pyarrow.
"""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .. import process
from ..errors import CollectError
from ..ids import parse_id, show_id, time_of
from ..intake import are_rows, as_dictionaries
from ..loaded import loaded
from .correlations import (
    CORRELATION,
    NO_REQUEST,
    OURS,
    REQUEST,
    ROW,
    STREAM,
    TIMESTAMP,
    identity,
    index,
    level,
    nanoseconds_of,
    whole,
)
from .identity import Identity

_VALUES = frozenset((float, int, str, list))
"""Types of what holds no names."""
_WHOLE = frozenset((str, int, type(None)))
"""Types that have no gaps of their own."""


class Carried:
    """Rows in the caller's own container, without the columns of ours, and what these say of each row."""

    __slots__ = ("_take", "own", "said")

    def __init__(self, own: Any, said: dict[str, list[Any]], take: Callable[[Any, list[int]], Any]) -> None:
        """`said` has, of the columns that are there, one value per row, None for what is missing: ids, times in nanoseconds since
        1970, levels of the stream as texts, indices. `take` is how the container hands out some of its rows."""
        self.own = own
        self.said = said
        self._take = take

    def take(self, rows: list[int]) -> Carried:
        """Some of the rows."""
        said = {name: [values[at] for at in rows] for name, values in self.said.items()}
        return Carried(self._take(self.own, rows), said, self._take)

    def streams(self) -> Iterator[tuple[Identity | None, Carried]]:
        """The rows of each stream that they name: mostly one. None: they do not say, or not all of it."""
        if not self.said.keys() >= set(STREAM):
            yield None, self
            return
        named = list(zip(*[self.said[name] for name in STREAM], strict=True))
        found = {levels: identity(list(levels)) for levels in dict.fromkeys(named)}
        if len(set(found.values())) == 1:
            yield found[named[0]], self
            return
        rows: dict[Identity | None, list[int]] = {}
        for at, levels in enumerate(named):
            rows.setdefault(found[levels], []).append(at)
        for stream, some in rows.items():
            yield stream, self.take(some)

    def told(self) -> tuple[dict[str, Any], list[str]]:
        """What `Collector.collect` is to be told of the rows, and what was doubtful. Raises CollectError `bad_id`."""
        now = time.time_ns()
        given = self.said[CORRELATION]
        # An outer join leaves rows without one.
        doubts = ["uncorrelated"] if None in given else []
        ids: list[bytes | str] = [process.ids.make(now) if id is None else parse_id(id) for id in given]
        times = self.said.get(TIMESTAMP) or [None] * len(ids)
        dated = [time_of(id) if time is None else time for id, time in zip(ids, times, strict=True)]
        if None in dated:
            doubts.append("undated")
        told: dict[str, Any] = {
            "correlation_id": [show_id(id) for id in ids],
            "timestamp": [now if time is None else time for time in dated],
            "row": self._indices(ids),
        }
        requests = [NO_REQUEST if id is None else id for id in self.said.get(REQUEST, ())]
        if any(id != NO_REQUEST for id in requests):
            told["request_id"] = requests
        return told, doubts

    def _indices(self, ids: list[bytes | str]) -> list[int]:
        """Each row's index in its request: as it says, else by counting. A row that names none is the first of its own."""
        given = zip(self.said.get(ROW, ()), self.said[CORRELATION], strict=False)
        found = [number if id is not None else 0 for number, id in given]
        if found and None not in found:
            return found
        seen: dict[bytes | str, int] = {}
        counted = []
        for id in ids:
            counted.append(seen.get(id, 0))
            seen[id] = counted[-1] + 1
        return counted


def carrying(data: Any, names: tuple[str, ...] | None) -> Carried | None:
    """The rows of `data`, if they say which request they belong to: a frame or an Arrow table by its columns, dictionaries by
    their keys, lists and arrays by what the feature names `names` call their values, as the v1 SDK read them.

    None for all other data. Raises CollectError `bad_id` where a column of ours is there twice.
    """
    if type(data) is list and (names is None or CORRELATION not in names) and (not data or type(data[0]) in _VALUES):
        # As mostly.
        return None
    pandas = loaded("pandas")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return _of_frame(pandas, data) if data.columns.nlevels == 1 and CORRELATION in data.columns else None
    if pandas is not None and isinstance(data, pandas.Series) and data.index.inferred_type == "string":
        # A row of such a frame.
        return _of_frame(pandas, data.to_frame().T) if CORRELATION in data.index else None
    if isinstance(data, Mapping):
        return _of_columns(data) if CORRELATION in data else None
    if isinstance(data, (list, tuple)) and data:
        if are_rows(data):
            rows = as_dictionaries(data)
            keys = list(dict.fromkeys(key for row in rows for key in row))
            made = pandas.DataFrame([[row.get(key) for key in keys] for row in rows], columns=keys, dtype=object)
            return _of_frame(pandas, made) if CORRELATION in keys else None
        if all(isinstance(row, Mapping) for row in data):
            return _of_dictionaries(data) if any(CORRELATION in row for row in data) else None
    if isinstance(data, (list, tuple)) or hasattr(data, "tolist"):
        return _of_values(data, names) if names is not None and CORRELATION in names else None
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        own = getattr(data, "column_names", None) or getattr(data, "columns", None)
        if isinstance(own, list) and CORRELATION in own:
            return _of_polars(data) if hasattr(data, "height") else _of_arrow(data)
    return None


def _of_frame(pandas: Any, frame: Any) -> Carried:
    there = _once(list(frame.columns))
    said = {}
    for name in there:
        column = frame[name]
        if name == TIMESTAMP:
            # pandas 1 has no such format, and would take every time for none; it looks at each text by itself anyway.
            form = {} if pandas.__version__.startswith("1.") else {"format": "ISO8601"}
            column = pandas.to_datetime(column, utc=True, errors="coerce", **form).dt.tz_localize(None)
            said[name] = [value if value >= 0 else None for value in column.to_numpy("M8[ns]").view("i8").tolist()]
        else:
            values = column.astype(object).where(column.notna(), None).tolist()
            said[name] = _read(name, values, column.dtype.kind == "f")
    return Carried(frame.drop(columns=there), said, lambda own, rows: own.iloc[rows])


def _of_dictionaries(rows: Sequence[Mapping[Any, Any]]) -> Carried:
    there = [name for name in OURS if any(name in row for row in rows)]
    said = {name: _read(name, [row.get(name) for row in rows]) for name in there}
    own = [{key: value for key, value in row.items() if key not in OURS} for row in rows]
    return Carried(own, said, lambda own, rows: [own[at] for at in rows])


def _of_values(data: Any, names: tuple[str, ...]) -> Carried | None:
    """A row or rows of values with feature names. None for what names no request."""
    if getattr(data, "ndim", 1) == 0 or not len(data):
        return None
    listed = list(data) if isinstance(data, (list, tuple)) else data.tolist()
    rows = [row.tolist() if hasattr(row, "tolist") and getattr(row, "ndim", 0) == 1 else row for row in listed]
    if not isinstance(rows[0], (list, tuple)):
        rows = [rows]
    if not all(isinstance(row, (list, tuple)) for row in rows) or len(set(map(len, rows))) > 1:
        return None
    if not names.index(CORRELATION) < len(rows[0]) <= len(names):
        # Shorter rows were given without the ids, and longer ones are no rows of these names.
        return None
    there = _once(list(names[: len(rows[0])]))
    said = {name: _read(name, [row[names.index(name)] for row in rows]) for name in there}
    # By position, as the collector names them: two may have one name.
    kept = [at for at in range(len(rows[0])) if names[at] not in OURS]
    own = [[row[at] for at in kept] for row in rows]
    return Carried(own, said, lambda own, rows: [own[at] for at in rows])


def _of_columns(table: Mapping[Any, Any]) -> Carried | None:
    """A dictionary of columns, or one of scalars: a row. None for what is neither."""
    columns = list(table.values())
    several = [isinstance(column, (list, tuple)) or getattr(column, "ndim", 0) == 1 for column in columns]
    if not any(several):
        return _of_dictionaries([table])
    if not all(several) or len(set(map(len, columns))) > 1:
        return None
    said = {}
    for name in OURS:
        if name in table:
            kind = getattr(getattr(table[name], "dtype", None), "kind", "")
            said[name] = _read(name, _listed(table[name], kind), kind == "f")
    own = {key: column for key, column in table.items() if key not in OURS}
    return Carried(own, said, lambda own, rows: {key: _taken(column, rows) for key, column in own.items()})


def _listed(column: Any, kind: str) -> list[Any]:
    if isinstance(column, (list, tuple)):
        return list(column)
    numpy = loaded("numpy")
    if kind == "M" and numpy is not None and isinstance(column, numpy.ndarray):
        # Of finer ones it makes whole numbers.
        column = column.astype("M8[us]")
    return list(column.tolist())


def _taken(column: Any, rows: list[int]) -> Any:
    if type(column).__module__.partition(".")[0] in ("numpy", "pandas"):
        return column.take(rows)
    numpy = loaded("numpy")
    if numpy is not None and hasattr(column, "__array__"):
        # A tensor: in a list, its values would not have its type.
        with contextlib.suppress(RuntimeError, TypeError, ValueError):
            return numpy.asarray(column).take(rows)
    listed = _listed(column, "")
    return [listed[at] for at in rows]


def _of_polars(data: Any) -> Carried:
    there = _once(data.columns)
    said = {name: _read(name, data[name].to_list(), data[name].dtype.is_float()) for name in there}
    return Carried(data.drop(there), said, lambda own, rows: own[rows])


def _of_arrow(data: Any) -> Carried | None:
    """What pyarrow makes a table of: its own, DuckDB's. None without pyarrow."""
    try:
        pyarrow: Any = loaded("pyarrow") or importlib.import_module("pyarrow")
    except ImportError:
        return None
    table = pyarrow.table(data)
    said = {}
    for name in _once(table.column_names):
        column = table[name]
        if pyarrow.types.is_timestamp(column.type):
            # Python's own times have no nanoseconds.
            column = column.cast(pyarrow.timestamp("us", column.type.tz), safe=False)
        said[name] = _read(name, column.to_pylist(), pyarrow.types.is_floating(column.type))
    own = table.select([at for at, name in enumerate(table.column_names) if name not in OURS])
    return Carried(own, said, lambda own, rows: own.take(rows))


def _once(names: list[Any]) -> list[str]:
    """The columns of ours among `names`. Raises CollectError `bad_id` where one of them is there twice."""
    there = [name for name in OURS if name in names]
    for name in there:
        if names.count(name) > 1:
            raise CollectError("bad_id", f"several columns are called {name}")
    return there


def _read(name: str, values: list[Any], floats: bool = False) -> list[Any]:
    """The values of a column of ours as `Carried` has them. `floats`: its container has them for fractions, all of them."""
    kinds = set(map(type, values))
    if not kinds <= _WHOLE:
        values = [None if _is_gap(value) else value for value in values]
    if name == TIMESTAMP:
        return list(map(nanoseconds_of, values))
    if name == ROW:
        return values if kinds == {int} and min(values) >= 0 else list(map(index, values))
    if name in STREAM:
        if floats and None not in values:
            # No join has made these fractions: the version is a text such as 1.0.
            return list(map(str, values))
        return values if kinds == {str} else list(map(level, values))
    return [None if value == "" else value for value in (values if kinds == {str} else whole(values))]


def _is_gap(value: Any) -> bool:
    """True for what stands for nothing, in a list as in a frame."""
    return (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType")
