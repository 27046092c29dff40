"""The values of the ledger say what they mean."""

from __future__ import annotations

from collectord.upload.records import Intent
from tests.upload.test_ledger import intent


def test_the_header_frame_is_part_of_the_append_only_at_the_beginning() -> None:
    assert intent(1, position=0).size == 120
    assert intent(1, position=100).size == 100


def test_a_row_of_the_table_holds_all_of_an_intent() -> None:
    """In the order of the columns that it names."""
    value, columns = intent(1, position=100), Intent.COLUMNS.split(", ")
    assert Intent.of_row(value.row()) == value
    assert len(columns) == len(value.row()) == len(set(columns))
    assert dict(zip(columns, value.row(), strict=True))["after_lsn"] == 10
