"""What a script tells arrives as it was told, and nothing that it hands over does harm."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import uuid
from typing import Any

import pytest
from collectord_client import Client, Request
from collectord_client.errors import CollectError
from collectord_client.telemetry import cuts, stack
from collectord_client.telemetry.kinds import KINDS

from tests.client.fakedaemon import FakeDaemon
from tests.client.telemetry.events import own, told

MEGABYTE = 1 << 20


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001
        return caught


def test_a_trace(client: Client, daemon: FakeDaemon) -> None:
    client.trace("loaded", seconds=1.5, model={"name": "m"})
    client.trace("odd", severity="warning")
    client.trace("bad", severity=4)
    first, second, third = told(client, daemon, "traces")
    assert (first["message"], first["severityLevel"], second["severityLevel"], third["severityLevel"]) == (
        "loaded",
        1,
        2,
        4,
    )
    assert first["customDimensions"] == {
        "Container Id": "pod-1", "Workspace Name": "w", "Service Name": "svc", "seconds": 1.5, "model": {"name": "m"},
    }  # fmt: skip
    assert first["cloud_RoleInstance"] == "pod-1"
    assert uuid.UUID(first["itemId"]).version == 7
    assert "operation_Id" not in first
    assert {row.stream for row in daemon.rows} == {"s/r/w/svc/m/1"}
    assert client.stats()["events"] == client.stats()["collected"] == client.stats()["acknowledged"] == 3


def test_a_metric(client: Client, daemon: FakeDaemon) -> None:
    client.metric("rows", 7)
    client.metric("latency", 12.5, count=5, min=1, max=4.5, unit="ms")
    one, sum = told(client, daemon, "customMetrics")
    assert (one["name"], one["value"], one["valueCount"]) == ("rows", 7.0, 1)
    assert "valueMin" not in one
    assert (sum["value"], sum["valueCount"], sum["valueMin"], sum["valueMax"]) == (12.5, 5, 1.0, 4.5)
    assert own(sum) == {"unit": "ms"}


@pytest.mark.parametrize("count", [1 << 63, 1 << 70, -1])
def test_a_count_that_is_none_costs_no_other(make: Any, daemon: FakeDaemon, count: int) -> None:
    client = make(telemetry=True)
    client.metric("before", 1)
    client.metric("odd", 1, count=count)
    client.metric("behind", 1)
    assert [event["name"] for event in told(client, daemon, "customMetrics")] == ["before", "behind"]
    assert client.stats()["dropped"] == {"bad_number": 1}


@pytest.mark.parametrize("wrong", ["many", None, [1.0], 10**400, 1j, object()])
def test_what_is_no_number_is_counted_as_that(make: Any, daemon: FakeDaemon, wrong: Any) -> None:
    """It is a mistake of the script's, not of ours."""
    client = make(telemetry=True)
    client.metric("odd", wrong)
    client.metric("odd", 1, count=wrong)
    client.dependency("odd", duration="soon" if wrong is None else wrong)
    client.metric("behind", 1)
    assert [event["name"] for event in told(client, daemon, "customMetrics")] == ["behind"]
    assert client.stats()["dropped"] == {"bad_number": 3}


def test_a_number_that_has_no_text_costs_no_other(client: Client, daemon: FakeDaemon) -> None:
    client.trace("before")
    client.trace("odd", huge=10**5000, large=1 << 64)
    client.trace("behind")
    before, odd, behind = told(client, daemon, "traces")
    assert (before["message"], behind["message"]) == ("before", "behind")
    assert own(odd) == {"huge": "(int: its text failed with ValueError)", "large": "18446744073709551616"}


def test_an_exception_with_the_input_that_caused_it(client: Client, daemon: FakeDaemon) -> None:
    client.exception(raised(ValueError("no such customer")), input={"customer": 7}, step="join")
    [event] = told(client, daemon, "exceptions")
    assert (event["type"], event["message"], event["severityLevel"]) == ("ValueError", "no such customer", 3)
    assert event["details"].startswith("Traceback")
    assert event["details"].endswith("ValueError: no such customer\n")
    assert own(event) == {"step": "join", "Input": {"customer": 7}}


