"""The quarantine's items: what a file says, that damage is noticed, and that the same rows make the same item."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord import quarantine
from collectord.errors import FormatTooNew
from collectord.model import Lsn, Partition
from collectord.quarantine import BadItem, HeldEntry, Item

ENTRIES = st.builds(
    HeldEntry, st.integers(0, 2**62).map(Lsn), st.binary(min_size=16, max_size=16), st.integers(0, 2**63), st.just(0),
    st.integers(1, 10**6), st.booleans(), st.binary(max_size=200),
)  # fmt: skip
ITEMS = st.builds(
    Item, st.binary(min_size=16, max_size=16), st.text(max_size=50),
    st.builds(Partition, st.binary(min_size=16, max_size=16), st.integers(0, 10**6), st.sampled_from([60, 1440])),
    st.binary(max_size=100), st.sampled_from(["unencodable", "damaged", "bad_name"]), st.text(max_size=100),
    st.integers(0, 2**62), st.lists(ENTRIES, min_size=1, max_size=4).map(tuple),
)  # fmt: skip


def item(**changes: object) -> Item:
    entry = HeldEntry(Lsn(8), b"c" * 16, 7, 0, 3, True, b"payload")
    given = {
        "id": b"i" * 16, "stream": "a/b", "partition": Partition(b"s" * 16, 24, 1440), "schema": b"schema",
        "reason": "unencodable", "detail": "why", "time_ns": 1, "entries": (entry,),
    }  # fmt: skip
    return Item(**{**given, **changes})  # type: ignore[arg-type]


@given(ITEMS)
def test_what_was_packed_is_read_back(one: Item) -> None:
    assert quarantine.unpack(one.pack()) == one


@given(st.data())
def test_any_flipped_bit_and_any_cut_is_noticed(data: st.DataObject) -> None:
    """A damaged item is told as such, never half believed."""
    content = bytearray(item().pack())
    if data.draw(st.booleans()):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    with pytest.raises(BadItem):
        quarantine.unpack(bytes(content))


@given(st.binary(max_size=300))
def test_random_bytes_are_no_item(content: bytes) -> None:
    for whole in (content, quarantine.MAGIC + content):
        with pytest.raises((BadItem, FormatTooNew)):
            quarantine.unpack(whole)


def test_a_later_version_is_refused_as_such() -> None:
    content = bytearray(item().pack())
    content[8:16] = (2).to_bytes(4, "little") + (2 ^ 0xFFFFFFFF).to_bytes(4, "little")
    with pytest.raises(FormatTooNew):
        quarantine.unpack(bytes(content))


def test_the_same_rows_make_the_same_item_in_the_same_spool_only() -> None:
    """A crash between file and ledger makes the file a second time, not a second file."""
    rows = [(8, 0, 3), (16, 0, 1)]
    assert quarantine.item_id(b"s" * 16, rows) == quarantine.item_id(b"s" * 16, rows)
    assert quarantine.item_id(b"s" * 16, rows) != quarantine.item_id(b"t" * 16, rows)
    assert quarantine.item_id(b"s" * 16, rows) != quarantine.item_id(b"s" * 16, [(8, 1, 3), (16, 0, 1)])


def test_what_cannot_go_through_the_log_again_says_why() -> None:
    assert item().obstacle == ""
    assert "acknowledged" in item(reason="damaged").obstacle
    assert "schema" in item(schema=b"").obstacle
    assert "cut" in item(entries=(HeldEntry(Lsn(8), b"c" * 16, 7, 2, 3, False, b"payload"),)).obstacle


def test_export_holds_everything() -> None:
    (line,) = item().exported()
    assert base64.b64decode(line["schema"]) == b"schema" and base64.b64decode(line["batch"]) == b"payload"
    assert (line["lsn"], line["sequence"], line["rows"], line["reason"]) == (8, 7, 3, "unencodable")


def test_only_items_are_listed(tmp_path: Path) -> None:
    """Half-written copies and files of others are no items."""
    assert quarantine.ids(tmp_path / "absent") == []
    assert quarantine.used_bytes(tmp_path / "absent") == 0
    for name in ("x.rows", "zz" * 16 + ".rows", "aa" * 16 + ".rows.tmp", "aa" * 16):
        (tmp_path / name).write_bytes(b"")
    good = quarantine.path_of(tmp_path, b"i" * 16)
    good.write_bytes(item().pack())
    assert quarantine.ids(tmp_path) == [b"i" * 16]
    assert quarantine.read(tmp_path, b"i" * 16) == item()
    assert quarantine.used_bytes(tmp_path) == good.stat().st_size
    with pytest.raises(BadItem, match="no item"):
        quarantine.read(tmp_path, os.urandom(16))


GOLDEN = Path(__file__).parent / "golden" / "quarantine" / "v1.rows"
"""What version 1 wrote; never made again: a format that changes gets a version number and a file of its own."""


def test_the_golden_item_is_written_and_read_as_ever() -> None:
    assert item().pack() == GOLDEN.read_bytes()
    assert quarantine.unpack(GOLDEN.read_bytes()) == item()
