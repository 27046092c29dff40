"""The CSV dialect in plain Python, slow and obvious: what the kernel has to write, byte for byte."""

from __future__ import annotations

import csv
import io
import math
import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from collectord.model import ColumnType, IdLayout, Schema

SECOND = 1_000_000_000


def float64_text(value: float) -> str:
    """As repr; NaN and infinity spelled as pandas and Arrow read them."""
    if math.isnan(value):
        return "NaN"
    return {math.inf: "Inf", -math.inf: "-Inf"}.get(value, repr(value))


def small_float_text(value: np.float16 | np.float32) -> str:
    """The shortest text of a narrow float, laid out as repr lays out a double."""
    if not np.isfinite(value) or value == 0:
        return float64_text(float(value))
    if isinstance(value, np.float32) and abs(value) == np.uint32(0x15AE43FD).view(np.float32):
        return "-7.0385307e-26" if value < 0 else "7.0385307e-26"
    mantissa, exponent = np.format_float_scientific(value, unique=True, trim="-").split("e")
    digits, point = mantissa.lstrip("-").replace(".", ""), int(exponent)
    sign = "-" if value < 0 else ""
    if -4 <= point < 0:
        return f"{sign}0.{'0' * (-point - 1)}{digits}"
    if 0 <= point < 16:
        digits = digits.ljust(point + 2, "0")
        return f"{sign}{digits[: point + 1]}.{digits[point + 1 :]}"
    return f"{sign}{digits[0]}{'.' if len(digits) > 1 else ''}{digits[1:]}e{'-' if point < 0 else '+'}{abs(point):02d}"


def time_text(ns: int, *, always_micros: bool, suffix: str) -> str:
    """ISO 8601; Python's datetime does the calendar, we the fractions that it does not have."""
    second, part = divmod(ns, SECOND)
    stamp = str(np.datetime64(second, "s"))
    fraction = f"{part:09d}"
    return f"{stamp}.{fraction[:6] if always_micros or fraction.endswith('000') else fraction}{suffix}"


def field(text: str | None) -> str:
    """A field as csv.QUOTE_MINIMAL writes it, but for null and the empty string."""
    if text is None:
        return ""
    if text == "":
        return '""'
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow([text, "x"])  # so that CR alone is quoted, too
    return out.getvalue()[: -len(",x\r\n")]


def value_text(kind: ColumnType, value: Any) -> str | None:
    """A value of a user's column; times are int nanoseconds, float16 and float32 are numpy's."""
    if value is None:
        return None
    if kind is ColumnType.BOOL:
        return "true" if value else "false"
    if kind is ColumnType.FLOAT64:
        return float64_text(float(value))
    if kind is ColumnType.FLOAT32:
        return small_float_text(np.float32(value))
    if kind is ColumnType.FLOAT16:
        return small_float_text(np.float16(value))
    if kind is ColumnType.STRING:
        return str(value)
    if kind in (ColumnType.TIMESTAMP, ColumnType.TIMESTAMP_UTC):
        if value == -(2**63):
            return None
        return time_text(value, always_micros=False, suffix="Z" if kind is ColumnType.TIMESTAMP_UTC else "")
    return str(int(value))


def id_text(value: bytes | str) -> str:
    return str(uuid.UUID(bytes=value)) if isinstance(value, bytes) else value


def raw_values(array: pa.Array[Any]) -> list[Any]:
    """Python values; times as nanoseconds, narrow floats as numpy's, so that nothing is lost on the way."""
    if pa.types.is_timestamp(array.type):
        return list(array.cast(pa.int64()).to_pylist())
    if pa.types.is_float16(array.type) or pa.types.is_float32(array.type):
        kind = np.float16 if pa.types.is_float16(array.type) else np.float32
        return [None if value is None else kind(value) for value in array.to_pylist()]
    return list(array.to_pylist())


def constants(schema: Schema, boundary_minutes: int, lowercase_workspace: bool) -> list[str]:
    stream = schema.stream
    workspace = "/".join(part or "default" for part in (stream.subscription, stream.resource_group, stream.workspace))
    return [
        str(boundary_minutes),
        workspace.lower() if lowercase_workspace else workspace,
        *(part or "default" for part in (stream.webservice, stream.model, stream.version)),
    ]


def header(schema: Schema) -> bytes:
    names = [column.name for column in schema.columns]
    names += [
        "$aml_dc_correlation_id",
        "$aml_dc_scoring_timestamp",
        "$aml_dc_boundary",
        "$aml_workspace",
        "$aml_service_name",
    ]
    names += ["$aml_model_name", "$aml_model_version", "$aml_request_id", "$aml_dc_row"]
    names += ["$aml_dc_sampling"] if schema.sampled else []
    return line(names)


def line(texts: Iterable[str | None]) -> bytes:
    return (",".join(map(field, texts)) + "\n").encode()


def encode(schema: Schema, batch: pa.RecordBatch, boundary_minutes: int, *, lowercase_workspace: bool = False) -> bytes:
    """All rows of a batch, without the header."""
    columns = [raw_values(column) for column in batch.columns]
    if schema.tensor:
        child = batch.column(0).flatten()
        flat, width = raw_values(child), len(schema.columns)
        columns[:1] = [flat[i::width] for i in range(width)]
    names = len(schema.columns)
    fixed = constants(schema, boundary_minutes, lowercase_workspace)
    out = []
    for row in zip(*columns, strict=True):
        texts = [value_text(column.type, value) for column, value in zip(schema.columns, row[:names], strict=True)]
        rest = list(row[names:])
        texts += [id_text(rest.pop(0)), time_text(rest.pop(0), always_micros=True, suffix="")]
        texts += fixed
        texts.append(str(uuid.UUID(int=0)) if schema.request is IdLayout.NONE else id_text(rest.pop(0)))
        texts.append(str(rest.pop(0)))
        texts += [float64_text(rest.pop(0))] if schema.sampled else []
        out.append(line(texts))
    return b"".join(out)
