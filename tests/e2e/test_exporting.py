"""Events of real clients' batches arrive at a real endpoint, whatever it answers, and whenever the daemon dies."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator

import pytest

from collectord._pb import collector_pb2 as pb
from collectord.model import StreamKind
from collectord.testing.ingestion import Ingestion
from collectord.testing.receiver import Receiver
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon
from tests.e2e.waiting import eventually
from tests.e2e.wire import WireClient, schema
from tests.sent_events import batch_of, schema_of, traces

TRACES = schema_of(StreamKind.TRACE)
ROWS = schema()


@pytest.fixture
def endpoint() -> Iterator[Ingestion]:
    with Ingestion(retry_after="0") as made:
        yield made
        assert made.problems == []


def exporting(make_daemon: MakeDaemon, endpoint: Ingestion, **settings: object) -> Daemon:
    # On a busy machine an answer may take long, and what was not answered in time is sent again.
    env = {"COLLECTORD_APP_INSIGHTS": endpoint.connection_string}
    return make_daemon(env=env, impatience=2, **settings)


class Sender:
    """A client that sends traces, and knows what was acknowledged."""

    def __init__(self, daemon: Daemon) -> None:
        self.client = WireClient(daemon.endpoint)
        self.ids: list[str] = []

    def send(self, number: int, batches: int = 1, **values: str) -> None:
        for _ in range(batches):
            events, ids = traces(number, len(self.ids))
            events = [one | values for one in events]
            self.ids += ids
            self.client.sent += 1
            made = batch_of(TRACES, events, self.client.sent, ids=ids)
            self.client.raw(pb.ClientMessage(batch=made).SerializeToString())
        self.client.wait_acknowledged()

    def __enter__(self) -> Sender:
        self.client.connect()
        self.client.declare(TRACES.raw)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()


def all_arrive(sender: Sender, endpoint: Ingestion) -> None:
    wanted = set(sender.ids)
    eventually(lambda: endpoint.taken.keys() | endpoint.refused >= wanted, "every event arrives")
    assert endpoint.taken.keys() | endpoint.refused == wanted


def test_events_arrive_once_on_one_connection_and_large_ones_lie_whole_in_the_store(
    make_daemon: MakeDaemon, endpoint: Ingestion
) -> None:
    daemon = exporting(make_daemon, endpoint).start()
    with Sender(daemon) as sender:
        sender.send(100, batches=5)
        all_arrive(sender, endpoint)
        assert {item["data"]["baseData"]["message"] for item in endpoint.items} == {f"m{at}" for at in range(500)}
        contents = json.dumps({"Contents": "ä" * 400_000}, ensure_ascii=False)
        sender.send(3, message="STDOUT", customDimensions=contents)
        all_arrive(sender, endpoint)
    assert set(endpoint.taken.values()) == {1}
    for item in endpoint.items[500:]:
        properties = item["data"]["baseData"]["properties"]
        whole = (daemon.folder / "store" / properties["collectord.blob"]).read_bytes()
        assert hashlib.sha256(whole).hexdigest() == properties["collectord.sha256"]
        assert len(whole) == int(properties["collectord.size"])
        assert json.loads(whole)["customDimensions"] == json.loads(contents)
    assert "ääää" not in daemon.said()
    assert endpoint.connections == 1
    assert daemon.terminate() == 0


def test_an_erasure_tells_of_large_events_that_come_back_when_they_are_delivered(
    make_daemon: MakeDaemon, endpoint: Ingestion
) -> None:
    """They were erased where they had landed, and a flush no longer waits for an exporter that cannot deliver."""
    endpoint.plan(*["hang"] * 100)
    daemon = exporting(make_daemon, endpoint).start()
    erase = ("erase", "--correlation-id", "loan-4711", "--yes")
    contents = json.dumps({"Contents": "loan-4711 " + "ä" * 100_000}, ensure_ascii=False)
    with Sender(daemon) as sender:
        sender.send(100, batches=5)
        eventually(lambda: daemon.status()["exports"][0]["trouble"], "the endpoint does not answer")
        sender.send(2, message="STDOUT", customDimensions=contents)
        daemon.flush()
        told = daemon.cli(*erase)
        assert told.returncode == 1, told.stdout
        assert "2 rows erased" in told.stdout
        assert "not delivered yet: events for app_insights" in told.stdout
        endpoint.release()
        all_arrive(sender, endpoint)
        daemon.flush()
    done = daemon.cli(*erase)
    assert done.returncode == 0, done.stdout
    assert "2 rows erased from 2 blobs" in done.stdout
    assert daemon.cli(*erase[:-1]).returncode == 0


def test_an_endpoint_that_hangs_holds_up_neither_rows_nor_another_exporter(
    make_daemon: MakeDaemon, endpoint: Ingestion
) -> None:
    endpoint.plan(*["hang"] * 100)
    with Receiver() as receiver:
        daemon = exporting(make_daemon, endpoint, otlp_endpoint=receiver.url).start()
        with Sender(daemon) as sender, WireClient(daemon.endpoint) as rows:
            sender.send(100, batches=5)
            rows.declare(ROWS)
            rows.send(ROWS, range(100), time.time_ns())
            rows.wait_acknowledged()
            daemon.flush()
            eventually(lambda: receiver.taken.keys() >= set(sender.ids), "every event arrives at the other")
            assert set(receiver.taken.values()) == {1}
            assert receiver.problems == []
            assert endpoint.taken == {}
            eventually(lambda: daemon.status()["exports"][0]["trouble"], "the other is in trouble")
            eventually(lambda: not daemon.status()["exports"][1]["lag_bytes"], "this one has settled everything")
            hung, well = daemon.status()["exports"]
            assert (well["name"], well["delivered"], well["lag_bytes"]) == ("otlp", 500, 0)
            assert (hung["name"], hung["delivered"]) == ("app_insights", 0)
            assert hung["trouble"] == "no answer within the timeout"
            assert hung["lag_bytes"] > 0
            endpoint.release()
            all_arrive(sender, endpoint)
        assert set(endpoint.taken.values()) == {1}


def test_a_drain_says_which_exporter_its_events_wait_for_and_why(make_daemon: MakeDaemon, endpoint: Ingestion) -> None:
    """All rows have landed, so it must not say that some have not; and it says so before its time has passed."""
    endpoint.plan(*["401"] * 1000)
    daemon = exporting(make_daemon, endpoint).start()
    with Sender(daemon) as sender:
        sender.send(3)
    done = daemon.cli("drain", "--timeout", "3")
    assert done.returncode == 1, done.stdout
    first, last = done.stderr.splitlines()
    trouble = daemon.status()["exports"][0]["trouble"]
    assert trouble
    assert first == f"collectord: waiting: events wait to be delivered to app_insights: {trouble}"
    assert last == f"collectord: events wait to be delivered to app_insights: {trouble}"


def test_uploads_of_a_service_are_its_dependencies_and_uploads_of_events_are_none(
    make_daemon: MakeDaemon, endpoint: Ingestion
) -> None:
    daemon = exporting(make_daemon, endpoint, node="n7").start()
    done = daemon.cli("service", "set", "default", "--enable-app-insights", "true")
    assert done.returncode == 0, done.stderr
    with WireClient(daemon.endpoint) as rows:
        rows.declare(ROWS)
        for number in range(3):
            rows.send(ROWS, range(10), time.time_ns())
            rows.wait_acknowledged()
            daemon.flush()
            eventually(lambda number=number: len(endpoint.items) > number, "the upload is told")
            daemon.flush()
    assert len(endpoint.items) == 3
    item = endpoint.items[0]
    data = item["data"]["baseData"]
    assert item["tags"]["ai.cloud.roleInstance"] == "n7"
    assert (data["type"], data["target"]) == ("directory", str(daemon.folder / "store"))
    assert (data["name"], data["resultCode"], data["success"]) == ("append data.csv.zst", "201", True)
    assert data["properties"]["rows"] == "10"
    assert daemon.books()


def test_every_answer_of_the_service_loses_nothing_and_doubles_only_what_was_in_doubt(
    make_daemon: MakeDaemon, endpoint: Ingestion
) -> None:
    daemon = exporting(make_daemon, endpoint).start()
    faults = ("partial", "429", "500", "503", "408", "439", "close", "garbage", "hang", "402", "drop_reply")
    with Sender(daemon) as sender:
        for fault in faults:
            before = len(endpoint.requests)
            # The one in front lets the next be of several items.
            endpoint.plan("200", "200", fault)
            while endpoint.planned:
                sender.send(20)
                eventually(lambda before=before: len(endpoint.requests) > before, "a request comes")
        sender.send(20)
        all_arrive(sender, endpoint)
    met = [(plan, number) for plan, number in endpoint.requests if plan != "200"]
    assert [plan for plan, _ in met] == list(faults)
    dropped = met[-1][1]
    assert dropped > 0
    assert endpoint.refused
    doubled = sum(endpoint.taken.values()) - len(endpoint.taken)
    # The endpoint knows of the last ones before the daemon has its answer.
    delivered = 'collectord_export_delivered_total{exporter="app_insights"}'
    eventually(lambda: daemon.metrics()[delivered] == len(endpoint.taken), "the daemon has all answers")
    counted = {name: value for name, value in daemon.metrics().items() if "export" in name}
    assert counted['collectord_export_refused_total{exporter="app_insights",reason="item_400"}'] == len(
        endpoint.refused
    )
    # On a busy machine another answer may be late.
    assert dropped <= doubled <= counted['collectord_export_doubtful_total{exporter="app_insights"}']


def test_a_daemon_that_is_killed_sends_again_only_what_was_not_answered(
    make_daemon: MakeDaemon, endpoint: Ingestion
) -> None:
    daemon = exporting(make_daemon, endpoint).start()
    with Sender(daemon) as sender:
        sender.send(50, batches=4)
        all_arrive(sender, endpoint)
        endpoint.plan("drop_reply")
        sender.send(50, batches=4)
        eventually(lambda: not endpoint.planned, "a request is taken without an answer")
        daemon.kill9()
        eventually(lambda: endpoint.idle, "what it had sent is counted")
        before = +endpoint.taken
        daemon.start()
        sender.client.connect()
        sender.send(50)
        all_arrive(sender, endpoint)
    doubled = {name for name, times in endpoint.taken.items() if times > 1}
    assert doubled <= before.keys()
    assert sum(endpoint.taken.values()) - len(endpoint.taken) <= 500
    assert doubled
