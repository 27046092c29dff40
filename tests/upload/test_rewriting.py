"""What erasing needs of a store holds for every store: sealed for ever, whole or not at all, removed only as it was seen."""

from __future__ import annotations

import io
from pathlib import Path
from typing import cast

import pytest

from collectord.upload.documents import Conflict
from collectord.upload.localdir import LocalDirectory
from collectord.upload.rewriting import LOCK, BlobState, Removed, RewritableStore, Sealed
from collectord.upload.store import AlreadyExists, Appended, Created, NoContainer, NotAppendable
from tests.upload.conftest import Backend

NAME = "w/müller & söhne/2018/12/31/data.csv.zst"
NEXT = "w/müller & söhne/2018/12/31/data.1.csv.zst"


@pytest.fixture
def store(backend: Backend) -> RewritableStore:
    """With its container made."""
    assert backend.store.create_container() == Created()
    return cast(RewritableStore, backend.store)


def put(store: RewritableStore, name: str, data: bytes) -> object:
    return store.put_closed(name, io.BytesIO(data), len(data), "application/zstd")


def state(store: RewritableStore, name: str = NAME) -> BlobState:
    found = store.state(name)
    assert isinstance(found, BlobState)
    return found


def appended(store: RewritableStore, data: bytes = b"rows") -> BlobState:
    assert store.create(NAME, "application/zstd", {}) == Created()
    assert isinstance(store.append(NAME, data, 0), Appended)
    return state(store)


def test_what_is_sealed_takes_no_append_and_keeps_what_it_has(store: RewritableStore) -> None:
    before = appended(store)
    assert before.appendable
    assert before.length == 4
    assert store.seal(NAME, before.etag) == Sealed()
    assert not state(store).appendable
    assert store.append(NAME, b"more", 4) == NotAppendable("sealed")
    assert store.read(NAME, 0, 10) == b"rows"


def test_what_has_grown_since_it_was_seen_is_neither_sealed_nor_removed(store: RewritableStore) -> None:
    before = appended(store)
    assert isinstance(store.append(NAME, b"more", 4), Appended)
    assert store.seal(NAME, before.etag) == Conflict()
    assert store.remove(NAME, before.etag) == Conflict()
    assert store.read(NAME, 0, 10) == b"rowsmore"
    assert isinstance(store.append(NAME, b"!", 8), Appended)


def test_a_closed_blob_is_made_whole_unless_the_name_is_taken_and_never_takes_an_append(store: RewritableStore) -> None:
    appended(store)
    assert put(store, NAME, b"other") == AlreadyExists()
    assert store.read(NAME, 0, 10) == b"rows"
    assert put(store, NEXT, b"kept") == Created()
    assert put(store, NEXT, b"kept") == AlreadyExists()
    assert not state(store, NEXT).appendable
    assert isinstance(store.append(NEXT, b"x", 4), NotAppendable)
    assert sorted((blob.name, blob.size) for blob in store.list("")) == [(NEXT, 4), (NAME, 4)]


def test_what_is_removed_is_absent_and_may_be_removed_again(store: RewritableStore) -> None:
    seen = appended(store)
    assert store.seal(NAME, seen.etag) == Sealed()
    seen = state(store)
    assert store.remove(NAME, seen.etag) == Removed()
    assert store.remove(NAME, seen.etag) == Removed()
    assert store.state(NAME) is None
    assert store.length(NAME) is None
    assert store.create(NAME, "application/zstd", {}) == Created()
    assert state(store).appendable, "it is another one now"


def test_only_one_has_the_lock(store: RewritableStore) -> None:
    held = store.lock(LOCK)
    assert held is not None
    assert held.held  # type: ignore[union-attr]
    assert store.lock(LOCK) is None
    held.release()  # type: ignore[union-attr]
    again = store.lock(LOCK)
    assert again is not None
    again.release()  # type: ignore[union-attr]
    again.release()  # type: ignore[union-attr]


def test_without_a_container_nothing_is_made(backend: Backend) -> None:
    store = cast(RewritableStore, backend.store)
    assert store.state(NAME) is None
    assert put(store, NAME, b"kept") == NoContainer()
    assert store.state(NAME) is None


def test_a_draft_that_was_left_behind_is_no_blob_and_goes_with_the_next_lock(tmp_path: Path) -> None:
    store = LocalDirectory(tmp_path)
    draft = tmp_path / "_collectord/drafts/0123"
    draft.parent.mkdir(parents=True)
    draft.write_bytes(b"half")
    assert list(store.list("")) == []
    lock = store.lock(LOCK)
    assert lock is not None
    lock.release()  # type: ignore[union-attr]
    assert not draft.exists()
