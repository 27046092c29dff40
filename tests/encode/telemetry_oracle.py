"""Lines of telemetry events in plain Python, slow and obvious: what the kernel has to write, byte for byte."""

from __future__ import annotations

import json
import re
from typing import Any

import pyarrow as pa

from collectord.kinds import EVENTS
from collectord.model import Schema
from tests.encode import oracle
from tests.encode.jsonl_oracle import dump, value_of

DEPTH = 64


def encode(schema: Schema, batch: pa.RecordBatch) -> bytes:
    """All rows of a batch."""
    columns = [oracle.raw_values(column) for column in batch.columns]
    return b"".join(_line(schema, list(row)) for row in zip(*columns, strict=True))


def _line(schema: Schema, row: list[Any]) -> bytes:
    stream, names = schema.stream, [column.name for column in schema.columns]
    values, (item, time, _, *sampling) = row[: len(names)], row[len(names) :]
    event: dict[str, object] = {
        "itemId": oracle.id_text(item),
        "itemType": EVENTS[stream.kind].item_type,
        "timestamp": oracle.time_text(time, always_micros=True, suffix="Z"),
        "cloud_RoleName": stream.webservice or "default",
        "workspace": stream.workspace or "default",
        "model": stream.model or "default",
        "modelVersion": stream.version or "default",
    }
    fields = [f"{json.dumps(name)}:{dump(value)}" for name, value in event.items()]
    if sampling:
        fields.append(f'"samplingRate":{oracle.float64_text(sampling[0])}')
    for column, value in zip(schema.columns, values, strict=True):
        shown = value_of(column.type, value)
        if shown is None:
            continue
        if column.name == "customDimensions" and is_object(str(shown)):
            text = re.sub(r"[\t\r\n]", " ", str(shown))
        else:
            text = dump(shown)
        fields.append(f"{json.dumps(column.name, ensure_ascii=False)}:{text}")
    return ("{" + ",".join(fields) + "}\n").encode()


def is_object(text: str) -> bool:
    """Whether a text may stand in a line as it is: JSON that all readers take, and an object."""
    try:
        # Every pair, also where a name comes twice.
        value = json.loads(
            text, parse_int=_whole, parse_float=_number, parse_constant=_refuse,
            object_pairs_hook=lambda pairs: dict(enumerate(pairs)),
        )  # fmt: skip
    except (ValueError, RecursionError):
        return False
    # Python keeps half a pair of surrogates; most other readers refuse it.
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return isinstance(value, dict) and _depth(text) <= DEPTH


def _depth(text: str) -> int:
    depth = most = 0
    for character in re.sub(r'"(?:[^"\\]|\\.)*"', "", text):
        depth += (character in "{[") - (character in "}]")
        most = max(most, depth)
    return most


def _whole(text: str) -> int:
    # As they are written: 64 bits, of which the lowest number is left out.
    if len(text.lstrip("-")) > 19 or abs(int(text)) > 2**63 - 1:
        raise ValueError(text)
    return int(text)


def _number(text: str) -> float:
    match = re.fullmatch(r"-?(\d+)(?:\.\d+)?(?:[eE]([+-]?)(\d+))?", text)
    assert match is not None, text
    exponent = int(match[3] or 0)
    if exponent > 308 or len(match[1]) + (0 if match[2] == "-" else exponent) > 308:
        raise ValueError(text)
    return float(text)


def _refuse(text: str) -> None:
    raise ValueError(text)
