"""Lines of JSON from Arrow record batches, as Azure ML's Model Data Collector writes them: docs/formats/mdc-jsonl.md.

A `JsonlPlan` is compiled once per schema: what is the same in every line and row is escaped once; what differs is
written by the kernel beside this file. The kernel holds no GIL.

Promise: the same rows in the same batch give the same bytes. Unlike CSV, how rows are cut into batches shows: in the ids of
the lines, and where a request is in two of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa

from collectord import __version__
from collectord.encode._jsonl import EventWriter
from collectord.encode.fields import TIME, id_field, tensor_type
from collectord.encode.frame import EVENT
from collectord.model import ColumnType, FrameTag, IdLayout, Schema, Stream
from collectord.outputs import collection_of

MAX_LINE = 256_000
"""Bytes of a line, its end included: a request that needs more gets several. Azure ML's own collector stores what is larger
than 256 KB elsewhere and refers to it. A single row is never cut, whatever its size."""


class JsonlPlan:
    """How rows of one schema become events. Immutable; threads share it. The batches are those of `CsvPlan`."""

    header = b""
    """There is none: each row names its columns."""

    def __init__(self, schema: Schema) -> None:
        """Compiles the plan. Raises ValueError for a tensor schema whose columns are not all of one fixed-width type."""
        names = [(b"," if i else b"") + _json(column.name) + b":" for i, column in enumerate(schema.columns)]
        has_request = schema.request is not IdLayout.NONE
        self._writer = EventWriter(
            list(_fields(schema)), names, list(_pieces(schema)), has_request, schema.sampled, MAX_LINE
        )

    def encode(self, batch: pa.RecordBatch, tag: FrameTag, most: int | None = None) -> bytes:
        """The rows of `batch` as lines of the frame `tag`; with `most`, not all of them if they need more bytes: then the
        text has more too, and must not be used.

        Arrow's own checks (buffer lengths) run first and everything that could lead out of a buffer is checked in the
        kernel; text is taken as the UTF-8 it claims to be. Raises ValueError if the batch does not have the plan's
        fields or is malformed (`pyarrow.ArrowInvalid` is one), MemoryError where there is not enough.
        """
        batch.validate()
        return self._writer.encode(batch, EVENT + f"{tag.writer.hex()}-{tag.sequence}-".encode(), most)


def source_of(stream: Stream) -> str:
    """Who speaks, as Azure ML names a deployment. It does not say the collection."""
    return (
        f"/subscriptions/{stream.subscription or 'default'}/resourceGroups/{stream.resource_group or 'default'}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{stream.workspace or 'default'}"
        f"/onlineEndpoints/{stream.webservice or 'default'}/deployments/{stream.model or 'default'}"
    )


def _json(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode()


def _pieces(schema: Schema) -> Iterator[bytes]:
    """What stands in a line behind its number, the time, the two ids, the sampling rate, the data and the range."""
    stream = schema.stream
    kind = _json(f"azureml.inference.{collection_of(stream)}")
    yield b'","source":%b,"type":%b,"datacontenttype":"application/json","time":"' % (_json(source_of(stream)), kind)
    yield b'Z","correlationid":"'
    yield b'","xrequestid":"'
    yield (
        b'","modelversion":%b,"collectdatatype":"pandas.core.frame.DataFrame","agent":"collectord/%b"%b'
        % (_json(stream.version or "default"), __version__.encode(), b',"samplingrate":' if schema.sampled else b"")
    )
    yield b',"data":['
    yield b'],"contentrange":"rows '
    yield b'/*"}\n'


def _fields(schema: Schema) -> Iterator[tuple[int, int]]:
    if schema.tensor:
        yield int(tensor_type(schema.columns)), len(schema.columns)
    else:
        yield from ((int(column.type), 0) for column in schema.columns)
    yield id_field(schema.correlation)
    yield TIME, 0
    if schema.request is not IdLayout.NONE:
        yield id_field(schema.request)
    yield int(ColumnType.UINT32), 0
    if schema.sampled:
        yield int(ColumnType.FLOAT64), 0
