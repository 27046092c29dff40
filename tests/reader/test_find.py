"""`collectord where` without a daemon: what the quarantine of a spool holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collectord.model import Lsn, Partition
from collectord.quarantine import HeldEntry, Item, path_of
from collectord.reader.find import find
from collectord.testing.store import MemoryStore

ITEM = b"i" * 16


@pytest.fixture
def quarantine(tmp_path: Path) -> Path:
    """One item, whose payload holds the id `order-4711`."""
    entry = HeldEntry(Lsn(1), b"c" * 16, 1, 0, 3, True, b"...order-4711...")
    item = Item(ITEM, "stream", Partition(b"s" * 16, 0, 1440), b"", "unencodable", "a detail", 0, (entry,))
    path_of(tmp_path, ITEM).write_bytes(item.pack())
    return tmp_path


def test_what_is_in_quarantine_is_found_with_its_reason(quarantine: Path) -> None:
    """Item, rows and reason, for people and for scripts; it counts as found."""
    found = find(MemoryStore(), "order-4711", None, None, "", None, quarantine)
    assert found
    assert any(
        line == f"in quarantine: stream, item {ITEM.hex()} of 3 rows: unencodable" for line in found.lines(False)
    )
    (held,) = json.loads(found.as_json())["quarantined"]
    assert held == {"stream": "stream", "item": ITEM.hex(), "reason": "unencodable", "rows": 3}


def test_another_id_is_not_there(quarantine: Path) -> None:
    found = find(MemoryStore(), "order-4712", None, None, "", None, quarantine)
    assert not found
    assert list(found.lines(False))[-1].startswith("not known: order-4712")


def test_an_item_that_is_damaged_is_named_and_the_rest_is_searched(quarantine: Path) -> None:
    path_of(quarantine, b"d" * 16).write_bytes(b"no item at all")
    found = find(MemoryStore(), "order-4711", None, None, "", None, quarantine)
    assert len(found.held) == 1
    assert any((b"d" * 16).hex() in note for note in found.notes)
