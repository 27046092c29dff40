"""The v2 door of a real daemon over plain HTTP: what it accepts lands once, through kill -9, drain and SIGTERM."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import pytest

from tests.e2e import landed
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon, free_port
from tests.e2e.waiting import eventually
from tests.ingest.payloads import headers

NOW = int(time.time())


class Door:
    """The daemon's port, asked over one connection for each payload, as the SDK does."""

    def __init__(self, daemon: Daemon) -> None:
        self._port = int(str(daemon.settings["mdc"]).rpartition(":")[2])

    def post(self, body: object, **more: str | None) -> tuple[int, str]:
        given = headers(**{"ce_time": str(NOW), **more})
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("POST", "/modeldata/log", body if isinstance(body, bytes) else json.dumps(body), given)
            answer = connection.getresponse()
            return answer.status, answer.read().decode().strip()
        finally:
            connection.close()

    def numbers(self, values: range, **more: str | None) -> None:
        """A payload for each number, its trace id the number."""
        for value in values:
            assert self.post([{"n": value}], trace_id=f"trace {value}", **more)[0] == 202


@pytest.fixture
def daemon(make_daemon: MakeDaemon) -> Iterator[Daemon]:
    yield make_daemon(mdc=f"127.0.0.1:{free_port()}", flush_interval=3600, codec="none").start()


def store(daemon: Daemon) -> dict[str, bytes]:
    return landed.directory(daemon.folder / "store")


def counted(daemon: Daemon) -> Counter[int]:
    return Counter(int(row["n"]) for row in landed.rows(store(daemon)))


def test_a_payload_lands_under_its_names_and_day(daemon: Daemon) -> None:
    """Typed values, the ids, the path; in the books, the status and the metrics like every other row."""
    door = Door(daemon)
    records = [
        {"age": 41, "income": 1234.5, "name": 'O"Neil, é', "member": True, "tags": ["a", {"b": 1}], "none": None},
        {"age": None, "income": -0.1, "name": "", "member": False, "tags": None, "none": None},
    ]
    named = {"ce_workspace": "ws", "ce_webservice": "svc", "ce_model": "m", "ce_model_version": "4"}
    assert door.post(records, ce_x_request_id="order 66", **named) == (202, "accepted")
    daemon.flush()
    day = datetime.fromtimestamp(NOW, timezone.utc)
    (name,) = store(daemon)
    assert name == f"default/default/ws/svc/m/4/model_inputs/{day:%Y/%m/%d}/data.csv"
    first, second = landed.rows(store(daemon))
    assert list(first)[:6] == list(records[0])
    assert [list(row.values())[:6] for row in (first, second)] == [
        ["41", "1234.5", 'O"Neil, é', "true", '["a",{"b":1}]', ""],
        ["", "-0.1", "", "false", "", ""],
    ]
    assert [row["$aml_dc_row"] for row in (first, second)] == ["0", "1"]
    assert first["$aml_dc_correlation_id"] == first["$aml_request_id"] == "order 66"
    assert first["$aml_dc_scoring_timestamp"] == f"{day:%Y-%m-%dT%H:%M:%S}.000000"
    (books,) = daemon.books().values()
    assert (books.stream, books.received, books.landed) == ("default/default/ws/svc/m/4/model_inputs/default", 2, 2)
    assert daemon.status()["mdc"] == daemon.settings["mdc"]
    assert str(daemon.settings["mdc"]) in daemon.cli("status").stdout
    found = daemon.metrics()
    assert found['collectord_mdc_answers_total{code="202"}'] == 1
    assert found["collectord_records_received_total"] == 2
    assert found["collectord_mdc_remembered_payloads"] == 1


def test_payloads_are_taken_all_through_the_late_window(daemon: Daemon) -> None:
    """Nobody can see whether their senders have gone."""
    daemon.clear_away()
    daemon.settings |= {"late_window": 600, "drain_deadline": 1200}
    daemon.start()
    daemon.signal()
    eventually(lambda: daemon.http("/readyz") == (503, "stopping\n"), "it is stopping")
    Door(daemon).numbers(range(5))
    assert daemon.running
    assert daemon.terminate() == 1, "a second signal ends the window too"
    daemon.start()
    daemon.flush()
    assert counted(daemon) == Counter(range(5))


