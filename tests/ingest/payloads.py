"""Payloads of the v2 SDK for tests: headers, a slow reference of what records become, and the rows as they will land."""

from __future__ import annotations

import csv
import io
import json
import sys
from typing import Any

from collectord import batch
from collectord.buffer.assemble import assemble
from collectord.encode.csv import CsvPlan, TextBuffer
from collectord.model import Schema
from tests.reference_batch import NOW


def headers(collection: str = "model_inputs", /, **more: str | None) -> dict[str, str]:
    """As the SDK sends them; `_` for `-`. None leaves one out."""
    said: dict[str, str | None] = {
        "Content-Type": "application/json",
        "trace-id": "6b1d2c0e-0000-4000-8000-000000000001",
        "ce-time": str(NOW // 1_000_000_000),
        "ce-type": f"azureml.inference.{collection}",
        "ce-collect-data-type": "pandas.DataFrame",
        "ce-agent": "azureml-ai-monitoring/1.0.0",
        "ce-x-request-id": "a-request",
        "ce-model-version": "default",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    return {name: value for name, value in said.items() if value is not None}


def rows(schema: Schema, payload: bytes) -> list[dict[str, str]]:
    """What will stand in the blob, by the way that every batch goes."""
    found = batch.find(payload)
    plan = CsvPlan(schema, 1440)
    text = bytes(plan.encode(assemble(schema, [(memoryview(payload), 0, found.rows)]), TextBuffer(0))).decode()
    header = next(csv.reader([plan.header.decode()]))
    return [dict(zip(header, line, strict=True)) for line in csv.reader(io.StringIO(text, newline=""))]


def expected(body: bytes) -> list[dict[str, str]]:
    """The user's columns of a good body, value by value."""
    records = json.loads(body)
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = {name: [record.get(name) for record in records] for name in names}
    floats = {name for name, values in columns.items() if _are_floats(values)}
    return [{name: _text(columns[name][at], name in floats) for name in names} for at in range(len(records))]


def same(landed: list[dict[str, str]], wanted: list[dict[str, str]]) -> bool:
    """Whether they are the same texts; JSON may be spelled in several ways."""
    if len(landed) != len(wanted) or any(list(one) != list(two) for one, two in zip(landed, wanted, strict=True)):
        return False
    pairs = ((one[name], two[name]) for one, two in zip(landed, wanted, strict=True) for name in one)
    return all(one == two or (two[:1] in ("[", "{") and json.loads(one) == json.loads(two)) for one, two in pairs)


def _are_floats(values: list[Any]) -> bool:
    kinds = {type(value) for value in values if value is not None}
    if float not in kinds or not kinds <= {int, float}:
        return False
    return all(abs(value) <= sys.float_info.max and float(value) == value for value in values if value is not None)


def _text(value: Any, is_float: bool) -> str:
    if value is None:
        return ""
    if is_float:
        return repr(float(value))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return str(value)
