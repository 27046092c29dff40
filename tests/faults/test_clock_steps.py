"""A wall clock that steps changes dates, and nothing else."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
from collectord_client import Client

from tests.e2e import landed
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon
from tests.e2e.producers import Producers
from tests.e2e.waiting import eventually
from tests.faults.shim import Shim

HOUR, DAY = 3600, 86_400
STEPS = (-HOUR, 0, DAY, -HOUR, 0)


def _numbers(daemon: Daemon) -> Counter[int]:
    return Counter(int(float(row["n"])) for row in landed.rows(landed.directory(Path(str(daemon.settings["store"])))))


def test_a_daemon_whose_clock_steps_goes_on(make_daemon: MakeDaemon, shim: Shim) -> None:
    """An hour back, a day forward, and back again, while rows come in, through a kill as well: each is there once, nothing is
    rejected, and rows that would wait for a minute do not wait for an hour, or at all."""
    daemon = make_daemon(env=shim.env, flush_interval=0.3).start()
    sent = 0
    with Client(model="m", endpoint=daemon.endpoint, outbox="block", linger=0.01) as client:
        inputs = client.collector("inputs", feature_names=["n"])
        for step in STEPS:
            shim.step_wall_clock(step)
            for restart in (False, True):
                inputs.collect(np.arange(sent, sent + 100).reshape(-1, 1))
                sent += 100
                assert client.flush(60), client.stats()
                assert 0 <= daemon.status()["uptime_seconds"] < HOUR
                if restart:
                    daemon.kill9()
                    daemon.start()
            # By age, not because somebody asks for it.
            eventually(
                lambda: [book.landed for book in daemon.books().values()] == [sent],  # noqa: B023
                "everything has landed by itself",
            )
        stats = client.stats()
    assert stats["acknowledged"] == stats["collected"] == sent
    assert not stats["rejected"] and not stats["dropped"] and not stats["resent_elsewhere"]
    (book,) = daemon.books().values()
    assert book.landed == sent and not book.rejected
    assert daemon.terminate() == 0
    assert _numbers(daemon) == Counter(range(sent))


def _received(daemon: Daemon) -> int:
    return sum(book.received for book in daemon.books().values())


def test_clients_whose_clock_steps_file_their_rows_under_the_day_they_say(make_daemon: MakeDaemon, shim: Shim) -> None:
    """A scoring process's clock goes an hour back and a day forward: all rows land, each under its own date."""
    daemon = make_daemon(flush_interval=0.3, early_days=2).start()
    days = set()
    with Producers(daemon.endpoint, 2, env=shim.env) as producers:
        for step in (0, -HOUR, DAY, 0):
            shim.step_wall_clock(step)
            days.add(time.strftime("%Y/%m/%d", time.gmtime(time.time() + step)))
            goal = _received(daemon) + 300
            eventually(lambda: _received(daemon) > goal, "rows are collected on")  # noqa: B023
        producers.finish()
    daemon.flush()
    blobs = landed.directory(Path(str(daemon.settings["store"])))
    producers.check(
        landed.rows({name: data for name, data in blobs.items() if "/inputs/" in name}),
        landed.rows({name: data for name, data in blobs.items() if "/predictions/" in name}),
    )
    producers.check_books(daemon)
    found = {"/".join(name.split("/")[-4:-1]) for name in blobs}
    assert found <= days | {time.strftime("%Y/%m/%d", time.gmtime())}
    assert len(found) >= len(days) >= 2
