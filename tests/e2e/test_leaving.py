"""A node goes: it is drained before, or its spool is finished by somebody else afterwards, exactly once."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from collectord_client import Client

from collectord.testing.azurite import Azurite
from tests.e2e import landed
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon, collectord
from tests.e2e.test_kills import WIRE_STREAM, Sender
from tests.e2e.waiting import eventually

INTERVAL = 0.4
"""Seconds between renewals of a claim, so that a dead daemon's stands still for a second only."""


def _with_rows(make_daemon: MakeDaemon, **settings: object) -> tuple[Daemon, Sender]:
    """A daemon of whose rows some have landed and some wait."""
    daemon = make_daemon(flush_interval=3600, claim_interval=INTERVAL, **settings)
    sender = Sender(daemon.endpoint, random.Random(7))
    daemon.start()
    sender.connect()
    sender.send_until(50)
    sender.client.wait_acknowledged()
    daemon.flush()
    sender.send_until(100)
    sender.client.wait_acknowledged()
    return daemon, sender


def _adopt(daemon: Daemon, spool: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return collectord(
        "adopt", str(spool), "--store", str(daemon.folder / "store"), "--claim-interval", str(INTERVAL), *options,
        env=daemon.env, cwd=daemon.folder,
    )  # fmt: skip


def _check(daemon: Daemon, sender: Sender) -> None:
    sender.check(landed.rows(landed.directory(daemon.folder / "store"), "/wire/"))
    sender.client.close()


def _copy(spool: Path, name: str) -> Path:
    """As `cp -a` does, sockets left out."""
    target = spool.with_name(name)
    shutil.copytree(spool, target, ignore=lambda _, names: [one for one in names if one.endswith(".sock")])
    return target


def test_a_spool_left_behind_by_a_kill_is_finished_once_and_the_loser_stops(make_daemon: MakeDaemon) -> None:
    """A copy is refused while its daemon lives, and finished after its death; what the original would do then is
    nothing, and it says so while it goes on taking in."""
    daemon, sender = _with_rows(make_daemon)
    living = _adopt(daemon, _copy(daemon.spool, "copy"))
    assert living.returncode == 2, living
    assert "held, or was finished, by" in living.stderr or "its daemon lives" in living.stderr
    same = _adopt(daemon, daemon.spool)
    assert same.returncode == 2
    assert "another daemon runs on the spool" in same.stderr
    daemon.kill9()
    copy = _copy(daemon.spool, "second")
    done = _adopt(daemon, copy)
    assert done.returncode == 0, done.stderr
    assert "finished" in done.stdout
    _check(daemon, sender)
    before = landed.directory(daemon.folder / "store")
    again = _adopt(daemon, copy)
    assert again.returncode == 0, "a finished spool is finished"
    stale = _adopt(daemon, daemon.spool)
    assert stale.returncode == 2, stale
    daemon.start()
    eventually(lambda: "held, or was finished, by" in (daemon.status()["held"] or ""), "the loser says why")
    assert daemon.metrics()["collectord_claim_held"] == 0
    with Sender(daemon.endpoint, random.Random(8)).client as client:
        client.connect()
    flushed = daemon.cli("flush", "--timeout", "20")
    assert flushed.returncode == 1
    assert "held, or was finished, by" in flushed.stderr
    assert landed.directory(daemon.folder / "store") == before
    assert daemon.terminate() == 0


def test_a_spool_is_finished_where_it_lies_and_a_daemon_may_run_on_it_again(make_daemon: MakeDaemon) -> None:
    daemon, sender = _with_rows(make_daemon)
    daemon.kill9()
    done = _adopt(daemon, daemon.spool)
    assert done.returncode == 0, done.stderr
    daemon.start()
    assert daemon.status()["waiting"]["rows"] == 0
    sender.connect()
    sender.send()
    sender.client.wait_acknowledged()
    daemon.flush()
    book = daemon.books()[WIRE_STREAM]
    assert (book.received, book.landed) == (sender.rows, sender.rows)
    assert daemon.terminate() == 0
    _check(daemon, sender)


def test_an_adoption_that_is_killed_is_begun_again(make_daemon: MakeDaemon) -> None:
    """At whatever moment: while it watches, while it lands, or when it is done."""
    daemon, sender = _with_rows(make_daemon, flush_bytes=4096)
    daemon.kill9()
    killed = 0
    for patience in (0.8, 1.6, 2.0, 2.4):
        process = subprocess.Popen(
            [sys.executable, "-m", "collectord", "adopt", str(daemon.spool), "--store", str(daemon.folder / "store"),
             "--claim-interval", str(INTERVAL)],
            env=daemon.env, cwd=daemon.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert process.wait(patience) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)
            killed += 1
    assert killed, "no kill met an adoption"
    done = _adopt(daemon, daemon.spool)
    assert done.returncode == 0, done.stderr
    _check(daemon, sender)


def test_a_claim_that_was_released_is_taken_at_once(make_daemon: MakeDaemon) -> None:
    """SIGTERM without time to upload leaves rows, and a claim that nobody need wait for."""
    daemon, sender = _with_rows(make_daemon, drain_deadline=0)
    assert daemon.terminate() == 0
    done = collectord(
        "adopt", str(daemon.spool), "--store", str(daemon.folder / "store"), "--claim-interval", "600", env=daemon.env,
        cwd=daemon.folder, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    _check(daemon, sender)


def test_of_two_that_adopt_two_copies_one_wins(make_daemon: MakeDaemon) -> None:
    daemon, sender = _with_rows(make_daemon)
    daemon.kill9()
    copies = [_copy(daemon.spool, name) for name in ("first", "second")]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "collectord", "adopt", str(copy), "--store", str(daemon.folder / "store"),
             "--claim-interval", str(INTERVAL)],
            env=daemon.env, cwd=daemon.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for copy in copies
    ]  # fmt: skip
    said = [process.communicate(timeout=120) for process in running]
    assert sorted(process.returncode for process in running) == [0, 2], said
    _check(daemon, sender)


