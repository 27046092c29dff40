"""What telemetry events look like: for each kind of event the columns of its rows, and what the world calls it.

An event is a row of a stream whose kind is not ROWS: it takes the same wire, log and guarantees as the rows of a model. Table
and column names are those of Application Insights' own tables, so that a query means the same here and there:
https://learn.microsoft.com/azure/azure-monitor/app/data-model-complete

The time of a row is when the event began, its correlation id (a UUIDv7) is the event's stable id, `itemId`. Times that take are in
milliseconds. `customDimensions` is the text of a JSON object. What does not apply is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from collectord.model import Column, ColumnType, StreamKind

_TEXT, _NUMBER, _WHOLE, _BOOL = ColumnType.STRING, ColumnType.FLOAT64, ColumnType.INT64, ColumnType.BOOL

DIMENSIONS: Final = "customDimensions"

LINE_FIELDS: Final = (
    "itemId", "itemType", "timestamp", "cloud_RoleName", "workspace", "model", "modelVersion", "samplingRate",
)  # fmt: skip
"""What an event has besides its columns where it lands; no column is called so."""

COMMON: Final = (
    Column("operation_Id", _TEXT),  # the trace id of W3C traceparent: 32 hex digits
    Column("operation_ParentId", _TEXT),  # the id of the span that this belongs to: 16 hex digits
    Column("operation_Name", _TEXT),
    Column("cloud_RoleInstance", _TEXT),  # the pod or host that speaks
    Column(DIMENSIONS, _TEXT),
)
"""The columns that every event begins with."""


@dataclass(frozen=True, slots=True)
class EventKind:
    """One kind of event."""

    table: str
    """Also the designation of its streams."""
    item_type: str
    columns: tuple[Column, ...]


def _kind(table: str, item_type: str, *columns: tuple[str, ColumnType]) -> EventKind:
    return EventKind(table, item_type, (*COMMON, *(Column(*column) for column in columns)))


EVENTS: Final[Mapping[StreamKind, EventKind]] = MappingProxyType({
    StreamKind.REQUEST: _kind(
        "requests", "request", ("id", _TEXT), ("name", _TEXT), ("url", _TEXT), ("duration", _NUMBER),
        ("resultCode", _TEXT), ("success", _BOOL),
    ),
    StreamKind.DEPENDENCY: _kind(
        "dependencies", "dependency", ("id", _TEXT), ("type", _TEXT), ("target", _TEXT), ("name", _TEXT), ("data", _TEXT),
        ("duration", _NUMBER), ("resultCode", _TEXT), ("success", _BOOL),
    ),
    StreamKind.EXCEPTION: _kind(
        "exceptions", "exception", ("type", _TEXT), ("message", _TEXT), ("details", _TEXT), ("severityLevel", _WHOLE)
    ),
    StreamKind.TRACE: _kind("traces", "trace", ("message", _TEXT), ("severityLevel", _WHOLE)),
    StreamKind.METRIC: _kind(
        "customMetrics", "customMetric", ("name", _TEXT), ("value", _NUMBER), ("valueCount", _WHOLE),
        ("valueMin", _NUMBER), ("valueMax", _NUMBER),
    ),
})  # fmt: skip
"""`details` is the text of the stack; `severityLevel` 0 verbose, 1 information, 2 warning, 3 error, 4 critical; `value` the sum
of `valueCount` measurements."""


def problem_of(kind: StreamKind, columns: tuple[Column, ...], tensor: bool) -> str:
    """What keeps rows of these columns from being events of `kind`; empty: nothing. A later client may have more columns."""
    wanted = EVENTS[kind].columns
    if tensor or columns[: len(wanted)] != wanted:
        names = ", ".join(f"{column.name} ({column.type.name.lower()})" for column in wanted)
        return f"{kind.name.lower()} events have the columns {names}, in this order, and may have more behind them"
    if ours := sorted({column.name for column in columns} & set(LINE_FIELDS)):
        return f"{', '.join(ours)} are fields that every event has, and no names of columns"
    return ""
