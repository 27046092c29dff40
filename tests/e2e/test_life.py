"""Starting, stopping, starting again, and refusing to start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collectord_client import Client

from collectord.testing.azurite import Azurite
from collectord.testing.proxy import FaultProxy
from tests.e2e import landed, wire
from tests.e2e.conftest import MakeDaemon
from tests.e2e.process import Daemon, collectord, environment
from tests.e2e.waiting import eventually


def _sent(daemon: Daemon, rows: int) -> None:
    """Numbers below `rows`, in two batches, acknowledged."""
    with wire.WireClient(daemon.endpoint) as client:
        schema = wire.schema()
        client.declare(schema)
        client.send(schema, range(rows // 2), time.time_ns())
        client.send(schema, range(rows // 2, rows), time.time_ns())
        client.wait_acknowledged()


def _numbers(blobs: dict[str, bytes]) -> Counter[int]:
    return Counter(int(row["n"]) for row in landed.rows(blobs))


def test_sigterm_uploads_what_waits_and_exits_with_0(make_daemon: MakeDaemon) -> None:
    """Rows that would have waited for an hour are in their blob when the daemon has ended, and nothing is left running."""
    daemon = make_daemon(flush_interval=3600).start()
    _sent(daemon, 1000)
    assert not landed.directory(daemon.folder / "store")
    assert daemon.terminate() == 0
    assert _numbers(landed.directory(daemon.folder / "store")) == Counter(range(1000))
    assert daemon.events("stopped")[-1]["complete"] is True


@pytest.mark.parametrize("name", ["x" * 60 + "/" + "y" * 60, "Company, Inc, 100% ü'$x"], ids=["deep", "odd"])
def test_it_works_in_whatever_working_directory(make_daemon: MakeDaemon, folder: Path, name: str) -> None:
    """With the default places, whose sockets have absolute paths that no address has room for, or that gRPC would cut; who asks is
    shown as ever."""
    deep = folder / name
    deep.mkdir(parents=True)
    script = (
        "from collectord_client import Client\n"
        "with Client('m') as client:\n"
        "    client.collect([[1.0]] * 10)\n"
        "    print(client.flush(30), client.stats()['transport'], flush=True)\n"
        "    input()\n"
    )
    daemon = make_daemon(deep, spool=None, store=None, listen=None, flush_interval=3600).spawn()
    eventually(lambda: collectord("status", cwd=deep).returncode == 0, "it answers", 30)
    client = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=deep,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with client:
        assert client.stdout is not None
        assert client.stdout.readline() == "True framed\n"
        status = json.loads(collectord("status", "--json", cwd=deep).stdout)
        assert [one["pid"] for one in status["clients"]] == [client.pid]
        checked = collectord("doctor", cwd=deep).stdout
        assert "BROKEN" not in checked, checked
        assert "unix:./collectord-data/collectord.sock (the default) says Welcome" in checked
        client.communicate("\n", timeout=30)
    assert daemon.terminate() == 0
    assert len(list(landed.rows(landed.directory(deep / "collectord-data" / "store")))) == 10
    assert not [path for path in deep.rglob("*") if path.is_socket()], "none is left"


def test_sigterm_ends_the_stream_of_a_client_that_is_connected(make_daemon: MakeDaemon) -> None:
    """A client that stays connected does not hold up the end, and what it was told is acknowledged lands."""
    daemon = make_daemon(flush_interval=3600).start()
    client = wire.WireClient(daemon.endpoint).connect()
    schema = wire.schema()
    client.declare(schema)
    client.send(schema, range(10), time.time_ns())
    client.wait_acknowledged()
    began = time.monotonic()
    assert daemon.terminate() == 0
    assert time.monotonic() - began < 10
    eventually(lambda: client.ended, "the stream has ended")
    client.close()
    assert _numbers(landed.directory(daemon.folder / "store")) == Counter(range(10))


def test_within_the_late_window_clients_are_served_and_the_end_comes_when_the_last_one_goes(
    make_daemon: MakeDaemon,
) -> None:
    """What waited before lands at once, since the time may be short; what came meanwhile lands too."""
    daemon = make_daemon(flush_interval=3600, late_window=600, drain_deadline=1200).start()
    client = wire.WireClient(daemon.endpoint).connect()
    schema = wire.schema()
    client.declare(schema)
    client.send(schema, range(10), time.time_ns())
    client.wait_acknowledged()
    daemon.signal()
    eventually(lambda: daemon.status()["totals"]["landed"] == 10, "they have landed")
    assert daemon.http("/readyz") == (503, "stopping\n")
    client.send(schema, range(10, 20), time.time_ns())
    client.wait_acknowledged()
    client.close()
    assert daemon.wait() == 0
    assert _numbers(landed.directory(daemon.folder / "store")) == Counter(range(20))
    assert daemon.events("stopped")[-1]["rows_left_in_log"] == 0


def test_the_late_window_is_part_of_the_drain_deadline(make_daemon: MakeDaemon) -> None:
    """A client that stays does not hold up the end for longer."""
    daemon = make_daemon(flush_interval=3600, late_window=600, drain_deadline=1).start()
    client = wire.WireClient(daemon.endpoint).connect()
    assert daemon.terminate() == 0
    eventually(lambda: client.ended, "the stream has ended")
    client.close()


@pytest.mark.parametrize("fault", ["error", "slow"])
def test_what_a_stopping_daemon_cannot_upload_lands_after_the_next_start(
    make_daemon: MakeDaemon, azurite: Azurite, new_container: Callable[[], str], fault: str
) -> None:
    """With a store that fails or hangs, SIGTERM still ends with 0 about when the drain deadline says; the rest stays in
    the log, and lands once the store is back."""
    container = new_container()
    with FaultProxy(azurite.port, rate=1.0, faults=(fault,), delay=60.0) as proxy:
        daemon = make_daemon(
            store=f"az://{container}",
            env={"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string(proxy.port)},
            impatience=2.0, flush_interval=0.1, drain_deadline=1,
        )  # fmt: skip
        daemon.start()
        _sent(daemon, 1000)
        eventually(lambda: proxy.injected(), "the store was tried")
        began = time.monotonic()
        assert daemon.terminate() == 0
        assert time.monotonic() - began < 1 + 2 + 5
        assert daemon.events("stopped")[-1]["rows_left_in_log"] == 1000
        proxy.rate = 0.0
        daemon.start()
        assert daemon.events("log replayed")[-1]["waiting_rows"] == 1000
        daemon.flush()
        assert daemon.terminate() == 0
    assert _numbers(landed.container(azurite.connection_string(), container)) == Counter(range(1000))


def test_an_append_under_way_at_the_deadline_is_not_said_to_be_left(
    make_daemon: MakeDaemon, azurite: Azurite, new_container: Callable[[], str]
) -> None:
    """It has two seconds more. What the daemon says in the end is what the next start finds, landed or not."""
    with FaultProxy(azurite.port, delay=0.8) as proxy:
        daemon = make_daemon(
            store=f"az://{new_container()}",
            env={"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string(proxy.port)},
            flush_interval=3600, drain_deadline=0.3,
        ).start()  # fmt: skip
        _sent(daemon, 100)
        proxy.plan("append", "slow")
        assert daemon.terminate() == 0
        assert not proxy.planned()
        daemon.start()
        assert daemon.events("stopped")[-1]["rows_left_in_log"] == daemon.status()["waiting"]["rows"]
        daemon.flush()
        assert daemon.terminate() == 0


def test_a_second_signal_stops_at_once_and_loses_nothing(
    make_daemon: MakeDaemon, azurite: Azurite, new_container: Callable[[], str]
) -> None:
    """While the daemon drains into a store that hangs, another signal ends it within a moment; the rows land later."""
    container = new_container()
    with FaultProxy(azurite.port, rate=1.0, faults=("slow",), delay=60.0) as proxy:
        daemon = make_daemon(
            store=f"az://{container}",
            env={"COLLECTORD_AZURE_CONNECTION_STRING": azurite.connection_string(proxy.port)},
            flush_interval=0.1,
        ).start()  # fmt: skip
        _sent(daemon, 100)
        eventually(lambda: proxy.injected(), "the store was tried")
        daemon.signal()
        eventually(lambda: daemon.events("stopping"), "it is stopping")
        assert daemon.running
        began = time.monotonic()
        assert daemon.terminate() == 1
        assert time.monotonic() - began < 2
        proxy.rate = 0.0
        daemon.start()
        daemon.flush()
        assert daemon.terminate() == 0
    assert _numbers(landed.container(azurite.connection_string(), container)) == Counter(range(100))


def test_a_store_that_refuses_blocks_and_is_shown_and_used_again_once_mended(make_daemon: MakeDaemon) -> None:
    """A file where the store's directory should be: the daemon takes rows and says what is wrong; when a person has
    mended it, a flush brings everything."""
    daemon = make_daemon(flush_interval=0.1)
    store = daemon.folder / "store"
    store.touch()
    daemon.start()
    _sent(daemon, 100)
    trouble = eventually(lambda: daemon.status()["troubles"], "status shows the trouble")[0]
    assert str(store) in trouble["detail"] or "store" in trouble["detail"], trouble
    assert "store" in daemon.cli("status").stdout
    failed = daemon.cli("flush", "--timeout", "0.5")
    assert failed.returncode == 1
    assert "100 rows have not landed" in failed.stderr
    store.unlink()
    done = daemon.cli("flush")
    assert done.returncode == 0, done.stderr
    assert _numbers(landed.directory(store)) == Counter(range(100))


def test_a_living_client_goes_on_by_itself_after_a_restart(make_daemon: MakeDaemon) -> None:
    """A scoring process that outlives three daemons, killed and stopped, sends on by itself; nothing is lost or doubled."""
    daemon = make_daemon(flush_interval=0.2).start()
    client = Client(model="m", endpoint=daemon.endpoint, outbox="block", linger=0.01)
    inputs = client.collector("inputs", feature_names=["n"])
    sent = 0

    def collect(rows: int) -> None:
        nonlocal sent
        inputs.collect(np.arange(sent, sent + rows).reshape(-1, 1))
        sent += rows

    for ending in (daemon.kill9, daemon.terminate, daemon.kill9):
        for _ in range(50):
            collect(20)
        assert client.flush(30)
        collect(500)
        ending()
        collect(500)
        eventually(lambda: not client.stats()["connected"], "the client has noticed")
        daemon.start()
        eventually(lambda: client.stats()["connected"], "the client is back")
    collect(10)
    assert client.flush(30)
    stats = client.stats()
    client.close()
    daemon.flush()
    assert stats["acknowledged"] == stats["collected"] == sent
    assert stats["reconnects"] >= 3
    assert not stats["resent_elsewhere"]
    assert _numbers(landed.directory(daemon.folder / "store")) == Counter(range(sent))


def test_a_second_daemon_on_the_same_spool_is_refused(make_daemon: MakeDaemon) -> None:
    """It says so and exits with 2; the first one goes on."""
    first = make_daemon().start()
    second = make_daemon(spool=first.spool)
    second.spawn()
    assert second.wait() == 2
    assert f"another daemon runs on the spool {first.spool}" in second.said()
    assert "Traceback" not in second.said()
    _sent(first, 10)
    first.flush()


def test_a_second_daemon_on_the_same_socket_is_refused(make_daemon: MakeDaemon) -> None:
    """With a spool of its own it gets as far as the socket, says so and exits with 2; the first one goes on, at the same
    socket."""
    first = make_daemon().start()
    second = make_daemon(listen=first.endpoint)
    second.spawn()
    assert second.wait() == 2
    assert f"another daemon listens on {first.socket}" in second.said()
    assert "Traceback" not in second.said()
    _sent(first, 10)
    first.flush()


def test_a_socket_left_by_a_killed_daemon_is_taken_over(make_daemon: MakeDaemon) -> None:
    """Nobody has to remove anything after a crash, and clients find the new daemon at the old path."""
    daemon = make_daemon().start()
    daemon.kill9()
    assert daemon.socket.exists()
    daemon.start()
    _sent(daemon, 10)


def test_an_unwritable_spool_is_named(make_daemon: MakeDaemon, folder: Path) -> None:
    """A daemon without the right to its spool says which directory, as which user, and what to do; it exits with 2."""
    place = folder / "locked"
    place.mkdir(mode=0o755)
    uid = 65534 if os.getuid() == 0 else -1
    daemon = make_daemon(spool=place / "spool", uid=uid)
    daemon.folder.chmod(0o777)
    if uid < 0:
        place.chmod(0o555)
    daemon.spawn()
    assert daemon.wait() == 2
    said = daemon.said()
    assert f"spool: {place / 'spool'} cannot be written (Permission denied)" in said
    assert "--spool" in said
    assert str(uid if uid > 0 else os.getuid()) in said
    assert "Traceback" not in said
    place.chmod(0o755)


# What is wrong, and the words that the message must hold: the field, and what is allowed or what to do.
WRONG: list[tuple[dict[str, str], tuple[str, ...]]] = [
    ({"--codec": "lz4"}, ("codec", "'lz4'", "zstd", "gzip", "none")),
    ({"--codec": "gzip", "--level": "9"}, ("level", "1 to 3")),
    ({"--flush-interval": "0"}, ("flush_interval", "'0'", "greater than 0")),
    ({"--flush-bytes": "9 bananas"}, ("flush_bytes", "'9 bananas'", "KiB")),
    ({"--store": "s3://bucket"}, ("store", "'s3://bucket'", "az://CONTAINER")),
    ({"--store": "az://"}, ("store", "az://modeldata")),
    ({"--store": "az://Not_A_Container", "COLLECTORD_AZURE_CONNECTION_STRING": "x"}, ("store", "lower-case")),
    ({"--store": "az://modeldata"}, ("store", "COLLECTORD_AZURE_CONNECTION_STRING", "COLLECTORD_AZURE_ACCOUNT_URL")),
    ({"--store": "az://modeldata", "COLLECTORD_AZURE_CONNECTION_STRING": "gibberish"}, ("azure_connection_string",)),
    ({"--listen": "0.0.0.0:9000"}, ("listen", "0.0.0.0:9000", "loopback")),
    ({"--listen": "unix:/tmp/" + "x" * 108}, ("listen", "longer than 107 bytes", "shorter")),
    ({"--listen": "unix:/proc/collectord/c.sock"}, ("listen", "/proc/collectord")),
    ({"--admin": "nonsense"}, ("admin", "'nonsense'", "HOST:PORT")),
    ({"--layout": "{model}/data.csv"}, ("layout", "{yyyy}")),
    ({"--layout": "{planet}/{designation}/{yyyy}/{mm}/{dd}/data.csv"}, ("layout", "{planet}", "{model}")),
    ({"--spool-budget": "1"}, ("spool_budget", "1", "268435456")),
    ({"--spool": "/tmp/" + "x" * 98}, ("spool", "longer than 107 bytes", "shorter")),
    ({"--spool": "/dev/null"}, ("spool", "/dev/null", "--spool")),
    ({"--socket-group": "no-such-group"}, ("socket_group", "no-such-group")),
    ({"COLLECTORD_DURABILITY": "maybe"}, ("durability", "'maybe'", "fsync", "os")),
    ({"--config": "/nonexistent.toml"}, ("config", "/nonexistent.toml")),
]


def test_wrong_settings_stop_the_start_and_say_what_is_allowed(folder: Path) -> None:
    """Each exits with 2 and one sentence that names the field and the remedy, without a trace of Python."""

    def start(number: int) -> str:
        given, words = WRONG[number]
        place = folder / str(number)
        place.mkdir()
        options = [word for name, value in given.items() if name.startswith("--") for word in (name, value)]
        variables = {name: value for name, value in given.items() if not name.startswith("--")}
        done = collectord("serve", *options, env=environment(variables), cwd=place)
        # The log's lines stand beside it: a thread may still have one to say.
        said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
        missing = [word for word in words if not said or word not in said[-1]]
        if done.returncode != 2 or missing or "Traceback" in done.stderr:
            return f"{given}: exit {done.returncode}, missing {missing} in: {done.stderr[-600:]}"
        return ""

    with ThreadPoolExecutor(3) as pool:
        wrong = [text for text in pool.map(start, range(len(WRONG))) if text]
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("field", ["admin", "listen"])
def test_an_address_that_is_taken_is_named(make_daemon: MakeDaemon, field: str) -> None:
    """Another program on the port of `admin` or `listen`: exit 2, the message names field and address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings: dict[str, Any] = {field: address}
        daemon = make_daemon(**settings)
        daemon.spawn()
        assert daemon.wait() == 2
    assert f"collectord: {field}: {address} cannot be bound" in daemon.said()
    assert "Traceback" not in daemon.said()


