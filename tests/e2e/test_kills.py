"""kill -9 at any moment, any number of times: what was acknowledged is in its blob exactly once."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from collectord.testing.azurite import Azurite
from collectord.testing.proxy import FaultProxy
from tests.e2e import landed, wire
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon
from tests.e2e.producers import Producers
from tests.e2e.waiting import eventually

KILLS = int(os.environ.get("E2E_KILLS", "10"))
IN_FLIGHT = 40
FAULTS = 15
CALM = 0.05
"""Share of requests that meet a fault once so many have: retries are still needed, and the end is in sight."""
WIRE_STREAM = "default/default/default/default/wire/default/inputs/default"


class Sender:
    """Numbered rows over the wire, batch after batch, with many under way."""

    def __init__(self, endpoint: str, chance: random.Random) -> None:
        self.client = wire.WireClient(endpoint)
        self.schema = wire.schema()
        self.rows = 0
        self._chance = chance
        self._declared = False

    def connect(self) -> None:
        self.client.connect()
        if not self._declared:
            self.client.declare(self.schema)
            self._declared = True

    def send_until(self, acknowledged: int) -> None:
        """Sends until so many batches are acknowledged, and leaves others unanswered."""
        while self.client.acknowledged < acknowledged:
            self.send()
            eventually(
                lambda: self.client.sent - self.client.acknowledged < IN_FLIGHT, "batches are acknowledged", step=0.001
            )
        for _ in range(IN_FLIGHT):
            self.send()

    def send(self) -> None:
        size = self._chance.choice((1, 1, 3, 20, 200))
        self.client.send(self.schema, range(self.rows, self.rows + size), time.time_ns())
        self.rows += size

    def check(self, rows: landed.Table) -> None:
        """Every row that was sent is there exactly once."""
        found = Counter(int(row["n"]) for row in rows)
        expected = Counter(range(self.rows))
        lost, doubled = expected - found, found - expected
        assert not lost and not doubled, (
            f"{sum(lost.values())} lost, {sum(doubled.values())} doubled of {self.rows}: "
            f"{sorted(lost)[:10]} {sorted(doubled)[:10]}"
        )


def _seed() -> int:
    seed = int(os.environ.get("E2E_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"seed: E2E_SEED={seed}")
    return seed


def _kill_often(daemon: Daemon, sender: Sender, kills: int, chance: random.Random, most: int) -> None:
    """Starts, loads and kills the daemon so often; some of the kills meet it while it starts."""
    for _ in range(kills):
        if daemon.starts and chance.random() < 0.25:
            before = len(daemon.said())
            daemon.spawn()
            if chance.random() < 0.5:
                eventually(lambda: _holds_lock(daemon), "the daemon has its spool", step=0.001)
            else:
                eventually(partial(_replayed, daemon, before), "the log is replayed", step=0.001)
        else:
            daemon.start()
            sender.connect()
            sender.send_until(sender.client.acknowledged + chance.randrange(1, most))
        daemon.kill9()


def _replayed(daemon: Daemon, before: int) -> bool:
    return "log replayed" in daemon.said()[before:]


def _holds_lock(daemon: Daemon) -> bool:
    import fcntl

    fd = os.open(daemon.spool / "lock", os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _calm(proxy: FaultProxy) -> None:
    eventually(lambda: proxy.injected() > FAULTS, f"more than {FAULTS} faults happen", 60)
    proxy.rate = CALM


def _kills_met_rows(daemon: Daemon, kills: int) -> None:
    """Fails if the test has not done what it is for."""
    assert kills > 0, "no kill happened"
    waiting = [event["waiting_rows"] for event in daemon.events("log replayed")]
    print(f"{kills} kills; rows that waited at the starts: {waiting}")
    assert any(waiting[1:]), "no kill happened while rows were waiting"


def _settle(
    daemon: Daemon, sender: Sender, producers: Producers, faults_over: Callable[[], None] = lambda: None
) -> None:
    """The last start: everything is acknowledged and lands, and the daemon still takes more."""
    daemon.start()
    sender.connect()
    sender.client.wait_acknowledged()
    faults_over()
    producers.finish()
    daemon.flush(150)
    sender.send()
    sender.client.wait_acknowledged()
    daemon.flush()
    sender.client.close()
    assert sender.client.resent > 0, "no kill met a batch under way"
    assert not sender.client.rejected
    book = daemon.books()[WIRE_STREAM]
    assert (book.received, book.landed, book.in_log) == (sender.rows, sender.rows, 0), book
    producers.check_books(daemon)


def test_every_acknowledged_row_is_in_a_directory_once_through_many_kills(make_daemon: MakeDaemon) -> None:
    """Two scoring processes with two streams each and a client on the wire send all the time while the daemon is killed
    again and again: afterwards every row is in the blobs once, the books are the clients' own counts, and a fresh
    batch goes through."""
    chance = random.Random(_seed())
    daemon = make_daemon(flush_interval=0.2, flush_bytes=4096)
    sender = Sender(daemon.endpoint, chance)
    with Producers(daemon.endpoint, 2) as producers:
        _kill_often(daemon, sender, KILLS, chance, 300)
        _settle(daemon, sender, producers)
    _kills_met_rows(daemon, KILLS)
    blobs = landed.directory(daemon.folder / "store")
    assert all(name.endswith("/data.csv.zst") for name in blobs), f"one part a day is enough: {sorted(blobs)}"
    sender.check(landed.rows(blobs, "/wire/"))
    producers.check(landed.rows(blobs, "/m/1/inputs/"), landed.rows(blobs, "/m/1/predictions/"))
    assert daemon.terminate() == 0


def test_every_acknowledged_row_is_in_azure_once_through_kills_and_a_faulty_wire(
    make_daemon: MakeDaemon, azurite: Azurite, new_container: Callable[[], str]
) -> None:
    """The same with a blob service behind a wire on which requests and answers get lost, late, cut and refused: the
    conditions on each append, and nothing else, keep the rows from being lost or doubled."""
    seed = _seed()
    chance = random.Random(seed)
    container = new_container()
    kills = max(3, KILLS // 3)
    with FaultProxy(azurite.port, rate=0.25, seed=seed, delay=2.0) as proxy:
        daemon = make_daemon(
            store=f"az://{container}/some/prefix",
            env={"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string(proxy.port)},
            impatience=1.0,
            flush_interval=0.2,
            flush_bytes=4096,
        )
        sender = Sender(daemon.endpoint, chance)
        with Producers(daemon.endpoint, 2) as producers:
            _kill_often(daemon, sender, kills, chance, 300)
            _settle(daemon, sender, producers, lambda: _calm(proxy))
        counts = proxy.counts()
        assert daemon.terminate() == 0
    print(f"faults: {counts}")
    _kills_met_rows(daemon, kills)
    blobs = landed.container(azurite.connection_string(), container)
    assert all(name.startswith("some/prefix/") and name.endswith("/data.csv.zst") for name in blobs), sorted(blobs)
    sender.check(landed.rows(blobs, "/wire/"))
    producers.check(landed.rows(blobs, "/m/1/inputs/"), landed.rows(blobs, "/m/1/predictions/"))
