"""Every command of `collectord`, with a daemon and without one, and the HTTP side."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from collectord import __version__, metrics
from collectord.model import Reason
from collectord.testing.azurite import KEY, Azurite
from tests.e2e import landed, wire
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon, collectord, environment
from tests.e2e.waiting import eventually

COMMANDS = (
    "serve", "status", "flush", "drain", "adopt", "erase", "ledger", "ledger rebuild", "top", "ls", "cat", "verify", "doctor", "where",
    "retention", "logs", "tail", "query",
    "wal", "wal ls", "quarantine", "service", "service set", "service show", "config", "demo", "version",
)  # fmt: skip

ROOT = Path(__file__).resolve().parents[2]


def _sent(daemon: Daemon, rows: int, columns: tuple[str, ...] = ("n",), first: int = 0) -> None:
    with wire.WireClient(daemon.endpoint) as client:
        schema = wire.schema(columns=columns)
        client.declare(schema)
        client.send(schema, range(first, first + rows), time.time_ns(), len(columns))
        client.wait_acknowledged()


def _landed(daemon: Daemon, rows: int, columns: tuple[str, ...] = ("n",), first: int = 0) -> None:
    _sent(daemon, rows, columns, first)
    daemon.flush()


def _start_without_store(daemon: Daemon) -> None:
    """A file stands where its directory should be; one row waits."""
    (daemon.folder / "store").touch()
    daemon.start()
    _sent(daemon, 1)


def test_every_command_explains_itself(folder: Path) -> None:
    """`--help` of each exits with 0 and says what it does; the list in this test is complete."""
    top = collectord("--help", cwd=folder)
    assert top.returncode == 0
    listed = re.findall(r"^  (\w+)  ", top.stdout.split("Commands:")[1], re.MULTILINE)
    assert sorted(listed) == sorted({command.split()[0] for command in COMMANDS})
    for command in COMMANDS:
        done = collectord(*command.split(), "--help", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "Usage: " in done.stdout
        assert len(done.stdout.splitlines()) > 4
    assert not list(folder.iterdir()), "asking for help leaves nothing behind"


def test_version_and_config(folder: Path) -> None:
    """The version is the package's. The settings are shown without secrets, wherever they come from."""
    assert collectord("version").stdout == f"collectord {__version__}\n"
    variables = {
        "COLLECTORD_COLUMNS_KEY": KEY,
        "COLLECTORD_AZURE_SAS": "sv=1&sig=TopSecret",
        "COLLECTORD_AZURE_ACCOUNT_URL": "https://me.blob.core.windows.net/?sig=TopSecret",
    }
    done = collectord("config", "--store", "az://modeldata", "--codec", "gzip", env=environment(variables), cwd=folder)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["codec"] == "gzip"
    assert shown["store"] == "az://modeldata"
    assert KEY not in done.stdout + done.stderr
    assert "TopSecret" not in done.stdout + done.stderr
    assert shown["azure_sas"] and shown["columns_key"]


@pytest.mark.parametrize("command", ["status", "status --json", "top --once", "flush", "ledger", "ledger --json"])
def test_without_a_daemon_a_command_says_so(folder: Path, command: str) -> None:
    """Exit 2 and one line: which socket, and what to do."""
    done = collectord(*command.split(), cwd=folder)
    assert done.returncode == 2
    assert done.stderr == (
        f"collectord: no daemon answers at {folder.resolve()}/collectord-data/spool/admin.sock; start one with "
        "`collectord serve`, or name its spool directory with --spool\n"
    )


def test_commands_that_need_a_log_or_a_blob_say_when_there_is_none(folder: Path) -> None:
    """`wal ls` and `cat` exit with 2; `ls` of a store that is not there yet is empty."""
    log = collectord("wal", "ls", cwd=folder)
    assert log.returncode == 2
    assert "there is no log" in log.stderr
    text = collectord("cat", "nobody", cwd=folder)
    assert text.returncode == 2
    assert "nobody" in text.stderr
    assert "collectord ls" in text.stderr
    empty = collectord("ls", cwd=folder)
    assert empty.returncode == 0
    assert "0 blobs" in empty.stdout


