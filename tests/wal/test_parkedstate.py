"""Damage in parked files is told with its range and what survives, and what is told is what a start finds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectord.wal.damage import DamagedEntry
from collectord.wal.parked import ParkedLog
from collectord.wal.parkedstate import ParkedState, parked_states
from tests.wal.test_parked import SPOOL, copied, some, write

ROWS = 1 + 2 + 3 + 4 + 5 + 6
"""Of six entries."""


def the_state(tmp_path: Path, change: slice | None = None, keep: int | None = None, begin: str = "") -> ParkedState:
    """Of a file of six entries in which bytes are flipped from `change` on, counted from the file's third entry if it `begin`s
    so, and of which so many bytes are kept."""
    log = ParkedLog(tmp_path / "parked", SPOOL)
    file = write(log, some(6), 4096, 20_000)
    content = bytearray(file.path.read_bytes())
    origin = {"": 0, "third": file.offsets[2], "last": file.offsets[5], "schema": 128}[begin]
    for at in range(change.start, change.stop) if change else ():
        content[origin + at] ^= 0x55
    file.path.write_bytes(content[:keep] if keep is not None else content)
    (state,) = parked_states(tmp_path / "parked", SPOOL)
    return state


def test_a_whole_file_is_whole(tmp_path: Path) -> None:
    state = the_state(tmp_path)
    assert state.clean and (state.base, state.end) == (4096, 20_000)
    assert (state.entries, state.batches, state.rows) == (7, 6, ROWS)
    assert parked_states(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("begin", "change", "damages", "rows"),
    [
        ("third", slice(96, 100), [("payload", 6096, 3)], ROWS - 3),
        ("third", slice(8, 90), [("entry", 5096 + 96 + 56, None)], ROWS - 3),
        ("last", slice(8, 90), [("entry", 8096 + 96 + 56, None)], ROWS - 6),
        ("", slice(0, 60), [("header", 4096, None)], ROWS),
        ("schema", slice(96, 100), [("declaration", 4096, None)], ROWS),
    ],
    ids=["payload", "header", "last header", "the file's header", "declaration"],
)  # fmt: skip
def test_each_kind_of_damage_is_told_with_its_range(
    tmp_path: Path, begin: str, change: slice, damages: list[tuple[str, int, int | None]], rows: int
) -> None:
    """The table of docs/formats/parked.md."""
    state = the_state(tmp_path, change, begin=begin)
    assert [(one.reason, one.from_lsn, one.rows) for one in state.damages] == damages
    assert (state.rows, state.problem) == (rows, "")


def test_a_file_cut_between_entries_is_told_by_their_number(tmp_path: Path) -> None:
    log = ParkedLog(tmp_path / "other", SPOOL)
    file = write(log, some(6), 4096, 20_000)
    state = the_state(tmp_path, keep=file.offsets[4])
    assert [(one.reason, one.to_lsn) for one in state.damages] == [("truncated", 20_000)]
    assert state.rows == 1 + 2 + 3 + 4


def test_what_no_start_can_use_is_said_to_be_so(tmp_path: Path) -> None:
    assert "moves it away" in the_state(tmp_path, keep=100).problem
    directory = tmp_path / "second" / "parked"
    file = write(ParkedLog(directory, SPOOL), some(2), 4096, 8192)
    assert "another spool" in parked_states(directory, b"q" * 16)[0].problem
    assert parked_states(directory)[0].clean
    content = bytearray(file.path.read_bytes())
    content[8:16] = (2).to_bytes(4, "little") + (2 ^ 0xFFFFFFFF).to_bytes(4, "little")
    file.path.write_bytes(content)
    assert "refused" in parked_states(directory)[0].problem


def test_an_entry_that_was_damaged_before_it_was_parked_is_told(tmp_path: Path) -> None:
    log = ParkedLog(tmp_path / "parked", SPOOL)
    write(log, [*some(1), copied(6000, b"x" * 50, rows=9, good=False)], 4096, 8192)
    (state,) = parked_states(tmp_path / "parked")
    assert [(one.reason, one.from_lsn, one.rows) for one in state.damages] == [("payload", 6000, 9)]


@given(content=st.binary(max_size=600), keep=st.integers(0, 900))
@settings(max_examples=60)
def test_whatever_stands_in_a_file_what_is_readable_is_what_a_start_can_read(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, keep: int
) -> None:
    """Nothing raises, and a file that a start finds fault with is not clean."""
    directory = tmp_path_factory.mktemp("spool") / "parked"
    file = write(ParkedLog(directory, SPOOL), some(4), 4096, 8192)
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[:keep] + content)
    (state,) = parked_states(directory, SPOOL)
    log = ParkedLog(directory, SPOOL)
    rows = 0
    for one in some(4):
        try:
            log.read_payload(one.place)
            rows += one.rows
        except DamagedEntry:
            assert not state.clean
    assert state.rows == rows
    assert not (log.damages and state.clean)
