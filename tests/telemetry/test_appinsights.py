"""What the answers of Application Insights mean; and the whole exporter against a real endpoint."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from collectord.model import Stream, StreamKind
from collectord.telemetry.appinsights import AppInsights, NoToken, judge
from collectord.telemetry.connection import parse
from collectord.telemetry.event import Event
from collectord.telemetry.exporter import Barred, Exhausted, Fate, Item, Later, Sorted, TooMuch
from collectord.telemetry.poster import NoReply, Reply
from collectord.testing.ingestion import KEY, STATUSES, Ingestion

TAKEN = (Fate.DELIVERED, "")


@pytest.fixture
def endpoint() -> Iterator[Ingestion]:
    with Ingestion(retry_after="7") as made:
        yield made


@pytest.fixture
def exporter(endpoint: Ingestion) -> Iterator[AppInsights]:
    made = AppInsights(parse(endpoint.connection_string))
    yield made
    made.close()


def items(exporter: AppInsights, number: int) -> list[Item]:
    made = [
        exporter.prepare(Event(StreamKind.TRACE, Stream(webservice="svc"), f"id-{at}", 10**18, {"message": f"m{at}"}))
        for at in range(number)
    ]
    return [one for one in made if isinstance(one, Item)]


def reply(status: int, body: Any = b"", **headers: str) -> Reply:
    return Reply(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


def tracked(received: int, accepted: int, *errors: tuple[int, int]) -> dict[str, Any]:
    return {
        "itemsReceived": received, "itemsAccepted": accepted,
        "errors": [{"index": at, "statusCode": status, "message": "m"} for at, status in errors],
    }  # fmt: skip


def test_all_taken_or_each_item_as_it_is_said() -> None:
    assert judge(reply(200, tracked(2, 2)), 2, 0) == Sorted((TAKEN, TAKEN))
    said = judge(reply(206, tracked(4, 1, (1, 400), (2, 500), (3, 429))), 4, 0)
    assert said == Sorted((TAKEN, (Fate.REFUSED, "item_400"), (Fate.AGAIN, "item_500"), (Fate.AGAIN, "item_429")))
    assert judge(reply(400, tracked(1, 0, (0, 400))), 1, 0) == Sorted(((Fate.REFUSED, "item_400"),))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"<html>", b"[]", b"null", b"{}", tracked(3, 3), tracked(2, 1), tracked(2, 2, (0, 400)), tracked(2, 1, (2, 400)),
        tracked(2, 1, (-1, 400)), {**tracked(2, 1), "errors": [1]}, {**tracked(2, 1), "errors": {}},
        {**tracked(2, 1), "errors": [{"index": True, "statusCode": 400}]}, b'{"itemsReceived": 2', b"\xff" * 100,
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [200, 206])
def test_an_answer_that_does_not_add_up_is_no_answer(status: int, body: Any) -> None:
    said = judge(reply(status, body), 2, 0)
    assert isinstance(said, Later)
    assert (said.reason, said.doubtful) == ("garbage", True)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(402, Exhausted), (439, Exhausted), (401, Barred), (403, Barred), (404, Barred), (405, Barred), (413, TooMuch),
     (400, TooMuch), (408, Later), (429, Later), (500, Later), (502, Later), (503, Later), (504, Later), (599, Later),
     (204, Later), (418, Later)],
)  # fmt: skip
def test_every_status_has_its_remedy(status: int, kind: type) -> None:
    assert isinstance(judge(reply(status), 1, 0), kind)


def test_the_endpoint_is_left_alone_as_long_as_it_asks() -> None:
    for status in (429, 503, 402, 439):
        said = judge(reply(status, **{"Retry-After": "120"}), 1, 0)
        assert isinstance(said, Later | Exhausted)
        assert said.retry_after == 120
        said = judge(reply(status, **{"Retry-After": "Thu, 01 Jan 1970 00:02:00 GMT"}), 1, 60.0)
        assert isinstance(said, Later | Exhausted)
        assert said.retry_after == 60
    said = judge(reply(429, **{"Retry-After": "soon"}), 1, 0)
    assert isinstance(said, Later)
    assert said.retry_after is None


def test_whether_a_request_without_an_answer_may_have_arrived_is_told() -> None:
    assert judge(NoReply("x", sent=True), 1, 0) == Later("no_answer", "x", doubtful=True)
    assert judge(NoReply("x", sent=False), 1, 0) == Later("no_answer", "x")


def test_items_arrive_on_one_connection(endpoint: Ingestion, exporter: AppInsights) -> None:
    for _ in range(3):
        assert exporter.send(items(exporter, 5)) == Sorted((TAKEN,) * 5)
    assert endpoint.connections == 1
    assert endpoint.problems == []
    assert set(endpoint.taken) == {f"id-{at}" for at in range(5)}


@pytest.mark.parametrize("plan", [*map(str, STATUSES), "partial", "garbage", "redirect", "close", "drop_reply"])
def test_every_fault_of_the_endpoint_is_understood(endpoint: Ingestion, exporter: AppInsights, plan: str) -> None:
    endpoint.plan(plan)
    said = exporter.send(items(exporter, 3))
    assert endpoint.planned == 0
    if plan == "partial":
        assert said == Sorted((TAKEN, (Fate.REFUSED, "item_400"), (Fate.AGAIN, "item_500")))
    elif plan in ("garbage", "close", "drop_reply"):
        assert isinstance(said, Later)
        assert said.doubtful
    elif plan == "redirect":
        assert isinstance(said, Barred)
    else:
        assert not isinstance(said, Sorted)
    assert exporter.send(items(exporter, 3)) == Sorted((TAKEN,) * 3)


def test_a_wrong_key_refuses_every_item(endpoint: Ingestion) -> None:
    other = KEY.replace("1", "2")
    exporter = AppInsights(parse(endpoint.connection_string.replace(KEY, other)))
    assert exporter.send(items(exporter, 2)) == Sorted(((Fate.REFUSED, "item_400"),) * 2)
    exporter.close()


def test_nobody_there_is_no_doubt(endpoint: Ingestion) -> None:
    exporter = AppInsights(parse(f"InstrumentationKey={KEY};IngestionEndpoint=http://127.0.0.1:9"))
    said = exporter.send(items(exporter, 1))
    assert said == Later("no_answer", "no connection can be made")
    exporter.close()


def test_a_token_goes_along_and_its_absence_is_told(endpoint: Ingestion) -> None:
    exporter = AppInsights(parse(endpoint.connection_string), token=lambda: "t0ken")
    exporter.send(items(exporter, 1))
    assert endpoint.headers[-1]["authorization"] == "Bearer t0ken"
    exporter.close()

    def none() -> str:
        raise NoToken("nobody is signed in")

    exporter = AppInsights(parse(endpoint.connection_string), token=none)
    assert exporter.send(items(exporter, 1)) == Barred("credential", "nobody is signed in")
    assert len(endpoint.requests) == 1
    exporter.close()


def test_a_probe_says_whether_somebody_answers_and_delivers_nothing(endpoint: Ingestion, exporter: AppInsights) -> None:
    assert exporter.probe() == ""
    for plan, said in (
        ("404", "no ingestion service"),
        ("402", "quota"),
        ("garbage", "without the answer"),
        ("403", "Entra"),
    ):
        endpoint.plan(plan)
        assert said in exporter.probe()
    assert endpoint.items == []


def test_no_answer_quotes_what_was_sent(endpoint: Ingestion, exporter: AppInsights) -> None:
    for plan in (*map(str, STATUSES), "garbage", "redirect", "close"):
        endpoint.plan(plan)
        assert "m0" not in repr(exporter.send(items(exporter, 1)))
        assert KEY not in repr(exporter)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_endpoint_takes_what_the_services_own_library_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake demands no more, and knows the same types, as what the library makes for the real service."""
    monkeypatch.setenv("APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL", "true")
    from opencensus.ext.azure.common import utils
    from opencensus.ext.azure.log_exporter import AzureLogHandler

    with Ingestion(compressed=False) as endpoint:
        monkeypatch.setattr(utils, "azure_monitor_context", {"ai.cloud.role": "svc"})
        handler = AzureLogHandler(
            connection_string=endpoint.connection_string.rstrip(";/"), enable_local_storage=False, export_interval=0.05
        )
        record = logging.LogRecord("n", logging.INFO, "f", 1, "hello", None, None)
        record.custom_dimensions = {"itemId": "theirs"}
        try:
            raise ValueError("no")
        except ValueError as error:
            failed = logging.LogRecord(
                "n", logging.ERROR, "f", 1, "failed", None, (ValueError, error, error.__traceback__)
            )
        envelopes = [handler.log_record_to_envelope(record), handler.log_record_to_envelope(failed)]
        for envelope in envelopes:
            # Their handler leaves numbers in the properties, which the service takes and turns into texts.
            properties = envelope.data.baseData.properties
            envelope.data.baseData["properties"] = {name: str(value) for name, value in properties.items()}
        assert handler._transmit(envelopes) == 0
        handler.close()
        assert endpoint.problems == []
        assert endpoint.taken["theirs"] == 1
        assert len(endpoint.items) == 2
