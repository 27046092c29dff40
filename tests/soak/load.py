"""One daemon under load, killed and started again; its clients keep an account of their own."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

from collectord.testing.child import bound
from tests.e2e import wire
from tests.e2e.process import Daemon, environment
from tests.e2e.waiting import eventually
from tests.soak.account import Key, joined

PRODUCER = Path(__file__).with_name("producer.py")
IN_FLIGHT = 60
SCHEMAS = [wire.schema(model=f"m{model}") for model in range(5)] + [
    wire.schema(model="m0", columns=("n", "more")),
    wire.schema(model="m0", designation="predictions"),
]
"""Streams that all daemons share; the last but one has another header on a blob that is not its alone."""
COLUMNS = [1, 1, 1, 1, 1, 2, 1]


class Load(threading.Thread):
    """Owns a daemon from its first start to its last end: the kernel ends a child when the thread that started it ends.

    After `join`, `error` is None or says what went wrong.
    """

    def __init__(
        self, number: int, daemon: Daemon, stop: threading.Event, healed: threading.Event, *,
        seed: int, pace: float, kill_every: float,
    ) -> None:  # fmt: skip
        super().__init__(name=f"load-{number}")
        self.number, self.daemon_process = number, daemon
        self.kills = 0
        self.resent = 0
        self.batches = 0
        self.sent: dict[Key, int] = {}
        self.error: BaseException | None = None
        self._stop_load, self._healed = stop, healed
        self._chance = random.Random(seed * 1000 + number)
        self._pace, self._kill_every = pace, kill_every
        self._client = wire.WireClient(daemon.endpoint)
        self._rows = [0] * len(SCHEMAS)
        self._producer: subprocess.Popen[str] | None = None

    def acknowledged(self) -> int:
        """Batches of the wire client."""
        return self._client.acknowledged

    def appends(self) -> int:
        """Frames that have landed, says the ledger."""
        path = self.daemon_process.spool / "ledger.sqlite"
        if not path.exists():
            return 0
        ledger = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)
        try:
            return int(ledger.execute("SELECT coalesce(sum(frames), 0) FROM landed").fetchone()[0])
        except sqlite3.OperationalError:
            # It has been created and has no tables yet.
            return 0
        finally:
            ledger.close()

    def run(self) -> None:
        try:
            self._run()
        except BaseException as error:  # noqa: BLE001
            # For the main thread to raise.
            self.error = error
            self._stop_load.set()
        finally:
            if self._producer is not None and self._producer.poll() is None:
                self._producer.kill()
                self._producer.communicate()
            self._client.close()
            self.daemon_process.clear_away()

    def _run(self) -> None:
        self.daemon_process.start()
        self._client.connect()
        for schema in SCHEMAS:
            self._client.declare(schema)
        self._producer = subprocess.Popen(
            bound([sys.executable, str(PRODUCER), self.daemon_process.endpoint, str(self.number), str(self._pace * 4)]),
            env=environment(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        while not self._stop_load.is_set():
            until = time.monotonic() + self._chance.uniform(0.3, 1.7) * self._kill_every
            while time.monotonic() < until and not self._stop_load.wait(self._pace):
                self._send()
            if not self._stop_load.is_set():
                self._kill()
        self._healed.wait()
        self._settle()

    def _send(self) -> None:
        which = self._chance.randrange(len(SCHEMAS))
        rows = self._chance.choice((1, 1, 2, 5, 30))
        first = joined(self.number, which, self._rows[which])
        self._rows[which] += rows
        self._client.send(SCHEMAS[which], range(first, first + rows), time.time_ns(), COLUMNS[which])
        client = self._client
        eventually(lambda: client.sent - client.acknowledged < IN_FLIGHT, "batches are acknowledged", 120.0)

    def _kill(self) -> None:
        for _ in range(3):
            # Unanswered batches are what a kill has to meet.
            self._send()
        self.daemon_process.kill9()
        self.kills += 1
        while self._chance.random() < 0.3:
            self.daemon_process.spawn()
            self._stop_load.wait(self._chance.uniform(0.2, 2.5))
            self.daemon_process.kill9()
            self.kills += 1
        self.daemon_process.start()
        self._client.connect()

    def _settle(self) -> None:
        """Everything is acknowledged and lands; the daemon still takes more, and its books are ours."""
        client, daemon = self._client, self.daemon_process
        client.wait_acknowledged(timeout=120.0)
        assert self._producer is not None
        said, errors = self._producer.communicate("", timeout=180)
        assert self._producer.returncode == 0, errors
        stats = json.loads(said)
        assert stats["settled"] and stats["acknowledged"] == stats["collected"] == 2 * stats["rows"], stats
        assert not stats["dropped"] and not stats["rejected"], stats
        daemon.flush(300)
        self._send()
        client.wait_acknowledged(timeout=120.0)
        daemon.flush(120)
        assert not client.rejected, client.rejected
        self.resent, self.batches = client.resent, client.sent
        self.sent = {("wire", self.number, str(which)): rows for which, rows in enumerate(self._rows)}
        self.sent |= {("client", self.number, name): stats["rows"] for name in ("inputs", "predictions")}
        books = daemon.books().values()
        landed, waiting = sum(book.landed for book in books), sum(book.in_log for book in books)
        assert (landed, waiting) == (sum(self.sent.values()), 0), f"the books: {landed} landed, {waiting} in the log"
        assert sum(book.quarantined for book in books) == 0
        assert daemon.terminate() == 0, daemon.said()[-2000:]
