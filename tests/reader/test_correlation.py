"""The correlation ids of a frame's text are found whatever the user's columns are called and hold."""

from __future__ import annotations

import pyarrow as pa

from collectord.buffer.assemble import ids_of_texts
from collectord.encode.frame_index import FrameIndex
from collectord.model import FrameIds, IdLayout
from collectord.reader.correlation import COLUMN, cells, place_of, untrue
from collectord.reader.verify import OUR_COLUMNS

BEHIND = b",2026-11-21T03:04:05.000006,1440,w,s,m,1,r,0\n"


def index_of(*ids: bytes) -> FrameIndex:
    return FrameIndex(1, len(ids), ids_of_texts(pa.array(ids, pa.binary()), 8))


def test_the_last_column_of_that_name_is_ours() -> None:
    """A user's may have the same name, and hold anything."""
    header = f'"a,\n",{COLUMN},'.encode() + OUR_COLUMNS + b"\n"
    assert place_of(cells(header)) == 2
    assert place_of(["a", "b"]) is None
    text = b'"x\n""y""",theirs,ours-1' + BEHIND + b",,ours-2" + BEHIND + b'"",NaN,"a ""b"",\nc"' + BEHIND
    assert untrue(index_of(b"ours-1", b"ours-2", b'a "b",\nc'), header, text) == ""
    assert "does not fit" in untrue(index_of(b"theirs", b"", b"NaN"), header, text)


def test_a_cell_of_any_length_is_read() -> None:
    long = b"x" * 1_000_000
    header = b"a," + OUR_COLUMNS + b"\n"
    assert untrue(index_of(b"id"), header, long + b",id" + BEHIND) == ""


def test_text_that_is_no_table_is_said_and_raises_nothing() -> None:
    header = b"a," + OUR_COLUMNS + b"\n"
    for text in (b"1,2\n", b'"', b"\xff\xfe,id" + BEHIND * 2, b""):
        said = untrue(index_of(b"id"), header, text)
        assert "cannot be checked" in said, text
    assert "no correlation ids" in untrue(index_of(b"id"), b"a,b\n", b"1,2\n")


def test_an_id_that_is_not_utf_8_is_only_another_id() -> None:
    header = b"a," + OUR_COLUMNS + b"\n"
    assert "does not fit" in untrue(index_of(b"id"), header, b"1,\xff" + BEHIND)
    uuids = FrameIndex(1, 1, FrameIds(IdLayout.UUID, 1, 0, bytes(8)))
    assert "does not fit" in untrue(uuids, header, b"1,\xff" + BEHIND)
