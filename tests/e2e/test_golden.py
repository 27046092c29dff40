"""An upgrade: this version takes up what a released one left behind when it was killed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from uuid import UUID

from collectord._pb import collector_pb2 as pb
from tests.e2e import golden, landed, wire
from tests.e2e.conftest import MakeDaemon


def test_a_spool_of_version_0_1_0_is_finished_exactly_once(make_daemon: MakeDaemon, folder: Path) -> None:
    """The frame on its way and what waited in the log land once; the client's mark holds; the books go on."""
    place = folder / "golden"
    place.mkdir()
    golden.unpack(place)
    # To this daemon it is a spool from another place, whose claim it watches for a while before it takes it.
    daemon = make_daemon(place, claim_interval=0.2, late_days=3650).start()
    client = wire.WireClient(daemon.endpoint, golden.CLIENT)
    client.sent = 3  # by another process, in another time
    with client:
        assert client.welcome is not None and client.welcome.next_sequence == 4
        for schema in (golden.LANDED, golden.ON_ITS_WAY):
            client.declare(schema)
        for sequence, (schema, numbers) in enumerate(golden.BATCHES, 1):
            repeat = wire.batch(sequence, schema, numbers, golden.NOON)
            client.raw(pb.ClientMessage(batch=repeat).SerializeToString())
        client.send(golden.LANDED, range(150, 160), golden.NOON)
        client.wait_acknowledged()
    daemon.flush()
    blobs = landed.directory(place / "store")
    for model, rows in (("landed", 160), ("on-its-way", 50)):
        found = Counter(int(row["n"]) for row in landed.rows(blobs, f"/{model}/"))
        assert found == Counter(range(rows))
    books = {name.split("/")[4]: book for name, book in daemon.books().items()}
    assert (books["landed"].received, books["landed"].landed) == (160, 160)
    assert (books["on-its-way"].received, books["on-its-way"].landed) == (50, 50)
    # Its frames have no index, those behind them in the same blob have one.
    for number in (0, 120, 155):
        found = daemon.cli(
            "where",
            str(UUID(int=(1 << 64) + number)),
            "--date",
            "2026-11-21",
            "--stream",
            "default/default/default/default/landed",
        )
        assert f"rows {number + 1}\n" in found.stdout, found.stdout + found.stderr
    assert daemon.cli("verify").returncode == 0
    assert daemon.terminate() == 0
