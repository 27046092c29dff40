"""Lines of JSON in plain Python, slow and obvious: what the kernel has to write, byte for byte."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa

from collectord import __version__
from collectord.model import ColumnType, FrameTag, IdLayout, Schema
from tests.encode import oracle

MOST = 256_000


def value_of(kind: ColumnType, value: Any) -> object:
    """A value of a user's column as `json` takes it; see `oracle.value_text`."""
    text = oracle.value_text(kind, value)
    if text is None or kind in (ColumnType.STRING, ColumnType.TIMESTAMP, ColumnType.TIMESTAMP_UTC):
        return text
    if kind is ColumnType.BOOL:
        return bool(value)
    if kind in (ColumnType.FLOAT16, ColumnType.FLOAT32, ColumnType.FLOAT64):
        return None if math.isnan(value) or np.isinf(value) else _Raw(text)
    return int(value)


class _Raw:
    """A number whose text is known."""

    def __init__(self, text: str) -> None:
        self.text = text


def dump(value: object) -> str:
    """As `json.dumps` without blanks; numbers as their text is known."""
    if isinstance(value, _Raw):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{dump(name)}:{dump(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def encode(schema: Schema, batch: pa.RecordBatch, tag: FrameTag) -> bytes:
    """All rows of a batch."""
    columns = [oracle.raw_values(column) for column in batch.columns]
    if schema.tensor:
        flat, width = oracle.raw_values(batch.column(0).flatten()), len(schema.columns)
        columns[:1] = [flat[i::width] for i in range(width)]
    names = len(schema.columns)
    requests: list[tuple[tuple[Any, ...], int, list[str]]] = []
    for row in zip(*columns, strict=True):
        rest = list(row[names:])
        correlation, time = rest.pop(0), rest.pop(0)
        request = correlation if schema.request is IdLayout.NONE else rest.pop(0)
        number = rest.pop(0)
        sampling = rest.pop(0) if schema.sampled else None
        data = ",".join(
            f"{dump(column.name)}:{dump(value_of(column.type, value))}"
            for column, value in zip(schema.columns, row[:names], strict=True)
        )
        key = (correlation, time, request, sampling)
        if requests and requests[-1][0] == key and requests[-1][1] + len(requests[-1][2]) == number:
            requests[-1][2].append(f"{{{data}}}")
        else:
            requests.append((key, number, [f"{{{data}}}"]))
    lines: list[bytes] = []
    for key, number, texts in requests:
        while texts:
            take = 1
            while take < len(texts) and len(_line(schema, tag, len(lines), key, number, texts[: take + 1])) <= MOST:
                take += 1
            lines.append(_line(schema, tag, len(lines), key, number, texts[:take]))
            number, texts = number + take, texts[take:]
    return b"".join(lines)


def _line(schema: Schema, tag: FrameTag, at: int, key: tuple[Any, ...], number: int, texts: list[str]) -> bytes:
    correlation, time, request, sampling = key
    stream = schema.stream
    names = {name: getattr(stream, name) or "default" for name in type(stream).__dataclass_fields__ if name != "kind"}
    collection = names["designation"] if names["collection"] == "default" else names["collection"]
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": f"{tag.writer.hex()}-{tag.sequence}-{at}",
        "source": "/subscriptions/{subscription}/resourceGroups/{resource_group}/providers/"
        "Microsoft.MachineLearningServices/workspaces/{workspace}/onlineEndpoints/{webservice}/deployments/{model}".format(
            **names
        ),
        "type": f"azureml.inference.{collection}",
        "datacontenttype": "application/json",
        "time": oracle.time_text(time, always_micros=True, suffix="Z"),
        "correlationid": oracle.id_text(correlation),
        "xrequestid": oracle.id_text(request),
        "modelversion": names["version"],
        "collectdatatype": "pandas.core.frame.DataFrame",
        "agent": f"collectord/{__version__}",
    }
    if sampling is not None:
        event["samplingrate"] = _Raw(oracle.float64_text(sampling))
    head = dump(event)[:-1]
    return f'{head},"data":[{",".join(texts)}],"contentrange":"rows {number}-{number + len(texts) - 1}/*"}}\n'.encode()
