"""The schemas of payloads are kept, the last ones, and what is too large is refused."""

from __future__ import annotations

import pytest

from collectord.ingest import forms
from collectord.ingest.forms import Forms, payload
from collectord.ingest.heading import read_heading
from collectord.ingest.payload import BadPayload
from collectord.ingest.records import Packed, read
from collectord.model import Stream
from tests.ingest.payloads import headers


def columns(*names: str) -> list[Packed]:
    return read(b"[{" + b",".join(b'"%s":1' % name.encode() for name in names) + b"}]", {})[1]


def test_the_same_columns_of_the_same_stream_are_one_schema() -> None:
    made = Forms()
    one = made.rules(Stream(model="m"), columns("a", "b"))
    assert made.rules(Stream(model="m"), columns("a", "b")) is one
    others = {
        made.rules(Stream(model="m"), columns("b", "a")).schema.id,
        made.rules(Stream(), columns("a", "b")).schema.id,
    }
    assert len(others | {one.schema.id}) == 3


def test_the_oldest_make_room_by_number_and_by_size() -> None:
    few = Forms(number=2)
    first = few.rules(Stream(), columns("a"))
    few.rules(Stream(), columns("b"))
    assert few.rules(Stream(), columns("a")) is first, "asked for again, it is the newest"
    few.rules(Stream(), columns("c"))
    assert len(few) == 2
    assert few.rules(Stream(), columns("a")) is first
    small = Forms(size=1)
    small.rules(Stream(), columns("a"))
    small.rules(Stream(), columns("b"))
    assert len(small) == 1


def test_a_batch_is_no_larger_than_on_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    heading, found = read_heading(headers(), Stream()), columns("a")
    rules = Forms().rules(heading.stream, found)
    monkeypatch.setattr(forms, "MAX_PAYLOAD_BYTES", 7)
    with pytest.raises(BadPayload, match="the rows need 8 bytes; 7 are allowed") as refused:
        payload(rules, heading, "id", 1, found)
    assert refused.value.status == 413
