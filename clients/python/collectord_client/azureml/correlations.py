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
    if not all(isinstance(level, (str, int)) and level != "" for level in levels):
        return None
    return Identity(*map(str, levels))


def carries(frame: Any) -> bool:
    """True for a pandas frame whose rows say which request they belong to."""
    return CORRELATION in frame.columns


def streams(frame: Any) -> Iterator[tuple[Identity | None, Any]]:
    """The rows of each stream that a frame's columns name: mostly one."""
    if not set(STREAM) <= set(frame.columns):
        yield None, frame
        return
    named = frame[list(STREAM)].drop_duplicates()
    for levels in named.itertuples(index=False, name=None):
        if len(named) == 1:
            yield identity(list(levels)), frame
            return
        same = True
        for name, level in zip(STREAM, levels, strict=True):
            same &= frame[name].isna() if level != level else frame[name] == level
        yield identity(list(levels)), frame[same]


def strip(frame: Any) -> tuple[Any, dict[str, Any], list[str]]:
    """A frame's own columns; what `Collector.collect` is to be told of its rows; and what was doubtful."""
    pandas = sys.modules["pandas"]
    ours = [name for name in (*HEADERS, ROW, SAMPLING) if name in frame.columns]
    own = frame.drop(columns=ours)
    given = frame[CORRELATION].tolist()
    doubts: list[str] = []
    now = time.time_ns()
    ids: list[bytes | str] = []
    for id in given:
        # An outer join leaves rows without one.
        if id is None or id != id or id == "":
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
        "row": _rows(pandas, frame, ids),
    }
    if REQUEST in frame.columns:
        column = frame[REQUEST]
        column = column.where(column.notna() & (column != ""), NO_REQUEST)
        if (column != NO_REQUEST).any():
            told["request_id"] = column.tolist()
    return own, told, doubts


def _rows(pandas: Any, frame: Any, ids: list[bytes | str]) -> list[int]:
    """Each row's index in its request: as it says, else by counting."""
    if ROW in frame.columns:
        found = pandas.to_numeric(frame[ROW], errors="coerce")
        if found.notna().all() and (found >= 0).all():
            return [int(one) for one in found.tolist()]
    return [int(one) for one in pandas.Series(ids, dtype=object).groupby(ids, sort=False).cumcount().tolist()]
