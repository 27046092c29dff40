"""`collectord doctor`: each link of the chain, broken on purpose, is found and named, and nothing else is."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient

from collectord.config import load
from collectord.doctor import Link, Surroundings, examine, far, near, places
from collectord.files import try_lock
from collectord.memory import Memory
from collectord.model import Lsn
from collectord.settings import Settings
from collectord.switches import DOCUMENT, NOTHING
from collectord.testing.azurite import ACCOUNT, KEY, Azurite
from collectord.testing.ingestion import Ingestion
from collectord.testing.store import LATE, UNSENT, Fault, MemoryStore, StoredBlob
from collectord.upload.ledger import Ledger
from collectord.upload.store import Blocked, NotAppendable, WrongPosition
from tests import sas

PLENTY = 1 << 50


@pytest.fixture
def folder(no_settings: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory with a short name, and no settings around."""
    with tempfile.TemporaryDirectory(prefix="cd-") as made:
        monkeypatch.chdir(made)
        yield Path(made)


def around(**given: Any) -> Surroundings:
    mine = Surroundings(free=lambda path: PLENTY, environment={}, client_sockets=("./none.sock",))
    return replace(mine, **given)


def links(given: dict[str, object] | None = None, **surroundings: Any) -> dict[str, Link]:
    return {link.name: link for link in examine(None, given or {}, around(**surroundings))}


def settings(**given: object) -> Settings:
    return load(overrides=given)


def test_without_a_daemon_everything_else_is_still_examined(folder: Path) -> None:
    """A directory where nothing is yet: only what needs the daemon is broken."""
    found = links()
    assert [name for name, link in found.items() if link.ok is False] == ["daemon", "socket", "client"]
    assert found["uploads"].ok is None
    assert found["append"].ok is None
    assert "collectord serve" in found["daemon"].todo
    assert "COLLECTORD_ENDPOINT" in found["client"].todo
    assert not list(folder.iterdir()), "looking leaves nothing behind"


def test_a_directory_that_lets_nobody_through_does_not_end_the_walk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.stat

    def guarded(path: Any, *given: Any, **more: Any) -> os.stat_result:
        if not isinstance(path, int) and str(path).startswith(f"{folder}/closed/"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *given, **more)

    (folder / "closed").mkdir()
    monkeypatch.setattr(os, "stat", guarded)
    found = links({"store": f"{folder}/closed/store", "spool": f"{folder}/closed/spool"})
    assert (found["spool"].ok, found["disk"].ok, found["client"].ok) == (False, True, False)
    assert "store" in found


def test_from_outside_only_the_way_in_and_the_store_are_examined(folder: Path) -> None:
    """Settings of a daemon whose spool and certificate are elsewhere."""
    given = {
        "spool": "/nowhere/spool",
        "tls_cert": "/nowhere/tls.crt",
        "tls_key": "/nowhere/tls.key",
        "mdc": "127.0.0.1:1",
    }
    found = [link.name for link in examine(None, given, around(), outside=True)]
    assert found[0] == "settings"
    assert found[-1] == "client"
    assert {"store", "append", "switches"} <= set(found)
    assert not {"daemon", "socket", "tls", "mdc", "spool", "disk", "log", "uploads"} & set(found)


def test_a_wrong_setting_ends_the_walk_but_for_the_client(folder: Path) -> None:
    found = links({"codec": "lzma"})
    assert list(found) == ["settings", "client"]
    assert "codec" in found["settings"].what
    assert found["settings"].ok is False


def test_variables_that_are_no_settings_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTORD_FLUSH", "1")
    assert "COLLECTORD_FLUSH" in links()["settings"].what


# ---------------------------------------------------------------- sockets


@pytest.fixture
def listening(folder: Path) -> Iterator[Path]:
    """A socket as the daemon makes it, with its lock held."""
    path = folder / "c.sock"
    folder.chmod(0o755)
    lock = try_lock(folder / "c.sock.lock")
    assert lock is not None
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        path.chmod(0o666)
        yield path
    os.close(lock)


def listener(path: Path, **given: object) -> Link:
    return places.listener(f"unix:{path}", settings(**given))


