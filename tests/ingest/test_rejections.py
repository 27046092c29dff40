"""That batches are rejected is said with stream and reason, and not for each."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from collectord.ingest import rejections
from collectord.ingest.rejections import PAUSE_SECONDS, Rejections
from collectord.ingest.validate import Refusal
from collectord.model import ColumnType, Reason
from tests.ingest.fakes import SCHEMA, World, bad, in_loop
from tests.reference_batch import make_schema


def said(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    found = [record.__dict__["fields"] for record in caplog.records if record.getMessage() == "rows are rejected"]
    caplog.clear()
    return found


def test_each_stream_and_reason_is_said_once_in_a_while_with_its_rows(caplog: pytest.LogCaptureFixture) -> None:
    one = Rejections()
    late, empty = Refusal(Reason.TIME_OUT_OF_WINDOW, "too late"), Refusal(Reason.NO_ROWS, "none")
    with caplog.at_level(logging.WARNING, "collectord"):
        for at in (0.0, 1.0, PAUSE_SECONDS - 0.1):
            one.tell(SCHEMA, late, 5, at)
        one.tell(SCHEMA, empty, 1, 1.0)
        one.tell(None, late, 2, 1.0)
        first = said(caplog)
        one.tell(SCHEMA, late, 1, PAUSE_SECONDS)
        (again,) = said(caplog)
    stream = SCHEMA.stream.key()
    assert [(fields.get("stream"), fields["reason"], fields["rows"]) for fields in first] == [
        (stream, "time_out_of_window", 5), (stream, "no_rows", 1), (None, "time_out_of_window", 2)
    ]  # fmt: skip
    assert again == {"stream": stream, "reason": "time_out_of_window", "detail": "too late", "rows": 11}


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejections, "MOST", 2)
    one = Rejections()
    for kind in (ColumnType.INT8, ColumnType.INT16, ColumnType.INT32, ColumnType.INT64):
        one.tell(make_schema(kind), Refusal(Reason.NO_ROWS, ""), 1, 0.0)
    assert len(one._said) <= 2


@in_loop
async def test_a_rejected_batch_is_said_without_what_it_held() -> None:
    world = World(eager=True)
    session = await world.greeted()
    told: list[Any] = []
    world.gate.rejections.tell = lambda *words: told.append(words)  # type: ignore[method-assign]
    await session.receive(bad(1, rows=3))
    ((schema, refusal, rows, _),) = told
    assert (schema.id, str(refusal.reason), rows) == (SCHEMA.id, "time_out_of_window", 3)