def test_status_flush_ledger_and_log_beside_a_running_daemon(make_daemon: MakeDaemon) -> None:
    """What they print is what has happened, for people and as JSON."""
    daemon = make_daemon(flush_interval=3600).start()
    client = wire.WireClient(daemon.endpoint).connect()
    schema = wire.schema()
    client.declare(schema)
    client.send(schema, range(1234), time.time_ns())
    client.wait_acknowledged()

    status = json.loads(daemon.cli("status", "--json").stdout)
    assert status["state"] == "ready"
    assert status["waiting"]["rows"] == 1234
    assert [one["sdk"] for one in status["clients"]] == ["wire 1"]
    assert status["pid"] == (daemon.process.pid if daemon.process else 0)
    (stream,) = status["streams"]
    assert (stream["received"], stream["landed"], stream["in_log"], stream["collected"]) == (1234, 0, 1234, "on")
    assert (stream["blob"], stream["last_error"], stream["cost"]["per_month"]) == (None, None, 0)
    assert status["totals"]["received"] == 1234
    assert status["memory"]["resident_bytes"] > 10 << 20
    assert status["latency"]["sync"]["count"] > 0
    assert "Nothing was appended" in status["cost"]["advice"]
    people = daemon.cli("status").stdout
    assert "is ready" in people
    assert "collected: on" in people
    assert "1,234 rows of 1 partitions" in people

    log = json.loads(daemon.cli("wal", "ls", "--json").stdout)
    assert sum(segment["rows"] for segment in log) == 1234
    assert not any(segment["damages"] or segment["problem"] for segment in log)
    assert "1,234" in daemon.cli("wal", "ls").stdout

    (books,) = json.loads(daemon.cli("ledger", "--json").stdout)
    assert (books["received"], books["in_log"], books["landed"], books["balanced"]) == (1234, 1234, 0, True)
    done = daemon.cli("flush")
    assert (done.returncode, done.stdout) == (0, "everything received so far has landed\n")
    ledger = daemon.cli("ledger")
    assert ledger.returncode == 0
    assert "balanced" in ledger.stdout
    (books,) = json.loads(daemon.cli("ledger", "--json").stdout)
    assert (books["received"], books["in_log"], books["landed"], books["balanced"]) == (1234, 0, 1234, True)
    shown = daemon.cli("top", "--once")
    assert shown.returncode == 0
    assert "1,234" in shown.stdout
    page = json.loads(daemon.http("/status.json")[1])
    (stream,) = page["streams"]
    assert stream["blob"].endswith("data.csv.zst")
    assert stream["cost"]["operations_per_hour"] == 60
    assert "longer flush_interval" in page["cost"]["advice"]
    assert set(page) - set(status) == {"history"}
    assert page["streams_in_all"] == 1
    client.close()
    assert daemon.terminate() == 0
    assert daemon.cli("wal", "ls").returncode == 0, "the log can be looked at without a daemon too"


@pytest.mark.parametrize(
    ("ending", "sentence"), [(signal.SIGKILL, "no daemon answers"), (signal.SIGTERM, "1 rows have not landed")]
)
def test_commands_end_in_order_when_the_daemon_stops_meanwhile(
    make_daemon: MakeDaemon, ending: signal.Signals, sentence: str
) -> None:
    """A flush that waits while the daemon is killed or stopped ends with a sentence, not with a trace of Python."""
    # Without a claim, only what the flush sends out can meet trouble.
    daemon = make_daemon(flush_interval=3600, drain_deadline=0.5, claim_interval=0)
    _start_without_store(daemon)
    env = {**daemon.env, "COLLECTORD_SPOOL": str(daemon.spool)}
    waiting = subprocess.Popen(
        [sys.executable, "-m", "collectord", "flush"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: daemon.status()["troubles"], "the flush is under way")
    daemon.signal(ending)
    daemon.wait()
    said, errors = waiting.communicate(timeout=30)
    assert waiting.returncode in (1, 2), (said, errors)
    assert "Traceback" not in errors
    assert sentence in errors


def test_a_daemon_that_stands_still_is_reported(make_daemon: MakeDaemon) -> None:
    """A daemon that does not answer is not waited for without end, and the end is a sentence."""
    daemon = make_daemon().start()
    daemon.signal(signal.SIGSTOP)
    try:
        done = daemon.cli("flush", "--timeout", "0.1")
    finally:
        daemon.signal(signal.SIGCONT)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_ls_and_cat_read_a_directory(make_daemon: MakeDaemon) -> None:
    """Names, sizes and addresses that open; the text of parts of several codecs, with the header once."""
    daemon = make_daemon().start()
    _landed(daemon, 100)
    for codec in ("gzip", "none"):
        assert daemon.terminate() == 0
        daemon.settings["codec"] = codec
        daemon.start()
        _landed(daemon, 100, first=100 if codec == "gzip" else 200)
    store = daemon.folder / "store"
    blobs = landed.directory(store)
    assert len(blobs) == 3
    listed = json.loads(daemon.cli("ls", "--json").stdout)
    assert {one["name"]: one["bytes"] for one in listed} == {name: len(data) for name, data in blobs.items()}
    assert {one["codec"] for one in listed} == {"zstd", "gzip", "none"}
    for one in listed:
        assert one["file"] == f"file://{store.resolve()}/{one['name']}"
    people = daemon.cli("ls").stdout
    assert "3 blobs" in people
    assert all(name in people for name in blobs)
    done = daemon.cli("cat", "default/")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("n,")] == lines[:1]
    assert sorted(int(line.split(",")[0]) for line in lines[1:]) == list(range(300))
    one = daemon.cli("cat", next(iter(blobs)))
    assert len(one.stdout.splitlines()) == 101
    absolute = collectord("ls", "--store", str(store), "default/default/default/default/wire", cwd=Path("/"))
    assert "3 blobs" in absolute.stdout