def test_a_socket_that_lives_is_well(listening: Path) -> None:
    assert listener(listening).ok
    assert places.lock_is_held(listening.with_name("c.sock.lock"))


def test_a_missing_socket_and_a_missing_directory_are_told_apart(folder: Path) -> None:
    assert listener(folder / "c.sock").what == f"{folder / 'c.sock'} does not exist"
    link = listener(folder / "none" / "c.sock")
    assert link.what == f"{folder / 'none'} does not exist"
    assert "mount the directory" in link.todo


def test_a_socket_whose_lock_nobody_holds_is_stale(folder: Path) -> None:
    """With a lock file, as after kill -9, and without one."""
    folder.chmod(0o755)
    path = folder / "c.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    assert "stale" in listener(path).what
    lock = try_lock(folder / "c.sock.lock")
    assert lock is not None
    os.close(lock)
    assert "stale" in listener(path).what
    assert listener(path).ok is False


def test_a_socket_whose_directory_the_daemon_may_not_write_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a hostPath that belongs to root: the daemon cannot make what is missing."""
    (folder / "host").mkdir()
    assert "start the daemon, which makes it" in listener(folder / "host" / "c.sock", spool="s").todo
    monkeypatch.setattr(os, "access", lambda *given: False)
    assert "cannot make it" not in listener(folder / "host" / "c.sock", spool="s").what, (
        "as in a pod, which has no spool"
    )
    Path("s").mkdir()
    link = listener(folder / "host" / "c.sock", spool="s")
    assert f"user {os.geteuid()} cannot make it: {folder / 'host'} belongs to user" in link.what
    assert link.todo.startswith(f"where the daemon runs, chown {os.geteuid()} {folder / 'host'}")


def test_a_socket_that_another_daemon_has_is_found(listening: Path) -> None:
    """Its lock is held, and no daemon has these settings' spool; where that cannot be told, nothing is claimed."""
    assert places.listener(f"unix:{listening}", settings(spool="s"), alone=True).ok, "as in a pod, which has no spool"
    Path("s").mkdir()
    link = places.listener(f"unix:{listening}", settings(spool="s"), alone=True)
    assert "another daemon listens on" in link.what
    assert "a socket of its own" in link.todo
    assert places.listener(f"unix:{listening}", settings(spool="s")).ok
    lock = try_lock(Path("s/lock"))
    assert lock is not None
    assert places.listener(f"unix:{listening}", settings(spool="s"), alone=True).ok, "it starts, or hangs"
    os.close(lock)


