"""The fields of the batches that come here, as the kernels know them: a number for what they hold, and a tensor's width or 0."""

from __future__ import annotations

from collectord.model import Column, ColumnType, IdLayout

UUID = 16
TIME = 17
"""What a field may hold besides the types of columns."""


def id_field(layout: IdLayout) -> tuple[int, int]:
    """A field of ids."""
    return UUID if layout is IdLayout.UUID else int(ColumnType.STRING), 0


def tensor_type(columns: tuple[Column, ...]) -> ColumnType:
    """The one type of a tensor's columns. Raises ValueError if there is none, or it has no fixed width."""
    types = {column.type for column in columns}
    if len(types) != 1 or ColumnType.STRING in types:
        raise ValueError(f"a tensor's columns have one fixed-width type, not {sorted(kind.name for kind in types)}")
    return types.pop()
