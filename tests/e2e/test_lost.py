"""A lost or damaged ledger beside a living log, and a lost log beside a living ledger: told, and nothing twice."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from collectord.testing.azurite import Azurite
from tests.e2e import landed
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon
from tests.e2e.test_kills import WIRE_STREAM, Sender
from tests.e2e.waiting import eventually


def _delete(spool: Path) -> None:
    for path in spool.glob("ledger.sqlite*"):
        path.unlink()


def _tear(spool: Path) -> None:
    """As a bad disk leaves it: pages of the database are noise."""
    path = spool / "ledger.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    raw = bytearray(path.read_bytes())
    assert len(raw) > 8192
    raw[8192:] = random.Random(1).randbytes(len(raw) - 8192)
    path.write_bytes(raw)


def _load_and_kill(daemon: Daemon, sender: Sender) -> None:
    """Kills a daemon in the middle of landing, some rows landed and some not, again and again."""
    for _ in range(3):
        daemon.start()
        sender.connect()
        sender.send_until(sender.client.acknowledged + 60)
        _wait_for_a_frame(daemon)
        daemon.kill9()


def _wait_for_a_frame(daemon: Daemon) -> None:
    before = daemon.metrics()["collectord_frames_landed_total"]
    eventually(lambda: daemon.metrics()["collectord_frames_landed_total"] > before, "something lands")


def _rebuild_and_check(daemon: Daemon, sender: Sender, blobs: Callable[[], dict[str, bytes]]) -> None:
    before = blobs()
    daemon.start()
    # Ingest goes on; nothing is uploaded, and everybody is told why.
    sender.connect()
    sender.send_until(sender.client.acknowledged + 20)
    sender.client.wait_acknowledged()
    status = daemon.status()
    assert status["ledger_rebuild_needed"]
    assert "collectord ledger rebuild" in status["held"]
    assert daemon.http("/readyz") == (200, "ok\n" + status["held"] + "\n")
    assert daemon.metrics()["collectord_ledger_rebuild_needed"] == 1
    flushed = daemon.cli("flush", "--timeout", "30")
    assert flushed.returncode == 1
    assert "collectord ledger rebuild" in flushed.stderr
    assert blobs() == before
    daemon.books()
    look = daemon.cli("ledger", "rebuild", "--dry-run")
    assert look.returncode == 0, look.stderr
    assert "nothing was changed" in look.stdout
    assert daemon.status()["ledger_rebuild_needed"]
    # A kill in between leaves it needing the rebuild.
    daemon.kill9()
    daemon.start()
    assert daemon.status()["ledger_rebuild_needed"]
    done = daemon.cli("ledger", "rebuild")
    assert done.returncode == 0, done.stderr
    assert "land a second time" not in done.stdout
    print(done.stdout)
    sender.connect()
    sender.send()
    sender.client.wait_acknowledged()
    daemon.flush()
    book = daemon.books()[WIRE_STREAM]
    assert (book.received, book.landed, book.in_log) == (sender.rows, sender.rows, 0), book
    assert daemon.status()["held"] is None
    assert daemon.metrics()["collectord_ledger_rebuild_needed"] == 0
    daemon.kill9()
    daemon.start()
    eventually(lambda: daemon.status()["held"] is None, "the claim is taken, and nothing stands in the way")
    daemon.books()
    verified = daemon.cli("verify", "--spool", str(daemon.spool))
    assert verified.returncode == 0, verified.stdout
    assert daemon.terminate() == 0
    sender.check(landed.rows(blobs(), "/wire/"))
    sender.client.close()


@pytest.mark.parametrize(("harm", "codec"), [(_delete, "zstd"), (_tear, "gzip"), (_delete, "none")])
def test_after_a_lost_ledger_every_row_is_in_a_directory_once(
    make_daemon: MakeDaemon, harm: Callable[[Path], None], codec: str
) -> None:
    """Killed under load, ledger gone or torn: rows are taken in, nothing is uploaded until the rebuild, and then every
    acknowledged row is in its blob once and the books balance."""
    layout = "{writer}/{model}/{designation}/{yyyy}/{mm}/{dd}/data.csv" if codec == "none" else "documented"
    daemon = make_daemon(flush_interval=0.2, flush_bytes=65536, codec=codec, layout=layout)
    sender = Sender(daemon.endpoint, random.Random(3))
    _load_and_kill(daemon, sender)
    harm(daemon.spool)
    _rebuild_and_check(daemon, sender, lambda: landed.directory(daemon.folder / "store"))
    assert bool(list(daemon.spool.glob("ledger.sqlite.damaged-*"))) == (harm is _tear)
    assert not [path for path in (daemon.spool / "frames").iterdir() if not path.name.startswith("spare-")]


def test_after_a_lost_ledger_every_row_is_in_azure_once(
    make_daemon: MakeDaemon, azurite: Azurite, new_container: Callable[[], str]
) -> None:
    """The same with a blob service."""
    container = new_container()
    daemon = make_daemon(
        store=f"az://{container}/some/prefix", flush_interval=0.2, flush_bytes=4096,
        env={"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string()},
    )  # fmt: skip
    sender = Sender(daemon.endpoint, random.Random(4))
    _load_and_kill(daemon, sender)
    _delete(daemon.spool)
    _rebuild_and_check(daemon, sender, lambda: landed.container(azurite.connection_string(), container))


def test_a_ledger_of_a_later_version_is_refused_and_left_alone(make_daemon: MakeDaemon) -> None:
    """It is not lost: a downgraded daemon must not begin another."""
    daemon = make_daemon()
    daemon.start()
    assert daemon.terminate() == 0
    path = daemon.spool / "ledger.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    daemon.spawn()
    assert daemon.wait() == 2
    assert "format 99" in daemon.said()
    assert path.read_bytes() == before


def test_a_lost_log_beside_a_living_ledger_is_told_and_does_not_stop_the_start(make_daemon: MakeDaemon) -> None:
    """Positions go on above all that were used, marks hold, frames under way are settled; what had not landed is gone,
    and that is said."""
    daemon = make_daemon(flush_interval=0.2, flush_bytes=4096)
    sender = Sender(daemon.endpoint, random.Random(5))
    daemon.start()
    assert daemon.status()["log_lost"] is False
    sender.connect()
    sender.send_until(300)
    sender.client.wait_acknowledged()
    daemon.flush()
    assert daemon.terminate() == 0
    rows = sender.rows
    shutil.rmtree(daemon.spool / "log")
    daemon.start()
    assert daemon.status()["log_lost"] is True
    assert daemon.metrics()["collectord_log_lost"] == 1
    assert [event["level"] for event in daemon.events() if "the log is gone" in event["event"]] == ["error"]
    assert daemon.books()[WIRE_STREAM].received == rows
    sender.connect()
    assert sender.client.resent == 0, "the mark held"
    sender.send_until(sender.client.acknowledged + 50)
    sender.client.wait_acknowledged()
    daemon.flush()
    for _ in range(2):
        book = daemon.books()[WIRE_STREAM]
        assert (book.received, book.landed, book.in_log) == (sender.rows, sender.rows, 0), book
        assert daemon.terminate() == 0
        daemon.start()
        assert daemon.status()["log_lost"] is False
    sender.check(landed.rows(landed.directory(daemon.folder / "store"), "/wire/"))
    sender.client.close()


def test_rows_of_an_oldest_segment_that_is_gone_are_told_and_the_books_balance(make_daemon: MakeDaemon) -> None:
    """No segment says that it ought to be there; the ledger does, which has not let it go."""
    daemon = make_daemon(flush_interval=3600)
    sender = Sender(daemon.endpoint, random.Random(5))
    sent = []
    for _ in range(2):
        daemon.start()
        sender.connect()
        sender.send_until(sender.client.acknowledged + 20)
        sender.client.wait_acknowledged()
        sent.append(daemon.books()[WIRE_STREAM].received)
        daemon.kill9()
    first, _ = sorted((daemon.spool / "log").glob("*.seg"))
    first.unlink()
    verified = daemon.cli("wal", "verify", str(daemon.spool))
    assert verified.returncode == 1 and "missing segment" in verified.stdout
    daemon.start()
    daemon.flush()
    book = daemon.books()[WIRE_STREAM]
    assert (book.received, book.landed, book.quarantined) == (sent[1], sent[1] - sent[0], sent[0])
    assert daemon.terminate() == 0
    assert daemon.events("acknowledged rows cannot be read back")
    sender.client.close()
