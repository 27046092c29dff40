"""Correlations by value: the dictionary that `collect` returns, and the columns of rows that carry one.

Either way they name a request that was scored before, maybe days ago and in another process: its id, time and stream.
"""

from __future__ import annotations

import datetime
import importlib
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from .. import process
from ..context import Context, recalled
from ..core import CORRELATION as CORRELATION
from ..core import REQUEST as REQUEST
from ..core import TIMESTAMP as TIMESTAMP
from ..errors import CollectError
from ..ids import NIL, parse_id, show_id, time_of
from ..intake import are_rows, as_dictionaries
from ..loaded import loaded
from ..values import HIGH, nanoseconds
from .identity import Identity

BOUNDARY = "$aml_dc_boundary"
WORKSPACE = "$aml_workspace"
SERVICE = "$aml_service_name"
MODEL = "$aml_model_name"
VERSION = "$aml_model_version"
HEADERS = (CORRELATION, TIMESTAMP, BOUNDARY, WORKSPACE, SERVICE, MODEL, VERSION, REQUEST)
"""The columns of the v1 SDK, in its order."""
ROW = "$aml_dc_row"
SAMPLING = "$aml_dc_sampling"
OURS = (*HEADERS, ROW, SAMPLING)
STREAM = (WORKSPACE, SERVICE, MODEL, VERSION)

NO_REQUEST = str(uuid.UUID(bytes=NIL))


def constants(identity: Identity, boundary: int) -> dict[str, Any]:
    """What is the same in all correlations of a collector."""
    return {
        CORRELATION: "", TIMESTAMP: "", BOUNDARY: boundary, WORKSPACE: identity.workspace,
        SERVICE: identity.webservice, MODEL: identity.model, VERSION: identity.version, REQUEST: NO_REQUEST,
    }  # fmt: skip


def recall(given: object) -> tuple[Context, Identity | None, list[str]]:
    """The context that correlations, or an id alone, name; the stream, where they name one; and what was doubtful.

    Raises CollectError `bad_id`.
    """
    if isinstance(given, Context):
        return given, None, []
    if not isinstance(given, Mapping):
        found, notes = _recalled(parse_id(given), None, None)
        return found, None, notes
    context = getattr(given, "context", None)
    stream = identity([given.get(name) for name in STREAM])
    if isinstance(context, Context):
        return context, stream, []
    (id,), (request,) = _whole([given.get(CORRELATION)]), _whole([given.get(REQUEST)])
    asked = None if request in (None, "", NO_REQUEST) else parse_id(request)
    found, notes = _recalled(parse_id(id), given.get(TIMESTAMP), asked)
    return found, stream, notes


def row_of(given: object) -> int | None:
    """The index of the one row of its request that correlations name, such as the values of a row that has landed; None where they
    name the request as a whole."""
    row = given.get(ROW) if isinstance(given, Mapping) else None
    if isinstance(row, (str, int, float)) or hasattr(row, "__index__"):
        named = _level(row)
        return int(named) if named.isdecimal() else None
    return None


def _recalled(id: bytes | str, when: object, request: bytes | str | None) -> tuple[Context, list[str]]:
    found, undated = recalled(id, _time(when), request)
    return found, ["undated"] if undated else []


def _time(when: object) -> int | None:
    """Nanoseconds since 1970; None for what is no time that can be filed."""
    if isinstance(when, str):
        try:
            when = datetime.datetime.fromisoformat(when.removesuffix("Z"))
        except ValueError:
            return None
    if not isinstance(when, datetime.datetime) or when != when:
        return None
    found = nanoseconds(when)
    return found if 0 <= found <= HIGH else None


def identity(levels: list[Any]) -> Identity | None:
    """The stream that the four columns name; None unless they name all of it."""
    named = list(filter(None, map(_level, levels)))
    return Identity(*named) if len(named) == len(levels) else None


def _level(given: Any) -> str:
    """A level of the path, of which a reader may have made a number: a version `10` is 10 in a frame, and 10.0 in one that
    a join left gaps in. Empty for what is none."""
    if isinstance(given, (str, int)):
        return str(given)
    if isinstance(given, float):
        return "" if given - given != 0 else str(int(given)) if given.is_integer() else str(float(given))
    return str(int(given)) if hasattr(given, "__index__") else ""


