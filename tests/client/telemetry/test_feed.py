"""Events go the way of rows: switched, bounded, counted, and never at the cost of whoever tells them."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collectord_client import Client
from collectord_client._pb import collector_pb2 as pb
from collectord_client.switches import Said, Switches
from collectord_client.telemetry import feed
from collectord_client.telemetry.kinds import KINDS, TRACE
from collectord_client.telemetry.scribe import scribe
from collectord_client.wire import Stream

from tests.client import hosts
from tests.client.fakedaemon import FakeDaemon
from tests.client.telemetry.events import received, told
from tests.e2e.waiting import eventually

ROW = np.ones((1, 2))


def service(telemetry: bool, webservice: str = "") -> list[Any]:
    return [pb.ServiceSettings(webservice=webservice, telemetry=telemetry)]


# ------------------------------------------------------------------ switches


@pytest.mark.parametrize(
    ("said", "host", "sends"),
    [
        (Switches(), None, False),
        (Switches(), True, True),
        (Switches(telemetry=True), None, True),
        (Switches(telemetry=True), False, False),
        (Switches(services={"s": Said(telemetry=False)}), True, False),
        (Switches(services={"s": Said(telemetry=True)}), False, True),
        (Switches(False, telemetry=True), None, True),
        (Switches(only=("x/*/*",)), True, False),
        (Switches(only=("s/*/traces",)), True, True),
        (Switches(only=("s/*/inputs",)), True, False),
    ],
)
def test_who_decides(said: Switches, host: bool | None, sends: bool) -> None:
    assert said.sends(Stream(webservice="s", model="m", designation="traces", kind=TRACE), host) is sends


@pytest.mark.parametrize(
    ("given", "variable", "sends"),
    [(None, "true", True), (None, "false", False), (None, "", True), (True, "false", True), (False, "true", False)],
)
def test_what_the_host_says(
    make: Any, monkeypatch: pytest.MonkeyPatch, given: bool | None, variable: str, sends: bool
) -> None:
    monkeypatch.setenv("AML_APP_INSIGHTS_ENABLED", variable)
    assert bool(make(telemetry=given)._feed.kinds) is sends


def test_the_daemon_switches_events_alone(make: Any, daemon: FakeDaemon) -> None:
    client = make()
    daemon.settings(services=service(True))
    client.trace("before anybody could tell")
    assert len(told(client, daemon, "traces")) == 1
    daemon.settings(services=service(False))
    eventually(lambda: not client._feed.kinds, "the client hears of it")
    client.trace("x")
    client.collect(ROW)
    assert client.flush(10)
    assert client.stats()["events"] == 1
    assert len(daemon.rows) == 2
    daemon.settings(collect=False, services=service(True))
    eventually(lambda: client._feed.kinds, "the client hears of it")
    client.trace("without the rows")
    assert len(told(client, daemon, "traces")) == 2


def test_what_came_before_the_daemon_could_say_no_is_not_sent(make: Any, daemon: FakeDaemon) -> None:
    """As for rows: it is counted, and the daemon knows."""
    daemon.settings()
    daemon.stop()
    client = make()
    for _ in range(3):
        client.trace("x")
    client.collect(ROW)
    daemon.start()
    assert client.flush(10)
    client.flush(10)
    assert [row.designation for row in daemon.rows] == ["inputs"]
    assert client.stats()["dropped"] == {"switched_off": 3}
    eventually(
        lambda: (
            {k: v for one in daemon.clients.values() for k, v in one.dropped.items()} == {("traces", "switched_off"): 3}
        ),
        "the daemon knows",
    )
    client.trace("x")
    assert client.stats()["dropped"] == {"switched_off": 3}, "what is not wanted is not lost"


def test_the_same_of_what_is_not_in_rows_by_then(make: Any, daemon: FakeDaemon) -> None:
    """And what the daemon switches on and off again before they are made goes by what it said first."""
    refused, wanted = make(webservice="a"), make(webservice="b")
    daemon.settings(services=service(True, "b"))
    for client in (refused, wanted):
        # No thread makes rows meanwhile.
        client._feed._rung = True
        client.trace("x")
        client.collect(ROW)
        eventually(lambda: client._outbox.board.told, "the daemon has said something of its service")  # noqa: B023
    daemon.settings()
    eventually(lambda: not wanted._feed.kinds, "the client hears of it")
    assert (refused.stats()["dropped"], wanted.stats()["dropped"]) == ({"switched_off": 1}, {})
    assert len(told(wanted, daemon, "traces")) == 1


def test_what_was_told_before_a_switch_still_lands(make: Any, daemon: FakeDaemon) -> None:
    client = make(telemetry=True, linger=3600.0)
    client.trace("first")
    assert client.flush(10)
    client.trace("second")
    daemon.settings(services=service(False))
    eventually(lambda: not client._feed.kinds, "the client hears of it")
    assert len(told(client, daemon, "traces")) == 2


def test_what_is_collected_and_what_is_told_are_two_things(make: Any, daemon: FakeDaemon) -> None:
    client = make(telemetry=True, enabled=False)
    client.collect(ROW)
    client.trace("x")
    assert len(told(client, daemon, "traces")) == len(daemon.rows) == 1


# ------------------------------------------------------------------ bounds


def test_a_flood_costs_no_row(make: Any, daemon: FakeDaemon) -> None:
    """Nobody answers: events take the half of the outbox, and the other half is for rows."""
    daemon.stop()
    client = make(telemetry=True, outbox_bytes=1 << 20)
    for _ in range(20):
        for _ in range(100):
            client.trace("x" * 1000)
        client._feed.write()
    stats = client.stats()
    assert stats["outbox_bytes"] <= (1 << 20) // 2
    assert stats["dropped"]["outbox_full"] + stats["events"] == 2000
    assert stats["events"] > 300
    client.collect(ROW)
    assert client.stats()["collected"] == stats["events"] + 1
    daemon.start()
    assert client.flush(20)
    assert len(daemon.rows) == stats["events"] + 1
    assert client._outbox.event_bytes == client._outbox.bytes == 0


def test_what_is_not_in_rows_yet_is_bounded_too(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = make(telemetry=True, outbox_bytes=64 << 10)
    monkeypatch.setattr(client._feed, "_ring", lambda: None)
    for _ in range(1000):
        client.trace("x" * 400)
    held = len(client._feed._told)
    assert 0 < held <= feed.LEAST_HELD // feed.EVENT_COST
    monkeypatch.undo()
    assert client.stats()["dropped"]["outbox_full"] >= 1000 - held


def test_an_outbox_that_blocks_does_not_block_events(make: Any, daemon: FakeDaemon) -> None:
    daemon.stop()
    client = make(telemetry=True, outbox="block", outbox_bytes=64 << 10)
    for _ in range(50):
        client.trace("x" * 5000)
    assert not client.flush(0.2)
    assert client.stats()["dropped"]["outbox_full"] > 0
    daemon.start()


def test_rows_that_cannot_be_made_are_counted(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = make(telemetry=True)

    def broken(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(client._feed._rows, "block", broken)
    client.trace("x")
    assert client.stats()["dropped"] == {"internal_error": 1}
    monkeypatch.undo()
    client.trace("x")
    assert client.flush(10)
    assert client.stats()["events"] == 1


def test_after_close_it_is_counted(make: Any) -> None:
    client = make(telemetry=True)
    client.trace("x")
    assert client.close(10)
    client.trace("y")
    stats = client.stats()
    assert (stats["events"], stats["dropped"]) == (1, {"closed": 1})


def test_hours_and_kinds_do_not_mix(make: Any, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    from collectord_client.telemetry import reporter

    client = make(telemetry=True)
    for at in range(6):
        monkeypatch.setattr(reporter, "_now", lambda at=at: (400_000 + at % 3) * 3_600_000_000_000 + at)
        client.trace(str(at))
        client.metric(str(at), at)
    assert len(told(client, daemon, "traces")) == len(told(client, daemon, "customMetrics")) == 6
    assert len(daemon.batches) == 6


def test_the_pages_of_each_kind_are_what_the_daemon_takes(make: Any, daemon: FakeDaemon) -> None:
    client = make(telemetry=True)
    client.trace("x")
    client.trace("y")
    client.metric("x", 1)
    client.exception(ValueError())
    client.dependency("x", duration=1)
    with client.request("x"):
        pass
    assert client.flush(10)
    assert {row.designation: row.names for row in daemon.rows} == {one.table: one.names for one in KINDS.values()}
    assert {row.request for row in daemon.rows} == {None}
    assert {row.row for row in daemon.rows} == {0}


# ------------------------------------------------------------------ processes


def test_a_fork_begins_empty_and_the_parent_sends(daemon: FakeDaemon, tmp_path: Path) -> None:
    done = hosts.run(Path(sys.executable), "forked.py", daemon.endpoint, "events", source=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    events = received(daemon, "traces")
    assert sorted(event["message"] for event in events) == ["after", "before", "child", "unsent at the fork"]
    assert len({event["itemId"] for event in events}) == 4


def test_a_script_that_ends_at_once(daemon: FakeDaemon) -> None:
    """Its only event, and one of an exit handler, with a client that nobody keeps."""
    code = (
        "import atexit, sys; from collectord_client import Client\n"
        "atexit.register(lambda: print('leaving'))\n"
        f"Client('m', endpoint={daemon.endpoint!r}, telemetry=True).capture_prints()\n"
        "print('hello')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("hello\nleaving\n", "")
    assert daemon.wait(lambda: len(daemon.rows) >= 1)
    assert '"Contents":"hello"' in str(daemon.rows[0].values)


def test_threads_that_gevent_puts_in_place_wait_for_a_bell_of_its_own(
    client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workers patch what we have imported by then: its threads are one, which would wait for a queue of threads for good."""
    rung: list[Any] = []

    class Bell(queue.SimpleQueue):  # type: ignore[type-arg]
        def get(self, *given: Any, **named: Any) -> Any:
            rung.append(threading.current_thread().name)
            return super().get(*given, **named)

    scribe.after_fork()
    monkeypatch.setattr(queue, "SimpleQueue", Bell)
    client.trace("patched")
    assert len(told(client, daemon, "traces")) == 1
    eventually(lambda: rung[:1] == ["collectord-client-events"], "the thread waits for that bell")


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from collectord_client import Client\n"
        "client = Client('m', endpoint='unix:/nowhere/c.sock', telemetry=True); client.capture(); print('x')\n"
        "print([name for name in ('numpy', 'pandas', 'pyarrow', 'grpc', 'google.protobuf', 'flask') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("x\n[]\n", "")


