"""Documents that many may change: one suite for the fake, the directory and a real blob service."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from collectord.upload.documents import Conflict, Document, DocumentStore, Written
from collectord.upload.store import Created, NoContainer
from tests.upload.conftest import Backend

NAME = "_collectord/spools/00ff.json"


@pytest.fixture
def store(backend: Backend) -> DocumentStore:
    """With its container made."""
    assert backend.store.create_container() == Created()
    return backend.store


def put(store: DocumentStore, data: bytes, etag: str | None) -> str:
    written = store.put_document(NAME, data, etag)
    assert isinstance(written, Written), written
    return written.etag


def test_without_a_container_there_is_no_document_and_none_is_made(backend: Backend) -> None:
    assert backend.store.get_document(NAME) is None
    assert backend.store.put_document(NAME, b"{}", None) == NoContainer()


def test_a_document_is_made_once(store: DocumentStore) -> None:
    assert store.get_document(NAME) is None
    etag = put(store, b'{"a": 1}', None)
    assert store.get_document(NAME) == Document(b'{"a": 1}', etag)
    assert store.put_document(NAME, b'{"b": 1}', None) == Conflict()
    assert store.get_document(NAME) == Document(b'{"a": 1}', etag)
    assert [blob.name for blob in store.list("_collectord/spools/")] == [NAME]


def test_a_document_is_replaced_only_while_its_tag_holds(store: DocumentStore) -> None:
    first = put(store, b'{"a": 1}', None)
    second = put(store, b'{"a": 2, "longer": true}', first)
    assert second != first
    assert store.put_document(NAME, b'{"a": 3}', first) == Conflict()
    assert store.get_document(NAME) == Document(b'{"a": 2, "longer": true}', second)


def test_what_is_not_there_cannot_be_replaced(store: DocumentStore) -> None:
    etag = put(store, b"{}", None)
    assert store.put_document("_collectord/spools/other.json", b"{}", etag) == Conflict()
    assert store.get_document("_collectord/spools/other.json") is None


def test_of_many_that_replace_at_once_one_wins(store: DocumentStore) -> None:
    etag = put(store, b"{}", None)
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda n: store.put_document(NAME, b"{%d}" % n, etag), range(8)))
    winners = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, Written)]
    assert len(winners) == 1, outcomes
    assert all(outcome == Conflict() for number, outcome in enumerate(outcomes) if number not in winners)
    found = store.get_document(NAME)
    assert isinstance(found, Document)
    assert found.data == b"{%d}" % winners[0]
