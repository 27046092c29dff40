"""Correlations by value: the dictionary that `collect` returns, and the columns of rows that carry one.

Either way they name a request that was scored before, maybe days ago and in another process: its id, time and stream.
"""

from __future__ import annotations

import datetime
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from .. import process
from ..context import Context, recalled
from ..core import CORRELATION as CORRELATION
from ..core import REQUEST as REQUEST
from ..core import TIMESTAMP as TIMESTAMP
from ..errors import CollectError
from ..ids import NIL, parse_id, show_id, time_of
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
    request = given.get(REQUEST)
    asked = None if request in (None, "", NO_REQUEST) else parse_id(request)
    found, notes = _recalled(parse_id(given.get(CORRELATION)), given.get(TIMESTAMP), asked)
    return found, stream, notes


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


def carries(frame: Any) -> bool:
    """True for a pandas frame whose rows say which request they belong to."""
    return frame.columns.nlevels == 1 and CORRELATION in frame.columns


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
    for at, id in enumerate(frame[CORRELATION].tolist()):
        if missing[at] or id == "":
            missing[at] = True
            doubts = ["uncorrelated"]
            id = process.ids.make(now)
        ids.append(id if isinstance(id, bytes) else parse_id(id))
    times = [None] * len(ids)
    if TIMESTAMP in frame.columns:
        column = pandas.to_datetime(frame[TIMESTAMP], utc=True, errors="coerce", format="ISO8601").dt.tz_localize(None)
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
        column = frame[REQUEST].astype(object)
        column = column.where(column.notna() & (column != ""), NO_REQUEST)
        if (column != NO_REQUEST).any():
            told["request_id"] = column.tolist()
    return own, told, doubts


def _rows(pandas: Any, frame: Any, ids: list[bytes | str], alone: list[bool]) -> list[int]:
    """Each row's index in its request: as it says, else by counting. Those that are `alone` have an id of their own now."""
    if ROW in frame.columns:
        given = [0 if gone else number for number, gone in zip(frame[ROW].tolist(), alone, strict=True)]
        found = pandas.to_numeric(pandas.Series(given, dtype=object), errors="coerce")
        if found.notna().all() and (found >= 0).all():
            return [int(one) for one in found.tolist()]
    return [int(one) for one in pandas.Series(ids, dtype=object).groupby(ids, sort=False).cumcount().tolist()]
