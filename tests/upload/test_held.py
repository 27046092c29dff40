"""What the ledger says of the quarantine changes in whole steps, and saying a thing twice changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collectord.model import Cursor, Lsn, Partition
from collectord.upload.held import DROPPED, REQUEUED, HeldItem
from collectord.upload.ledger import Ledger

PARTITION = Partition(b"s" * 16, 24, 1440)
ID = b"i" * 16
ITEM = HeldItem(ID, "a/b", "unencodable", 9, 2, 0, gone=False)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path)
    yield opened
    opened.close()


def test_an_item_goes_in_with_its_count_and_its_cursor(ledger: Ledger) -> None:
    ledger.held.put(ITEM, PARTITION, Cursor(Lsn(80), 0))
    assert ledger.held.items() == [ITEM]
    assert ledger.quarantined_totals() == {("a/b", "unencodable"): 9}
    assert ledger.cursors()[PARTITION].cursor == Cursor(Lsn(80), 0)


def test_a_frame_that_is_not_on_its_way_cannot_be_given_up(ledger: Ledger) -> None:
    """Then nothing at all has changed: the cursor stands where it was."""
    with pytest.raises(ValueError, match="frame 7"):
        ledger.held.put(ITEM, PARTITION, Cursor(Lsn(80), 0), 7)
    assert ledger.held.items() == [] and ledger.cursors() == {} and ledger.quarantined_totals() == {}


def test_entries_leave_one_after_the_other_and_once(ledger: Ledger) -> None:
    ledger.held.put(ITEM, PARTITION, Cursor(Lsn(80), 0))
    for _ in range(2):
        ledger.held.put_again(ID, 1, 4)
        assert ledger.held.items() == [HeldItem(ID, "a/b", "unencodable", 5, 2, 1, gone=False)]
    ledger.held.put_again(ID, 2, 5)
    assert ledger.held.items() == [HeldItem(ID, "a/b", "unencodable", 0, 2, 2, gone=True)]
    assert ledger.quarantined_totals() == {("a/b", "unencodable"): 0}
    assert ledger.counts() == {("a/b", REQUEUED): 9}
    ledger.held.forget(ID)
    ledger.held.put_again(ID, 1, 4)
    assert ledger.held.items() == [] and ledger.counts() == {("a/b", REQUEUED): 9}


def test_only_what_is_left_of_an_item_is_dropped_and_once(ledger: Ledger) -> None:
    ledger.held.put(ITEM, PARTITION, Cursor(Lsn(80), 0))
    ledger.held.put_again(ID, 1, 4)
    assert [ledger.held.drop(ID), ledger.held.drop(ID), ledger.held.drop(b"?" * 16)] == [5, 0, 0]
    assert ledger.counts() == {("a/b", REQUEUED): 4, ("a/b", DROPPED): 5}
    assert ledger.quarantined_totals() == {("a/b", "unencodable"): 0}


def test_an_item_that_holds_something_is_not_forgotten(ledger: Ledger) -> None:
    ledger.held.adopt(ITEM)
    ledger.held.forget(ID)
    assert ledger.held.items() == [ITEM]
    assert ledger.quarantined_totals() == {("a/b", "unencodable"): 9}