_VALUES = frozenset((float, int, str, list))
"""Types of what holds no names."""


def carrying(data: Any, names: tuple[str, ...] | None) -> Any:
    """`data` as a pandas frame, if its rows say which request they belong to: a frame or an Arrow table by its columns,
    dictionaries by their keys, lists and arrays by what the feature names `names` call their values, as the v1 SDK read them.

    None for all other data, and where that takes a package that is not there.
    """
    if type(data) is list and (names is None or CORRELATION not in names) and (not data or type(data[0]) in _VALUES):
        # As mostly.
        return None
    pandas = loaded("pandas")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return data if data.columns.nlevels == 1 and CORRELATION in data.columns else None
    if pandas is not None and isinstance(data, pandas.Series) and data.index.inferred_type == "string":
        # A row of such a frame.
        return data.to_frame().T if CORRELATION in data.index else None
    try:
        if isinstance(data, Mapping):
            return _of_columns(data) if CORRELATION in data else None
        if isinstance(data, (list, tuple)) or hasattr(data, "tolist"):
            return _of_rows(data, names)
        if not (hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__")):
            return None
        own = getattr(data, "column_names", None) or getattr(data, "columns", None)
        return _of_arrow(data) if isinstance(own, list) and CORRELATION in own else None
    except ImportError:
        return None


def _of_columns(table: Mapping[Any, Any]) -> Any:
    """A dictionary of columns, or one of scalars: a row. None for what is neither."""
    pandas = importlib.import_module("pandas")
    columns = list(table.values())
    several = [isinstance(column, (list, tuple)) or getattr(column, "ndim", 0) == 1 for column in columns]
    if not any(several):
        return pandas.DataFrame([columns], columns=list(map(str, table)), dtype=object)
    if not all(several) or len(set(map(len, columns))) > 1:
        return None
    # Without an index of its own, by which pandas would put a column's rows in another order.
    made = [
        pandas.Series(getattr(column, "array", column))
        if hasattr(column, "dtype")
        else pandas.Series(column, dtype=object)
        for column in columns
    ]
    return pandas.DataFrame(dict(zip(map(str, table), made, strict=True)))


def _of_rows(data: Any, names: tuple[str, ...] | None) -> Any:
    """A list of dictionaries or of rows of a frame, and a row or rows of values with feature names. None for what names no request."""
    if isinstance(data, (list, tuple)) and data and are_rows(data):
        data = as_dictionaries(data)
    if isinstance(data, (list, tuple)) and data and all(isinstance(row, Mapping) for row in data):
        keys = list(dict.fromkeys(chain.from_iterable(data)))
        if CORRELATION not in keys:
            return None
        rows, names = [[row.get(key) for key in keys] for row in data], tuple(map(str, keys))
    elif names is None or CORRELATION not in names or getattr(data, "ndim", 1) == 0 or not len(data):
        return None
    else:
        listed = list(data) if isinstance(data, (list, tuple)) else data.tolist()
        rows = [row.tolist() if hasattr(row, "tolist") and getattr(row, "ndim", 0) == 1 else row for row in listed]
        if not isinstance(rows[0], (list, tuple)):
            rows = [rows]
        if not all(isinstance(row, (list, tuple)) for row in rows) or len(set(map(len, rows))) > 1:
            return None
        if not names.index(CORRELATION) < len(rows[0]) <= len(names):
            # Shorter rows were given without the ids, and longer ones are no rows of these names.
            return None
    return importlib.import_module("pandas").DataFrame(rows, columns=list(names[: len(rows[0])]), dtype=object)


def _of_arrow(data: Any) -> Any:
    """What pyarrow makes a table of (its own, polars, DuckDB), with its types; the columns of ours as pandas has them."""
    pandas, table = importlib.import_module("pandas"), importlib.import_module("pyarrow").table(data)
    frame = table.to_pandas(types_mapper=getattr(pandas, "ArrowDtype", None))
    return frame.assign(**{name: table[name].to_pandas() for name in OURS if table.column_names.count(name) == 1})


def streams(frame: Any) -> Iterator[tuple[Identity | None, Any]]:
    """The rows of each stream that a frame's columns name: mostly one. Raises CollectError `bad_id` where one of our columns is
    there twice."""
    twice = [name for name in frame.columns[frame.columns.duplicated()] if name in OURS]
    if twice:
        raise CollectError("bad_id", f"several columns are called {twice[0]}", len(frame))
    if not set(STREAM) <= set(frame.columns):
        yield None, frame
        return
    # As objects: what is missing is not equal to anything then, and never neither equal nor not, as in nullable columns.
    named = frame[list(STREAM)].astype(object)
    for name in STREAM:
        if frame[name].dtype.kind == "f" and not frame[name].isna().any():
            # No join has made these fractions: the version is a text such as 1.0.
            named[name] = frame[name].map(str)
    several = named.drop_duplicates()
    for levels in several.itertuples(index=False, name=None):
        if len(several) == 1:
            yield identity(list(levels)), frame
            return
        same = True
        for name, level in zip(STREAM, levels, strict=True):
            same &= named[name].isna() if sys.modules["pandas"].isna(level) else named[name].eq(level)
        yield identity(list(levels)), frame[same]


def strip(frame: Any) -> tuple[Any, dict[str, Any], list[str]]:
    """A frame's own columns; what `Collector.collect` is to be told of its rows; and what was doubtful."""
    pandas = sys.modules["pandas"]
    own = frame.drop(columns=[name for name in OURS if name in frame.columns])
    # An outer join leaves rows without one.
    missing = frame[CORRELATION].isna().tolist()
    doubts: list[str] = []
    now = time.time_ns()
    ids: list[bytes | str] = []
    for at, id in enumerate(_whole(frame[CORRELATION].tolist())):
        if missing[at] or id == "":
            missing[at] = True
            doubts = ["uncorrelated"]
            id = process.ids.make(now)
        ids.append(id if isinstance(id, bytes) else parse_id(id))
    times = [None] * len(ids)
    if TIMESTAMP in frame.columns:
        # pandas 1 has no such format, and would take every time for none; it looks at each text by itself anyway.
        form = {} if pandas.__version__.startswith("1.") else {"format": "ISO8601"}
        column = pandas.to_datetime(frame[TIMESTAMP], utc=True, errors="coerce", **form).dt.tz_localize(None)
        times = [value if value >= 0 else None for value in column.to_numpy("M8[ns]").view("i8").tolist()]
    dated = [time_of(id) if time is None else time for id, time in zip(ids, times, strict=True)]
    if None in dated:
        doubts = [*doubts, "undated"]
    told: dict[str, Any] = {
        "correlation_id": [show_id(id) for id in ids],
        "timestamp": [now if time is None else time for time in dated],
        "row": _rows(pandas, frame, ids, missing),
    }
    if REQUEST in frame.columns:
        column = pandas.Series(_whole(frame[REQUEST].tolist()), dtype=object)
        column = column.where(column.notna() & (column != ""), NO_REQUEST)
        if (column != NO_REQUEST).any():
            told["request_id"] = column.tolist()
    return own, told, doubts


def _whole(ids: list[Any]) -> list[Any]:
    """The ids of a column. Whole numbers of which a join that left gaps has made fractions are whole again, where floats hold
    all of them exactly."""
    floats = [one for one in ids if isinstance(one, float) and one == one]
    if not all(one.is_integer() and abs(one) < 1 << 53 for one in floats):
        return ids
    return [(int(one) if one == one else None) if isinstance(one, float) else one for one in ids]


def _rows(pandas: Any, frame: Any, ids: list[bytes | str], alone: list[bool]) -> list[int]:
    """Each row's index in its request: as it says, else by counting. Those that are `alone` have an id of their own now."""
    if ROW in frame.columns:
        given = [0 if gone else number for number, gone in zip(frame[ROW].tolist(), alone, strict=True)]
        found = pandas.to_numeric(pandas.Series(given, dtype=object), errors="coerce")
        if found.notna().all() and (found >= 0).all():
            return [int(one) for one in found.tolist()]
    return [int(one) for one in pandas.Series(ids, dtype=object).groupby(ids, sort=False).cumcount().tolist()]
