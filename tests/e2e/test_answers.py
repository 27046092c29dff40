"""What people ask beside and without a running daemon: is what landed whole, does the chain hold, where is a record."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

import pytest
from collectord_client import Client

from collectord.testing.azurite import Azurite
from tests.e2e import wire
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import LAUNCH, Daemon, collectord
from tests.e2e.waiting import eventually


def send(daemon: Daemon, numbers: Sequence[int], model: str = "wire", designation: str = "inputs") -> None:
    """Rows that are acknowledged when this returns."""
    with wire.WireClient(daemon.endpoint) as client:
        schema = wire.schema(model, designation)
        client.declare(schema)
        client.send(schema, numbers, time.time_ns())
        client.wait_acknowledged()


@pytest.mark.parametrize(
    "codec, layout", [("zstd", "documented"), ("gzip", "sdk-v1"), ("zstd", "{designation}/{yyyy}{mm}{dd}@{writer}={model}.csv")]
)  # fmt: skip
def test_verify_finds_what_landed_whole_and_equal_to_the_books(
    make_daemon: MakeDaemon, codec: str, layout: str
) -> None:
    """Two streams, several frames, rows that wait, a kill in between; the daemon goes on running."""
    daemon = make_daemon(codec=codec, layout=layout, flush_interval=3600).start()
    for round in range(3):
        send(daemon, range(round * 100, round * 100 + 100))
        send(daemon, range(50), designation="outputs")
        daemon.flush()
        if round == 1:
            daemon.kill9()
            daemon.start()
    send(daemon, range(7))
    done = daemon.cli("verify", "--spool", str(daemon.spool), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["clean"]
    assert answer["notes"] == []
    assert sum(blob["rows"] for blob in answer["blobs"]) == 450
    assert [(one["writer"], one["rows"]) for one in answer["writers"]] == [(daemon.status()["writer"], 450)]
    books = daemon.books()
    assert {one["streams"][0]: one["rows"] for one in answer["streams"]} == {
        key: book.landed for key, book in books.items()
    }
    text = daemon.cli("verify")
    assert text.returncode == 0
    assert text.stdout.splitlines()[-1].endswith("bytes read: clean")
    assert "450 rows in 2 blobs" in text.stdout


def test_verify_names_what_was_lost_behind_the_daemons_back(make_daemon: MakeDaemon) -> None:
    """A blob that is cut, one that is gone, one that was copied: exit 1, the place and what is wrong with it."""
    daemon = make_daemon(flush_interval=3600).start()
    for model in ("cut", "gone", "copied"):
        for _ in range(2):
            send(daemon, range(100), model)
            daemon.flush()
    by_model = {path.parts[-7]: path for path in (daemon.folder / "store").rglob("data.csv.zst")}
    assert set(by_model) == {"cut", "gone", "copied"}
    by_model["gone"].unlink()
    by_model["cut"].write_bytes(by_model["cut"].read_bytes()[:-10])
    by_model["copied"].with_name("data.1.csv.zst").write_bytes(by_model["copied"].read_bytes())
    done = daemon.cli("verify", "--spool", str(daemon.spool), "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)["findings"]
    whats = [(one["blob"].split("/")[4], one["offset"] is None, one["what"]) for one in found]
    assert sum("stands here and in" in what for model, _, what in whats if model == "copied") == 2
    assert any(model == "cut" and "cut off" in what for model, _, what in whats)
    missing = {model: what for model, about_stream, what in whats if about_stream}
    assert "200 are missing" in missing["gone"]
    assert "100 are missing" in missing["cut"]
    assert "200 more than the ledger says" in missing["copied"]
    lines = daemon.cli("verify").stdout.splitlines()
    assert sum(line.startswith("WRONG: ") for line in lines) == 3
    assert "3 findings" in lines[-1]


def test_verify_reads_azure_and_exits_with_2_when_it_cannot(
    make_daemon: MakeDaemon, azurite: Azurite, new_container: Callable[[], str], folder: Path
) -> None:
    container = new_container()
    connection = azurite.connection_string()
    daemon = make_daemon(
        store=f"az://{container}/below", env={"COLLECTORD_AZURE_CONNECTION_STRING": connection}, flush_interval=3600
    ).start()
    send(daemon, range(100))
    daemon.flush()
    done = daemon.cli("verify", "--spool", str(daemon.spool))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100 rows, 100 landed says the ledger" in done.stdout
    assert "the books are not compared" in daemon.cli("verify", "--spool", str(daemon.spool), "below/").stdout
    daemon.env["COLLECTORD_AZURE_CONNECTION_STRING"] = connection.replace("AccountKey=E", "AccountKey=F")
    done = daemon.cli("verify")
    assert (done.returncode, done.stdout) == (2, "")
    assert "forbidden" in done.stderr or "403" in done.stderr
    nobody = collectord("verify", "--spool", str(folder / "nobody"), cwd=folder)
    assert nobody.returncode == 2
    assert "no daemon answers" in nobody.stderr


def test_verify_of_plain_text_compares_no_books(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(codec="none").start()
    send(daemon, range(100))
    daemon.flush()
    done = daemon.cli("verify", "--spool", str(daemon.spool))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "plain text does not say which rows" in done.stdout
    assert "100 rows in 1 blobs" in done.stdout


def doctor(daemon: Daemon, *more: str, uid: int = -1) -> tuple[int, dict[str, dict[str, str | bool | None]], str]:
    """Exit status, links and output of `collectord doctor` with the daemon's settings."""
    options = [word for name, value in daemon.settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    done = subprocess.run(
        [sys.executable, str(LAUNCH), str(uid), "0", "doctor", "--json", *options, *more],
        env={**daemon.env, "COLLECTORD_ENDPOINT": daemon.endpoint}, cwd=daemon.folder, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    return done.returncode, {one["link"]: one for one in json.loads(done.stdout)}, done.stdout + done.stderr


def test_doctor_finds_a_running_daemon_well_and_says_what_changed_when_it_was_killed(make_daemon: MakeDaemon) -> None:
    """A stale socket, nobody to greet; what lies in the spool and the store is still well."""
    daemon = make_daemon().start()
    send(daemon, range(100))
    daemon.flush()
    status, links, said = doctor(daemon)
    assert status == 0, said
    assert all(link["ok"] for link in links.values()), said
    assert f"pid {daemon.process.pid if daemon.process else 0}" in str(links["daemon"]["what"])
    assert daemon.status()["writer"] in str(links["append"]["what"])
    assert "not an address" not in str(links["client"]["what"])
    assert "in 1 blobs" in daemon.cli("ls").stdout, "the doctor's blob is no data"
    daemon.kill9()
    status, links, said = doctor(daemon)
    assert status == 1
    assert {name for name, link in links.items() if link["ok"] is False} == {"daemon", "socket", "client"}, said
    assert "stale" in str(links["socket"]["what"])
    (daemon.spool / "ledger.sqlite").unlink()
    status, links, said = doctor(daemon)
    assert "the ledger beside it is gone" in str(links["log"]["what"])


def test_doctor_tells_a_user_who_may_not_use_the_spool(make_daemon: MakeDaemon) -> None:
    """Who may neither look into it nor ask the daemon, or at least not write; the client's side is well."""
    daemon = make_daemon().start()
    uid = 65534 if os.getuid() == 0 else -1
    if uid < 0:
        daemon.spool.chmod(0o500)
    status, links, said = doctor(daemon, uid=uid)
    daemon.spool.chmod(0o700)
    assert status == 1
    assert links["spool"]["ok"] is False, said
    assert links["spool"]["todo"]
    assert links["client"]["ok"] is True, said


def test_doctor_names_a_blocked_stream(make_daemon: MakeDaemon) -> None:
    """The daemon's own reason, in one line."""
    daemon = make_daemon(flush_interval=0.1).start()
    send(daemon, range(10))
    (path,) = eventually(lambda: list((daemon.folder / "store").rglob("data.csv.zst")), "the blob is there")
    eventually(lambda: not daemon.status()["waiting"]["rows"], "it has landed")
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("in the way")
    send(daemon, range(10))
    eventually(lambda: [one for one in daemon.status()["troubles"] if one["blocked"]], "it is blocked")
    status, links, said = doctor(daemon)
    assert status == 1
    assert "bad_name" in str(links["uploads"]["what"]), said
    assert {name for name, link in links.items() if link["ok"] is False} == {"uploads"}


def test_where_tells_waiting_from_landed_from_unknown(make_daemon: MakeDaemon) -> None:
    """The same record before and after it lands; ids of the wire client are uuids, not of version 7."""
    daemon = make_daemon(flush_interval=3600).start()
    send(daemon, range(100))
    wanted = str(UUID(int=(1 << 64) + 42))
    spool = ("--spool", str(daemon.spool))
    assert daemon.cli("where", wanted).stdout == daemon.cli("where", wanted, *spool).stdout, "the spool of the settings"
    done = daemon.cli("where", wanted, *spool)
    assert done.returncode == 0, done.stderr
    assert "waits in the log: default/default/default/default/wire/default/inputs/default, entry " in done.stdout
    assert "of 100 rows" in done.stdout
    daemon.flush()
    done = daemon.cli("where", wanted, *spool, "--show")
    assert done.returncode == 0, done.stderr
    assert "waits" not in done.stdout
    assert re.search(r"landed: default/.*/data.csv.zst, frame at byte \d+, rows 43\n  42," + wanted, done.stdout)
    answer = json.loads(daemon.cli("where", wanted, "--json").stdout)
    assert [hit["row"] for hit in answer["landed"]] == [43]
    assert answer["searched"]["blobs"] == 1
    assert answer["searched"]["frames_passed"] == 0
    unknown = daemon.cli("where", str(UUID(int=7)), *spool)
    assert (unknown.returncode, unknown.stderr) == (1, "")
    assert "not known" in unknown.stdout
    assert "1 of 1 frames passed over by their index" in unknown.stdout
    assert "the daemon's books of 1 streams know of no row that was rejected" in unknown.stdout
    elsewhere = daemon.cli("where", wanted, "--date", "2020-01-01")
    assert elsewhere.returncode == 1
    assert "0 blobs of 2020-01-01" in elsewhere.stdout
    assert daemon.cli("where", wanted, "--stream", "other/").returncode == 1
    assert daemon.cli("where", "").returncode == 2


def test_where_finds_what_the_client_collected_by_its_id_alone(make_daemon: MakeDaemon) -> None:
    """The id that `collect` returns says the day."""
    daemon = make_daemon(codec="gzip").start()
    with Client(model="m", endpoint=daemon.endpoint) as client:
        inputs = client.collector("inputs", feature_names=["n"])
        identity = [str(inputs.collect([[number], [number + 1]]).correlation) for number in range(20)][7]
        assert client.flush(30)
    daemon.flush()
    done = daemon.cli("where", identity, "--show")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rows 15, 16" in done.stdout
    assert f"  7,{identity}," in done.stdout


def test_where_says_what_never_landed_of_the_streams_in_question(make_daemon: MakeDaemon) -> None:
    """Rejected rows of one stream, by reason; another stream is not told of where it is not asked for."""
    daemon = make_daemon(flush_interval=3600).start()
    send(daemon, range(10))
    with wire.WireClient(daemon.endpoint) as client:
        schema = wire.schema("old", "inputs")
        client.declare(schema)
        client.send(schema, range(30), time.time_ns() - 400 * 24 * 3600 * 10**9)
        client.wait_acknowledged()
    daemon.flush()
    spool = ("--spool", str(daemon.spool))
    done = daemon.cli("where", "order-1", *spool)
    assert done.returncode == 1, done.stderr
    assert "default/default/default/default/old/default/inputs/default: rejected 30 (time_out_of_window)" in done.stdout
    assert "/wire/" not in done.stdout
    answer = json.loads(daemon.cli("where", "order-1", *spool, "--json").stdout)
    assert [one["rejected"] for one in answer["never_landed"]] == [{"time_out_of_window": 30}]
    done = daemon.cli("where", "order-1", *spool, "--stream", "default/default/default/default/wire")
    assert "of 1 streams know of no row that was rejected" in done.stdout
    daemon.kill9()
    assert "no daemon was asked" in daemon.cli("where", "order-1").stdout
    assert daemon.cli("where", "order-1", *spool).returncode == 2, "one that is named has to answer"


@pytest.mark.parametrize("codec", ["zstd", "gzip"])
def test_where_passes_over_frames_by_the_time_of_the_id(make_daemon: MakeDaemon, codec: str) -> None:
    """Frames that the daemon wrote, with ids that our client made; `verify` finds their indexes true."""
    daemon = make_daemon(codec=codec, flush_interval=3600).start()
    identities = []
    with Client(model="m", endpoint=daemon.endpoint) as client:
        inputs = client.collector("inputs", feature_names=["n"])
        for number in range(5):
            identities.append(str(inputs.collect([[number], [number]]).correlation))
            assert client.flush(30)
            daemon.flush()
    for number, identity in enumerate(identities):
        answer = json.loads(daemon.cli("where", identity, "--json").stdout)
        assert [hit["row"] for hit in answer["landed"]] == [2 * number + 1, 2 * number + 2]
        assert (answer["searched"]["frames"], answer["searched"]["frames_passed"]) == (5, 4)
    assert daemon.cli("verify").returncode == 0
