"""`collectord erase` beside a daemon that appends all the time, and killed in the midst: the wanted rows go, no other does."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collectord.reader import erasure as reader
from collectord.reader.cuts import Wanted
from collectord.reader.erasure import Scope
from collectord.testing.azurite import Azurite
from collectord.upload.azureblob import AzureBlob
from tests.e2e import landed, wire
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon
from tests.e2e.waiting import eventually

GONE = (3, 40, 41, 95)


def identity(number: int) -> str:
    """The correlation id that the wire's client gives a number."""
    return str(uuid.UUID(int=(1 << 64) + number))


class Sending:
    """A client that sends row after row until it is told to stop; the daemon uploads all the time."""

    def __init__(self, daemon: Daemon) -> None:
        self.rows = 0
        self._client = wire.WireClient(daemon.endpoint).connect()
        self._schema = wire.schema("sent")
        self._client.declare(self._schema)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        while not self._over.wait(0.01):
            self._client.send(self._schema, [self.rows], time.time_ns())
            self.rows += 1
        self._client.wait_acknowledged()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(30)
        self._client.close()


@pytest.fixture
def sending() -> Iterator[Callable[[Daemon], Sending]]:
    made: list[Sending] = []
    yield lambda daemon: made.append(Sending(daemon)) or made[-1]
    for one in made:
        one.stop()


def erase(daemon: Daemon, *more: str) -> tuple[int, dict[str, object]]:
    wanted = (word for number in GONE for word in ("--correlation-id", identity(number)))
    done = daemon.cli("erase", *wanted, "--json", *more)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def found(blobs: dict[str, bytes]) -> Counter[int]:
    return Counter(int(row["n"]) for row in landed.rows(blobs, "/sent/"))


def test_beside_a_daemon_that_appends_and_after_a_kill(
    make_daemon: MakeDaemon, sending: Callable[[Daemon], Sending], tmp_path: Path
) -> None:
    daemon = make_daemon(flush_interval=0.05).start()
    busy = sending(daemon)
    eventually(lambda: busy.rows > 120, "there are rows")
    # Killed wherever it is then: what it has begun is finished by the next one.
    begun = subprocess.Popen(
        [sys.executable, "-m", "collectord", "erase", "--correlation-id", identity(GONE[0]), "--yes"],
        env={**daemon.env, "COLLECTORD_STORE": str(daemon.settings["store"]), "COLLECTORD_SPOOL": str(daemon.spool)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    notes = Path(str(daemon.settings["store"])) / "_collectord" / "erased"
    eventually(lambda: any(notes.rglob("*.json")) or begun.poll() is not None, "it has begun")
    begun.send_signal(signal.SIGKILL)
    begun.wait(30)
    report = tmp_path / "report.json"
    daemon.flush()
    status, said = erase(daemon, "--yes", "--report", str(report))
    assert status == 0, said
    assert json.loads(report.read_text()) == said
    rows = busy.rows
    eventually(lambda: busy.rows > rows + 50, "the daemon goes on")
    busy.stop()
    daemon.flush()
    assert found(landed.directory(daemon.folder / "store")) == Counter(set(range(busy.rows)) - set(GONE))
    daemon.books()
    verified = daemon.cli("verify", "--spool", str(daemon.spool))
    assert verified.returncode == 0, verified.stdout
    assert "4 rows were erased" in verified.stdout
    assert all(identity(number).encode() not in path.read_bytes() for number in GONE for path in _control(daemon))


def _control(daemon: Daemon) -> list[Path]:
    files = [path for path in (daemon.folder / "store/_collectord").rglob("*") if path.is_file()]
    assert files
    return files


def test_on_the_blob_service_beside_a_daemon(
    make_daemon: MakeDaemon, sending: Callable[[Daemon], Sending], azurite: Azurite, new_container: Callable[[], str]
) -> None:
    container = new_container()
    daemon = make_daemon(
        flush_interval=0.1, store=f"az://{container}",
        env={"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string()},
    ).start()  # fmt: skip
    busy = sending(daemon)
    eventually(lambda: busy.rows > 120, "there are rows")
    daemon.flush()
    store = AzureBlob(container, connection_string=azurite.connection_string())
    wanted = Wanted(tuple(map(identity, GONE)))
    socket = (daemon.spool / "admin.sock").resolve()
    assert reader.erase(store, wanted, Scope(), do=True, socket=socket).complete
    rows = busy.rows
    eventually(lambda: busy.rows > rows + 30, "the daemon goes on")
    busy.stop()
    daemon.flush()
    try:
        blobs = {blob.name: bytes(store.read(blob.name, 0, blob.size) or b"") for blob in store.list("default")}  # type: ignore[arg-type]
    finally:
        store.close()
    assert len(blobs) >= 2
    assert found(blobs) == Counter(set(range(busy.rows)) - set(GONE))
    daemon.books()
