"""One stream's path in the store cannot be written, for long: it is parked, others land, and when it heals its rows land."""

from __future__ import annotations

import json
import os
import time
from collections import Counter

from collectord._pb import collector_pb2 as pb
from tests.e2e import landed, wire
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon
from tests.e2e.waiting import eventually

COLUMNS = [f"c{at}" for at in range(99)]
SICK, HEALTHY = "default/default/default/default/sick/", "default/default/default/default/healthy/"
NOBODY = 65534


def numbers(daemon: Daemon, prefix: str) -> Counter[int]:
    found: Counter[int] = Counter()
    for name, data in landed.directory(daemon.folder / "store").items():
        if name.startswith(prefix):
            # The number is the first column.
            found.update(int(line.split(",", 1)[0]) for line in landed.decode(name, data).splitlines()[1:])
    return found


def books_of(daemon: Daemon) -> dict[str, pb.StreamBooks]:
    """By model."""
    return {name.split("/")[4]: book for name, book in daemon.books().items()}


def has_room(daemon: Daemon) -> bool:
    """For the next few batches: this client does not follow when the daemon takes its credit away."""
    log = daemon.status()["log"]
    return bool(log["bytes"] + (32 << 20) <= log["budget_bytes"])


def test_a_stream_that_is_refused_for_long_is_parked_and_lands_when_it_heals(make_daemon: MakeDaemon) -> None:
    """The log's whole budget goes by meanwhile, the daemon is killed once, and the books balance at every look."""
    daemon = make_daemon(
        spool_budget="256MiB", segment_bytes="16MiB", flush_interval=0.2, uid=NOBODY if os.getuid() == 0 else -1
    )
    refused = daemon.folder / "store" / SICK
    refused.mkdir(parents=True)
    if os.getuid() == 0:
        for path in (daemon.folder, *daemon.folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    refused.chmod(0o555)
    daemon.start()
    sick, healthy = wire.schema("sick"), wire.schema("healthy", columns=["n", *COLUMNS])
    sent, wide = 0, 0
    with wire.WireClient(daemon.endpoint) as first, wire.WireClient(daemon.endpoint) as second:
        first.declare(sick)
        second.declare(healthy)

        def send_sick(rows: int) -> None:
            nonlocal sent
            first.send(sick, range(sent, sent + rows), time.time_ns())
            sent += rows

        send_sick(500)
        eventually(lambda: any(one["blocked"] for one in daemon.status()["troubles"]), "the store has refused")
        while not daemon.status()["parked"]["files"]:
            assert wide < 600_000, "nothing was parked"
            eventually(lambda: has_room(daemon), "the log has room")
            for _ in range(5):
                second.send(healthy, range(wide, wide + 2000), time.time_ns(), columns=100)
                wide += 2000
            send_sick(20)
            second.wait_acknowledged(timeout=60)
        first.wait_acknowledged()
        eventually(lambda: books_of(daemon)["healthy"].landed == wide, "the other stream's rows have landed", 60)
        books = books_of(daemon)
        assert (books["healthy"].received, books["healthy"].landed) == (wide, wide)
        assert books["sick"].received == sent and books["sick"].landed == 0 and books["sick"].parked > 0
        log = daemon.status()["log"]
        assert log["bytes"] <= log["budget_bytes"] < 256 << 20
        assert books["sick"].parked <= daemon.metrics()["collectord_parked_records"] <= sent
        daemon.kill9()
    daemon.start()
    # Between that look and the kill more may have been parked.
    assert books["sick"].parked <= daemon.status()["parked"]["rows"] <= sent
    assert books_of(daemon)["sick"].parked > 0
    assert not numbers(daemon, SICK)
    refused.chmod(0o755)
    daemon.flush()
    assert numbers(daemon, SICK) == Counter(range(sent))
    assert numbers(daemon, HEALTHY) == Counter(range(wide))
    eventually(lambda: not daemon.status()["parked"]["files"], "the parked files are gone")
    shown = json.loads(daemon.cli("ledger", "--json").stdout)
    assert all(one["balanced"] and one["parked"] == 0 and one["received"] == one["landed"] for one in shown)
    assert daemon.cli("quarantine", "ls").stdout == "0 rows in 0 items\n"
    assert daemon.terminate() == 0
