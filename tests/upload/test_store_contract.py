"""What the recipe needs holds for every store: the fake, the directory and a real blob service."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from collectord.upload.store import (
    MAX_APPEND,
    Absent,
    AlreadyExists,
    Appended,
    BlobStore,
    Created,
    NoContainer,
    NotAppendable,
    WrongPosition,
)
from tests.upload.conftest import Backend

NAME = "sub/müller & söhne/a b/2018/12/31/data.csv.zst"


@pytest.fixture
def store(backend: Backend) -> BlobStore:
    """With its container made."""
    assert backend.store.create_container() == Created()
    return backend.store


def create(store: BlobStore, blob: str = NAME) -> None:
    assert store.create(blob, "application/zstd", {"collectord": "1"}) == Created()


def test_without_a_container_everything_says_so_and_nothing_is_made(backend: Backend) -> None:
    store = backend.store
    assert store.append(NAME, b"x", 0) == NoContainer()
    assert store.create(NAME, "text/csv", {}) == NoContainer()
    assert store.length(NAME) is None
    assert store.read(NAME, 0, 1) is None
    assert list(store.list("")) == []
    assert not store.is_there()
    assert store.append(NAME, b"x", 0) == NoContainer()


def test_a_container_is_created_once(backend: Backend) -> None:
    assert backend.store.create_container() == Created()
    assert backend.store.create_container() == AlreadyExists()
    assert backend.store.is_there()


def test_an_absent_blob_is_absent_and_not_an_error(store: BlobStore) -> None:
    assert store.append(NAME, b"x", 0) == Absent()
    assert store.append(NAME, b"x", 7) == Absent()
    assert store.length(NAME) is None
    assert store.read(NAME, 0, 10) is None


def test_create_makes_an_empty_blob_and_never_touches_one_that_exists(store: BlobStore) -> None:
    create(store)
    assert store.length(NAME) == 0
    assert store.read(NAME, 0, 10) == b""
    store.append(NAME, b"kept", 0)
    assert store.create(NAME, "application/zstd", {}) == AlreadyExists()
    assert store.read(NAME, 0, 10) == b"kept"


def test_an_append_lands_only_at_the_length(store: BlobStore) -> None:
    create(store)
    assert isinstance(store.append(NAME, b"early", 1), WrongPosition)
    first = store.append(NAME, memoryview(b"one,"), 0)
    assert isinstance(first, Appended) and first.end == 4
    for position in (0, 3, 5, 100):
        assert isinstance(store.append(NAME, b"late", position), WrongPosition)
    second = store.append(NAME, b"two,", 4)
    assert isinstance(second, Appended) and second.end == 8
    assert store.length(NAME) == 8
    assert store.read(NAME, 0, 100) == b"one,two,"


def test_the_same_append_repeated_lands_once(store: BlobStore) -> None:
    create(store)
    outcomes = [store.append(NAME, b"once", 0) for _ in range(3)]
    assert [type(outcome) for outcome in outcomes] == [Appended, WrongPosition, WrongPosition]
    assert store.read(NAME, 0, 100) == b"once"


def test_a_range_is_cut_at_the_end_and_empty_behind_it(store: BlobStore) -> None:
    create(store)
    store.append(NAME, b"0123456789", 0)
    assert store.read(NAME, 2, 3) == b"234"
    assert store.read(NAME, 8, 100) == b"89"
    assert store.read(NAME, 10, 5) == b""
    assert store.read(NAME, 99, 5) == b""
    assert store.read(NAME, 0, 0) == b""


def test_an_append_of_the_greatest_size_lands_and_reads_back(store: BlobStore) -> None:
    create(store)
    data = bytes(range(256)) * (MAX_APPEND // 256)
    outcome = store.append(NAME, data, 0)
    assert isinstance(outcome, Appended) and outcome.end == MAX_APPEND
    assert store.read(NAME, 0, MAX_APPEND) == data


@pytest.mark.parametrize("size", [0, MAX_APPEND + 1])
def test_an_append_of_a_size_that_no_store_takes_is_a_mistake_of_the_caller(store: BlobStore, size: int) -> None:
    create(store)
    with pytest.raises(ValueError, match="an append has"):
        store.append(NAME, bytes(size), 0)


def test_what_is_not_an_append_blob_takes_no_append(backend: Backend, store: BlobStore) -> None:
    backend.obstruct(NAME)
    assert store.append(NAME, b"x", 0) == NotAppendable("wrong_type")
    assert store.create(NAME, "text/csv", {}) == AlreadyExists()


def test_a_deleted_blob_is_absent_and_may_be_created_again(backend: Backend, store: BlobStore) -> None:
    create(store)
    store.append(NAME, b"gone", 0)
    backend.delete(NAME)
    assert store.append(NAME, b"x", 4) == Absent()
    assert store.length(NAME) is None
    create(store)
    assert store.length(NAME) == 0


def test_a_replaced_blob_has_the_length_of_the_other_one(backend: Backend, store: BlobStore) -> None:
    create(store)
    store.append(NAME, b"0123456789", 0)
    backend.overwrite(NAME, b"abc")
    assert isinstance(store.append(NAME, b"x", 10), WrongPosition)
    assert store.length(NAME) == 3
    assert store.read(NAME, 0, 10) == b"abc"


def test_a_listing_has_the_names_under_the_prefix_with_their_sizes(store: BlobStore) -> None:
    for name, data in (("a/b/one.csv", b"1"), ("a/bc/two.csv", b"22"), ("z.csv", b"333")):
        create(store, name)
        store.append(name, data, 0)
    assert {(blob.name, blob.size) for blob in store.list("")} == {
        ("a/b/one.csv", 1),
        ("a/bc/two.csv", 2),
        ("z.csv", 3),
    }
    assert {blob.name for blob in store.list("a/b")} == {"a/b/one.csv", "a/bc/two.csv"}
    assert {blob.name for blob in store.list("a/b/")} == {"a/b/one.csv"}
    assert list(store.list("nothing/here")) == []


def test_of_many_appends_at_one_position_exactly_one_lands(store: BlobStore) -> None:
    create(store)
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda number: store.append(NAME, b"%d" % number, 0), range(8)))
    assert sum(isinstance(outcome, Appended) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, WrongPosition) for outcome in outcomes) == 7
    assert store.length(NAME) == 1


def test_addresses_and_description_name_the_place(store: BlobStore) -> None:
    assert store.addresses(NAME)
    assert store.describe()