def test_an_exception_whose_text_must_not_leave(make: Any, daemon: FakeDaemon) -> None:
    client = make(telemetry=True, errors="types")
    client.exception(raised(ValueError("secret")))
    [event] = told(client, daemon, "exceptions")
    assert event["type"] == "ValueError"
    assert "message" not in event
    assert "secret" not in event["details"].replace('ValueError("secret")', "")
    assert "File " in event["details"]


def test_exceptions_that_cannot_be_put_into_words(client: Client, daemon: FakeDaemon) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("secret")

    client.exception(Mute())
    [event] = told(client, daemon, "exceptions")
    assert event["message"] == "(its text failed with RuntimeError)"
    assert event["type"].endswith("Mute")


def test_a_stack_of_a_recursion_is_short() -> None:
    def down(level: int) -> None:
        down(level + 1)

    try:
        down(0)
    except RecursionError as error:
        assert len(stack.details_of(error)) < 10_000


def test_a_dependency_takes_the_time_and_what_is_told_within_it(client: Client, daemon: FakeDaemon) -> None:
    with (
        Request("r-1"),
        client.dependency("GET /features", target="store:443", type="HTTP", data="/features?x") as call,
    ):
        client.trace("inside")
        with client.dependency("inner"):
            pass
        call.result_code = 200
    client.trace("outside")
    outer, inner = told(client, daemon, "dependencies")
    if outer["name"] == "inner":
        outer, inner = inner, outer
    assert (outer["name"], outer["target"], outer["type"], outer["data"]) == (
        "GET /features", "store:443", "HTTP", "/features?x",
    )  # fmt: skip
    assert (outer["resultCode"], outer["success"], outer["duration"] >= inner["duration"] >= 0) == ("200", True, True)
    inside, outside = told(client, daemon, "traces")
    assert inside["operation_ParentId"] == inner["operation_ParentId"] == outer["id"]
    assert inside["operation_Id"] == inner["operation_Id"] == outer["operation_Id"]
    assert own(inside)["Request Id"] == own(outer)["Request Id"] == "r-1"
    assert "operation_Id" not in outside


def test_a_dependency_that_fails_and_one_that_has_been(client: Client, daemon: FakeDaemon) -> None:
    with pytest.raises(ConnectionError), client.dependency("query"):
        raise ConnectionError("gone")
    client.dependency("earlier", duration=2000.0, success=False, result_code=503)
    first, second = sorted(told(client, daemon, "dependencies"), key=lambda event: str(event["name"]), reverse=True)
    assert (first["success"], first["resultCode"]) == (False, "ConnectionError")
    assert (second["success"], second["resultCode"], second["duration"]) == (False, "503", 2000.0)
    assert first["time_ns"] - second["time_ns"] > 1_500_000_000, "it began when it did"


@pytest.mark.parametrize("pairs", [{"duration": "soon"}, {"duration": float("nan")}])
def test_a_duration_that_is_none(make: Any, daemon: FakeDaemon, pairs: dict[str, Any]) -> None:
    client = make(telemetry=True)
    client.dependency("x", **pairs)
    assert client.flush(10)
    stats = client.stats()
    assert stats["events"] + sum(stats["dropped"].values()) == 1


def test_a_strict_client_raises_what_any_other_counts(client: Client, make: Any) -> None:
    lax = make(telemetry=True)
    for wrong in (
        lambda one: one.trace("x", severity="loud"),
        lambda one: one.metric("x", "many"),
        lambda one: one.exception("no exception"),
    ):
        with pytest.raises(CollectError):
            wrong(client)
        wrong(lax)
    assert lax.flush(10)
    assert lax.stats()["dropped"] == {"bad_event": 2, "bad_number": 1}


# ------------------------------------------------------------------ bad input


