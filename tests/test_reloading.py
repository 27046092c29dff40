"""A file of settings that changes under a running daemon."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from collectord import config
from collectord.config import load
from collectord.reloading import Reloading
from collectord.settings import AT_ONCE, Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "collectord.toml"
    path.write_text("flush_interval = 30\n")
    return path


@pytest.fixture
def taken() -> list[Settings]:
    return []


@pytest.fixture
def reloading(file: Path, taken: list[Settings]) -> Reloading:
    return Reloading(file, lambda: load(file), load(file), taken.append)


def test_what_may_change_at_once_does(file: Path, reloading: Reloading, taken: list[Settings]) -> None:
    reloading.look()
    assert not taken
    file.write_text("flush_interval = 10\nlog_level = 'debug'\n")
    reloading.look()
    reloading.look()
    assert [(one.flush_interval, one.log_level) for one in taken] == [(10.0, "debug")]
    file.write_text("log_level = 'debug'\n")
    reloading.look()
    assert taken[-1].flush_interval == Settings.model_fields["flush_interval"].default
    assert (reloading.problem, reloading.pending) == ("", ())


def test_what_cannot_waits_for_a_restart_and_is_said_until_it_is_taken_back(
    file: Path, reloading: Reloading, taken: list[Settings]
) -> None:
    file.write_text("flush_interval = 10\nuploads = 9\ncodec = 'gzip'\n")
    reloading.look()
    assert reloading.pending == ("codec", "uploads")
    assert [(one.flush_interval, one.uploads, one.codec) for one in taken] == [(10.0, 4, "zstd")]
    file.write_text("flush_interval = 10\n")
    reloading.look()
    assert reloading.pending == ()
    assert len(taken) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"flush_interval = -1\n", "flush_interval"),
        (b"flush_intervall = 1\n", "do you mean flush_interval?"),
        (b"flush_interval = [1]\n", "flush_interval"),
        (b"flush_interval = 1\nflush_interval = 2\n", "this key stands in the file a second time (at line 2"),
        (b"flush_interval = " + b"[" * 20_000, "nested too deeply"),
        (b"\xef\xbb\xbfflush_interval = 1\n", "byte-order mark"),
        (b"# \xff\n", "UTF-8"),
        (b"#" * (config.MAX_FILE_BYTES + 1), "bytes"),
        (None, "is not a file"),
    ],
)
@pytest.mark.parametrize("asked", [False, True])
def test_a_wrong_file_changes_nothing_and_is_said(
    text: bytes | None, says: str, asked: bool, file: Path, reloading: Reloading, taken: list[Settings]
) -> None:
    if text is None:
        file.unlink()
    else:
        file.write_bytes(text)
    if asked:
        reloading.nudge()
    reloading.look()
    assert says in reloading.problem
    assert not taken
    file.write_text("flush_interval = 20\n")
    reloading.look()
    assert reloading.problem == ""
    assert taken[-1].flush_interval == 20.0


def test_a_directory_that_is_swapped_by_a_link_is_noticed(tmp_path: Path, taken: list[Settings]) -> None:
    """As the kubelet does it: ..data -> ..2026_1, and collectord.toml -> ..data/collectord.toml."""
    for name, seconds in (("one", 30), ("two", 10)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "collectord.toml").write_text(f"flush_interval = {seconds}\n")
    (tmp_path / "..data").symlink_to("one")
    file = tmp_path / "collectord.toml"
    file.symlink_to("..data/collectord.toml")
    reloading = Reloading(file, lambda: load(file), load(file), taken.append)
    (tmp_path / "..new").symlink_to("two")
    (tmp_path / "..new").replace(tmp_path / "..data")
    reloading.look()
    assert [one.flush_interval for one in taken] == [10.0]


def test_the_environment_still_wins(
    file: Path, reloading: Reloading, taken: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLECTORD_FLUSH_INTERVAL", "5")
    file.write_text("flush_interval = 10\n")
    reloading.look()
    assert [one.flush_interval for one in taken] == [5.0]


def test_a_nudge_has_it_look_at_once_also_where_nothing_changed(file: Path) -> None:
    looked = threading.Event()

    def reads() -> Settings:
        looked.set()
        return load(file)

    reloading = Reloading(file, reads, load(file), lambda _: None, interval=3600)
    reloading.start()
    reloading.nudge()
    assert looked.wait(30)
    reloading.stop()


def test_its_own_fault_does_not_end_it(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []
    again = threading.Event()

    def breaks(_: Settings) -> None:
        calls.append(1)
        if len(calls) > 1:
            again.set()
        raise RuntimeError("ours")

    reloading = Reloading(file, lambda: load(file), load(file), breaks, interval=0.001)
    reloading.start()
    file.write_text("flush_interval = 10\n")
    while not calls:
        pass
    file.write_text("flush_interval = 11\n")
    assert again.wait(30)
    reloading.stop()
    assert "could not be read again" in caplog.text


def test_names_of_settings_that_change_at_once_are_settings() -> None:
    assert set(AT_ONCE) < set(Settings.model_fields)


# ---------------------------------------------------------------- what describes the file


def test_the_template_is_a_file_of_the_defaults(tmp_path: Path) -> None:
    lines = [line.removeprefix("# ") for line in config.template().splitlines() if " = " in line]
    lines = [line for line in lines if not line.endswith('= ""')]
    assert len(lines) > 25
    file = tmp_path / "collectord.toml"
    file.write_text("\n".join(lines))
    assert load(file) == load()


def test_the_schema_tells_good_files_from_bad_ones() -> None:
    import jsonschema

    schema = config.file_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    check: Callable[[object], None] = jsonschema.Draft202012Validator(schema).validate
    check({"store": "az://c", "listen": "unix:a,b", "memory_budget": "256MiB", "socket_mode": "0660"})
    check({"listen": ["unix:a"], "memory_budget": 1 << 28, "socket_mode": 0o660})
    check({"quota_bytes": "8MiB", "quota_rows": 5, "admin": "127.0.0.1:1"})
    for wrong in (
        {"stor": "x"},
        {"codec": "lz4"},
        {"flush_interval": 0},
        {"uploads": "many"},
        {"collect_on": 3},
        {"quota_rows": 0},
    ):
        with pytest.raises(jsonschema.ValidationError):
            check(wrong)
    assert set(json.loads(json.dumps(schema))["properties"]) == set(Settings.model_fields)