def test_a_socket_that_no_client_could_reach_is_refused(folder: Path) -> None:
    """It lies behind a link, in a directory whose name has a comma: exit 2, and what to do."""
    place = folder / "a,b"
    place.mkdir()
    (folder / "link").symlink_to(place)
    done = collectord("serve", "--listen", "unix:./link/c.sock", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"collectord: listen: gRPC, which clients use, cuts {place.resolve()}/c.sock at the comma; choose a path without one"
    )


def test_a_toml_file_is_read_and_its_mistakes_are_named(folder: Path) -> None:
    """The command line beats the environment, that beats the file; unknown keys and broken syntax stop the start."""
    file = folder / "c.toml"
    file.write_text('codec = "gzip"\nflush_interval = 5\nuploads = 2\n')
    shown = collectord(
        "config", "--config", str(file), "--uploads", "3", cwd=folder,
        env=environment({"COLLECTORD_FLUSH_INTERVAL": "7", "COLLECTORD_UPLOADS": "9"}),
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    for line in ('"codec": "gzip"', '"flush_interval": 7.0', '"uploads": 3'):
        assert line in shown.stdout
    for text, words in (("codek = 1\n", ("codek", "no such setting")), ("codec = \n", ("config", str(file)))):
        file.write_text(text)
        done = collectord("serve", "--config", str(file), cwd=folder)
        assert done.returncode == 2
        assert all(word in done.stderr for word in words), done.stderr
        assert "Traceback" not in done.stderr


def test_sigint_is_as_good_as_sigterm(make_daemon: MakeDaemon) -> None:
    """Ctrl-C on a laptop uploads what waits, too."""
    daemon = make_daemon(flush_interval=3600).start()
    _sent(daemon, 10)
    daemon.signal(signal.SIGINT)
    assert daemon.wait() == 0
    assert _numbers(landed.directory(daemon.folder / "store")) == Counter(range(10))


def test_limits_that_are_set_lower_are_told_to_clients_and_held(make_daemon: MakeDaemon) -> None:
    """A client splits what a message may not hold; a text that is too long is rejected, alone."""
    daemon = make_daemon(max_message_bytes="64KiB", max_value_bytes="1KiB").start()
    with Client("m", "1", "svc", endpoint=daemon.endpoint) as client:
        client.collect(np.arange(30_000.0).reshape(-1, 2), "numbers")
        client.collect([["x" * 1024]], "texts")
        assert client.flush(30)
        client.collect([["x" * 1025]], "texts")
        assert client.flush(30)
        assert client.stats()["rejected"] == {"value_too_large": 1}
        assert client.stats()["acknowledged"] == 15_001
    daemon.flush()
    assert sum(book.landed for book in daemon.books().values()) == 15_001
    with wire.WireClient(daemon.endpoint) as rude:
        schema = wire.schema("rude")
        rude.declare(schema)
        rude.send(schema, range(5000), time.time_ns())
        eventually(lambda: rude.ended, "a message of more than it was told ends the stream")