def test_ten_megabytes(client: Client, daemon: FakeDaemon) -> None:
    whole = "x" * (10 * MEGABYTE)
    client.trace(whole)
    client.trace("small", payload=whole)
    client.trace("small", payload={"nested": [whole]})
    events = told(client, daemon, "traces")
    assert len(events) == 3
    assert max(daemon.sizes) < 3 * MEGABYTE
    digest = {"size": len(whole), "sha256": hashlib.sha256(whole.encode()).hexdigest()}
    assert own(events[0])[cuts.MARK] == {"message": digest}
    assert whole.startswith(events[0]["message"])
    assert len(events[0]["message"]) > MEGABYTE // 3
    assert own(events[1])[cuts.MARK] == {"payload": digest}
    assert own(events[2])[cuts.MARK]["payload"]["size"] == len(whole) + len('{"nested":[""]}')
    assert client.stats()["notes"] == {"cut": 3}


@pytest.mark.parametrize("letter", ["\0", "\ud800", '"', "\n", "\N{GRINNING FACE}"])
def test_letters_that_take_more_room_than_one(client: Client, daemon: FakeDaemon, letter: str) -> None:
    client.trace(letter * MEGABYTE, more=letter * MEGABYTE)
    [event] = told(client, daemon, "traces")
    size = len(json.dumps(event["message"], ensure_ascii=False)) + len(json.dumps(event["customDimensions"]))
    assert size > 100_000
    assert max(daemon.sizes) < 2 * MEGABYTE
    assert "\ud800" not in event["message"]


def test_half_surrogate_pairs_everywhere(client: Client, daemon: FakeDaemon) -> None:
    half = "a\ud800b"
    client.trace(half, **{half: half})
    client.metric(half, 1)
    client.exception(raised(ValueError(half)), input=[half])
    with client.dependency(half, target=half, data=half):
        pass
    assert [told(client, daemon, KINDS[kind].table)[0] for kind in (2, 3, 4, 5)]
    assert own(told(client, daemon, "traces")[0]) == {"a?b": "a?b"}


@pytest.mark.parametrize("message", [None, 7, b"raw", ["a"], {"a": 1}, object()])
def test_a_message_that_is_no_text(client: Client, daemon: FakeDaemon, message: Any) -> None:
    client.trace(message)
    [event] = told(client, daemon, "traces")
    assert isinstance(event["message"], str)


def test_clocks_that_are_wrong(client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    from collectord_client.telemetry import reporter

    for moment in (-1, 1 << 64):
        monkeypatch.setattr(reporter, "_now", lambda moment=moment: moment)
        client.trace("x")
    assert sorted(event["time_ns"] for event in told(client, daemon, "traces")) == [0, (1 << 63) - 1]


def test_a_clock_before_its_time_costs_no_request(
    client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setattr(time, "time_ns", lambda: -1)
    with client.request("r"), client.dependency("d"):
        pass
    monkeypatch.undo()
    assert [len(told(client, daemon, table)) for table in ("requests", "dependencies")] == [1, 1]


def test_a_clock_that_is_set_back_leaves_durations_alone(
    client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    with client.dependency("x"):
        monkeypatch.setattr(time, "time_ns", lambda: 0)
    monkeypatch.undo()
    [event] = told(client, daemon, "dependencies")
    assert event["duration"] >= 0


def test_threads_lose_nothing(client: Client, daemon: FakeDaemon) -> None:
    def tell(number: int) -> None:
        for at in range(500):
            client.trace(f"{number} {at}")

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    events = told(client, daemon, "traces")
    assert {event["message"] for event in events} == {f"{number} {at}" for number in range(4) for at in range(500)}
    assert len({event["itemId"] for event in events}) == len(events) == 2000


def test_what_cannot_be_told_is_said_without_its_text(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def __float__(self) -> float:
            raise RuntimeError("secret")

    with caplog.at_level(logging.DEBUG), pytest.raises(CollectError):
        client.metric("x", Broken())  # type: ignore[arg-type]
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text.replace('raise RuntimeError("secret")', "")