def test_the_sdks_faces_start_nothing(daemon: FakeDaemon) -> None:
    """Also where the environment of a deployment has the switch of Application Insights on."""
    code = (
        "import builtins, logging; before = builtins.print, logging.Logger.callHandlers\n"
        "from collectord_client.azureml import Collector, ModelDataCollector\n"
        "ModelDataCollector('m', designation='inputs').collect([[1.0]])\n"
        "Collector(name='c')\n"
        "from collectord_client import process\n"
        "assert before == (builtins.print, logging.Logger.callHandlers)\n"
        "[one for one in process.outboxes if one.wait_settled(None)]\n"
        "print(sum(one.events for one in process.outboxes))"
    )
    environment = {**os.environ, "COLLECTORD_ENDPOINT": daemon.endpoint, "AML_APP_INSIGHTS_ENABLED": "true"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "0\n", done.stderr
    assert [row.designation for row in daemon.rows] == ["inputs"]


def test_this_folder_is_part_of_the_package() -> None:
    listed = (Path(__file__).resolve().parents[3] / "clients" / "python" / "pyproject.toml").read_text()
    assert '"collectord_client.telemetry"' in listed
    assert '"collectord_client.azureml.start"' in listed


def test_an_event_of_which_no_row_can_be_made_costs_no_other(
    client: Client, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_row = client._feed._rows._row

    def row(event: Any) -> Any:
        if event.own[0] == "poison":
            raise ValueError("secret")
        return make_row(event)

    monkeypatch.setattr(client._feed._rows, "_row", row)
    for message in ("before", "poison", "behind"):
        client.trace(message, cut="x" * (2 << 20))
    assert [event["message"] for event in told(client, daemon, "traces")] == ["before", "behind"]
    assert client.stats()["dropped"] == {"internal_error": 1}
    assert client.stats()["notes"] == {"cut": 2}