def test_cat_of_different_columns_is_refused(make_daemon: MakeDaemon) -> None:
    """Two tables are not printed as one."""
    daemon = make_daemon(codec="gzip").start()
    _landed(daemon, 3)
    _landed(daemon, 3, columns=("n", "m"))
    done = daemon.cli("cat", "default/")
    assert done.returncode == 1
    assert not done.stdout
    assert "different columns" in done.stderr
    assert "data.1.csv.gz" in done.stderr


@pytest.mark.parametrize("command", ["cat default/", "ls"])
def test_output_that_nobody_reads_to_its_end_is_no_error(make_daemon: MakeDaemon, command: str) -> None:
    """As with `collectord cat … | head -1`: nothing on stderr."""
    daemon = make_daemon(codec="none").start()
    for model in range(40 if command == "ls" else 1):
        with wire.WireClient(daemon.endpoint) as client:
            schema = wire.schema(f"model-{model}-{'x' * 150}")
            client.declare(schema)
            for start in range(0, 5000 if command != "ls" else 1, 1000):
                client.send(schema, range(start, start + 1000), time.time_ns())
            client.wait_acknowledged()
    daemon.flush()
    env = {**daemon.env, "COLLECTORD_STORE": str(daemon.folder / "store")}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"'{sys.executable}' -m collectord {command} | head -1"],
        env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.returncode in (0, 141)
    assert len(done.stdout.splitlines()) == 1


def test_ls_and_cat_read_azure(make_daemon: MakeDaemon, azurite: Azurite, new_container: Callable[[], str]) -> None:
    """Only data is listed, each blob with the address that the service knows it by; a prefix in the store's setting is part of the names."""
    container = new_container()
    variables = {"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string()}
    daemon = make_daemon(store=f"az://{container}/team", env=variables).start()
    _landed(daemon, 100)
    listing = daemon.cli("ls", "--json")
    listed = json.loads(listing.stdout)
    assert len(listed) == 1, listing.stdout
    one = listed[0]
    assert one["name"].startswith("team/default/")
    assert one["https"] == f"{azurite.url}/devstoreaccount1/{container}/{one['name']}"
    for prefix in (one["name"], "team/default", "team/"):
        done = daemon.cli("cat", prefix)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 101
    assert KEY not in daemon.said() + listing.stdout + listing.stderr


def test_a_store_that_does_not_answer_is_named(folder: Path) -> None:
    """`ls` with nobody at the other end: one line, exit 1, and no secret in it."""
    text = f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey={KEY};BlobEndpoint=http://127.0.0.1:9/a;"
    for command in ("ls", "cat x"):
        done = collectord(
            *command.split(),
            "--store",
            "az://modeldata",
            env=environment({"COLLECTORD_AZURE_CONNECTION_STRING": text}),
            cwd=folder,
        )
        assert done.returncode in (1, 2), done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert KEY not in done.stderr


def test_health_and_metrics(make_daemon: MakeDaemon) -> None:
    """/livez, /readyz and /metrics answer on the admin address; the metrics are those of the table, and count."""
    daemon = make_daemon().start()
    _landed(daemon, 100)
    assert daemon.http("/livez") == (200, "ok\n")
    assert daemon.http("/readyz") == (200, "ok\n")
    assert daemon.http("/nothing")[0] == 404
    assert daemon.http("/metrics", "DELETE")[0] == 405
    status, text = daemon.http("/metrics")
    assert status == 200
    declared = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert declared == {metric.name: metric.kind for metric in metrics.TABLE}
    helped = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE))
    assert helped == {metric.name: metric.help for metric in metrics.TABLE}
    values = daemon.metrics()
    assert values[f'collectord_build_info{{version="{__version__}"}}'] == 1
    for name in ("records_received_total", "records_landed_total"):
        assert values[f"collectord_{name}"] == 100
    assert values["collectord_batches_received_total"] == values["collectord_frames_landed_total"] == 1
    assert values["collectord_waiting_records"] == values["collectord_open_partitions"] == 0
    assert values['collectord_frames_sealed_total{cause="flush"}'] == 1
    assert 0 < values["collectord_wal_bytes"] <= values["collectord_wal_budget_bytes"]
    (blob,) = landed.directory(daemon.folder / "store").values()
    assert values["collectord_bytes_landed_total"] == len(blob)


