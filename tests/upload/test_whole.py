"""A blob that is written once, whole: whoever tries, and whatever the store says."""

from __future__ import annotations

import pytest

from collectord.testing.store import Fault, MemoryStore
from collectord.upload.store import MAX_APPEND, Blocked, NotAppendable, Unknown
from collectord.upload.whole import put_whole

DATA = bytes(range(256)) * 40_000  # three appends
assert 2 * MAX_APPEND < len(DATA) < 3 * MAX_APPEND


def put(store: MemoryStore) -> str:
    return put_whole(store, "a/b.json", DATA, "application/json")


def content(store: MemoryStore) -> bytes:
    return bytes(store.blobs["a/b.json"].content)


@pytest.mark.parametrize("container", [True, False])
def test_it_is_there_once_however_often_it_is_put(container: bool) -> None:
    store = MemoryStore(container=container)
    for _ in range(3):
        assert put(store) == ""
    assert content(store) == DATA


@pytest.mark.parametrize("when", ["instead", "after"])
@pytest.mark.parametrize("operation", ["length", "create", "append"])
def test_a_lost_answer_is_made_good_by_trying_again(operation: str, when: str) -> None:
    store = MemoryStore()
    store.plan(operation, Fault(Unknown("lost"), when))
    assert put(store) == "lost"
    assert put(store) == ""
    assert content(store) == DATA
    assert store.fired


def test_half_of_it_is_completed() -> None:
    store = MemoryStore()
    store.create("a/b.json", "application/json", {})
    store.append("a/b.json", DATA[:100], 0)
    assert put(store) == ""
    assert content(store) == DATA


def test_what_belongs_to_somebody_else_is_left_alone() -> None:
    store = MemoryStore()
    store.create("a/b.json", "application/json", {})
    for at in range(3):
        store.append("a/b.json", b"x" * MAX_APPEND, at * MAX_APPEND)
    assert "longer" in put(store)
    assert set(content(store)) == {ord("x")}


@pytest.mark.parametrize("operation", ["length", "create", "append"])
def test_a_refusal_is_told(operation: str) -> None:
    store = MemoryStore()
    store.plan(operation, Fault(Blocked("forbidden", "no")))
    assert put(store) == "no"


def test_a_blob_of_another_type_is_told() -> None:
    store = MemoryStore()
    store.plan("append", Fault(NotAppendable("wrong_type")))
    assert "wrong_type" in put(store)
