"""Hypothesis strategies for schemas and batches of every type and layout."""

from __future__ import annotations

from hypothesis import strategies as st

from collectord.batch import WIDTHS
from collectord.model import HOUR_NS, ColumnType, IdLayout, Schema
from tests.reference_batch import NOW, Request, Values, make_schema

texts = st.text(max_size=6).map(lambda text: text.encode())
FIXED = [kind for kind in ColumnType if kind is not ColumnType.STRING]


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    layout = st.sampled_from([IdLayout.UUID, IdLayout.TEXT])
    tensor = draw(st.booleans())
    width = draw(st.integers(1, 4))
    if tensor:
        types = [draw(st.sampled_from(FIXED))] * width
    else:
        types = draw(st.lists(st.sampled_from(list(ColumnType)), min_size=width, max_size=width))
    return make_schema(
        *types,
        tensor=tensor,
        correlation=draw(layout),
        request=draw(st.sampled_from(list(IdLayout))),
        sampled=draw(st.booleans()),
    )


def value_of(kind: ColumnType) -> st.SearchStrategy[bytes]:
    """The raw bytes of one value."""
    if kind is ColumnType.STRING:
        return texts
    if kind is ColumnType.BOOL:
        return st.sampled_from([b"\0", b"\1"])
    return st.binary(min_size=WIDTHS[kind], max_size=WIDTHS[kind])


def ids(layout: IdLayout) -> st.SearchStrategy[bytes]:
    return texts if layout is IdLayout.TEXT else st.binary(min_size=16, max_size=16)


@st.composite
def values(draw: st.DrawFn, schema: Schema) -> Values:
    requests = [
        Request(
            rows=draw(st.integers(1, 4)),
            first=draw(st.integers(0, 1 << 31)),
            time=NOW // HOUR_NS * HOUR_NS + draw(st.integers(0, HOUR_NS - 1)),
            correlation=draw(ids(schema.correlation)),
            request=draw(ids(schema.request)),
            sampling=draw(st.floats(0, 1, exclude_min=True)),
        )
        for _ in range(draw(st.integers(1, 5)))
    ]
    rows = sum(request.rows for request in requests)
    columns: list[list[bytes | None]] = []
    for column in schema.columns:
        value: st.SearchStrategy[bytes | None] = value_of(column.type)
        if not schema.tensor and draw(st.booleans()):
            value = st.none() | value
        columns.append(draw(st.lists(value, min_size=rows, max_size=rows)))
    return Values(columns, requests)