def test_what_an_alert_watches_for_is_there_before_it_happens(make_daemon: MakeDaemon) -> None:
    """A series that first appears with what it counted has no increase in Prometheus: the first loss would wake nobody."""
    daemon = make_daemon(otlp_endpoint="http://127.0.0.1:9").start()
    there = {re.split(r"[{ ]", name)[0] for name in daemon.metrics()}
    alerts = yaml.safe_load((ROOT / "deploy/helm/collectord/files/alerts.yaml").read_text(encoding="utf-8"))["alerts"]
    asked = {name for alert in alerts for name in re.findall(r"increase\((\w+)\[", alert["expr"])}
    assert len(asked) >= 5
    assert asked <= there
    values = daemon.metrics()
    for reason in Reason:
        assert values[f'collectord_records_rejected_total{{reason="{reason.value}"}}'] == 0
    for why in ("outbox_full", "closed", "other"):
        assert values[f'collectord_client_dropped_total{{reason="{why}"}}'] == 0


@contextmanager
def _stopping(daemon: Daemon) -> Iterator[None]:
    """The daemon was told to stop, and drains until the block is left: only then does the store take its row."""
    _start_without_store(daemon)
    daemon.signal()
    yield
    (daemon.folder / "store").unlink()
    assert daemon.wait() == 0
    assert len(landed.rows(landed.directory(daemon.folder / "store"))) == 1


def test_readiness_ends_when_the_daemon_stops(make_daemon: MakeDaemon) -> None:
    """While it drains, /readyz is 503 and says why, and /livez is 200."""
    daemon = make_daemon(flush_interval=0.1)
    with _stopping(daemon):
        eventually(lambda: daemon.http("/readyz") == (503, "stopping\n"), "it is not ready any more")
        assert daemon.http("/livez")[0] == 200


def _health(socket: Path, service: str) -> set[str]:
    """What a server says of the whole and of a service."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(f"unix:{socket}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answers = [stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10) for name in ("", service)]
    return {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status) for answer in answers}


def test_health_is_served_over_grpc_on_both_sockets(make_daemon: MakeDaemon) -> None:
    """For probes of Kubernetes, for the whole and for each service. Nobody is sent where nothing is taken in; who drains
    still asks and cancels, so the admin socket serves on."""
    daemon = make_daemon().start()
    clients, admin = (daemon.socket, "collectord.v1.Collector"), (daemon.spool / "admin.sock", "collectord.v1.Control")
    assert _health(*clients) == _health(*admin) == {"SERVING"}
    assert daemon.cli("drain", "--timeout", "10").returncode == 0
    assert (_health(*clients), _health(*admin)) == ({"NOT_SERVING"}, {"SERVING"})
    assert daemon.cli("drain", "--cancel").returncode == 0
    assert _health(*clients) == _health(*admin) == {"SERVING"}


def test_health_says_not_serving_while_the_daemon_stops(make_daemon: MakeDaemon) -> None:
    """The clients' socket is closed soon; the admin socket answers until the end."""
    daemon = make_daemon(drain_deadline=10)
    with _stopping(daemon):
        eventually(lambda: daemon.status()["state"] == "stopping", "it stops")
        assert _health(daemon.spool / "admin.sock", "collectord.v1.Control") == {"NOT_SERVING"}


def test_control_is_not_served_where_pods_can_reach(make_daemon: MakeDaemon) -> None:
    """The socket of the clients knows no Control, and the admin socket belongs to its user alone."""
    import grpc

    daemon = make_daemon().start()
    with grpc.insecure_channel(f"unix:{daemon.socket}") as channel:
        call = channel.unary_unary("/collectord.v1.Control/Flush", None, None)
        with pytest.raises(grpc.RpcError) as error:
            call(b"", timeout=10)
        assert isinstance(error.value, grpc.Call)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert (daemon.spool / "admin.sock").stat().st_mode & 0o777 == 0o600
    assert daemon.spool.stat().st_mode & 0o777 == 0o700
    assert daemon.socket.stat().st_mode & 0o777 == 0o666
    for path in daemon.spool.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
