"""What the headers of a payload say."""

from __future__ import annotations

import pytest

from collectord.ingest.heading import MAX_TRACE, read_heading
from collectord.ingest.payload import BadPayload
from collectord.model import Stream
from tests.ingest.payloads import headers
from tests.reference_batch import NOW

ARM = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
    "/onlineEndpoints/e/deployments/d"
)


def test_what_the_sdk_sends_is_understood() -> None:
    heading = read_heading(headers(), Stream(workspace="w"))
    assert heading.stream == Stream(workspace="w", designation="model_inputs")
    assert heading.time_ns == NOW // 1_000_000_000 * 1_000_000_000
    assert heading.correlation_id == "a-request"
    assert heading.trace == "6b1d2c0e-0000-4000-8000-000000000001"


def test_headers_name_the_stream_before_the_settings_do() -> None:
    given = headers(ce_model_version="7", ce_source=ARM, ce_model="m", ce_webservice="svc")
    stream = read_heading(given, Stream(workspace="other", model="other", version="1")).stream
    assert stream == Stream("s", "g", "w", "svc", "m", "7", "model_inputs")
    assert read_heading(headers(ce_source=ARM), Stream()).stream == Stream("s", "g", "w", "e", "d", "", "model_inputs")
    named = headers(ce_subscription="a", ce_resource_group="b", ce_workspace="c", ce_source="/something/else")
    assert read_heading(named, Stream()).stream == Stream("a", "b", "c", designation="model_inputs")


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1600000000", 1_600_000_000_000_000_000),
        ("1600000000.25", 1_600_000_000_250_000_000),
        ("1600000000.123456789123", 1_600_000_000_123_456_789),
        ("2020-09-13T12:26:40Z", 1_600_000_000_000_000_000),
        ("2020-09-13T14:26:40.000000001+02:00", 1_600_000_000_000_000_001),
        ("2020-09-13t12:26:40.5z", 1_600_000_000_500_000_000),
        ("0", 0),
    ],
)
def test_a_time_is_seconds_or_rfc_3339(text: str, time_ns: int) -> None:
    assert read_heading(headers(ce_time=text), Stream()).time_ns == time_ns


@pytest.mark.parametrize(
    "text",
    [None, "", "now", "-1", "nan", "1e9", "99999999999", "1600000000000", "2020-13-01T00:00:00Z", "2020-09-13",
     "2020-09-13T12:26:40", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "١٦٠٠٠٠٠٠٠٠"],
)  # fmt: skip
def test_a_time_that_is_missing_or_none_is_refused(text: str | None) -> None:
    with pytest.raises(BadPayload, match="ce-time"):
        read_heading(headers(ce_time=text), Stream())


@pytest.mark.parametrize("kind", [None, "", "azureml.inference.", "model_inputs", "com.example.inputs"])
def test_a_collection_that_is_not_named_is_refused(kind: str | None) -> None:
    with pytest.raises(BadPayload, match="ce-type") as refused:
        read_heading(headers(ce_type=kind), Stream())
    assert refused.value.status == 400


def test_the_compact_format_is_refused_and_its_switch_named() -> None:
    with pytest.raises(BadPayload, match="AZUREML_MDC_FORMAT_COMPACT") as refused:
        read_heading(headers(Content_Type="application/octet-stream"), Stream())
    assert refused.value.status == 415


@pytest.mark.parametrize(
    "more",
    [{"Content_Type": "text/csv"}, {"Content_Type": None}, {"Content_Type": "application/json; charset=utf-16"},
     {"Content_Encoding": "gzip"}],
)  # fmt: skip
def test_other_formats_are_refused(more: dict[str, str | None]) -> None:
    with pytest.raises(BadPayload) as refused:
        read_heading(headers(**more), Stream())
    assert refused.value.status == 415


def test_json_may_say_that_it_is_utf_8() -> None:
    assert read_heading(headers(Content_Type="Application/JSON; charset=UTF-8"), Stream()).trace


def test_ids_may_be_missing_and_may_not_be_endless() -> None:
    heading = read_heading(headers(trace_id=None, ce_x_request_id=None), Stream())
    assert (heading.trace, heading.correlation_id) == ("", "")
    read_heading(headers(trace_id="x" * MAX_TRACE), Stream())
    with pytest.raises(BadPayload, match="trace-id"):
        read_heading(headers(trace_id="x" * (MAX_TRACE + 1)), Stream())


def test_a_header_that_is_not_utf_8_is_latin_1() -> None:
    """http.client writes it so; aiohttp reads it as UTF-8 with the bytes that are none as surrogates."""
    sent = "kühn".encode("latin-1").decode("utf-8", "surrogateescape")
    assert read_heading(headers(ce_x_request_id=sent), Stream()).correlation_id == "kühn"
    assert read_heading(headers(ce_x_request_id="kühn"), Stream()).correlation_id == "kühn"
