"""The daemon's own uploads as events: each attempt to append rows of a service is a dependency of that service.

They go into the daemon's own log like any client's, and from there wherever events go. Uploads of events make none, so they cannot
beget each other. What is uploaded after the log was closed, at the end of a daemon, is not told.

Threads: the upload workers.
"""

from __future__ import annotations

import logging
import struct
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from collectord._pb import collector_pb2 as pb
from collectord.clock import Clock
from collectord.ingest.openings import Openings
from collectord.ingest.purses import service_name
from collectord.kinds import EVENTS
from collectord.logs import event
from collectord.model import (
    MINUTES_PER_HOUR,
    Column,
    ColumnType,
    Entry,
    EntryKind,
    IdLayout,
    Partition,
    Schema,
    Stream,
    StreamKind,
)
from collectord.schema import parse_schema, stream_message
from collectord.upload.store import BlobStore
from collectord.uuids import new_v7
from collectord.wal.writer import LogWriter

_KIND = StreamKind.DEPENDENCY
_KEPT = 1000
"""Schemas."""
_PACK = {ColumnType.FLOAT64: "<d", ColumnType.BOOL: "<B"}

_log = logging.getLogger("collectord.pipeline")


class UploadEvents:
    """Puts them into the log, for the services that want them."""

    def __init__(
        self, log: LogWriter, openings: Openings, clock: Clock, *, writer: bytes, store: BlobStore | None, node: str
    ) -> None:
        """`writer`: under which client id; `node`: who speaks."""
        self._log = log
        self._openings = openings
        self._clock = clock
        self._writer = writer
        self._store = store
        self._node = node
        self.wanted: Callable[[Stream], bool] = lambda _: False
        """Whether events of such a stream are wanted. From any thread."""
        self._schemas: dict[Stream, Schema] = {}

    def tell(
        self,
        stream: Stream,
        blob: str,
        began_ns: int,
        seconds: float,
        *,
        rows: int,
        size: int,
        code: str,
        success: bool,
    ) -> None:
        """One attempt to append `rows` rows of `stream`. Never blocks; raises nothing that an upload would have to bear."""
        if stream.kind is not StreamKind.ROWS or self._store is None:
            return
        of_events = replace(stream, kind=_KIND, designation=EVENTS[_KIND].table, collection="")
        if not self.wanted(of_events):
            return
        schema = self._schema(of_events)
        partition = Partition.of(schema.id, began_ns, MINUTES_PER_HOUR)
        if self._openings.let_in(partition, service_name(stream.webservice)):
            return
        kind, target = _target(self._store, blob)
        item_id = uuid.UUID(new_v7(began_ns)).bytes
        values: dict[str, Any] = {
            "operation_Id": item_id.hex(), "cloud_RoleInstance": self._node, "id": item_id[8:].hex(), "type": kind,
            "target": target, "name": f"append {blob.rpartition('/')[2]}", "data": blob, "duration": 1000 * seconds,
            "resultCode": code, "success": success,
            "customDimensions": orjson.dumps({"designation": stream.designation, "rows": rows, "bytes": size}).decode(),
        }  # fmt: skip
        payload = _batch(schema, item_id, began_ns, values)
        entry = Entry(EntryKind.BATCH, self._writer, 0, 1, payload, schema, partition)

        def done(failure: Exception | None) -> None:
            if failure is not None:
                self._openings.gave_up(partition)
                event(_log, logging.DEBUG, "an upload could not be told as an event", why=str(failure))

        self._log.append([entry], done)

    def _schema(self, stream: Stream) -> Schema:
        schema = self._schemas.get(stream)
        if schema is None:
            if len(self._schemas) >= _KEPT:
                self._schemas = {}
            schema = self._schemas[stream] = _schema_of(stream)
        return schema


def _schema_of(stream: Stream) -> Schema:
    message = pb.Schema(
        stream=stream_message(stream),
        columns=[pb.Column(name=one.name, type=int(one.type)) for one in EVENTS[stream.kind].columns],  # type: ignore[arg-type]
        layout=pb.LAYOUT_COLUMNS,
        correlation=int(IdLayout.UUID),  # type: ignore[arg-type]
    )
    return parse_schema(message.SerializeToString(deterministic=True))


def _batch(schema: Schema, item_id: bytes, time_ns: int, values: dict[str, Any]) -> bytes:
    """One row."""
    return pb.Batch(
        sequence=1,
        schema_id=schema.id,
        rows=1,
        requests=pb.Requests(times=struct.pack("<q", time_ns), correlation_ids=item_id),
        columns=[_column(column, values.get(column.name)) for column in schema.columns],
    ).SerializeToString()


def _column(column: Column, value: Any) -> pb.ColumnData:
    validity = b"\0" if value is None else b""
    if column.type is ColumnType.STRING:
        text = "" if value is None else str(value)
        data = text.encode()
        return pb.ColumnData(validity=validity, offsets=struct.pack("<2i", 0, len(data)), data=data)
    return pb.ColumnData(validity=validity, data=struct.pack(_PACK[column.type], value or 0))


def _target(store: BlobStore, blob: str) -> tuple[str, str]:
    """What kind of store it is, as Application Insights calls it, and which one: account and container, or directory."""
    addresses = store.addresses(blob)
    if "https" in addresses:
        address = urlsplit(addresses["https"])
        path = unquote(address.path).removesuffix(blob).strip("/")
        return "Azure blob", f"{address.netloc}/{path}"
    if "file" in addresses:
        path = unquote(urlsplit(addresses["file"]).path)
        return "directory", path.removesuffix(blob).rstrip("/") or "/"
    return "store", store.describe()
