"""The typed schema of a header is kept beside the data, once."""

from __future__ import annotations

import hashlib
import json

from collectord.model import Column, ColumnType, IdLayout, Schema, Stream
from collectord.testing.store import MemoryStore
from collectord.upload.schemas import STREAM_PARTS, SchemaPublisher, blob_of

HEADER = b"age,name\n"
SCHEMA = Schema(
    id=bytes(range(16)),
    raw=b"",
    stream=Stream(model="m"),
    columns=(Column("age", ColumnType.FLOAT32), Column("name", ColumnType.STRING)),
    tensor=False,
    correlation=IdLayout.UUID,
    request=IdLayout.TEXT,
    sampled=True,
)


def test_who_has_a_header_finds_its_types() -> None:
    """The name follows from the header row; the document lists every column with its type."""
    store = MemoryStore()
    assert SchemaPublisher(store).publish(SCHEMA, HEADER)
    name = f"_collectord/schemas/{hashlib.sha256(HEADER).hexdigest()}/{bytes(range(16)).hex()}.json"
    assert blob_of(SCHEMA, HEADER) == name
    fields = json.loads(bytes(store.blobs[name].content))
    types = {column["name"]: column["type"] for column in fields["columns"]}
    assert types["age"] == "float32"
    assert types["$aml_request_id"] == "string"
    assert list(types)[-1] == "$aml_dc_sampling"
    assert fields["stream"] == {part: "m" if part == "model" else "" for part in STREAM_PARTS}
    assert fields["header_sha256"] == hashlib.sha256(HEADER).hexdigest()


def test_it_is_written_once_by_however_many() -> None:
    """Several daemons and several calls leave one document."""
    store = MemoryStore()
    first, second = SchemaPublisher(store), SchemaPublisher(store)
    assert first.publish(SCHEMA, HEADER)
    asked = len(store.requests)
    assert first.publish(SCHEMA, HEADER)
    assert len(store.requests) == asked
    assert second.publish(SCHEMA, HEADER)
    (blob,) = store.blobs.values()
    json.loads(bytes(blob.content))


def test_a_store_that_fails_is_asked_again() -> None:
    """No container: not written, not remembered."""
    store = MemoryStore(container=False)
    publisher = SchemaPublisher(store)
    assert not publisher.publish(SCHEMA, HEADER)
    store.create_container()
    assert publisher.publish(SCHEMA, HEADER)
