"""The fake fails as it is told; that it is right otherwise is shown by the contract suite."""

from __future__ import annotations

import pytest

from collectord.testing.store import LATE, LOST, UNSENT, Fault, MemoryStore
from collectord.upload.store import Appended, Created, Unknown, WrongPosition


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.create("b", "", {})
    return store


def test_faults_come_in_their_order_and_are_counted(store: MemoryStore) -> None:
    store.plan("append", UNSENT, None, LOST)
    assert isinstance(store.append("b", b"1", 0), Unknown)
    assert store.append("b", b"2", 0) == Appended(1, 1)
    assert isinstance(store.append("b", b"3", 1), Unknown)
    assert store.blobs["b"].content == b"23"
    assert store.fired == 2


def test_what_is_late_arrives_when_it_is_released_under_its_old_condition(store: MemoryStore) -> None:
    store.plan("append", LATE, LATE)
    store.append("b", b"1", 0)
    store.append("b", b"2", 0)
    assert store.blobs["b"].content == b""
    assert store.release() == 2
    assert store.blobs["b"].content == b"1"


def test_an_exception_may_be_the_answer_and_healing_ends_all_plans(store: MemoryStore) -> None:
    store.plan("length", Fault(RuntimeError("crash")), UNSENT)
    with pytest.raises(RuntimeError):
        store.length("b")
    store.heal()
    assert store.length("b") == 0


def test_a_lease_answers_as_a_condition_and_requests_are_recorded(store: MemoryStore) -> None:
    store.blobs["b"].leased = True
    assert isinstance(store.append("b", b"1", 0), WrongPosition)
    assert store.create("c", "", {}) == Created()
    assert store.requests[-2:] == [("append", "b", 0), ("create", "c", 0)]
