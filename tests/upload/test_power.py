"""Power loss: what the ledger and the frames say is synced before anything relies on it, directory entries included.

SQLite's own files are synced by SQLite (`synchronous = FULL`); what is checked here is the order in which we rely on it.
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collectord import files
from collectord.encode import frame_reader
from collectord.encode.frame import FrameEncoder
from collectord.model import Cursor, FrameTag, Lsn, Partition, Stream
from collectord.testing.clock import ManualClock
from collectord.testing.store import MemoryStore
from collectord.upload.appender import Appender
from collectord.upload.attempts import Landed
from collectord.upload.database import Database
from collectord.upload.ledger import Ledger
from collectord.upload.localdir import LocalDirectory
from collectord.upload.naming import Layout

DAY = Partition(b"s" * 16, 24 * 365, 1440)
HEADER = b"n,$aml_dc_correlation_id\n"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced, renamed, removed and sent, in order."""
    calls: list[str] = []

    def recorded(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def run(fd: int) -> object:
            calls.append(f"{name} {Path(f'/proc/self/fd/{fd}').readlink().name}")
            return call(fd)

        return run

    replace, unlink = Path.replace, Path.unlink

    def recorded_replace(source: Path, target: Path) -> Path:
        calls.append(f"rename {source.name} {target.name}")
        return replace(source, target)

    def recorded_unlink(path: Path, missing_ok: bool = False) -> None:
        calls.append(f"remove {path.name}")
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "fsync", recorded("sync", os.fsync))
    monkeypatch.setattr(os, "fdatasync", recorded("sync", os.fdatasync))
    monkeypatch.setattr(Path, "replace", recorded_replace)
    monkeypatch.setattr(Path, "unlink", recorded_unlink)
    return calls


@pytest.fixture
def ledger(tmp_path: Path, steps: list[str]) -> Iterator[Ledger]:
    files.make_private_directory(tmp_path / "spool")
    made = Ledger(tmp_path / "spool")
    made._database._db.set_trace_callback(lambda text: steps.append(text.split()[0]) if text == "COMMIT" else None)
    yield made
    made.close()


class Recording(MemoryStore):
    """Says when it is asked."""

    def __init__(self, steps: list[str]) -> None:
        super().__init__()
        self._steps = steps

    def append(self, blob: str, data: bytes | memoryview, position: int) -> object:  # type: ignore[override]
        self._steps.append(f"append at {position}")
        return super().append(blob, data, position)


def test_the_ledger_s_entry_is_synced_before_anybody_has_it_and_again_at_each_start(
    tmp_path: Path, steps: list[str]
) -> None:
    """Also by a second daemon whose predecessor was killed between making the file and syncing the directory."""
    spool = tmp_path / "spool"
    spool.mkdir()
    for _ in range(2):
        steps.clear()
        Ledger(spool).close()
        assert "sync spool" in steps


def test_every_change_of_the_ledger_is_synced_before_the_call_returns(ledger: Ledger) -> None:
    assert ledger._database._db.execute("PRAGMA synchronous").fetchone()[0] == 2, "FULL: each commit syncs the WAL"
    assert ledger._database._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_a_frame_is_on_disk_then_named_then_in_the_ledger_and_only_then_sent(
    ledger: Ledger, tmp_path: Path, steps: list[str]
) -> None:
    """Bytes, their name, the intention, the append, the confirmation; only then the bytes may go."""
    store = Recording(steps)
    appender = Appender(
        store,
        ledger,
        tmp_path / "spool" / "frames",
        Layout(suffix=".zst"),
        frame_reader,
        ManualClock(),
        random.Random(1),
    )
    encoder = FrameEncoder("zstd")
    tag = FrameTag(ledger.writer_id, ledger.next_frame_id(), 1)
    steps.clear()
    intent = appender.stage(
        Stream(model="m", designation="inputs"), DAY, HEADER, encoder.header_frame(HEADER),
        encoder.data_frame(b"1,x\n", tag), tag, 1, Cursor(Lsn(8), 0),
    )  # fmt: skip
    name = str(intent.frame_id)
    commits = [number for number, step in enumerate(steps) if step == "COMMIT"]
    durable = [steps.index(step) for step in (f"sync {name}.tmp", f"rename {name}.tmp {name}", "sync frames")]
    assert durable == sorted(durable)
    assert durable[-1] < commits[-1], "the intent comes after the bytes"
    assert not any(step.startswith("append") for step in steps)
    steps.clear()
    assert isinstance(appender.attempt(intent), Landed)
    confirmed = max(number for number, step in enumerate(steps) if step == "COMMIT")
    sent = max(number for number, step in enumerate(steps) if step.startswith("append"))
    removed = steps.index(f"rename {name} spare-{name}")
    assert sent < confirmed < removed, steps


def test_frames_and_their_directory_s_entry_are_synced(ledger: Ledger, tmp_path: Path, steps: list[str]) -> None:
    steps.clear()
    Appender(
        MemoryStore(), ledger, tmp_path / "spool" / "frames", Layout(suffix=".zst"), frame_reader, ManualClock(),
        random.Random(1),
    )  # fmt: skip
    assert "sync spool" in steps


def test_a_damaged_ledger_is_set_aside_durably(tmp_path: Path, steps: list[str]) -> None:
    """The database goes first: its companions alone are nothing, but it without them would be an older ledger."""
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"ledger.sqlite{suffix}").write_bytes(b"noise")
    aside = Database.set_aside(tmp_path, "T")
    assert aside.name == "ledger.sqlite.damaged-T"
    renames = [step.split()[1] for step in steps if step.startswith("rename")]
    assert renames == ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"]
    assert steps.count(f"sync {tmp_path.name}") == 3


def test_what_a_lost_ledger_left_behind_is_no_part_of_the_next_one(tmp_path: Path) -> None:
    """A write-ahead log without its database must not be replayed into another one."""
    first = Ledger(tmp_path)
    first.remember("x", 1)
    wal = (tmp_path / "ledger.sqlite-wal").read_bytes()
    first.close()
    (tmp_path / "ledger.sqlite").unlink()
    (tmp_path / "ledger.sqlite-wal").write_bytes(wal)
    second = Ledger(tmp_path)
    assert second.recall("x") is None
    assert second.writer_id != first.writer_id
    second.close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_an_append_to_a_directory_is_synced_with_every_name_that_leads_to_it(tmp_path: Path, steps: list[str]) -> None:
    """Confirmed means: bytes, the file's entry, and those of all directories above it, that of the store included."""
    store = LocalDirectory(tmp_path / "a" / "store")
    store.create_container()
    made = list(steps)
    assert f"sync {tmp_path.name}" in made
    assert "sync a" in made
    store.create("x/y/data.csv.zst", "application/zstd", {})
    steps.clear()
    store.append("x/y/data.csv.zst", b"1", 0)
    assert "sync data.csv.zst" in steps
    assert [step for step in steps if step in ("sync y", "sync x", "sync store")] == ["sync y", "sync x", "sync store"]
    assert steps.index("sync data.csv.zst") < steps.index("sync y")
    steps.clear()
    store.append("x/y/data.csv.zst", b"2", 1)
    assert "sync data.csv.zst" in steps
