"""An entry header says all of it, and nothing that was changed passes for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectord.model import Entry, EntryKind, Partition
from collectord.wal.framing import ENTRY_HEADER_BYTES, checksum, entry_bytes, pack_entry, parse, seed_of
from tests.wal.spool import SCHEMA, batch

MARKER = b"8 random"
SEED = seed_of(MARKER)


@given(
    kind=st.sampled_from([EntryKind.BATCH, EntryKind.REJECT, EntryKind.DROPPED]),
    client=st.binary(min_size=16, max_size=16),
    sequence=st.integers(0, 2**64 - 1),
    rows=st.integers(0, 2**32 - 1),
    payload=st.binary(max_size=100),
    hour=st.integers(-(2**31), 2**31 - 1),
    boundary=st.sampled_from([60, 1440]),
    lsn=st.integers(0, 2**60).map(lambda n: n * 8),
)
def test_every_field_comes_back(
    kind: EntryKind, client: bytes, sequence: int, rows: int, payload: bytes, hour: int, boundary: int, lsn: int
) -> None:
    entry = Entry(kind, client, sequence, rows, payload, SCHEMA, Partition(SCHEMA.id, hour, boundary))
    packed = pack_entry(entry, MARKER, SEED, lsn, lsn // 2)
    assert len(packed) == ENTRY_HEADER_BYTES
    head = parse(memoryview(packed), MARKER, SEED, lsn)
    assert head is not None
    stored = head.stored
    assert (stored.kind, stored.client, stored.sequence, stored.rows) == (kind, client, sequence, rows)
    assert (stored.partition, stored.length) == (entry.partition, len(payload))
    assert (stored.lsn, stored.end, head.durable) == (lsn, lsn + entry_bytes(len(payload)), lsn // 2)
    assert head.payload_checksum == checksum(payload, SEED)


@given(bit=st.integers(0, 8 * ENTRY_HEADER_BYTES - 1))
def test_no_flipped_bit_passes(bit: int) -> None:
    packed = bytearray(pack_entry(batch(1, b"payload"), MARKER, SEED, 4096, 0))
    packed[bit // 8] ^= 1 << bit % 8
    assert parse(memoryview(packed), MARKER, SEED, 4096) is None


@pytest.mark.parametrize(("marker", "lsn"), [(b"8 others", 4096), (MARKER, 4104)])
def test_an_entry_of_another_segment_or_place_does_not_pass(marker: bytes, lsn: int) -> None:
    packed = pack_entry(batch(1, b"payload"), MARKER, SEED, 4096, 0)
    assert parse(memoryview(packed), marker, seed_of(marker), lsn) is None


def test_half_a_header_does_not_pass() -> None:
    packed = pack_entry(batch(1, b"payload"), MARKER, SEED, 4096, 0)
    assert parse(memoryview(packed)[:-1], MARKER, SEED, 4096) is None


@pytest.mark.parametrize(("length", "size"), [(0, 96), (1, 104), (8, 104), (9, 112)])
def test_entries_are_padded_to_eight_bytes(length: int, size: int) -> None:
    assert entry_bytes(length) == size
