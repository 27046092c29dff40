"""The values of the ledger say what they mean."""

from __future__ import annotations

from collectord.model import Cursor, Lsn
from collectord.upload.records import Intent, LandedFrame
from tests.upload.test_ledger import DAY, intent


def test_the_header_frame_is_part_of_the_append_only_at_the_beginning() -> None:
    assert intent(1, position=0).size == 120
    assert intent(1, position=100).size == 100


def test_a_row_of_the_tables_holds_all_of_a_value() -> None:
    """In the order of the columns that it names."""
    frame = LandedFrame(1, "a.csv", 2, 3, 4, 5, DAY, Cursor(Lsn(6), 7), Cursor(Lsn(8), 9), 10)
    for value in (intent(1, position=100), frame):
        columns = value.COLUMNS.split(", ")
        assert type(value).of_row(value.row()) == value
        assert len(columns) == len(value.row()) == len(set(columns))
    assert dict(zip(Intent.COLUMNS.split(", "), intent(1).row(), strict=True))["after_lsn"] == 10
