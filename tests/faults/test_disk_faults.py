"""Any write of a living daemon may fail: it says why, goes on by itself when there is room again, and loses nothing."""

from __future__ import annotations

import errno
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from collectord_client import Client

from tests.e2e import landed
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon
from tests.e2e.waiting import eventually
from tests.faults.shim import Call, Shim

ANY = Call.WRITE | Call.SYNC | Call.CREATE | Call.ALLOCATE | Call.RENAME
FULL, BROKEN, READ_ONLY, QUOTA = errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT

Fault = tuple[Call, int, bool]
"""Which calls fail, with which error, and whether half of a write arrives."""

FAULTS: dict[str, list[Fault]] = {
    "/log/": [
        (Call.WRITE, FULL, False),
        (Call.WRITE, FULL, True),
        (Call.WRITE, READ_ONLY, False),
        (Call.SYNC, BROKEN, False),
        (Call.SYNC | Call.WRITE | Call.CREATE | Call.ALLOCATE, FULL, True),
    ],
    "/frames": [
        # First: once a frame has landed there is a file to be written over.
        (Call.CREATE, FULL, False),
        (Call.WRITE, FULL, True),
        (Call.SYNC, BROKEN, False),
        (Call.RENAME, READ_ONLY, False),
    ],
    "/ledger.sqlite": [(Call.WRITE, FULL, True), (Call.WRITE, QUOTA, False), (Call.SYNC, BROKEN, False)],
    "/store/": [
        (Call.WRITE, FULL, True),
        (Call.WRITE, QUOTA, False),
        (Call.SYNC, BROKEN, False),
        (Call.CREATE, FULL, False),
        (Call.CREATE | Call.WRITE | Call.RENAME, READ_ONLY, False),
    ],
    "/spool/": [(ANY, FULL, False), (ANY, BROKEN, True)],
}


class Scorer:
    """Collects numbered rows, in a stream of its own for each fault, so that blobs have to be created as well."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.sent = 0
        self.streams = 0

    def next_stream(self) -> None:
        self.streams += 1
        self._collector = self._client.collector(f"stream{self.streams}", feature_names=["n", "half"])

    def collect(self, rows: int) -> None:
        numbers = np.arange(self.sent, self.sent + rows)
        self._collector.collect(np.column_stack((numbers, numbers / 2)))
        self.sent += rows


def _numbers(daemon: Daemon) -> Counter[int]:
    return Counter(int(float(row["n"])) for row in landed.rows(landed.directory(Path(str(daemon.settings["store"])))))


@pytest.mark.parametrize("where", FAULTS, ids=[where.strip("/") for where in FAULTS])
def test_a_disk_that_fails_and_heals_loses_and_doubles_nothing(make_daemon: MakeDaemon, shim: Shim, where: str) -> None:
    """Rows come in while every such call fails, and then they do not fail any more; in the end the daemon is killed while they
    fail, and starts again."""
    daemon = make_daemon(env=shim.env, flush_interval=0.1).start()
    with Client(model="m", endpoint=daemon.endpoint, outbox="block", linger=0.01) as client:
        scorer = Scorer(client)

        def settled() -> None:
            scorer.collect(100)
            assert client.flush(60), (client.stats(), daemon.said()[-3000:])
            daemon.flush()

        for calls, error, torn in FAULTS[where]:
            with shim.armed(calls, where, error, torn=torn):
                scorer.next_stream()
                scorer.collect(500)
                eventually(lambda: shim.fired >= 2, f"{calls!r} met {errno.errorcode[error]}: {daemon.said()[-2000:]}")
                scorer.collect(500)
            settled()
        with shim.armed(calls, where, error, torn=torn):
            scorer.next_stream()
            scorer.collect(500)
            eventually(lambda: shim.fired >= 1, "the fault is met")
            daemon.kill9()
        daemon.start()
        settled()
        assert client.stats()["acknowledged"] == client.stats()["collected"] == scorer.sent
    books = daemon.books().values()
    assert sum(book.received for book in books) == sum(book.landed for book in books) == scorer.sent
    assert len(books) == scorer.streams == len(FAULTS[where]) + 1
    assert daemon.terminate() == 0
    assert _numbers(daemon) == Counter(range(scorer.sent))
    assert "Traceback" not in daemon.said(), daemon.said()


def test_a_slow_disk_only_slows_down(make_daemon: MakeDaemon, shim: Shim) -> None:
    """Every sync of the log takes a fifth of a second: acknowledgements come later, in groups, and nothing else happens."""
    daemon = make_daemon(env=shim.env, flush_interval=0.1).start()
    with Client(model="m", endpoint=daemon.endpoint, outbox="block", linger=0.01) as client:
        scorer = Scorer(client)
        scorer.next_stream()
        with shim.armed(Call.SYNC, "/log/", 0, delay=0.2):
            for _ in range(100):
                scorer.collect(10)
            assert client.flush(60), client.stats()
            assert 1 <= shim.fired < 100, "batches share a sync"
            daemon.flush()
    assert daemon.terminate() == 0
    assert _numbers(daemon) == Counter(range(1000))
