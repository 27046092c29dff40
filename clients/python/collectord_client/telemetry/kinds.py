"""What events look like on the wire: the columns of each kind, and the table that its streams are called after.

The daemon holds rows of these kinds to its own copy of this table; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..block import BOOL, FLOAT64, INT64, STRING

REQUEST, DEPENDENCY, EXCEPTION, TRACE, METRIC = range(1, 6)
"""With the numbers of `StreamKind` in the proto."""

COMMON = (
    ("operation_Id", STRING), ("operation_ParentId", STRING), ("operation_Name", STRING), ("cloud_RoleInstance", STRING),
    ("customDimensions", STRING),
)  # fmt: skip
"""The columns that every event begins with."""


@dataclass(frozen=True)
class Kind:
    """The columns of one kind of event, behind the common ones."""

    table: str
    own: tuple[tuple[str, int], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple([name for name, _ in COMMON + self.own])

    @property
    def types(self) -> tuple[int, ...]:
        return tuple([kind for _, kind in COMMON + self.own])


KINDS = {
    REQUEST: Kind(
        "requests",
        (
            ("id", STRING), ("name", STRING), ("url", STRING), ("duration", FLOAT64), ("resultCode", STRING),
            ("success", BOOL),
        ),
    ),
    DEPENDENCY: Kind(
        "dependencies",
        (
            ("id", STRING), ("type", STRING), ("target", STRING), ("name", STRING), ("data", STRING),
            ("duration", FLOAT64), ("resultCode", STRING), ("success", BOOL),
        ),
    ),
    EXCEPTION: Kind(
        "exceptions", (("type", STRING), ("message", STRING), ("details", STRING), ("severityLevel", INT64))
    ),
    TRACE: Kind("traces", (("message", STRING), ("severityLevel", INT64))),
    METRIC: Kind(
        "customMetrics",
        (
            ("name", STRING), ("value", FLOAT64), ("valueCount", INT64), ("valueMin", FLOAT64), ("valueMax", FLOAT64),
        ),
    ),
}  # fmt: skip