def test_what_was_accepted_lands_once_after_kill_9_although_it_is_sent_again(daemon: Daemon) -> None:
    """Killed between accepted and landed, and again between landed and sent again: the second time the log has let go
    of what it held, and the ledger knows."""
    door = Door(daemon)
    door.numbers(range(50))
    daemon.kill9()
    daemon.start()
    assert {door.post([{"n": value}], trace_id=f"trace {value}") for value in range(0, 50, 7)} == {
        (202, "accepted before")
    }
    door.numbers(range(50, 60))
    daemon.flush()
    assert counted(daemon) == Counter(range(60))
    eventually(lambda: _remembered(daemon, 60), "the ledger is told", step=0.05)
    daemon.kill9()
    daemon.start()
    assert {door.post([{"n": value}], trace_id=f"trace {value}") for value in range(60)} == {(202, "accepted before")}
    door.numbers(range(60, 65))
    daemon.flush()
    assert counted(daemon) == Counter(range(65))
    assert daemon.metrics()["collectord_mdc_payloads_repeated_total"] == 60


def _remembered(daemon: Daemon, payloads: int) -> bool:
    with sqlite3.connect(daemon.spool / "ledger.sqlite") as db:
        (count,) = db.execute("SELECT count(*) FROM clients WHERE mark = 1").fetchone()
    db.close()
    return bool(count == payloads)


def test_a_crash_in_the_middle_of_a_flood_loses_nothing_that_was_accepted(daemon: Daemon) -> None:
    """Senders that do not know whether they were heard send again under the same trace id."""
    door = Door(daemon)
    accepted: list[int] = []

    def send(value: int) -> None:
        try:
            status, _ = door.post([{"n": value}], trace_id=f"trace {value}")
        except (OSError, http.client.HTTPException):
            return
        assert status == 202
        accepted.append(value)

    with ThreadPoolExecutor(10) as pool:
        sent = [pool.submit(send, value) for value in range(400)]
        eventually(lambda: len(accepted) >= 100, "a hundred are accepted", step=0.001)
        daemon.kill9()
        for one in sent:
            one.result()
    assert 100 <= len(accepted) < 400
    daemon.start()
    repeated = [door.post([{"n": value}], trace_id=f"trace {value}")[1] for value in range(400)]
    assert all(repeated[value] == "accepted before" for value in accepted)
    daemon.flush()
    assert counted(daemon) == Counter(range(400))
    daemon.books()


def test_what_it_does_not_take_is_said(daemon: Daemon) -> None:
    """Refused for good, and in the books; or to be sent again, while it drains. What it has lands before it ends."""
    door = Door(daemon)
    status, said = door.post(b"   a  b\n0  1  2", Content_Type="application/octet-stream")
    assert (status, "AZUREML_MDC_FORMAT_COMPACT" in said) == (415, True)
    assert door.post(b'[{"a": "\xff"}]')[0] == 400
    assert door.post([{"n": 1}], ce_time="1000000000")[0] == 400
    door.numbers(range(5))
    (books,) = daemon.books().values()
    assert (books.received, books.rejected) == (5, {"time_out_of_window": 1})
    with daemon.control() as control:
        control.drain(0)
    assert door.post([{"n": 9}]) == (503, "the daemon is draining")
    with daemon.control() as control:
        control.drain(0, cancel=True)
    door.numbers(range(5, 10))
    assert daemon.terminate() == 0
    assert counted(daemon) == Counter(range(10))
    with pytest.raises(ConnectionError):
        door.post([{"n": 9}])
    assert "Traceback" not in daemon.said()


def test_a_port_that_is_taken_stops_the_start(make_daemon: MakeDaemon) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        daemon = make_daemon(mdc=address).spawn()
        assert daemon.wait() == 2
    assert f"mdc: {address} cannot be bound" in daemon.said()


def test_column_rules_keep_values_out_of_log_and_blob(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(
        mdc=f"127.0.0.1:{free_port()}", flush_interval=3600, codec="none", columns="ssn=drop,email=mask,customer=hmac",
        env={"COLLECTORD_COLUMNS_KEY": "k"},
    ).start()  # fmt: skip
    record = {"ssn": "123-45-6789", "email": "someone@example.com", "customer": "Customer-77", "x": 1}
    assert Door(daemon).post([record])[0] == 202
    written = b"".join(path.read_bytes() for path in daemon.spool.rglob("*") if path.is_file() and not path.is_socket())
    daemon.flush()
    (row,) = landed.rows(store(daemon))
    assert "ssn" not in row
    assert row["email"] == "***"
    # printf %s Customer-77 | openssl dgst -sha256 -hmac k
    assert row["customer"] == "ea5f41c1df69c27dcfae22d5a524cf54b619b6a4262177e3e47ced03550333a3"
    for secret in (b"123-45-6789", b"someone@example", b"Customer-77"):
        assert secret not in written + b"".join(store(daemon).values())
