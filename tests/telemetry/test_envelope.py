"""Items of Application Insights: every kind passes the endpoint's checks, whatever a user has put into it."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectord.kinds import EVENTS
from collectord.model import ColumnType, Stream, StreamKind
from collectord.telemetry.envelope import MAX_ITEM, MAX_KEY, MAX_MESSAGE, MAX_VALUE, Shape
from collectord.telemetry.event import Event
from collectord.telemetry.exporter import Item, Unfit
from collectord.testing.ingestion import KEY, check

SHAPE = Shape(KEY)
STREAM = Stream("s", "rg", "ws", "svc", "m", "3", "traces")
NOW = 1_700_000_000_123_456_789
ID = "0190b8a0-0000-7000-8000-000000000001"


def event(kind: StreamKind, /, sampling: float = 1.0, **values: Any) -> Event:
    return Event(kind, STREAM, ID, NOW, values, sampling)


def item(one: Event) -> tuple[Item, dict[str, Any]]:
    made = SHAPE.item(one)
    assert isinstance(made, Item)
    assert made.size == len(made.body) <= MAX_ITEM
    found = json.loads(made.body, parse_constant=pytest.fail)
    check(found)
    assert SHAPE.item(one) == made, "the same event always makes the same item"
    return made, found


def base(one: Event) -> dict[str, Any]:
    found: dict[str, Any] = item(one)[1]["data"]["baseData"]
    return found


def test_a_request_has_its_ids_and_the_keys_of_the_inference_server() -> None:
    dimensions = {"Request Id": "r", "Client Request Id": "c", "Response Value": "[1, 2]", "Container Id": "pod"}
    one = event(
        StreamKind.REQUEST, operation_Id="a" * 32, operation_ParentId="b" * 16, operation_Name="POST /score", id="c" * 16,
        cloud_RoleInstance="pod-1", name="POST /score", url="http://h/score", duration=3_723_004.5, resultCode="200",
        success=True, customDimensions=json.dumps(dimensions),
    )  # fmt: skip
    _, found = item(one)
    assert found["iKey"] == KEY
    assert found["time"] == "2023-11-14T22:13:20.123456Z"
    assert found["tags"]["ai.operation.id"] == "a" * 32
    assert found["tags"]["ai.operation.parentId"] == "b" * 16
    assert found["tags"]["ai.cloud.role"] == "svc"
    assert found["tags"]["ai.cloud.roleInstance"] == "pod-1"
    data = found["data"]["baseData"]
    assert (data["duration"], data["responseCode"], data["success"]) == ("0.01:02:03.004500", "200", True)
    assert data["properties"] == {"itemId": ID, **dimensions, "model": "m", "modelVersion": "3"}


def test_what_python_and_logging_print_keeps_its_shape() -> None:
    contents = {"Contents": {"input": [1.5, None], "nested": {"a": "ä"}}, "n": 1, "yes": True}
    data = base(event(StreamKind.TRACE, message="STDOUT", severityLevel=1, customDimensions=json.dumps(contents)))
    assert data["message"] == "STDOUT"
    assert json.loads(data["properties"]["Contents"]) == contents["Contents"]
    assert (data["properties"]["n"], data["properties"]["yes"]) == ("1", "true")


def test_exceptions_dependencies_and_metrics() -> None:
    data = base(event(StreamKind.EXCEPTION, type="ValueError", message="no", details="Traceback …", severityLevel=3))
    assert data["exceptions"][0]["stack"] == "Traceback …"
    assert data["exceptions"][0]["hasFullStack"] is True
    data = base(
        event(StreamKind.DEPENDENCY, type="SQL", target="db", name="q", data="SELECT", success=False, resultCode="7")
    )
    assert (data["type"], data["target"], data["success"]) == ("SQL", "db", False)
    data = base(event(StreamKind.METRIC, name="n", value=6.0, valueCount=3, valueMin=1.0, valueMax=3.0))
    assert data["metrics"] == [{"name": "n", "value": 6.0, "kind": 1, "count": 3, "min": 1.0, "max": 3.0}]
    assert base(event(StreamKind.METRIC, name="n", value=6.0, valueCount=1))["metrics"][0].keys() == {"name", "value"}


def test_sampled_events_say_for_how_many_they_stand() -> None:
    assert item(event(StreamKind.TRACE, sampling=0.25, message="m"))[1]["sampleRate"] == 25.0
    assert "sampleRate" not in item(event(StreamKind.TRACE, message="m"))[1]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_a_metric_that_is_no_number_is_said_to_be_unfit(value: float | None) -> None:
    values = {} if value is None else {"value": value}
    assert SHAPE.item(event(StreamKind.METRIC, name="n", **values)) == Unfit("not_a_number")


@pytest.mark.parametrize("duration", [math.nan, math.inf, -5.0, 1e18])
def test_a_duration_that_is_none_is_sent_as_one(duration: float) -> None:
    base(event(StreamKind.REQUEST, name="n", duration=duration, success=True))


def test_nothing_is_cut_at_the_limits_and_everything_visibly_above() -> None:
    exact = base(
        event(
            StreamKind.TRACE, message="m" * MAX_MESSAGE, customDimensions=json.dumps({"k" * MAX_KEY: "v" * MAX_VALUE})
        )
    )
    assert "collectord.cut" not in exact["properties"]
    over = event(
        StreamKind.TRACE, message="m" * (MAX_MESSAGE + 1), customDimensions=json.dumps({"k" * (MAX_KEY + 1): "v" * (MAX_VALUE + 1)})
    )  # fmt: skip
    made, found = item(over)
    data = found["data"]["baseData"]
    assert made.cut
    assert made.whole is None
    assert data["message"].endswith(f"… [cut: {MAX_MESSAGE + 1} characters]")
    (key,) = (name for name in data["properties"] if name.startswith("kk"))
    assert key.endswith("…")
    assert data["properties"][key].endswith(f"… [cut: {MAX_VALUE + 1} characters]")
    assert data["properties"]["collectord.cut"] == f"message, {key}, {key}"


def test_long_keys_that_begin_alike_stay_apart() -> None:
    keys = {"k" * 200 + str(number): str(number) for number in range(12)}
    properties = base(event(StreamKind.TRACE, message="m", customDimensions=json.dumps(keys)))["properties"]
    assert sorted(properties[key] for key in properties if key.startswith("kk")) == sorted(keys.values())


def test_an_item_over_64_kb_goes_whole_into_a_blob_and_refers_to_it() -> None:
    contents = {"Contents": "x" * 10_000_000}
    made, found = item(event(StreamKind.TRACE, message="STDOUT", customDimensions=json.dumps(contents)))
    assert made.whole is not None
    blob, data = made.whole
    assert blob == f"_collectord/telemetry/large/2023/11/14/{ID}.json"
    whole = json.loads(data)
    assert whole["customDimensions"] == contents
    assert (whole["itemId"], whole["itemType"], whole["cloud_RoleName"]) == (ID, "trace", "svc")
    properties = found["data"]["baseData"]["properties"]
    assert properties["collectord.blob"] == blob
    assert properties["collectord.size"] == str(len(data))
    assert properties["collectord.sha256"] == hashlib.sha256(data).hexdigest()
    assert properties["Contents"].endswith("… [cut: 10000000 characters]")


def test_a_thousand_dimensions_of_any_length_fit() -> None:
    for length in (1, 100, 9000):
        dimensions = {f"name {number:04}": "v" * length for number in range(1000)}
        made, found = item(event(StreamKind.TRACE, message="m", customDimensions=json.dumps(dimensions)))
        assert (made.whole is not None) is (length > 1)
        assert len(found["data"]["baseData"]["properties"]) > (1000 if length == 1 else 50)


@pytest.mark.parametrize(
    "text", ["not JSON", "[1]", "NaN", '{"a": NaN}', '{"a": ' * 2000, '{"a": "\\ud800"}', "1" * 100_000]
)
def test_dimensions_that_are_no_object_are_sent_as_the_text_they_are(text: str) -> None:
    properties = base(event(StreamKind.TRACE, message="m", customDimensions=text))["properties"]
    assert properties["customDimensions"][:50] == text[:50]


def test_a_column_of_a_later_client_becomes_a_property() -> None:
    assert base(event(StreamKind.TRACE, message="m", later=7))["properties"]["later"] == "7"


def test_our_own_properties_cannot_be_forged() -> None:
    found = base(event(StreamKind.TRACE, message="m", customDimensions='{"itemId": "other"}'))["properties"]
    assert found["itemId"] == ID
    assert found["collectord.cut"] == "itemId", "what is left out says so"


_TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from([1, 1024, 1025, 2048, 8191, 8192, 8193, 32_769, 70_001]).map(lambda n: "ä😀\x00\n"[n % 4] * n),
)
_JSONS = st.one_of(
    _TEXTS,
    st.dictionaries(st.text(max_size=300), st.one_of(_TEXTS, st.floats(), st.none(), st.booleans(), st.lists(st.integers())), max_size=30)
    .map(lambda found: json.dumps(found)),
)  # fmt: skip
_VALUES = {
    ColumnType.STRING: _TEXTS, ColumnType.FLOAT64: st.floats(), ColumnType.INT64: st.integers(-(1 << 63), (1 << 63) - 1),
    ColumnType.BOOL: st.booleans(),
}  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(list(EVENTS)))
def test_whatever_is_in_an_event_its_item_passes_the_service(data: st.DataObject, kind: StreamKind) -> None:
    values = {}
    for column in EVENTS[kind].columns:
        wanted = _JSONS if column.name == "customDimensions" else _VALUES[column.type]
        value = data.draw(st.one_of(st.none(), wanted), column.name)
        if value is not None:
            values[column.name] = value
    one = event(kind, **values)
    made = SHAPE.item(one)
    if isinstance(made, Unfit):
        assert kind is StreamKind.METRIC
        return
    item(one)