def test_a_daemon_whose_claim_was_taken_stops_uploading(make_daemon: MakeDaemon) -> None:
    """By force, from a copy, while it lives: it stops at its next renewal, and rows are taken in as before."""
    daemon, sender = _with_rows(make_daemon)
    copy = _copy(daemon.spool, "copy")
    done = _adopt(daemon, copy, "--force")
    assert done.returncode == 0, done.stderr
    eventually(lambda: daemon.status()["claim"]["held"] is False, "it notices")
    assert len([event for event in daemon.events() if "another holder" in event["event"]]) == 1
    assert daemon.http("/readyz")[0] == 200
    flushed = daemon.cli("flush", "--timeout", "20")
    assert flushed.returncode == 1
    assert daemon.terminate() == 0
    _check(daemon, sender)


def test_with_the_store_down_at_the_start_rows_are_taken_in_and_land_once_it_is_claimed(
    make_daemon: MakeDaemon, folder: Path
) -> None:
    gate = folder / "gate"
    gate.write_text("no directory yet")
    daemon = make_daemon(store=gate / "store", claim_interval=INTERVAL, flush_interval=0.2)
    daemon.start()
    sender = Sender(daemon.endpoint, random.Random(9))
    sender.connect()
    sender.send_until(20)
    sender.client.wait_acknowledged()
    assert "claim" in daemon.status()["held"]
    assert daemon.http("/readyz")[0] == 200
    gate.unlink()
    eventually(lambda: daemon.status()["held"] is None, "it is claimed")
    daemon.flush()
    assert daemon.terminate() == 0
    sender.check(landed.rows(landed.directory(gate / "store"), "/wire/"))
    sender.client.close()


def test_a_spool_whose_ledger_was_lost_is_rebuilt_and_finished(make_daemon: MakeDaemon) -> None:
    daemon, sender = _with_rows(make_daemon)
    daemon.kill9()
    for path in daemon.spool.glob("ledger.sqlite*"):
        path.unlink()
    refused = _adopt(daemon, daemon.spool)
    assert refused.returncode == 2
    assert "--rebuild" in refused.stderr
    done = _adopt(daemon, daemon.spool, "--rebuild")
    assert done.returncode == 0, done.stderr
    _check(daemon, sender)


