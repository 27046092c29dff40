"""The values of the ledger say what they mean."""

from __future__ import annotations

from tests.upload.test_ledger import intent


def test_the_header_frame_is_part_of_the_append_only_at_the_beginning() -> None:
    assert intent(1, position=0).size == 120
    assert intent(1, position=100).size == 100
