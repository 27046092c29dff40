"""Events that wait, as items like those that land."""

from __future__ import annotations

import uuid

import pytest

from collectord.items import items
from collectord.logline import iso
from collectord.model import StreamKind
from collectord.schema import parse_schema
from tests import events

NOON = 1_763_726_400_000_000_000


@pytest.mark.parametrize("kind", [kind for kind in StreamKind if kind is not StreamKind.ROWS])
def test_each_kind_keeps_what_it_has_and_leaves_out_what_it_has_not(kind: StreamKind) -> None:
    schema = parse_schema(events.schema(kind))
    values = {
        column.name: {13: f"ä{n}", 6: -n, 5: n, 12: n + 0.5, 1: bool(n % 2)}.get(int(column.type), n)
        for n, column in enumerate(schema.columns)
    }
    values["customDimensions"] = '{"a": {"b": [1, NaN]}}'
    one, two = str(uuid.uuid4()), str(uuid.uuid4())
    sent = [{**values, "id": one}, {"id": two}]
    full, bare = items(schema, events.batch(1, sent, kind, time_ns=NOON).SerializeToString())
    common = {"workspace": "default", "cloud_RoleName": "svc", "model": "m", "modelVersion": "1"}
    assert full.items() >= {**common, "itemId": one, "timestamp": iso(NOON)}.items()
    assert full["customDimensions"] == {"a": {"b": [1, None]}}
    for column in schema.columns:
        if column.name not in ("customDimensions", "id"):
            assert full[column.name] == values[column.name], column.name
    assert set(bare) - {"id"} == {*common, "itemId", "itemType", "timestamp"}
    assert (bare["itemId"], bare["timestamp"]) == (two, iso(NOON + 1000))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_has_not_is_left_out(number: float) -> None:
    schema = parse_schema(events.schema(StreamKind.METRIC))
    batch = events.batch(1, [{"name": "m", "value": number}], StreamKind.METRIC)
    (item,) = items(schema, batch.SerializeToString())
    assert "value" not in item
    assert item["name"] == "m"


@pytest.mark.parametrize("text", ["no json", "[" * 100_000, '{"a":'])
def test_dimensions_that_are_no_json_stay_text(text: str) -> None:
    batch = events.batch(1, [{"customDimensions": text}])
    (item,) = items(parse_schema(events.schema()), batch.SerializeToString())
    assert item["customDimensions"] == text
