"""docs/formats/telemetry-jsonl.md shows a line as it lands, and names every column."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from collectord.buffer.assemble import Rows
from collectord.encode.telemetry import TelemetryPlan
from collectord.kinds import COMMON, EVENTS, LINE_FIELDS
from collectord.model import FrameTag, StreamKind
from tests.sent_events import batch_of, schema_of

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "formats" / "telemetry-jsonl.md").read_text(encoding="utf-8")


def test_the_line_on_the_page_is_what_a_daemon_writes() -> None:
    """To the byte: a line that has landed once is never written otherwise."""
    schema = schema_of(StreamKind.TRACE, workspace="ws", webservice="my-service", model="best", version="10")
    event = {
        "operation_Id": "4bf92f3577b34da6a3ce929d0e0e4736", "message": "STDOUT",
        "customDimensions": '{"Contents":{"input":[[1]]}}',
    }  # fmt: skip
    time = int(datetime.fromisoformat("2026-11-21T17:50:04+00:00").timestamp()) * 10**9 + 123_456_789
    sent = batch_of(schema, [event], ids=["019a9f3e-7c1b-7000-8000-000000000001"], times=[time]).SerializeToString()
    batch = Rows(schema, [(memoryview(sent), 0, 1)]).batch()
    shown = re.findall(r"^    (\{\"itemId\".*)$", PAGE, re.MULTILINE)
    assert [f"{line}\n".encode() for line in shown] == [TelemetryPlan(schema).encode(batch, FrameTag(bytes(16), 1, 1))]


def test_every_column_is_named_with_its_table() -> None:
    for kind in EVENTS.values():
        (row,) = re.findall(rf"^\| `{kind.table}` \|(.*)$", PAGE, re.MULTILINE)
        assert re.findall(r"`(\w+)`", row) == [column.name for column in kind.columns[len(COMMON) :]]
    for name in (*LINE_FIELDS, *(column.name for column in COMMON)):
        assert f"`{name}`" in PAGE
