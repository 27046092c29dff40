"""The fields of the batches that come here, as the kernels know them: a number for what they hold, and Arrow's names of the
types that it may arrive in."""

from __future__ import annotations

from collectord.model import Column, ColumnType, IdLayout

UUID = 16
TIME = 17
"""What a field may hold besides the types of columns."""

_TEXT_FORMATS = (b"u",)

FORMATS: dict[ColumnType, tuple[bytes, ...]] = {
    ColumnType.BOOL: (b"C", b"b"),
    ColumnType.INT8: (b"c",),
    ColumnType.INT16: (b"s",),
    ColumnType.INT32: (b"i",),
    ColumnType.INT64: (b"l",),
    ColumnType.UINT8: (b"C",),
    ColumnType.UINT16: (b"S",),
    ColumnType.UINT32: (b"I",),
    ColumnType.UINT64: (b"L",),
    ColumnType.FLOAT16: (b"e",),
    ColumnType.FLOAT32: (b"f",),
    ColumnType.FLOAT64: (b"g",),
    ColumnType.STRING: _TEXT_FORMATS,
    ColumnType.TIMESTAMP: (b"tsn:",),
    ColumnType.TIMESTAMP_UTC: (b"tsn:UTC",),
}
"""How the Arrow C data interface names the types that a column may arrive in."""
TIME_FORMATS = (b"tsn:",)


def id_field(layout: IdLayout) -> tuple[int, int, tuple[bytes, ...]]:
    """A field of ids: what it holds, no width, its formats."""
    if layout is IdLayout.UUID:
        return UUID, 0, (b"w:16",)
    return int(ColumnType.STRING), 0, _TEXT_FORMATS


def tensor_type(columns: tuple[Column, ...]) -> ColumnType:
    """The one type of a tensor's columns. Raises ValueError if there is none, or it has no fixed width."""
    types = {column.type for column in columns}
    if len(types) != 1 or ColumnType.STRING in types:
        raise ValueError(f"a tensor's columns have one fixed-width type, not {sorted(kind.name for kind in types)}")
    return types.pop()
