"""DEFLATE with matches that are known: whatever they are, every decoder reads the text back."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from isal import isal_zlib

from collectord.encode._gzip import deflate
from collectord.encode.gzip import gzip_members
from collectord.encode.ways import TRIAL_FRAMES, Way
from tests.encode.known import LITERALS, LONGEST, Known, anywhere
from tests.encode.test_zstd import FAR, scored

BLOCK = 262_144
"""Bytes of text in a block, as in `_deflate.h`."""


def whole(text: bytes | bytearray, matches: bytes | bytearray) -> bytes:
    """The stream, if two decoders read the text from it, to its end and no further."""
    stream = deflate(bytes(text), bytes(matches))
    inflate = zlib.decompressobj(-15)
    assert inflate.decompress(stream + b"behind") == text
    assert inflate.eof and inflate.unused_data == b"behind"
    # isal 1.7 does not say what is behind a raw stream.
    other = isal_zlib.decompressobj(-15)
    assert other.decompress(stream) == text
    assert other.eof
    return stream


@pytest.mark.parametrize("text", [b"", b"a", b"aa", b"ab", bytes(range(256)), b"7" * BLOCK, b"3.14,\n" * 100_000])
def test_a_text_without_matches_is_only_coded(text: bytes) -> None:
    whole(text, b"")


def test_each_block_has_codes_of_its_own() -> None:
    """Ten digits take 3.5 bits of eight, ten letters as many, and not the 4.4 of both together."""
    chance = random.Random(1)
    text = b"".join(bytes(chance.choices(of, k=BLOCK)) for of in (b"0123456789", b"abcdefghij"))
    assert len(whole(text, b"")) < 0.44 * len(text)


@given(
    st.lists(st.tuples(st.binary(max_size=20), st.integers(1, 40_000), st.integers(0, 700)), max_size=60),
    st.binary(max_size=20),
)
def test_any_matches_are_followed(pieces: list[tuple[bytes, int, int]], rest: bytes) -> None:
    """Also such as are too far or too short for DEFLATE, and empty ones."""
    known = Known(b"0")
    for own, offset, length in pieces:
        known.literals(own)
        known.match(min(offset, len(known.text)), length)
    known.literals(rest)
    whole(known.text, known.matches)


def test_every_length() -> None:
    """As one match, or as several of which none is too short."""
    for length in [*range(3, 260), *range(512, 524), 1000, BLOCK - 1, BLOCK, 3 * BLOCK]:
        known = Known(b"12345")
        known.match(5, length)
        known.literals(b"678")
        known.match(1, length)
        assert len(whole(known.text, known.matches)) < 100 + 8 * length // 258


@pytest.mark.parametrize("power", range(16))
def test_every_distance(power: int) -> None:
    """At the borders of each of the codes for them."""
    chance = random.Random(power)
    for distance in {1 << power, (1 << power) + 1, (1 << power) - 1 or 1, (3 << power) // 2, (3 << power) // 2 + 1}:
        known = Known(chance.randbytes(max(40, distance)))
        known.match(distance, 40)
        before = len(whole(known.text[:-40], b""))
        assert (len(whole(known.text, known.matches)) < before + 30) == (distance <= 32_768)


@pytest.mark.parametrize("longest", LONGEST, ids=lambda longest: f"matches to {longest}")
@pytest.mark.parametrize("literals", LITERALS, ids=lambda literals: f"literals to {literals}")
def test_matches_may_stand_anywhere(longest: int, literals: int) -> None:
    """At the borders of blocks and over them, next to each other, over what they repeat."""
    for known in anywhere(longest, literals):
        whole(known.text, known.matches)


@pytest.mark.parametrize("symbols", range(1, 19))
def test_codes_are_never_too_long(symbols: int) -> None:
    """Where each symbol is twice as frequent as the next, their codes are as long as can be; beyond 14 bits they are made
    shorter, at a small price."""
    text = bytearray(b"".join(bytes([symbol]) * (1 << symbol) for symbol in range(symbols)))
    random.Random(symbols).shuffle(text)
    assert len(text) < BLOCK
    best = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    assert len(whole(text, b"")) <= 1.01 * len(best.compress(text) + best.flush()) + 10


def test_bytes_of_all_kinds_become_hardly_more() -> None:
    text = random.Random(5).randbytes(3 * BLOCK + 1)
    assert len(whole(text, b"")) < 1.002 * len(text)


@pytest.mark.parametrize(
    ("matches", "words"),
    [
        (struct.pack("=IIII", 4, 3, 3, 0), "out of the text"),
        (struct.pack("=IIII", 0, 3, 3, 0), "out of the text"),
        (struct.pack("=IIII", 1, 3, 8, 0), "out of the text"),
        (struct.pack("=IIII", 1, 2**32 - 1, 3, 0), "out of the text"),
        (struct.pack("=IIII", 1, 3, 2**32 - 1, 0), "out of the text"),
        (struct.pack("=IIII", 1, 3, 3, 0) * 2, "out of the text"),
        (b"matches", "cut off"),
    ],
)
def test_matches_that_lead_out_of_the_text_are_refused(matches: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        deflate(b"0123456789", matches)


def searched(text: bytes, level: int = 1) -> bytes:
    return gzip_members(level).member(text)


@pytest.mark.parametrize("read", [zlib.decompress, isal_zlib.decompress])
def test_rows_whose_repetitions_are_known_are_compressed_with_them(read: Callable[..., bytes]) -> None:
    """As with zstd; their checksum and length stand behind them."""
    text, matches = scored(6)
    members = gzip_members(1)
    assert members.wants_matches(b"a")
    member = members.member(text, b"a", matches)
    assert len(member) <= len(searched(text))
    assert member[:-8] == deflate(text, matches)
    assert members.wants_matches(b"a")
    assert read(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + member, 31) == text


def test_rows_that_repeat_in_another_way_are_searched() -> None:
    text, matches = scored(20, pool=100)
    members = gzip_members(1)
    assert len(deflate(text, matches)) > Way.GIVEN.value * len(searched(text))
    for _ in range(TRIAL_FRAMES):
        assert members.member(text, b"a", matches) == searched(text)
    assert members.member(FAR, b"b") == searched(FAR)


def test_another_level_than_the_first_is_what_it_says() -> None:
    text, matches = scored(6)
    for level in (0, 2, 3):
        members = gzip_members(level)
        assert not members.wants_matches(b"a")
        assert members.member(text, b"a", matches) == searched(text, level)
