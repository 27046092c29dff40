"""What is in a store, read without collectord's own code."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zstandard

Table = list[dict[str, str]]


def decode(name: str, data: bytes) -> str:
    """The text of a blob."""
    if name.endswith(".zst"):
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True) as reader:
            data = reader.read()
    elif name.endswith(".gz"):
        data = gzip.decompress(data)
    return data.decode()


def table(name: str, data: bytes) -> Table:
    """The rows of a blob. It has one header, at its beginning, and ends with a whole row."""
    text = decode(name, data)
    assert text.endswith("\n"), f"{name} is torn"
    if name.endswith(".jsonl"):
        return [row for line in text.splitlines() for row in _event(json.loads(line))]
    lines = list(csv.reader(io.StringIO(text, newline="")))
    header, rows = lines[0], lines[1:]
    assert "$aml_dc_correlation_id" in header, (name, header)
    assert header not in rows, f"{name} has its header more than once"
    assert all(len(row) == len(header) for row in rows), name
    return [dict(zip(header, row, strict=True)) for row in rows]


def _event(event: dict[str, Any]) -> Table:
    """The rows of a line of JSON, each with what the CSV would say of it."""
    first, last = map(int, event["contentrange"].removeprefix("rows ").removesuffix("/*").split("-"))
    assert len(event["data"]) == last - first + 1, event
    ours = {
        "$aml_dc_correlation_id": event["correlationid"],
        "$aml_dc_scoring_timestamp": event["time"].removesuffix("Z"),
        "$aml_request_id": event["xrequestid"],
    }
    return [
        {name: str(value) for name, value in row.items()} | ours | {"$aml_dc_row": str(first + at)}
        for at, row in enumerate(event["data"])
    ]


def directory(root: Path) -> dict[str, bytes]:
    """Blobs of a store that is a directory, by name; what is not data is left out."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    names = {path.relative_to(root).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in names.items() if "/_collectord/" not in f"/{name}"}


def container(connection_string: str, name: str) -> dict[str, bytes]:
    """The same of a container of Azure."""
    from azure.storage.blob import ContainerClient

    with ContainerClient.from_connection_string(connection_string, name) as client:
        names = [blob.name for blob in client.list_blobs() if "/_collectord/" not in f"/{blob.name}"]
        return {name: client.download_blob(name).readall() for name in names}


def rows(blobs: Mapping[str, bytes], part: str = "") -> Table:
    """The rows of all blobs whose name contains `part`."""
    return [row for name, data in blobs.items() if part in name for row in table(name, data)]