def test_a_spool_left_behind_is_finished_in_azure(
    make_daemon: MakeDaemon, azurite: Azurite, new_container: Callable[[], str]
) -> None:
    """The claim is a block blob with an ETag there."""
    container = new_container()
    variables = {"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string()}
    daemon, sender = _with_rows(make_daemon, store=f"az://{container}", env=variables)
    daemon.kill9()
    done = collectord(
        "adopt", str(daemon.spool), "--store", f"az://{container}", "--claim-interval", str(INTERVAL), env=daemon.env,
        cwd=daemon.folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    sender.check(landed.rows(landed.container(azurite.connection_string(), container), "/wire/"))
    sender.client.close()


@pytest.mark.parametrize("what", ["nothing", "another store"])
def test_what_is_no_spool_of_this_store_is_refused(make_daemon: MakeDaemon, folder: Path, what: str) -> None:
    if what == "nothing":
        (folder / "empty").mkdir()
        refused = collectord("adopt", str(folder / "empty"), "--store", str(folder / "store"))
        assert refused.returncode == 2
        assert "is no spool" in refused.stderr
        return
    daemon, sender = _with_rows(make_daemon)
    daemon.kill9()
    refused = collectord("adopt", str(daemon.spool), "--store", str(folder / "other"))
    assert refused.returncode == 2
    assert "is it the store" in refused.stderr
    assert not landed.directory(folder / "other")
    sender.client.close()


def test_drain_empties_a_node_and_takes_nothing_new_until_it_is_cancelled(make_daemon: MakeDaemon) -> None:
    daemon, sender = _with_rows(make_daemon, late_window=600, drain_deadline=1200)
    client = Client(model="m", endpoint=daemon.endpoint, outbox="block", linger=0.01)
    inputs = client.collector("inputs", feature_names=["n"])
    inputs.collect(np.arange(10).reshape(-1, 1))
    assert client.flush(30)
    done = daemon.cli("drain", "--timeout", "60")
    assert done.returncode == 0, done.stderr
    assert "drained" in done.stdout
    status = daemon.status()
    assert (status["state"], status["draining"], status["waiting"]["rows"]) == ("draining", True, 0)
    assert daemon.http("/readyz") == (503, "draining\n")
    assert daemon.metrics()["collectord_draining"] == 1
    acknowledged = sender.client.acknowledged
    sender.send()
    eventually(lambda: sender.client.credit == 0, "the client is told")
    assert "drain" in sender.client.credit_reason
    assert sender.client.acknowledged == acknowledged
    inputs.collect(np.arange(10, 30).reshape(-1, 1))
    eventually(lambda: "drain" in client.stats()["last_error"], "its stats say why")
    assert daemon.cli("drain", "--timeout", "10").returncode == 0, "it stays drained"
    back = daemon.cli("drain", "--cancel")
    assert back.returncode == 0, back.stderr
    assert daemon.http("/readyz") == (200, "ok\n")
    assert client.flush(30), "it has been asked to send again"
    assert client.stats()["last_error"] == ""
    client.close()
    sender.connect()
    sender.client.wait_acknowledged()
    daemon.flush()
    assert daemon.books()[WIRE_STREAM].landed == sender.rows
    assert daemon.cli("drain").returncode == 0
    assert daemon.terminate() == 0, "nobody is let in any more, so nobody is waited for"
    blobs = landed.directory(daemon.folder / "store")
    assert sorted(int(row["n"]) for row in landed.rows(blobs, "/m/")) == list(range(30))
    _check(daemon, sender)


def test_a_drain_that_cannot_end_says_why_and_sigterm_works_meanwhile(make_daemon: MakeDaemon, folder: Path) -> None:
    gate = folder / "gate"
    gate.write_text("no directory")
    daemon = make_daemon(store=gate / "store", claim_interval=INTERVAL, flush_interval=0.2, drain_deadline=1)
    daemon.start()
    sender = Sender(daemon.endpoint, random.Random(9))
    sender.connect()
    sender.send_until(20)
    sender.client.wait_acknowledged()
    failed = daemon.cli("drain", "--timeout", "2")
    assert failed.returncode == 1
    assert "rows have not landed" in failed.stderr
    assert "claim" in failed.stderr
    assert daemon.status()["draining"]
    assert daemon.terminate() == 0
    sender.client.close()