def test_the_admin_port_is_one_of_the_links(folder: Path) -> None:
    """Free without a daemon, in use by a stranger, answered by something else, or silent although a daemon runs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        taken = places.admin(address, True, alive=False)
        assert taken.ok is False
        assert "is in use, and not by a daemon on this spool" in taken.what
        assert "name another one" in taken.todo
        assert places.admin(address, True, alive=True).ok
        for _ in range(2):
            server.accept()[0].close()

        def answer(line: bytes) -> Link:
            def serve() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(line)

            thread = threading.Thread(target=serve)
            thread.start()
            try:
                return places.admin(address, False, alive=True)
            finally:
                thread.join()

        assert answer(b"HTTP/1.1 200 OK\r\n\r\n").ok
        assert "answers 404 to GET /livez" in answer(b"HTTP/1.1 404 No\r\n\r\n").what
        assert "does not answer as a daemon does" in answer(b"SSH-2.0\r\n\r\n").what
    assert places.admin(address, False, alive=False).ok is None
    silent = places.admin(address, False, alive=True)
    assert (silent.ok, "Connection refused" in silent.what) == (False, True)


def test_memory_that_the_budget_does_not_fit_into_is_found(folder: Path) -> None:
    """A running daemon knows its own limit; the doctor may have been started elsewhere."""
    mine, found = settings(memory_budget="256MiB"), Memory(1, None, 1 << 40)
    assert places.memory(mine, found).ok
    assert "no limit" in places.memory(mine, found).what
    link = places.memory(mine, Memory(1, 128 << 20, None))
    assert (link.ok, "128.0 MiB" in link.what, bool(link.todo)) == (False, True, True)
    status = {"memory": {"resident_bytes": 1, "limit_bytes": 200 << 20}}
    assert "200.0 MiB" in places.memory(mine, found, status).what
    assert places.memory(mine, Memory(1, 128 << 20, None), {"memory": {"resident_bytes": 1, "limit_bytes": None}}).ok


def test_a_daemon_of_a_version_that_tells_nothing_of_its_memory_is_no_error(folder: Path) -> None:
    link = places.memory(settings(memory_budget="256MiB"), Memory(None, None, None), {"version": "0.1.0"})
    assert link == Link("memory", True, "no limit, a memory_budget of 256.0 MiB")
    status = {"version": "0.1.0", "memory": {"resident_bytes": 1}}
    link = places.memory(settings(memory_budget="256MiB"), Memory(1, 128 << 20, None), status)
    assert (link.ok, "128.0 MiB" in link.what) == (False, True)


def test_a_file_in_the_sockets_place_is_found(folder: Path) -> None:
    (folder / "c.sock").write_text("")
    assert "is not a socket" in listener(folder / "c.sock").what


@pytest.mark.parametrize(
    "mode, group, ok", [(0o666, None, True), (0o660, None, False), (0o660, "10001", True), (0o600, "10001", False)]
)
def test_the_mode_decides_whether_a_pod_may_connect(listening: Path, mode: int, group: str | None, ok: bool) -> None:
    listening.chmod(mode)
    link = listener(listening, socket_group=group)
    assert link.ok is ok
    assert f"{mode:04o}" in link.what


def test_a_directory_that_others_cannot_pass_is_found(listening: Path) -> None:
    listening.parent.chmod(0o700)
    link = listener(listening)
    assert link.ok is False
    assert "0700" in link.what


def test_a_tcp_address_is_tried(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert places.listener(address, settings()).ok
    assert places.listener(address, settings()).ok is False


def test_a_socket_that_nobody_answers_on_gives_no_welcome(listening: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "GREETING_SECONDS", 0.3)
    found = near.client({"COLLECTORD_ENDPOINT": f"unix:{listening}"}, (), settings())
    assert found.ok is False
    assert "no Welcome" in found.what
    assert "COLLECTORD_ENDPOINT" in found.what


def test_a_client_that_collects_by_itself_needs_no_daemon() -> None:
    found = near.client({"COLLECTORD_ENDPOINT": "dir:/data"}, ("./a.sock",), None)
    assert (found.ok, found.todo) == (None, "")
    assert found.what.startswith("dir:/data (COLLECTORD_ENDPOINT) needs no daemon")


def test_the_client_takes_the_first_socket_that_is_there(folder: Path) -> None:
    found = near.client({}, ("./a.sock", "./b.sock"), None)
    assert "unix:./a.sock (the default) does not exist" in found.what


# ---------------------------------------------------------------- the spool


def test_a_spool_that_others_can_read_is_found(folder: Path) -> None:
    (folder / "s").mkdir(mode=0o755)
    link = places.spool(settings(spool="s"))
    assert link.ok is False
    assert "chmod 0700" in link.todo
    (folder / "s").chmod(0o700)
    assert places.spool(settings(spool="s")).ok


def test_a_spool_with_files_of_another_user_is_found(folder: Path) -> None:
    """As after a start as root."""
    (folder / "s").mkdir(mode=0o700)
    ledger = folder / "s" / "ledger.sqlite"
    if os.geteuid() == 0:
        ledger.write_text("")
        os.chown(folder / "s", 12345, -1)
    else:
        ledger.symlink_to("/etc/passwd")  # which belongs to root
    link = places.spool(settings(spool="s"))
    assert link.ok is False
    assert "but what is in it to" in link.what
    assert "chown -R" in link.todo


def test_a_spool_of_another_user_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "s").mkdir(mode=0o700)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    link = places.spool(settings(spool="s"))
    assert link.ok is False
    assert link.what.endswith(f"belongs to user {owner}, this is user {owner + 1}")


def test_a_file_in_the_spools_place_is_found(folder: Path) -> None:
    (folder / "s").write_text("")
    assert "is not a directory" in places.spool(settings(spool="s")).what


def test_a_disk_that_cannot_hold_the_budget_is_found(folder: Path) -> None:
    """What the spool has already counts; a spool that is not there yet has nothing."""
    mine = settings(spool="s", spool_budget="1GiB")
    assert places.disk(mine, lambda path: 1 << 30).ok
    link = places.disk(mine, lambda path: (1 << 30) - (1 << 20))
    assert link.ok is False
    assert "1.0 MiB of room" in link.todo
    (folder / "s").mkdir()
    (folder / "s" / "x").write_bytes(b"x" * (2 << 20))
    assert places.disk(mine, lambda path: (1 << 30) - (1 << 20)).ok


def test_a_log_without_its_ledger_is_found(folder: Path) -> None:
    (folder / "s" / "log").mkdir(parents=True)
    mine = settings(spool="s")
    assert places.log_and_ledger(mine, False).ok
    (folder / "s" / "log" / "00000000000000000000.log").write_bytes(b"")
    link = places.log_and_ledger(mine, False)
    assert link.ok is False
    assert "the ledger beside it is gone" in link.what
    (folder / "s" / "ledger.sqlite").write_text("this is not the ledger")
    assert "no SQLite database" in places.log_and_ledger(mine, False).what
    (folder / "s" / "ledger.sqlite").unlink()
    Ledger(folder / "s").close()
    from collectord.wal.segment import SEGMENT_SUFFIX

    (folder / "s" / "log" / f"00000000000000000000{SEGMENT_SUFFIX}").write_bytes(b"rubbish")
    link = places.log_and_ledger(mine, True)
    assert link.ok is False
    assert "are damaged" in link.what


def test_parked_files_that_are_damaged_or_gone_are_found(folder: Path) -> None:
    (folder / "s" / "log").mkdir(parents=True)
    mine = settings(spool="s")
    ledger = Ledger(folder / "s")
    parked = folder / "s" / "parked" / "00000000000000004096.parked"
    parked.parent.mkdir()
    parked.write_bytes(b"rubbish")
    assert "1 of 1 parked files are damaged, 0 are gone" in places.log_and_ledger(mine, True).what
    parked.unlink()
    assert places.log_and_ledger(mine, True).ok
    ledger.note_parked([Lsn(4096)])
    for alive in (True, False):
        link = places.log_and_ledger(mine, alive)
        assert link.ok is False
        assert "0 of 0 parked files are damaged, 1 are gone" in link.what
        ledger.close()


# ---------------------------------------------------------------- the store


def test_a_clock_that_is_off_is_found_against_a_fresh_file(folder: Path) -> None:
    from time import time

    assert links()["clock"].ok
    found = links(now=lambda: time() + 600)["clock"]
    assert found.ok is False
    assert "600 s ahead of the file system's" in found.what or "599 s" in found.what


def proof(store: MemoryStore) -> dict[str, Link]:
    return {link.name: link for link in far.store_links(settings(store="az://memory", azure_connection_string="x"), store, "ab" * 16)}  # fmt: skip


def test_an_append_is_proved_beside_the_data(folder: Path) -> None:
    """Each time a line more in the same control blob; a container that is absent is made, and that is said."""
    store = MemoryStore(container=False)
    found = proof(store)
    assert [link.ok for link in found.values()] == [True, True, True]
    assert "has been created" in found["container"].what
    found = proof(store)
    assert "it exists" in found["container"].what
    assert list(store.blobs) == [f"_collectord/doctor/{'ab' * 16}"]
    assert store.blobs[f"_collectord/doctor/{'ab' * 16}"].content.count(b"\n") == 2


def test_somebody_elses_append_in_between_is_no_fault(folder: Path) -> None:
    store = MemoryStore()
    store.plan("append", Fault(WrongPosition("9 bytes, not 0")))
    assert all(link.ok for link in proof(store).values())


@pytest.mark.parametrize(
    "operation, answer, link, says",
    [
        ("length", UNSENT, "store", "no clear answer"),
        ("length", Fault(Blocked("forbidden", "403")), "store", "forbidden: 403"),
        ("create", Fault(Blocked("forbidden", "403")), "append", "forbidden: 403"),
        ("append", Fault(Blocked("immutable", "409")), "append", "immutable: 409"),
        ("append", LATE, "append", "no clear answer"),
        ("append", Fault(NotAppendable("sealed")), "append", "sealed"),
        ("read", Fault(b"other"), "append", "other bytes came back"),
        ("read", Fault(None), "append", "other bytes came back"),
    ],
)
def test_what_a_store_refuses_is_said(folder: Path, operation: str, answer: Fault, link: str, says: str) -> None:
    store = MemoryStore()
    store.plan(operation, answer)
    found = proof(store)
    assert [name for name, one in found.items() if one.ok is False] == [link]
    assert says in found[link].what
    assert found[link].todo
    assert store.fired == 1


def test_a_container_that_cannot_be_made_is_said(folder: Path) -> None:
    store = MemoryStore(container=False)
    store.plan("create_container", Fault(Blocked("forbidden", "403")))
    found = proof(store)
    assert found["container"].ok is False
    assert found["append"].ok is None


def test_another_kind_of_blob_in_the_doctors_place_is_said(folder: Path) -> None:
    store = MemoryStore()
    store.blobs[f"_collectord/doctor/{'ab' * 16}"] = StoredBlob(bytearray(b"x"), appendable=False)
    assert "wrong_type" in proof(store)["append"].what


def azure(azurite: Azurite, container: str, monkeypatch: pytest.MonkeyPatch, **more: str) -> dict[str, Link]:
    given = more or {"AZURE_CONNECTION_STRING": azurite.connection_string()}
    for name, value in given.items():
        monkeypatch.setenv(f"COLLECTORD_{name}", value)
    return links({"store": f"az://{container}"})


def test_azure_is_well(azurite: Azurite, new_container: Callable[[], str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """The clock is compared with the Date of its answers."""
    found = azure(azurite, new_container(), monkeypatch)
    assert [found[name].ok for name in ("settings", "clock", "store", "container", "append")] == [True] * 5
    assert "127.0.0.1's" in found["clock"].what
    assert KEY not in str(found)


def test_azures_clock_is_believed(azurite: Azurite, new_container: Callable[[], str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("COLLECTORD_AZURE_CONNECTION_STRING", azurite.connection_string())
    found = links({"store": f"az://{new_container()}"}, now=lambda: datetime.now(timezone.utc).timestamp() - 3600)
    assert found["clock"].ok is False
    assert "behind 127.0.0.1's" in found["clock"].what


def test_a_file_of_authorities_that_is_not_there_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`requests` says so with a plain OSError, before it sends anything."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(folder / "ca.pem"))
    monkeypatch.setenv("COLLECTORD_AZURE_ACCOUNT_URL", f"https://127.0.0.1:9/{ACCOUNT}")
    monkeypatch.setenv("COLLECTORD_AZURE_ACCOUNT_KEY", KEY)
    found = links({"store": "az://modeldata"})
    assert found["clock"].ok is None
    assert found["store"].ok is False
    assert str(folder / "ca.pem") in found["store"].what


def test_a_wrong_key_is_found_and_shown_nowhere(azurite: Azurite, new_container: Callable[[], str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    wrong = "AAAA" + KEY[4:]
    connection = azurite.connection_string().replace(KEY, wrong)
    found = azure(azurite, new_container(), monkeypatch, AZURE_CONNECTION_STRING=connection)
    assert found["store"].ok is False
    assert "forbidden" in found["store"].what
    assert "replace azure_connection_string" in found["store"].what
    assert "Rights on Azure" in found["store"].todo
    assert found["append"].ok is None
    assert wrong not in str(found)


def test_a_sas_without_the_right_to_append_is_found_and_shown_nowhere(azurite: Azurite, new_container: Callable[[], str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    container = new_container()
    with BlobServiceClient.from_connection_string(azurite.connection_string()) as service:
        service.create_container(container)
    token = sas.of_container(container, "rcl")
    url = f"{azurite.url}/{ACCOUNT}"
    found = azure(azurite, container, monkeypatch, AZURE_ACCOUNT_URL=url, AZURE_SAS=token)
    assert found["store"].ok
    assert found["container"].ok
    assert found["append"].ok is False
    assert "forbidden" in found["append"].what
    assert sas.signature(token) not in str(found)


def test_a_connection_string_that_cannot_be_read_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECTORD_AZURE_CONNECTION_STRING", "TopSecret")
    found = links({"store": "az://modeldata"})
    assert found["store"].ok is False
    assert "TopSecret" not in str(found)


# ---------------------------------------------------------------- what comes and goes


def test_switched_off_collecting_is_found(folder: Path) -> None:
    off = {"collect_default": "false"}
    assert links(off)["switches"].ok is False
    assert links({**off, "collect_on": "a/*/*"})["switches"].ok is True
    document = folder / "collectord-data" / "store" / DOCUMENT
    document.parent.mkdir(parents=True, exist_ok=True)
    document.write_bytes(NOTHING.patched("a", {"collect_model_data": True}).render())
    assert "some streams only; on for a" in links(off)["switches"].what
    assert "off for b" not in links({})["switches"].what
    document.write_bytes(b"{")
    broken = links({})["switches"]
    assert (broken.ok, "not JSON" in broken.what) == (False, True)


def test_the_daemons_troubles_are_told() -> None:
    status: dict[str, Any] = {
        "log": {"bytes": 10, "budget_bytes": 100}, "waiting": {"rows": 5, "oldest_seconds": 3.0}, "troubles": [],
        "parked": {"refused_partitions": 0}, "quarantine": {"rows": 0},
    }  # fmt: skip
    assert places.troubles(status).ok
    retrying = {"blob": "a/data.csv", "blocked": False, "detail": "timeout"}
    assert "1 blobs are tried again" in places.troubles({**status, "troubles": [retrying]}).what
    blocked = {"blob": "b/data.csv", "blocked": True, "detail": "leased: 412"}
    link = places.troubles({**status, "troubles": [retrying, blocked]})
    assert link.ok is False
    assert "b/data.csv: leased: 412" in link.what
    assert places.troubles({**status, "log": {"bytes": 81, "budget_bytes": 100}}).ok is False
    link = places.troubles({**status, "held": "the ledger was lost", "ledger_rebuild_needed": True})
    assert (link.ok, link.what, link.todo) == (
        False, "nothing is uploaded: the ledger was lost", "`collectord ledger rebuild`",
    )  # fmt: skip
    assert "Claims" in places.troubles({**status, "held": "somebody else has the spool"}).todo
    assert "drain --cancel" in places.troubles({**status, "draining": True}).todo


def test_where_events_go_is_asked_and_nothing_is_sent(folder: Path) -> None:
    assert "events" not in links()
    with Ingestion() as endpoint:
        wanted = {"app_insights": endpoint.connection_string}
        assert links(wanted)["events"].ok
        endpoint.plan("404")
        assert "no ingestion service" in links(wanted)["events"].what
        trouble = {"name": "app_insights", "trouble": "HTTP 429"}
        (link,) = far.events(settings(**wanted), {"exports": [trouble]})
        assert (link.ok, "HTTP 429" in link.what) == (False, True)
        (link,) = far.events(settings(**wanted), {"exports": [{"name": "app_insights", "expired": 3}]})
        assert (link.ok, "3 events were given up" in link.what) == (True, True)
        assert endpoint.items == []
        gone = {"app_insights": endpoint.connection_string.replace(endpoint.url, "http://127.0.0.1:9")}
    assert "no connection" in links(gone)["events"].what
    broken = links({"app_insights": "InstrumentationKey=secret"})
    assert broken["settings"].ok is False
    assert "secret" not in str(broken)


def test_a_line_says_whether_the_link_holds_and_what_to_do() -> None:
    assert Link("spool", True, "fine").line() == "ok     spool      fine"
    assert Link("spool", False, "bad", "mend it").line() == "BROKEN spool      bad; mend it"
    assert Link("spool", None, "unknown").line() == "-      spool      unknown"
