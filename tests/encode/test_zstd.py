"""Known repetitions are given to zstd, near ones get the smaller table, far ones the usual; which it is shows in sizes, never
in times."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import zstandard

from collectord.encode import ways, zstd
from collectord.encode.csv import CsvPlan, TextBuffer
from collectord.encode.ways import TRIAL_FRAMES, TRIAL_TEXT, Habits, Way
from collectord.encode.zstd import zstd_members
from collectord.model import ColumnType, IdLayout
from tests.encode import batches
from tests.encode.known import LITERALS, LONGEST, anywhere


def text_of(pool: int, *, seed: int = 0) -> bytes:
    """1,000 rows of 20 floats, of which `pool` are different."""
    random = np.random.default_rng(seed)
    texts = [",".join(map(repr, row)).encode() for row in random.normal(size=(pool, 20)).tolist()]
    rows = np.arange(1000) if pool == 1000 else random.integers(0, pool, 1000)
    return b"".join(texts[i] + b",%032x\n" % int.from_bytes(random.bytes(16)) for i in rows)


USUAL = zstandard.ZstdCompressor(level=1, write_checksum=True, write_content_size=True)
NEAR = text_of(1000)
FAR = text_of(300)
"""Rows come back, but not soon."""


def test_the_examples_are_what_they_should_be() -> None:
    assert min(len(NEAR), len(FAR)) > TRIAL_TEXT
    near = zstd_members(1).member(NEAR, b"near")
    assert near != USUAL.compress(NEAR)
    assert len(near) <= Way.NEAR.value * len(USUAL.compress(NEAR))


def test_rows_that_come_back_get_the_usual_table() -> None:
    members = zstd_members(1)
    assert {members.member(FAR, b"far") for _ in range(TRIAL_FRAMES + 2)} == {USUAL.compress(FAR)}


def test_each_stream_has_its_own_habit() -> None:
    members = zstd_members(1)
    near = members.member(NEAR, b"near")
    for _ in range(3):
        assert members.member(FAR, b"far") == USUAL.compress(FAR)
        assert members.member(NEAR, b"near") == near


def test_a_stream_whose_rows_change_is_tried_again() -> None:
    """Until then, at most so many frames are larger than they might be."""
    members = zstd_members(1)
    members.member(NEAR, b"a")
    sizes = [len(members.member(FAR, b"a")) for _ in range(TRIAL_FRAMES)]
    assert set(sizes[:-1]) == {sizes[0]}
    assert sizes[0] > 1.5 * sizes[-1] == 1.5 * len(USUAL.compress(FAR))


def test_nothing_is_tried_without_a_stream_for_short_texts_and_at_other_levels() -> None:
    assert zstd_members(1).member(NEAR) == USUAL.compress(NEAR)
    short = NEAR[: TRIAL_TEXT - 1]
    assert zstd_members(1).member(short, b"near") == USUAL.compress(short)
    third = zstandard.ZstdCompressor(level=3, write_checksum=True, write_content_size=True)
    assert zstd_members(3).member(NEAR, b"near") == third.compress(NEAR)


def test_streams_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "_MOST_STREAMS", 2)
    habits = Habits()
    members = zstd_members(1, habits)
    for number in range(5):
        members.member(FAR, b"%d" % number)
        assert len(habits._of) <= 2


def test_what_one_has_tried_the_others_need_not() -> None:
    habits = Habits()
    zstd_members(1, habits).member(FAR, b"far")
    other = zstd_members(1, habits)
    assert not other.wants_matches(b"far")
    assert other.wants_matches(b"another")


@pytest.mark.parametrize("text", [NEAR, FAR], ids=["near", "far"])
def test_what_is_made_is_whole(text: bytes) -> None:
    """With its length and a checksum, whichever table made it."""
    members = zstd_members(1)
    for _ in range(2):
        member = members.member(text, b"stream")
        parameters = zstandard.get_frame_parameters(member)
        assert parameters.content_size == len(text)
        assert parameters.has_checksum
        assert zstandard.ZstdDecompressor().decompress(member) == text


def scored(columns: int, *, pool: int = 0) -> tuple[bytes, bytes]:
    """The text of 2,000 rows as the daemon writes them, and its matches; with `pool`, rows' values come back."""
    plan = batches.schema(*[ColumnType.FLOAT64] * columns, tensor=True, request=IdLayout.UUID)
    values = np.random.default_rng(3).normal(size=(pool or 2000, columns))
    if pool:
        values = values[np.random.default_rng(4).integers(0, pool, 2000)]
    out = TextBuffer()
    text = bytes(CsvPlan(plan, 1440).encode(batches.tensor(plan, values), out, matches=True))
    assert len(text) > TRIAL_TEXT
    assert out.matches is not None
    return text, bytes(out.matches)


def test_rows_whose_repetitions_are_known_are_compressed_with_them() -> None:
    text, matches = scored(6)
    members = zstd_members(1)
    assert members.wants_matches(b"a")
    member = members.member(text, b"a", matches)
    assert member not in (USUAL.compress(text), members.member(text, b"b"))
    assert len(member) <= len(USUAL.compress(text))
    assert members.wants_matches(b"a")
    assert members.member(text, b"a", matches) == member
    parameters = zstandard.get_frame_parameters(member)
    assert parameters.content_size == len(text)
    assert parameters.has_checksum
    assert zstandard.ZstdDecompressor().decompress(member) == text


def test_rows_that_repeat_in_another_way_are_not() -> None:
    text, matches = scored(20, pool=100)
    members = zstd_members(1)
    assert members.member(text, b"a", matches) == USUAL.compress(text)
    wanted = []
    for _ in range(2 * TRIAL_FRAMES):
        wanted.append(members.wants_matches(b"a"))
        members.member(text, b"a", matches if wanted[-1] else None)
    assert [at for at, want in enumerate(wanted, 2) if want] == [TRIAL_FRAMES + 1, 2 * TRIAL_FRAMES + 1]


def test_a_text_without_its_matches_is_searched() -> None:
    text, matches = scored(6)
    members = zstd_members(1)
    members.member(text, b"a", matches)
    assert members.member(text, b"a") == USUAL.compress(text)


def test_a_trial_that_lacks_the_matches_does_not_rule_them_out() -> None:
    """Two workers may have frames of one stream in hand: then one is asked before the other's frame makes it a trial."""
    text, matches = scored(6)
    members = zstd_members(1)
    made = members.member(text, b"a", matches)
    for _ in range(TRIAL_FRAMES - 1):
        members.member(text, b"a", matches)
    members.member(text, b"a")
    assert members.wants_matches(b"a")
    assert members.member(text, b"a", matches) == made


def test_matches_are_wanted_at_level_one_only() -> None:
    assert not zstd_members(3).wants_matches(b"a")


def test_what_libzstd_refuses_is_an_error() -> None:
    with pytest.raises(zstandard.ZstdError, match="sequences"):
        zstd._GivenMatches(1).compress(bytes(TRIAL_TEXT), struct.pack("=IIII", 2**31, 10, 6, 0))


@pytest.mark.parametrize("longest", LONGEST, ids=lambda longest: f"matches to {longest}")
@pytest.mark.parametrize("literals", LITERALS, ids=lambda literals: f"literals to {literals}")
def test_whatever_the_matches_what_is_made_is_whole(longest: int, literals: int) -> None:
    given = zstd._GivenMatches(1)
    for known in anywhere(longest, literals):
        made = given.compress(bytes(known.text), bytes(known.matches))
        assert zstandard.ZstdDecompressor().decompress(made) == known.text
