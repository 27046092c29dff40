"""A blob as a file: read from any place, as long as it was when it was listed, and nothing asked for that was not read."""

from __future__ import annotations

import io
import os

import pytest

from collectord.reader.blobs import BlobFile, data_blobs
from collectord.testing.store import MemoryStore, StoredBlob


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.blobs["a.csv"] = StoredBlob(bytearray(b"0123456789"))
    return store


def test_it_is_read_from_any_place(store: MemoryStore) -> None:
    (blob,) = data_blobs(store)
    store.blobs["a.csv"].content += b"appended since"
    file = BlobFile(store, blob)
    assert file.seek(0, os.SEEK_END) == 10
    assert file.read(5) == b""
    assert file.seek(-3, os.SEEK_CUR) == 7
    assert not store.requests, "going somewhere asks nothing"
    assert file.read(5) == b"789"
    assert file.seek(2) == 2
    assert file.read(2) == b"23"
    assert file.tell() == 4
    assert file.bytes_read == 5
    assert file.seek(50) == 50
    assert file.read(1) == b""
    with pytest.raises(ValueError, match="byte -1"):
        file.seek(-1)


def test_a_buffered_reader_may_seek_in_it(store: MemoryStore) -> None:
    (blob,) = data_blobs(store)
    with io.BufferedReader(BlobFile(store, blob), 4) as file:
        assert file.read(1) == b"0"
        assert file.seek(7) == 7
        assert file.read() == b"789"
