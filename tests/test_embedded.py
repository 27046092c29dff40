"""A daemon in a thread: its settings, and that it lets go of what it took. tests/e2e/test_embedded.py has whole processes."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from collectord_client import Client

from collectord import embedded, files
from collectord.embedded import DEFAULTS, Embedded, settings_of
from collectord.errors import CallHuman, ConfigError
from collectord.notes import FILE, read
from collectord.settings import Settings
from collectord.spoolfiles import LOCK_FILE


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"COLLECTORD_{name.upper()}", raising=False)


@pytest.fixture
def place(tmp_path: Path) -> tuple[str, str, str]:
    """Store, spool and socket."""
    return str(tmp_path / "store"), str(tmp_path / "spool"), str(tmp_path / "c.sock")


@pytest.fixture
def silent() -> Iterator[logging.Logger]:
    """The daemon's logger, as it was before."""
    logger = logging.getLogger("collectord")
    before = logger.handlers[:]
    logger.handlers.clear()
    yield logger
    logger.handlers[:] = before


@pytest.fixture
def begin(place: tuple[str, str, str]) -> Iterator[Callable[[], Embedded]]:
    """Starts one there; none outlives a test that failed, or the next one's threads would be counted wrongly."""
    made: list[Embedded] = []

    def make() -> Embedded:
        one = embedded.start(*place)
        assert one is not None
        made.append(one)
        return one

    yield make
    for one in made:
        one.stop(False)


def delete(folder: str) -> None:
    """Once more where a daemon has put a file into it meanwhile, as its reserve just after the start."""
    while Path(folder).exists():
        shutil.rmtree(folder, ignore_errors=True)


def free(spool: str) -> bool:
    """Whether another daemon could have the spool."""
    fd = files.try_lock(Path(spool) / LOCK_FILE)
    if fd is None:
        return False
    os.close(fd)
    return True


def test_the_environment_wins_over_a_guests_defaults_and_the_path_over_the_environment(
    place: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(*place)
    assert {name: getattr(settings, name) for name in DEFAULTS} == DEFAULTS
    own = {name: field.default for name, field in Settings.model_fields.items()}
    assert all(own[name] != value for name, value in DEFAULTS.items())
    monkeypatch.setenv("COLLECTORD_FLUSH_INTERVAL", "3")
    monkeypatch.setenv("COLLECTORD_CODEC", "none")
    monkeypatch.setenv("COLLECTORD_STORE", "az://elsewhere")
    monkeypatch.setenv("COLLECTORD_LISTEN", "unix:/elsewhere.sock")
    settings = settings_of(*place)
    assert (settings.flush_interval, settings.codec) == (3.0, "none")
    assert (settings.store, str(settings.spool), settings.listen) == (place[0], place[1], (f"unix:{place[2]}",))
    assert settings.admin_socket == Path(place[1]).resolve() / "admin.sock"


def test_an_admin_socket_that_has_no_address_in_the_spool_lies_beside_the_one_for_clients() -> None:
    path = f"/tmp/z/{'x' * 120}"
    assert settings_of(path, path, "/tmp/y/c.sock").admin_socket == Path("/tmp/y/admin.sock")


def test_a_socket_for_clients_whose_path_is_too_long_is_refused() -> None:
    path = "/tmp/z/" + "x" * 120
    with pytest.raises(ConfigError, match="longer than 107 bytes"):
        settings_of(path, path, f"{path}/c.sock")


def test_a_spool_is_of_one_at_a_time_and_free_after_a_stop(
    place: tuple[str, str, str],
    silent: logging.Logger,
    begin: Callable[[], Embedded],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also where nothing is to land, as before a fork; no thread is left; and that another one has it is nothing to be logged:
    gunicorn's workers all find it so but one."""
    for land in (True, False):
        first = begin()
        assert first.running
        assert embedded.start(*place) is None
        assert not free(place[1])
        assert first.stop(land)
        assert free(place[1])
        assert not first.running
    assert not [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("collectord") and "-client" not in thread.name
    ]
    assert [type(handler) for handler in silent.handlers] == [logging.NullHandler]
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_no_file_of_the_log_stays_open_after_a_stop(
    place: tuple[str, str, str], silent: logging.Logger, begin: Callable[[], Embedded]
) -> None:
    """What lands in the end is read behind the end of the log. A host that closes clients all the time would run out of descriptors."""
    one = begin()
    with Client("m", endpoint=f"unix:{place[2]}") as client:
        client.collect([1.0])
    assert client.stats()["acknowledged"] == 1
    assert one.stop(True)
    assert list(Path(place[0]).rglob("data*"))
    # A descriptor may be closed by another thread meanwhile.
    links = [os.path.realpath(fd) for fd in Path("/proc/self/fd").iterdir()]
    assert [link for link in links if link.startswith(os.path.realpath(place[1]))] == []


def test_a_spool_that_is_deleted_ends_it_and_another_one_can_be_begun(
    place: tuple[str, str, str], begin: Callable[[], Embedded], caplog: pytest.LogCaptureFixture
) -> None:
    first = begin()
    delete(place[1])
    first._thread.join(60)
    assert not first.running
    assert first.stop(False)
    assert "the spool was deleted, and what had not landed with it" in caplog.messages
    assert begin().stop(True)


def test_a_start_that_fails_leaves_the_spool_free(
    place: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Early, because of a setting, and late, when the log was replayed and the socket cannot be made."""
    monkeypatch.setenv("COLLECTORD_LAYOUT", "no/such/level.csv")
    with pytest.raises(CallHuman, match="layout"):
        Embedded(settings_of(*place)).start()
    assert free(place[1])
    monkeypatch.delenv("COLLECTORD_LAYOUT")
    (tmp_path / "c.sock").mkdir()
    with pytest.raises(CallHuman, match="is a file and no socket"):
        Embedded(settings_of(*place)).start()
    assert free(place[1])
    left = [(note.message, str(note.fields["why"])) for note in read(Path(place[1]) / FILE)]
    assert [message for message, _ in left] == ["the start failed"] * 2
    assert "layout" in left[0][1] and "is a file and no socket" in left[1][1]
    assert not [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("collectord") and "-client" not in thread.name
    ]
