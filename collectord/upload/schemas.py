"""The typed schema of each header, beside the data: CSV says nothing of types, and readers may want them.

`_collectord/schemas/<SHA-256 of the header row>/<schema id>.json`: whoever has a blob hashes its first line (with the LF)
and finds what its columns are: a document for each stream that has such a header. Written once; two daemons that write the
same one write the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import threading

from collectord.model import STREAM_PARTS, ColumnType, IdLayout, Schema
from collectord.upload.store import CONTROL_PREFIX, AlreadyExists, Appended, BlobStore, Created, WrongPosition


def document(schema: Schema, header: bytes) -> bytes:
    """The JSON document of a schema: its stream, and every column of the CSV in order, with its type."""
    ids = {IdLayout.NONE: "uuid", IdLayout.UUID: "uuid", IdLayout.TEXT: "string"}
    columns = [(column.name, ColumnType(column.type).name.lower()) for column in schema.columns]
    columns += [
        ("$aml_dc_correlation_id", ids[schema.correlation]),
        ("$aml_dc_scoring_timestamp", "timestamp"),
        ("$aml_dc_boundary", "int64"),
        ("$aml_workspace", "string"),
        ("$aml_service_name", "string"),
        ("$aml_model_name", "string"),
        ("$aml_model_version", "string"),
        ("$aml_request_id", ids[schema.request]),
        ("$aml_dc_row", "uint32"),
    ]
    if schema.sampled:
        columns.append(("$aml_dc_sampling", "float64"))
    fields = {
        "format": 1,
        "header_sha256": hashlib.sha256(header).hexdigest(),
        "stream": {part: getattr(schema.stream, part) for part in STREAM_PARTS},
        "columns": [{"name": name, "type": kind} for name, kind in columns],
    }
    return (json.dumps(fields, ensure_ascii=False, indent=1) + "\n").encode()


def blob_of(schema: Schema, header: bytes) -> str:
    """Where the document of a schema lies: never under the data's prefix, where tools take everything for data."""
    return f"{CONTROL_PREFIX}schemas/{hashlib.sha256(header).hexdigest()}/{schema.id.hex()}.json"


class SchemaPublisher:
    """Writes each schema's document once. Thread-safe; a store that fails is asked again with the schema's next frame."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: set[bytes] = set()

    def publish(self, schema: Schema, header: bytes) -> bool:
        """Whether the document is there now."""
        with self._lock:
            if schema.id in self._known:
                return True
        blob = blob_of(schema, header)
        data = document(schema, header)
        match self._store.create(blob, "application/json", {}):
            case Created() | AlreadyExists():
                # At position 0, so that of several daemons one writes it; the others find it written.
                done = isinstance(self._store.append(blob, data, 0), Appended | WrongPosition)
            case _:
                done = False
        if done:
            with self._lock:
                self._known.add(schema.id)
        return done
