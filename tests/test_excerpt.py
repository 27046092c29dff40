"""Some rows of a batch, cut out, say what they said inside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord._pb import collector_pb2 as pb
from collectord.batch import Rules, check, find
from collectord.buffer.assemble import assemble
from collectord.excerpt import excerpt
from collectord.model import ColumnType
from tests.buffer.test_assemble import read
from tests.reference_batch import EARLIEST, LATEST, build, make_schema
from tests.strategies import schemas, values


@given(st.data())
def test_an_excerpt_is_a_batch_of_exactly_these_rows(data: st.DataObject) -> None:
    """It passes the check at the door, and the encoder gets the same rows from it as from the whole."""
    schema = data.draw(schemas())
    payload = build(schema, data.draw(values(schema))).SerializeToString()
    rows = find(payload).rows
    start = data.draw(st.integers(0, rows - 1))
    stop = data.draw(st.integers(start + 1, rows))
    cut = excerpt(schema, payload, start, stop)
    found = find(cut)
    assert (found.rows, found.sequence, found.schema_id) == (stop - start, find(payload).sequence, schema.id)
    check(cut, found, Rules.of(schema), EARLIEST, LATEST)
    assert read(schema, assemble(schema, [(cut, 0, stop - start)])) == read(
        schema, assemble(schema, [(payload, start, stop)])
    )


@given(st.data())
def test_two_excerpts_make_the_whole(data: st.DataObject) -> None:
    schema = data.draw(schemas())
    payload = build(schema, data.draw(values(schema))).SerializeToString()
    rows = find(payload).rows
    at = data.draw(st.integers(1, rows))
    pieces = [(excerpt(schema, payload, 0, at), 0, at)]
    if at < rows:
        pieces.append((excerpt(schema, payload, at, rows), 0, rows - at))
    assert read(schema, assemble(schema, pieces)) == read(schema, assemble(schema, [(payload, 0, rows)]))


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (1, 1), (-1, 1), (0, 10**6), (2, 1)])
def test_rows_that_are_not_there_are_refused(start: int, stop: int) -> None:
    schema = make_schema(ColumnType.FLOAT64, tensor=True)
    with pytest.raises(ValueError, match="rows"):
        excerpt(schema, pb.Batch(rows=3).SerializeToString(), start, stop)


def test_a_batch_that_contradicts_itself_is_refused() -> None:
    """What never passed the door is not cut; whoever asks keeps it whole."""
    schema = make_schema(ColumnType.FLOAT64, tensor=True)
    with pytest.raises(ValueError, match="add up"):
        excerpt(schema, pb.Batch(rows=3, requests=pb.Requests(times=bytes(8))).SerializeToString(), 0, 1)
