"""A record counts if all of it is there, and tells whether its append is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash

from collectord.upload.journal import Journal, UnderWay, read_at, write_at

DATA = b"rows\n" * 10
APPEND = UnderWay("a/b.csv", 7, len(DATA), xxhash.xxh3_128_digest(DATA))


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    made = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield made
    os.close(made)


def test_what_was_noted_is_under_way_until_it_is_cleared(fd: int) -> None:
    journal = Journal(fd)
    assert journal.under_way() is None
    journal.note(UnderWay("a/much/longer/name.csv", 1, 2, bytes(16)))
    journal.note(APPEND)
    assert Journal(fd).under_way() == APPEND, "what is left of a longer record behind it does not matter"
    journal.clear()
    assert journal.under_way() is None


def test_half_a_record_says_nothing(fd: int) -> None:
    Journal(fd).note(APPEND)
    whole = os.fstat(fd).st_size
    for length in range(whole):
        os.ftruncate(fd, length)
        assert Journal(fd).under_way() is None
        Journal(fd).note(APPEND)


@pytest.mark.parametrize(
    ("content", "torn"),
    [
        (b"before\n", False), (b"before\n" + DATA[:1], True), (b"before\n" + DATA[:-1], True),
        (b"before\n" + DATA, False), (b"before\n" + DATA[:-1] + b"?", True), (b"before\n" + DATA + b"more", False),
    ],
    ids=["none of it", "its beginning", "but for one byte", "all of it", "other bytes", "followed by others"],
)  # fmt: skip
def test_an_append_is_torn_where_a_part_of_it_ends_the_file(fd: int, content: bytes, torn: bool) -> None:
    write_at(fd, content, 0)
    assert read_at(fd, 0, 1000) == content
    assert APPEND.is_torn(fd) is torn
